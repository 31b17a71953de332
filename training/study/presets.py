"""The questions a study can ask, each as the rows it has to train."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any, Final

from perception.errors import UserError
from perception.variants import VARIANTS
from training.study.changes import CHANGES
from training.study.plan import Row


@dataclass(frozen=True)
class Choice:
    """What the presets are built from."""

    tasks: tuple[str, ...]
    model: str
    models: tuple[str, ...]
    methods: tuple[str, ...]
    sharings: tuple[str, ...]
    pretrained: bool = False
    grid: str = ""
    frozen: bool = False


def twins(choice: Choice) -> list[Row]:
    """A network for each task: what sharing is measured against."""
    return [Row((task,), choice.model, pretrained=choice.pretrained) for task in choice.tasks]


def together(choice: Choice) -> Row:
    """One network for all."""
    return Row(choice.tasks, choice.model, pretrained=choice.pretrained)


def stl_vs_mtl(choice: Choice) -> list[Row]:
    return [*twins(choice), together(choice)]


def pairs(choice: Choice) -> list[Row]:
    both = [replace(together(choice), tasks=pair) for pair in combinations(choice.tasks, 2)]
    return [*twins(choice), *[row for row in both if row.tasks != choice.tasks], together(choice)]


def trunks(choice: Choice) -> list[Row]:
    return [row for model in choice.models for row in stl_vs_mtl(replace(choice, model=model))]


def balance(choice: Choice) -> list[Row]:
    return [*twins(choice), *[replace(together(choice), balance=m) for m in choice.methods]]


def sharing(choice: Choice) -> list[Row]:
    return [*twins(choice), *[replace(together(choice), sharing=s) for s in choice.sharings]]


def baselines(choice: Choice) -> list[Row]:
    return [*twins(choice), *[replace(together(choice), model=model) for model in choice.models]]


def scratch_vs_pretrained(choice: Choice) -> list[Row]:
    return [
        row
        for pretrained in (False, True)
        for row in stl_vs_mtl(replace(choice, pretrained=pretrained))
    ]


def nyuv2(choice: Choice) -> list[Row]:
    """The 11 rows of the study that this project began with (protocols, part C)."""
    pvt, resnet, swin = choice.models[:3]
    scratch = [Row(choice.tasks, model) for model in (pvt, resnet)]
    trained = [Row(choice.tasks, model, pretrained=True) for model in (pvt, resnet, swin)]
    single = [Row((task,), pvt, pretrained=True) for task in choice.tasks]
    both = [Row(pair, pvt, pretrained=True) for pair in combinations(choice.tasks, 2)]
    return [*scratch, *trained, *single, *both]


def ablation(choice: Choice) -> list[Row]:
    """The network and recipe as they are, then with one decision changed each."""
    whole = together(choice)
    variants = [name for name in VARIANTS if _matters(name, choice)]
    changes = () if choice.frozen else CHANGES  # frozen features are of frames as they are
    return [
        whole,
        *[replace(whole, model=f"{choice.model}~{name}") for name in variants],
        *[replace(whole, change=name) for name in changes],
    ]


def _matters(variant: str, choice: Choice) -> bool:
    heads = VARIANTS[variant].get("heads")
    if heads is None:
        return not choice.frozen  # another neck
    return any(task in heads for task in choice.tasks)


def grid(choice: Choice) -> list[Row]:
    """Every combination of `--grid "tasks=det+lane,det balance=equal,pcgrad model=..."`."""
    axes: dict[str, list[str]] = {}
    for word in choice.grid.split():
        name, equals, values = word.partition("=")
        if name not in ("tasks", "model", "balance", "sharing") or not equals or not values:
            raise UserError(f"--grid {word!r}: write tasks=, model=, balance= or sharing=A,B")
        axes[name] = values.split(",")
    if not axes:
        raise UserError('the preset grid needs --grid, e.g. "balance=equal,pcgrad"')
    tasks = [tuple(group.split("+")) for group in axes.pop("tasks", ["+".join(choice.tasks)])]
    rows = [
        replace(together(choice), tasks=group, **_fields(axes, values))
        for group in tasks
        for values in product(*axes.values())
    ]
    models = {row.model for row in rows}
    wanted = dict.fromkeys(task for group in tasks for task in group)
    single = [
        row
        for model in sorted(models)
        for row in twins(replace(choice, model=model, tasks=tuple(wanted)))
    ]
    return [*single, *[row for row in rows if row not in single]]


def _fields(axes: dict[str, list[str]], values: Sequence[str]) -> dict[str, Any]:
    return dict(zip(axes, values, strict=True))


PRESETS: Final[dict[str, Callable[[Choice], list[Row]]]] = {
    "stl-vs-mtl": stl_vs_mtl,
    "pairs": pairs,
    "trunks": trunks,
    "balance": balance,
    "sharing": sharing,
    "baselines": baselines,
    "scratch-vs-pretrained": scratch_vs_pretrained,
    "nyuv2": nyuv2,
    "groups": stl_vs_mtl,  # and then what the affinities propose (proposal.py)
    "ablation": ablation,
    "grid": grid,
}


def unique(rows: Sequence[Row]) -> list[Row]:
    """Each row once, in order."""
    return list(dict.fromkeys(rows))
