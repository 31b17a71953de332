"""One study from its arguments to its report."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from perception.errors import UserError, unknown_name
from perception.sharing import SHARINGS
from perception.tasks import TASKS
from perception.zoo import recipe_of
from training.balance import BALANCERS, check_method
from training.data import DATASETS, rendered
from training.data.bdd100k import TASKS as BDD100K_TASKS
from training.data.choose import kind_and_root, open_dataset
from training.data.nyuv2 import write_rendered
from training.study.arguments import Arguments
from training.study.cost import Cost, costs
from training.study.execute import work
from training.study.gain import Line, lines
from training.study.plan import HARD, Budget, Row, Trial
from training.study.presets import PRESETS, Choice, unique
from training.study.proposal import outcome, propose, rows_of
from training.study.report import write_report
from training.study.store import Store

WAYS: Final[tuple[str, ...]] = (HARD, *SHARINGS)
INDOORS: Final = "nyuv2"
GROUPS: Final = "groups"


def conduct(args: Arguments, say: Callable[[str], Any]) -> tuple[Path, Path]:
    """Trains what is not there yet and writes the report. Raises UserError for wrong arguments."""
    args = quickened(args) if args.quick else args
    budget = budget_of(args, say)
    choice = choice_of(args, budget)
    rows = unique(PRESETS[args.preset](choice))
    if args.quick:
        rows = [without_download(row) for row in rows]
    check(rows)
    say(f"{len(rows)} rows, {args.seeds} seed(s) each: {budget.text()}.")
    found = carried_out(rows, args, budget, say)
    groups = propose(found, args.networks) if args.preset == GROUPS else ()
    if groups:
        rows = unique([*rows, *rows_of(groups, rows[-1])])
        found = carried_out(rows, args, budget, say)
    if not any(line.records for line in found):
        reasons = {line.failed for line in found if line.failed}
        raise UserError("no run of this study is finished" + "".join(f"; {r}" for r in reasons))
    spent = cost_of([line.row for line in found if line.records], args)
    title = f"{args.preset}: {', '.join(choice.tasks)}"
    tried = [outcome(split, found).text() for split in (groups, (choice.tasks,)) if groups]
    return write_report(args.out, title, found, budget, spent, args.quick, tried)


def carried_out(
    rows: Sequence[Row], args: Arguments, budget: Budget, say: Callable[[str], Any]
) -> list[Line]:
    """The rows with the records of all their seeds; what is missing is trained first."""
    trials = [Trial(row, seed, budget) for seed in range(args.seeds) for row in rows]
    if not args.report_only:
        work(trials, args.out, args.devices, say)
    keys = {trial.key for trial in trials}
    stored = [record for key, record in Store(args.out).read().items() if key in keys]
    return lines(stored, rows)


def quickened(args: Arguments) -> Arguments:
    """The same question on a few small frames, without downloads."""
    return replace(
        args,
        seeds=min(args.seeds, 2),
        size=(64, 96),
        frames=min(args.frames, 48),
        val_frames=min(args.val_frames, 12),
        epochs=2,
        batch=8,
        pretrained=False,
    )


def without_download(row: Row) -> Row:
    """The row from scratch, under a name that says so."""
    if not row.pretrained:
        return row
    return replace(row, pretrained=False, note="(in place of pretrained)")


def budget_of(args: Arguments, say: Callable[[str], Any]) -> Budget:
    """What every run gets; the frames are the same for every seed."""
    data = args.data or (f"rendered:{args.frames}",)
    if args.preset == INDOORS and not args.data:
        folder = args.out / "rendered-nyuv2"
        if not (folder / "val/normal" / f"{args.val_frames - 1}.npy").is_file():
            say(f"No --data: rendering {folder} in the format of NYUv2; its classes are not real.")
            write_rendered(folder, args.frames, args.val_frames)
        data = (str(folder),)
    told = {
        field.name: getattr(args, field.name) for field in fields(Budget) if field.name != "data"
    }
    return Budget(data=data, **told)


def choice_of(args: Arguments, budget: Budget) -> Choice:
    """Tasks, networks and methods: as told, or what fits the data and the question."""
    models = args.models or (args.model, *DEFAULT_MODELS.get(args.preset, ()))
    if args.preset == INDOORS and not args.models and not args.quick:
        models = ("pvt-hydranet-b2", *models[1:])
    if args.preset == INDOORS and len(models) < 3:
        raise UserError("--models: nyuv2 compares three networks, e.g. pvt-hydranet-b2,resnet50,x")
    return Choice(
        tasks=args.tasks or labelled(budget.data),
        model=args.model,
        models=models,
        methods=args.methods or tuple(name for name in BALANCERS if name != "fixed"),
        sharings=args.sharings or WAYS,
        pretrained=args.pretrained,
        grid=args.grid,
        frozen=bool(args.freeze),
    )


DEFAULT_MODELS: Final[dict[str, tuple[str, ...]]] = {
    "trunks": ("hydranet-regnet", "resnet50"),
    "baselines": ("hydranet-regnet", "yolop-like"),
    "nyuv2": ("resnet50", "swin-tiny"),
}


def labelled(data: Sequence[str]) -> tuple[str, ...]:
    """All tasks that the training frames label."""
    found: dict[str, None] = {}
    for word in data:
        kind, _ = kind_and_root(word)
        offered = getattr(DATASETS[kind], "labels", BDD100K_TASKS)
        if kind == "rendered":
            offered = rendered.TASKS
        found |= dict.fromkeys(open_dataset(word, "train", offered).tasks)
    return tuple(found)


def check(rows: Sequence[Row]) -> None:
    """Raises UserError for a name that does not exist, before anything is trained."""
    for row in rows:
        for task in row.tasks:
            if task not in TASKS:
                raise unknown_name("task", task, TASKS)
        recipe_of(row.model)
        check_method(row.balance)
        if row.sharing not in WAYS:
            raise unknown_name("way of sharing", row.sharing, WAYS)


def cost_of(rows: Sequence[Row], args: Arguments) -> dict[Row, Cost]:
    """Costs of each row; balancing and start make no difference to them."""
    plain = {
        row: replace(row, balance="equal", pretrained=False, note="", change="") for row in rows
    }
    found = costs(unique(list(plain.values())), args.size, 5 if args.quick else 30)
    return {row: found[kind] for row, kind in plain.items()}
