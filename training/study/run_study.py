"""One study, from its arguments to its report."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from perception.errors import UserError, unknown_name
from perception.model import ZOO
from perception.sharing import SHARINGS
from perception.tasks import check_tasks
from training.balance import BALANCERS, check_method
from training.config import Config, DataArgs, ModelArgs, OptimArgs, RunArgs
from training.data.nyuv2 import write_rendered
from training.data.sources import DATASETS, kind_and_root, open_dataset
from training.study.arguments import StudyArgs
from training.study.cost import Cost, costs
from training.study.gain import RowResult, by_row
from training.study.grouping import outcome, propose
from training.study.plan import HARD, Row, Trial, budget_text
from training.study.presets import PRESETS, Choice, unique
from training.study.report import write_report
from training.study.trials import Store, run_trials

Log = Callable[[str], Any]

WAYS: Final[tuple[str, ...]] = (HARD, *SHARINGS)
INDOORS: Final = "nyuv2"
GROUPS: Final = "groups"
DEFAULT_MODELS: Final[dict[str, tuple[str, ...]]] = {
    "trunks": ("hydranet-regnet", "resnet50"),
    "baselines": ("hydranet-regnet", "yolop-like"),
    "benchmark": ("hydranet-regnet", "yolop-like"),
    INDOORS: ("resnet50", "swin-tiny"),
}


def run_study(args: StudyArgs, log: Log) -> Path:
    """Trains what is missing and writes the report. Raises UserError for wrong arguments."""
    args = quick_args(args) if args.quick else args
    base = base_config(args, log)
    choice = make_choice(args, base)
    rows = unique(PRESETS[args.preset](choice))
    if args.quick:
        # No downloads: rows that differ by their start alone become one.
        rows = unique([replace(row, pretrained=False) for row in rows])
    check_rows(rows)
    log(f"{len(rows)} rows, {args.seeds} seed(s) each: {budget_text(base)}.")
    results = train_rows(rows, args, base, log)
    groups = propose(results, args.networks) if args.preset == GROUPS else ()
    if groups:
        rows = unique([*rows, *[replace(rows[-1], tasks=group) for group in groups]])
        results = train_rows(rows, args, base, log)
    if not any(result.records for result in results):
        reasons = {result.failed for result in results if result.failed}
        raise UserError("no run of this study is finished" + "".join(f"; {r}" for r in reasons))
    cost = cost_of([result.row for result in results if result.records], args)
    title = f"{args.preset}: {', '.join(choice.tasks)}"
    tried = [outcome(split, results).text() for split in (groups, (choice.tasks,)) if groups]
    return write_report(args.out, title, results, base, cost, args.quick, tried)


def train_rows(rows: Sequence[Row], args: StudyArgs, base: Config, log: Log) -> list[RowResult]:
    """The rows with the records of all their seeds; what is missing is trained first."""
    trials = [Trial(row, seed, base) for seed in range(args.seeds) for row in rows]
    if not args.report_only:
        run_trials(trials, args.out, args.devices, log)
    keys = {trial.key for trial in trials}
    stored = [record for key, record in Store(args.out).read().items() if key in keys]
    return by_row(stored, rows)


def quick_args(args: StudyArgs) -> StudyArgs:
    """The same question on a few small frames, without downloads."""
    return replace(
        args,
        seeds=min(args.seeds, 2),
        size=(64, 96),
        frames=min(args.frames or 48, 48),
        val_frames=min(args.val_frames or 12, 12),
        epochs=2,
        batch=8,
        pretrained=False,
    )


def base_config(args: StudyArgs, log: Log) -> Config:
    """The settings that all runs share; every seed trains on the same frames."""
    data = args.data or (f"rendered:{args.frames}",)
    if args.preset == INDOORS and not args.data:
        folder = args.out / "rendered-nyuv2"
        if not (folder / "val/normal" / f"{args.val_frames - 1}.npy").is_file():
            log(f"No --data: rendering {folder} in the format of NYUv2; its classes are not real.")
            write_rendered(folder, args.frames, args.val_frames)
        data = (str(folder),)
    return Config(
        data=DataArgs(
            data=data,
            size=args.size,
            batch=args.batch,
            workers=args.workers,
            limit=args.frames,
            val_limit=args.val_frames,
            cache=args.cache,
            zoom=args.zoom,
        ),
        model=ModelArgs(init=args.init, init_part=args.init_part, freeze=args.freeze),
        # Averaged weights lag behind in short runs, so studies score the last weights.
        optim=OptimArgs(epochs=args.epochs, lr=args.lr, ema=args.ema),
        run=RunArgs(max_minutes=args.minutes),
    )


def make_choice(args: StudyArgs, base: Config) -> Choice:
    """Tasks, networks and methods: as given, or what fits the data and the question."""
    models = args.models or (args.model, *DEFAULT_MODELS.get(args.preset, ()))
    if args.preset == INDOORS and not args.models and not args.quick:
        models = ("pvt-hydranet-b2", *models[1:])
    if args.preset == INDOORS and len(models) < 3:
        raise UserError("--models: nyuv2 compares three networks, e.g. pvt-hydranet-b2,resnet50,x")
    return Choice(
        tasks=args.tasks or labelled_tasks(base.data.data),
        model=args.model,
        models=models,
        methods=args.methods or tuple(name for name in BALANCERS if name != "fixed"),
        sharings=args.sharings or WAYS,
        pretrained=args.pretrained,
        grid=args.grid,
    )


def labelled_tasks(data: Sequence[str]) -> tuple[str, ...]:
    """All tasks that the training frames have labels for."""
    found: dict[str, None] = {}
    for word in data:
        kind, _ = kind_and_root(word)
        found |= dict.fromkeys(open_dataset(word, "train", DATASETS[kind].labels).tasks)
    return tuple(found)


def check_rows(rows: Sequence[Row]) -> None:
    """Raises UserError for a name that does not exist, before anything is trained."""
    for row in rows:
        check_tasks(row.tasks)
        if row.model not in ZOO:
            raise unknown_name("model", row.model, ZOO)
        check_method(row.balance)
        if row.sharing not in WAYS:
            raise unknown_name("way of sharing", row.sharing, WAYS)


def cost_of(rows: Sequence[Row], args: StudyArgs) -> dict[Row, Cost]:
    """The cost of each row; balancing, start and training settings do not change it."""
    plain = {row: replace(row, balance="equal", pretrained=False, change="") for row in rows}
    found = costs(unique(list(plain.values())), args.size, 5 if args.quick else 30)
    return {row: found[kind] for row, kind in plain.items()}
