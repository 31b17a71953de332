"""report.md and report.html (pictures inside, no network) from what a study has stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

import torch

from perception.files import write_atomic
from training.study import svg, tables
from training.study.cost import Cost
from training.study.gain import Line, estimate, gain, separate_parameters, task_gains, tasks_of
from training.study.grouping import best_groupings, mean_ahead
from training.study.plan import HARD, Budget, Row
from training.study.words import FEW_ROWS, paragraph, row_by_row

STYLE: Final = """body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;
padding:0 1rem;color:#222}table{border-collapse:collapse;font-size:13px;display:block;
overflow-x:auto}th,td{border-bottom:1px solid #ddd;padding:.3rem .6rem;text-align:right;
white-space:nowrap}th:first-child,td:first-child{text-align:left}figure{display:inline-block;
margin:.5rem 1rem .5rem 0;vertical-align:top}figcaption{font-size:13px;color:#555;max-width:40rem}
svg{max-width:100%;height:auto}"""


@dataclass(frozen=True)
class Figure:
    """A picture and what it shows."""

    caption: str
    picture: str


def write_report(
    folder: Path,
    title: str,
    lines: Sequence[Line],
    budget: Budget,
    costs: Mapping[Row, Cost],
    quick: bool = False,
    tried: Sequence[str] = (),
) -> tuple[Path, Path]:
    """Writes both files; returns their paths. `tried`: proposals that were trained, in words."""
    said = paragraph(lines, budget, quick)
    sections = {
        "Scores": tables.scores(lines),
        "What sharing did to each task, % of its single-task twin": tables.gains(lines),
        f"Cost, batch 1 in torch on the CPU with {torch.get_num_threads()} thread(s)": tables.sizes(
            lines, costs
        ),
    }
    proposals = [*groupings(lines), *[f"Trained: {words}" for words in tried]]
    pictures = figures(lines)
    each = row_by_row(lines)
    each = each if len(each) > FEW_ROWS else []
    text = [f"# {title}", " ".join(said)]
    text += [f"## {name}\n\n{tables.markdown(table)}" for name, table in sections.items()]
    text += ["## Row by row\n\n" + "\n".join(f"- {words}" for words in each)] if each else []
    text += ["## Groups that the affinities propose\n\n" + "\n".join(f"- {p}" for p in proposals)]
    text += ["Pictures: report.html, which holds them all.", LEGEND]
    page = [f"<h1>{escape(title)}</h1>", f"<p>{escape(' '.join(said))}</p>"]
    page += [f"<h2>{escape(name)}</h2>{tables.html(table)}" for name, table in sections.items()]
    items = "".join(f"<li>{escape(words)}</li>" for words in each)
    page += [f"<h2>Row by row</h2><ul>{items}</ul>"] if each else []
    page += ["<h2>Pictures</h2>", *[figure_html(figure) for figure in pictures]]
    page += ["<h2>Groups that the affinities propose</h2><ul>"]
    page += [f"<li>{escape(proposal)}</li>" for proposal in proposals]
    page += [f"</ul><p>{escape(LEGEND)}</p>"]
    both = folder / "report.md", folder / "report.html"
    write_atomic(both[0], "\n\n".join(text) + "\n")
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    write_atomic(both[1], f"<!doctype html><html><head>{head}</head><body>{''.join(page)}</body>")
    return both


LEGEND: Final = (
    "± is the half width of a 95 % t-interval over seeds, each seed compared with the single-task "
    "twin of the same seed. Gain: mean over tasks of the mean over the task's metrics shown, "
    "relative to the twin, + where better. Scores are those of the last epoch."
)


def figure_html(figure: Figure) -> str:
    return f"<figure>{figure.picture}<figcaption>{escape(figure.caption)}</figcaption></figure>"


def figures(lines: Sequence[Line]) -> list[Figure]:
    """Pareto plot, heat maps and curves, those that have something to show."""
    return [*pareto(lines), *heat_maps(lines), *curves(lines)]


def pareto(lines: Sequence[Line]) -> list[Figure]:
    """Gain against the parameters that it takes to do all tasks of the row."""
    count, dots = len(tasks_of(lines)), []
    whole = [line for line in lines if len(line.row.tasks) == count and not line.row.alone]
    for line in whole:
        value = gain(line, lines)
        if value:
            name, size = line.row.name(count), line.parameters / 1e6
            dots.append(svg.Dot(name, size, value.mean, value.half))
    if not dots:
        return []
    twins = separate_parameters(whole[0], lines) / 1e6
    dots.append(svg.Dot("one network a task", twins, 0.0))
    picture = svg.pareto(dots, "parameters for all tasks, M", "gain, %")
    caption = "Gain against size, equal sizes side by side; the grey line joins what nothing beats."
    return [Figure(caption, picture)]


def heat_maps(lines: Sequence[Line]) -> list[Figure]:
    """Gains in pairs, look-ahead affinity and gradient cosines."""
    tasks, found = tasks_of(lines), []
    pairs = pair_gains(lines)
    if pairs:
        words = "Row trained with column: gain of the row's task, %, measured by training pairs."
        found.append(Figure(words, svg.heat_map(tasks, pairs, 1)))
    for line in lines:
        probes = [probe for record in line.records for probe in record["probes"]]
        if len(line.row.tasks) < 3 or not probes:
            continue
        name = line.row.name(len(tasks))
        ahead = mean_ahead([probe["ahead"] for probe in probes])
        own = [task for task in tasks if task in line.row.tasks]
        scaled = {a: {b: 1000 * ahead[a][b] for b in own} for a in own if a in ahead}
        words = f"{name}: a step by the row's gradient lowers the column's loss by this many ‰."
        found.append(Figure(words, svg.heat_map(own, scaled)))
        for stage in probes[0]["cosine"]:
            matrix = mean_ahead([probe["cosine"][stage] for probe in probes])
            words = f"{name}: cosine of gradients, {stage}, mean over training."
            found.append(Figure(words, svg.heat_map(own, matrix)))
        found.append(cosine_curves(name, probes))
    return found


def cosine_curves(
    name: str, probes: Sequence[Mapping[str, dict[str, dict[str, object]]]]
) -> Figure:
    """How the mean cosine of each stage goes over training."""
    series: dict[str, dict[float, list[float]]] = {}
    for probe in probes:
        for stage, matrix in probe["cosine"].items():
            values = [float(v) for a, row in matrix.items() for b, v in row.items() if a < b]  # type: ignore[attr-defined]
            mean = sum(values) / max(len(values), 1)
            series.setdefault(stage, {}).setdefault(float(probe["step"]), []).append(mean)  # type: ignore[arg-type]
    lines = {
        stage: [(step, sum(v) / len(v)) for step, v in sorted(points.items())]
        for stage, points in series.items()
    }
    return Figure(f"{name}: mean cosine of the tasks' gradients.", svg.curves(lines, "cosine"))


def pair_gains(lines: Sequence[Line]) -> dict[str, dict[str, float]]:
    """Task -> partner -> gain of the task."""
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        plain = (line.row.balance, line.row.sharing) == ("equal", HARD)
        if len(line.row.tasks) == 2 and plain and line.records:
            for task, partner in (line.row.tasks, line.row.tasks[::-1]):
                value = estimate(task_gains(line, task, lines))
                if value:
                    found.setdefault(task, {})[partner] = value.mean
    return found


def curves(lines: Sequence[Line], most: int = 10) -> list[Figure]:
    """Headline score over steps, a picture a task."""
    tasks, found = tasks_of(lines), []
    for task in tasks:
        series = {
            line.row.name(len(tasks)): mean_curve(line, task)
            for line in lines
            if task in line.row.tasks and line.records
        }
        series = {name: points for name, points in list(series.items())[:most] if points}
        if series:
            headlines = [record["headline"] for line in lines for record in line.records]
            score = next(names[task] for names in headlines if task in names)
            found.append(Figure(f"{task} on validation frames.", svg.curves(series, score)))
    return found


def mean_curve(line: Line, task: str) -> list[tuple[float, float]]:
    """(step, mean over seeds of the headline score)."""
    points: dict[float, list[float]] = {}
    for record in line.records:
        for point in record["curve"]:
            if point["val"].get(task) is not None:
                points.setdefault(float(point["step"]), []).append(float(point["val"][task]))
    return [(step, sum(values) / len(values)) for step, values in sorted(points.items())]


def groupings(lines: Sequence[Line]) -> list[str]:
    """What the grouping search says of each network with three tasks or more."""
    found = []
    for line in lines:
        probes = [probe for record in line.records for probe in record["probes"]]
        if 3 <= len(line.row.tasks) <= 10 and probes:
            ahead = mean_ahead([probe["ahead"] for probe in probes])
            for most in (0, 2):
                best = best_groupings(line.row.tasks, ahead, most, count=1)[0]
                groups = " | ".join(" + ".join(group) for group in best.groups)
                limit = f"at most {most} networks" if most else "any number of networks"
                found.append(
                    f"{line.row.name()}, {limit}: {groups} (mean affinity {best.score:+.5f})"
                )
    return found or ["No network with three tasks or more was looked at."]
