"""One study, from its arguments to its report."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from perception.errors import UserError, check_known
from perception.model import ZOO
from perception.sharing import SHARINGS
from perception.tasks import check_tasks
from training.balance import BALANCERS, check_method
from training.config import Config, DataArgs, ModelArgs, OptimArgs, RunArgs
from training.data.sources import DATASETS, kind_and_root, open_dataset
from training.study.arguments import StudyArgs
from training.study.design import epoch_frames, plan_of, resolution_text
from training.study.gain import Study, by_row
from training.study.grouping import joined, propose, random_splits
from training.study.plan import HARD, Row, Trial, budget_text
from training.study.questions import rows_of
from training.study.report import MEANINGLESS, About, write_report
from training.study.trials import Log, Store, run_trials
from training.study.tuning import Search, base_of, search_rates, search_trials

WAYS: Final[tuple[str, ...]] = (HARD, *SHARINGS)
GROUPS: Final = "groups"
MORE_MODELS: Final = ("hydranet-lite0", "hydranet-regnet")
QUICK_TASKS: Final = 2
QUICK_ROWS: Final = 3  # methods, ways of sharing or networks, unless they are named


class Runner:
    """Trains the rows of one study; `study` collects what is stored."""

    def __init__(self, args: StudyArgs, log: Log) -> None:
        check_names(args.tasks, (args.model, *args.models), args.methods, args.sharings)
        base = base_config(args)
        self.args, self.log = completed(args, base), log
        args = self.args
        self.rows = rows_of(args)
        for row in self.rows:  # those of a grid
            check_names(row.tasks, [row.model], [row.balance], [row.sharing])
        if args.seen:
            frames = epoch_frames(base, args.tasks)
            base = replace(base, optim=replace(base.optim, epochs=math.ceil(args.seen / frames)))
        self.base = base
        self.searches: list[Search] = []

    def trials(self, rows: Iterable[Row], seeds: Iterable[int]) -> list[Trial]:
        """A run for each row and seed, all rows of a seed one after the other."""
        rows = list(rows)
        return [
            Trial(row, seed, base_of(row, self.searches, self.base))
            for seed in seeds
            for row in rows
        ]

    def train(self, rows: Sequence[Row], seeds: Sequence[int]) -> Study:
        """The rows with the records of these seeds; what is missing is trained first."""
        new = [row for row in rows if row not in {search.row for search in self.searches}]
        self.searches += search_rates(new, self.args, self.base, self.log)
        trials = self.trials(rows, seeds)
        if not self.args.report_only:
            run_trials(trials, self.args.out, self.args.devices, self.log)
        return self.stored(trials, rows)

    def stored(self, trials: Sequence[Trial], rows: Sequence[Row]) -> Study:
        """The stored records of the trials."""
        keys = {trial.key for trial in trials}
        records = Store(self.args.out).read()
        return Study(by_row([r for key, r in records.items() if key in keys], rows))

    def plan(self) -> None:
        """Prints what the study costs and what it can resolve."""
        args, seeds = self.args, range(self.args.seeds)
        stored_only = replace(args, report_only=True)
        self.searches = search_rates(self.rows, stored_only, self.base, lambda line: None)
        found = self.trials(self.rows, seeds)
        if args.question == GROUPS:
            # The probes come first; the groups are not known yet, so those of equal sizes stand for
            # the proposed ones and for two random splits.
            tasks = self.args.tasks
            parts = [tasks[: len(tasks) // 2], tasks[len(tasks) // 2 :]]
            fresh = [replace(self.rows[-1], tasks=part) for part in parts if part]
            more = range(args.seeds, 2 * args.seeds)
            found = self.trials(self.rows[-1:], seeds) + self.trials(self.rows, more)
            found += self.trials(fresh, range(args.seeds, 4 * args.seeds))
        search = search_trials(self.rows, args.rates, self.base)
        stored = Store(args.out).read()
        plan = plan_of([*search, *found], stored, len(args.devices), self.log)
        self.log(f"{len(self.rows)} rows, {args.seeds} seed(s): {budget_text(self.base)}.")
        self.log(plan.text())
        self.log(resolution_text(self.stored(self.trials(self.rows, seeds), self.rows), args.seeds))

    def grouped(self) -> Study:
        """Groups are proposed from the probes of one network; with fresh seeds they train against
        random groups of the same sizes, single-task networks and one network."""
        seeds = range(self.args.seeds)
        whole = self.rows[-1]
        probed = self.train([whole], seeds)
        proposed = propose(probed.results, self.args.networks)
        if not proposed:
            raise UserError("groups: needs three tasks or more, trained with equal weights")
        others = random_splits(self.args.tasks, proposed)
        splits = {proposed: "proposed"} | dict.fromkeys(others, "random")
        parts = [replace(whole, tasks=group) for groups in splits for group in groups]
        rows = list(dict.fromkeys([*self.rows, *parts]))
        found = self.train(rows, range(self.args.seeds, 2 * self.args.seeds)).results
        shown = [result for result in found if result.row in self.rows]
        shown += [joined(groups, whole, name, found) for groups, name in splits.items()]
        return Study(shown)


def run_study(args: StudyArgs, log: Log, command: str = "") -> Path | None:
    """Trains what is missing and writes the report; with --plan prints the plan and returns None.

    Raises UserError for wrong arguments.
    """
    if args.quick:
        log(MEANINGLESS)
        args = quick_args(args)
    runner = Runner(args, log)
    if args.plan:
        runner.plan()
        return None
    log(f"{len(runner.rows)} rows, {args.seeds} seed(s) each: {budget_text(runner.base)}.")
    if args.question == GROUPS:
        study = runner.grouped()
    else:
        study = runner.train(runner.rows, range(args.seeds))
    if not any(result.records for result in study.results):
        reasons = {result.failed for result in study.results if result.failed}
        raise UserError("no run of this study is finished" + "".join(f"; {r}" for r in reasons))
    about = About(
        title=f"{args.question}: {', '.join(runner.args.tasks)}",
        base=runner.base,
        command=command,
        rates=[search.text() for search in runner.searches],
        quick=args.quick,
    )
    return write_report(args.out, study, about)


def quick_args(args: StudyArgs) -> StudyArgs:
    """The same question on a few small frames, without downloads."""
    return replace(
        args,
        seeds=min(args.seeds, 2),
        size=(64, 96),
        frames=min(args.frames or 24, 24),
        val_frames=min(args.val_frames or 6, 6),
        epochs=2,
        seen=0,
        batch=8,
        workers=0,
        rates=args.rates[:2],
        pretrained=False,
        methods=args.methods or tuple(BALANCERS)[2 : 2 + QUICK_ROWS],
        sharings=args.sharings or SHARINGS[:QUICK_ROWS],
        models=args.models or (args.model, *MORE_MODELS)[:2],
    )


def base_config(args: StudyArgs) -> Config:
    """The settings that all runs share; every seed trains on the same frames."""
    return Config(
        data=DataArgs(
            data=args.data or (f"rendered:{args.frames}",),
            size=args.size,
            batch=args.batch,
            workers=args.workers,
            limit=args.frames,
            val_limit=args.val_frames,
            cache=args.cache,
            zoom=args.zoom,
        ),
        model=ModelArgs(init=args.init, init_part=args.init_part),
        # Averaged weights lag behind in short runs, so studies score the last weights.
        optim=OptimArgs(epochs=args.epochs, optimizer=args.optimizer, lr=args.lr, ema=args.ema),
        run=RunArgs(max_minutes=args.minutes),
    )


def completed(args: StudyArgs, base: Config) -> StudyArgs:
    """With all tasks that the data labels, networks, methods and ways of sharing, if none are
    given."""
    tasks = args.tasks or labelled_tasks(base.data.data)
    if args.quick and not args.tasks:
        tasks = tasks[: QUICK_TASKS + (args.question == GROUPS)]
    return replace(
        args,
        tasks=tasks,
        models=args.models or (args.model, *MORE_MODELS),
        methods=args.methods or tuple(name for name in BALANCERS if name != "fixed"),
        sharings=args.sharings or WAYS,
    )


def labelled_tasks(data: Sequence[str]) -> tuple[str, ...]:
    """All tasks that the training frames have labels for."""
    found: dict[str, None] = {}
    for word in data:
        kind, _ = kind_and_root(word)
        found |= dict.fromkeys(open_dataset(word, "train", DATASETS[kind].labels).tasks)
    return tuple(found)


def check_names(
    tasks: Iterable[str], models: Iterable[str], methods: Iterable[str], sharings: Iterable[str]
) -> None:
    """Raises UserError for a name that does not exist, before data is opened."""
    check_tasks(list(tasks))
    check_known("model", models, ZOO)
    for method in methods:
        check_method(method)
    check_known("way of sharing", sharings, WAYS)
