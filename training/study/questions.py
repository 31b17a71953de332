"""The questions that a study can ask, each as the rows that it has to train."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, product
from typing import Final

from perception.errors import UserError
from training.study.arguments import StudyArgs
from training.study.plan import HARD, Row

ANSWERS: Final = {"yes": True, "no": False}


def together(args: StudyArgs) -> Row:
    """One network for all tasks."""
    return Row(args.tasks, args.model, pretrained=args.pretrained)


def stl_vs_mtl(args: StudyArgs) -> list[Row]:
    """Single-task networks against one for all tasks."""
    return [*[replace(together(args), tasks=(task,)) for task in args.tasks], together(args)]


def sharing(args: StudyArgs) -> list[Row]:
    """Ways of sharing (--sharings), against one trunk and against single-task networks."""
    return [
        *stl_vs_mtl(args),
        *[replace(together(args), sharing=name) for name in args.sharings],
    ]


def balance(args: StudyArgs) -> list[Row]:
    """Balancing methods (--methods), against equal weights and single-task networks."""
    return [
        *stl_vs_mtl(args),
        *[replace(together(args), balance=name) for name in args.methods],
    ]


def groups(args: StudyArgs) -> list[Row]:
    """Groups of tasks by look-ahead affinity, against random groups and one network, on fresh
    seeds."""
    return stl_vs_mtl(args)


def trunks(args: StudyArgs) -> list[Row]:
    """stl-vs-mtl for several networks (--models)."""
    return [row for model in args.models for row in stl_vs_mtl(replace(args, model=model))]


def grid(args: StudyArgs) -> list[Row]:
    """Every combination of --grid "model=A,B tasks=singles,all sharing=hard,mtan balance=equal
    pretrained=yes,no"; repeat it to join grids."""
    if not args.grid:
        raise UserError('the question grid needs --grid, e.g. --grid "balance=equal,pcgrad"')
    return [row for text in args.grid for row in grid_rows(text, args)]


def grid_rows(text: str, args: StudyArgs) -> list[Row]:
    """The rows of one --grid. An axis that is not named has one value; `tasks` has singles,all.

    Sharing and balance are of networks with several tasks. Raises UserError for a wrong axis.
    """
    axes: dict[str, list[str]] = {
        "model": [args.model],
        "tasks": ["singles", "all"],
        "sharing": [HARD],
        "balance": ["equal"],
        "pretrained": ["yes" if args.pretrained else "no"],
    }
    for item in text.split():
        name, _, values = item.partition("=")
        if name not in axes or not values:
            raise UserError(f"--grid {item!r}: write one of {', '.join(axes)} as NAME=A,B")
        axes[name] = values.split(",")
    found = []
    for model, word, sharing, balance, start in product(*axes.values()):
        if start not in ANSWERS:
            raise UserError(f"--grid pretrained={start}: yes or no")
        for tasks in task_sets(word, args.tasks):
            several = {"sharing": sharing, "balance": balance} if len(tasks) > 1 else {}
            found.append(Row(tasks, model, pretrained=ANSWERS[start], **several))
    return found


def task_sets(word: str, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The networks' tasks of `singles`, `pairs`, `all` or TASK+TASK."""
    if word == "all":
        return [tasks]
    if word in ("singles", "pairs"):
        return list(combinations(tasks, 1 if word == "singles" else 2))
    return [tuple(word.split("+"))]


QUESTIONS: Final[dict[str, Callable[[StudyArgs], list[Row]]]] = {
    "stl-vs-mtl": stl_vs_mtl,
    "sharing": sharing,
    "balance": balance,
    "groups": groups,
    "trunks": trunks,
    "grid": grid,
}
