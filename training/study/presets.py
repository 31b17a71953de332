"""The questions that a study can ask, each as the rows that it has to train."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Final

from perception.errors import UserError
from training.study.plan import CHANGES, Row


@dataclass(frozen=True)
class Choice:
    """What the presets build their rows from."""

    tasks: tuple[str, ...]
    model: str
    models: tuple[str, ...]
    methods: tuple[str, ...]
    sharings: tuple[str, ...]
    pretrained: bool = False
    grid: str = ""


def twins(choice: Choice) -> list[Row]:
    """One network per task: the reference for sharing."""
    return [Row((task,), choice.model, pretrained=choice.pretrained) for task in choice.tasks]


def together(choice: Choice) -> Row:
    """One network for all tasks."""
    return Row(choice.tasks, choice.model, pretrained=choice.pretrained)


def stl_vs_mtl(choice: Choice) -> list[Row]:
    """Single-task networks against one for all."""
    return [*twins(choice), together(choice)]


def pairs(choice: Choice) -> list[Row]:
    """All pairs of tasks as well."""
    both = [replace(together(choice), tasks=pair) for pair in combinations(choice.tasks, 2)]
    return [*twins(choice), *[row for row in both if row.tasks != choice.tasks], together(choice)]


def trunks(choice: Choice) -> list[Row]:
    """The question of stl-vs-mtl for several networks."""
    return [row for model in choice.models for row in stl_vs_mtl(replace(choice, model=model))]


def balance(choice: Choice) -> list[Row]:
    """Methods that combine the tasks' losses or gradients."""
    return [*twins(choice), *[replace(together(choice), balance=m) for m in choice.methods]]


def sharing(choice: Choice) -> list[Row]:
    """Ways of sharing a trunk."""
    return [*twins(choice), *[replace(together(choice), sharing=s) for s in choice.sharings]]


def baselines(choice: Choice) -> list[Row]:
    """Several multi-task networks against the single-task ones of the first."""
    return [*twins(choice), *[replace(together(choice), model=model) for model in choice.models]]


def scratch_vs_pretrained(choice: Choice) -> list[Row]:
    """With and without ImageNet weights."""
    return [
        row
        for pretrained in (False, True)
        for row in stl_vs_mtl(replace(choice, pretrained=pretrained))
    ]


def nyuv2(choice: Choice) -> list[Row]:
    """Three trunks, from scratch and pretrained, and all subsets of the three NYUv2 tasks."""
    pvt, resnet, swin = choice.models[:3]
    scratch = [Row(choice.tasks, model) for model in (pvt, resnet)]
    trained = [Row(choice.tasks, model, pretrained=True) for model in (pvt, resnet, swin)]
    single = [Row((task,), pvt, pretrained=True) for task in choice.tasks]
    both = [Row(pair, pvt, pretrained=True) for pair in combinations(choice.tasks, 2)]
    return [*scratch, *trained, *single, *both]


def groups(choice: Choice) -> list[Row]:
    """stl-vs-mtl, then the groups of tasks with the highest look-ahead affinity."""
    return stl_vs_mtl(choice)


def benchmark(choice: Choice) -> list[Row]:
    """baselines with a learning rate tuned per network, scored by eval-bdd, and timed."""
    return baselines(choice)


def ablation(choice: Choice) -> list[Row]:
    """The training settings as they are, then with one decision changed per row."""
    whole = together(choice)
    return [whole, *[replace(whole, change=name) for name in CHANGES]]


def grid(choice: Choice) -> list[Row]:
    """Every combination of `--grid "tasks=det+lane,det balance=equal,pcgrad model=..."`."""
    axes: dict[str, list[str]] = {}
    for item in choice.grid.split():
        name, equals, values = item.partition("=")
        if name not in ("tasks", "model", "balance", "sharing") or not equals or not values:
            raise UserError(f"--grid {item!r}: write tasks=, model=, balance= or sharing=A,B")
        axes[name] = values.split(",")
    if not axes:
        raise UserError('the preset grid needs --grid, e.g. "balance=equal,pcgrad"')
    tasks = [tuple(group.split("+")) for group in axes.pop("tasks", ["+".join(choice.tasks)])]
    rows = [
        replace(together(choice), tasks=group, **dict(zip(axes, values, strict=True)))  # type: ignore[arg-type]
        for group in tasks
        for values in product(*axes.values())
    ]
    wanted = tuple(dict.fromkeys(task for group in tasks for task in group))
    single = [
        row
        for model in sorted({row.model for row in rows})
        for row in twins(replace(choice, model=model, tasks=wanted))
    ]
    return [*single, *[row for row in rows if row not in single]]


PRESETS: Final[dict[str, Callable[[Choice], list[Row]]]] = {
    "stl-vs-mtl": stl_vs_mtl,
    "pairs": pairs,
    "trunks": trunks,
    "balance": balance,
    "sharing": sharing,
    "baselines": baselines,
    "scratch-vs-pretrained": scratch_vs_pretrained,
    "nyuv2": nyuv2,
    "groups": groups,
    "ablation": ablation,
    "grid": grid,
    "benchmark": benchmark,
}


def unique(rows: Sequence[Row]) -> list[Row]:
    """Each row once, in order."""
    return list(dict.fromkeys(rows))
