"""What a row's interval supports, in a sentence, and how often each verdict fell."""

from collections.abc import Sequence
from dataclasses import replace

from training.study.gain import (
    Estimate,
    Line,
    estimate,
    gain,
    separate_parameters,
    task_gains,
    tasks_of,
    uncompared,
)


def about(line: Line, lines: Sequence[Line]) -> list[str]:
    """The sentences on one row."""
    name, value = line.row.name(len(tasks_of(lines))), gain(line, lines)
    if value is None:
        alone = any(other.row.alone for other in lines)
        return [f"{name}: nothing to compare with."] if alone or line is not lines[0] else []
    twins = separate_parameters(line, lines)
    size = f"{line.parameters / 1e6:.2f}M parameters" + (
        f" instead of {twins / 1e6:.2f}M" if twins else ""
    )
    sentences = [f"{name}, {size}, {in_words(value, rival(lines))}."]
    hurt, helped = _sure_tasks(line, lines)
    if hurt:
        sentences.append(f"It hurts {', '.join(hurt)}.")
    if helped:
        sentences.append(f"It helps {', '.join(helped)}.")
    if missing := uncompared(line, lines):
        sentences.append(
            f"Not in its gain: {', '.join(missing)}, whose twin is missing or scored below 1 %."
        )
    return sentences


def rival(lines: Sequence[Line]) -> str:
    """What the rows are compared with."""
    if any(other.row.alone for other in lines):
        return "its twins"
    return lines[0].row.name(len(tasks_of(lines)))


def in_words(value: Estimate, rival: str) -> str:
    """Better, worse or not told apart."""
    if value.half is None:
        return f"gains {value.mean:+.1f} % with one seed, which supports no conclusion"
    if value.low > 0:
        return f"is better than {rival} by {value.text(1)} % (95 % interval above zero)"
    if value.high < 0:
        return f"is worse than {rival} by {value.text(1)} % (95 % interval below zero)"
    return f"is not told apart from {rival}: {value.text(1)} % (the 95 % interval holds zero)"


def _sure_tasks(line: Line, lines: Sequence[Line]) -> tuple[list[str], list[str]]:
    """Tasks whose interval lies below, and above, zero."""
    by_task = {task: estimate(task_gains(line, task, lines)) for task in line.row.tasks}
    sure = {task: e for task, e in by_task.items() if e and e.half is not None}
    hurt = [f"{task} {e.text(1)} %" for task, e in sure.items() if e.high < 0]
    helped = [f"{task} {e.text(1)} %" for task, e in sure.items() if e.low > 0]
    return hurt, helped


def tally(lines: Sequence[Line]) -> list[str]:
    """How many rows won and lost, and what happened to each task in them."""
    values = [(ln, value) for ln in lines if (value := gain(ln, lines))]
    count = len(tasks_of(lines))
    against = "their twins" if any(line.row.alone for line in lines) else rival(lines)
    better = [f"{ln.row.name(count)} ({v.text(1)} %)" for ln, v in values if v.low > 0]
    worse = [f"{ln.row.name(count)} ({v.text(1)} %)" for ln, v in values if v.high < 0]
    said = [
        f"Of {len(values)} rows {len(better)} do better than {against}, {len(worse)} worse, "
        f"{len(values) - len(better) - len(worse)} are not told apart (95 % intervals over seeds)."
    ]
    said += [f"Better: {', '.join(better)}."] if better else []
    said += [f"Worse: {', '.join(worse)}."] if worse else []
    for task in tasks_of(lines):
        each = [estimate(task_gains(ln, task, lines)) for ln, _ in values if task in ln.row.tasks]
        known = [value for value in each if value]
        hurt, helped = sum(v.high < 0 for v in known), sum(v.low > 0 for v in known)
        if hurt or helped:
            said.append(f"{task}: hurt in {hurt} and helped in {helped} of {len(known)}.")
    return said


def against_equal(line: Line, lines: Sequence[Line]) -> Estimate | None:
    """The gain over the same network under equal weights, seed by seed; None where the row is not
    about balancing."""
    if line.row.alone or line.row.balance == "equal":
        return None
    wanted = replace(line.row, balance="equal")
    plain = next((other for other in lines if other.row == wanted), None)
    return gain(line, [plain, line]) if plain and plain.records else None


def balancing(lines: Sequence[Line]) -> list[str]:
    """Which methods differ from equal weights."""
    found = [(line, against_equal(line, lines)) for line in lines]
    sure = [(line, value) for line, value in found if value and value.half is not None]
    if len(sure) < 2:
        return []
    ahead = [f"{ln.row.balance} {v.text(1)} %" for ln, v in sure if v.low > 0]
    behind = [f"{ln.row.balance} {v.text(1)} %" for ln, v in sure if v.high < 0]
    return [
        f"Against equal weights, seed by seed, of {len(sure)} methods better: "
        f"{', '.join(ahead) or 'none'}; worse: {', '.join(behind) or 'none'}."
    ]
