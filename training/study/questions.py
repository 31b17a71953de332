"""The questions that a study can ask, each as grids of the rows that it has to train."""

from itertools import combinations, product
from typing import Final

from perception.errors import UserError
from training.study.arguments import StudyArgs
from training.study.plan import HARD, Row

ANSWERS: Final = {"yes": True, "no": False}
BASELINES: Final = "tasks=singles,all"
# Question -> what it is, and its grids; names in braces stand for the option's values.
QUESTIONS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "stl-vs-mtl": ("Single-task networks against one for all tasks.", (BASELINES,)),
    "sharing": (
        "Ways of sharing (--sharings), against one trunk and against single-task networks.",
        (BASELINES, "tasks=all sharing={sharings}"),
    ),
    "balance": (
        "Balancing methods (--methods), against equal weights and single-task networks.",
        (BASELINES, "tasks=all balance={methods}"),
    ),
    "groups": (
        "Groups of tasks by look-ahead affinity, against random groups, groups found while "
        "training and one network, on fresh seeds.",
        ("tasks=all sharing=regroup", BASELINES),
    ),
    "trunks": ("stl-vs-mtl for several networks (--models).", (BASELINES + " model={models}",)),
    "grid": (
        'Every combination of --grid "model=A,B tasks=singles,all sharing=hard,mtan balance=equal '
        'pretrained=yes,no times=1,4"; repeat it to join grids.',
        (),
    ),
}


def rows_of(args: StudyArgs) -> list[Row]:
    """The different rows of a study's question. Raises UserError for a wrong --grid."""
    _, grids = QUESTIONS[args.question]
    if not grids and not args.grid:
        raise UserError('the question grid needs --grid, e.g. --grid "balance=equal,pcgrad"')
    lists = {name: ",".join(getattr(args, name)) for name in ("sharings", "methods", "models")}
    texts = [grid.format_map(lists) for grid in grids] or args.grid
    return list(dict.fromkeys(row for text in texts for row in grid_rows(text, args)))


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
        "times": ["1"],
    }
    for item in text.split():
        name, _, values = item.partition("=")
        if name not in axes or not values:
            raise UserError(f"--grid {item!r}: write one of {', '.join(axes)} as NAME=A,B")
        axes[name] = values.split(",")
    found = []
    for model, word, sharing, balance, start, times in product(*axes.values()):
        if start not in ANSWERS:
            raise UserError(f"--grid pretrained={start}: yes or no")
        if not times.isdecimal() or times == "0":
            raise UserError(f"--grid times={times}: a whole number, 1 or more")
        for tasks in task_sets(word, args.tasks):
            several = {"sharing": sharing, "balance": balance} if len(tasks) > 1 else {}
            row = Row(tasks, model, pretrained=ANSWERS[start], times=int(times), **several)
            found.append(row)
    return found


def task_sets(word: str, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The networks' tasks of `singles`, `pairs`, `all` or TASK+TASK."""
    if word == "all":
        return [tasks]
    if word in ("singles", "pairs"):
        return list(combinations(tasks, 1 if word == "singles" else 2))
    return [tuple(word.split("+"))]
