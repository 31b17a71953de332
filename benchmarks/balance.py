"""Cost of a training step per balancing method: python benchmarks/balance.py [--rounds 5]

Every method trains a network of its own on the same batch of rendered roads, one step each in turn,
so that other work on the machine affects all alike. Prints processor time of a whole step (forward,
losses, backward, optimiser) relative to `equal` of the same round: median with its range over the
rounds. Methods that compare gradients are measured exactly and at the neck's outputs (`@features`).
"""

import argparse
import statistics
import time

import torch
from rich.console import Console
from rich.progress import track

from perception.errors import UserError, cli
from training.balance import AT_FEATURES, BALANCERS
from training.balance.base import Aggregated
from training.config import Config, DataArgs, ModelArgs, OptimArgs
from training.data.rendered import RenderedRoads
from training.data.sample import Batch, collate
from training.distributed import join_world
from training.learner import Learner, make_learner
from training.loop import train_step

PLAIN = "equal"


def methods() -> list[str]:
    """Every method, and those with two forms in both."""
    both = [name + AT_FEATURES for name, kind in BALANCERS.items() if issubclass(kind, Aggregated)]
    return [PLAIN, *sorted({*BALANCERS, *both} - {PLAIN, "fixed"})]  # fixed: equal but for weights


def learner_of(method: str, tasks: tuple[str, ...]) -> Learner:
    """A fresh network under a method."""
    config = Config(
        data=DataArgs(data=("rendered:1",)),
        model=ModelArgs(tasks=tasks),
        optim=OptimArgs(balance=method, ema=0.0),
    )
    return make_learner(config, join_world("cpu"))


def step_seconds(learner: Learner, batch: Batch) -> float:
    """Processor time of one step."""
    start = time.process_time()
    train_step(learner, batch)
    return time.process_time() - start


def table(tasks: tuple[str, ...], batch: Batch, rounds: int) -> str:
    """The Markdown table."""
    learners, missing = {}, []
    for method in methods():
        try:
            learners[method] = learner_of(method, tasks)
        except UserError as error:  # its solver is not installed
            missing.append(f"\n{method}: not measured, {error}")
    spent: dict[str, list[float]] = {method: [] for method in learners}
    for turn in track(range(rounds + 1), "rounds", console=Console(stderr=True)):
        for method, learner in learners.items():
            seconds = step_seconds(learner, batch)
            if turn:  # the first warms up
                spent[method].append(seconds)
    rows = ["| method | step, relative to equal | range |", "| --- | --- | --- |"]
    for method, found in spent.items():
        ratios = sorted(s / e for s, e in zip(found, spent[PLAIN], strict=True))
        middle = statistics.median(ratios)
        rows.append(f"| {method} | {middle:.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} |")
    equal = statistics.median(spent[PLAIN])
    rows.append(f"\n{PLAIN}: {equal:.3f} s of processor time per step.")
    return "\n".join([*rows, *missing])


def run() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="det,lane,drivable,scene")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=224)
    args = parser.parse_args()
    torch.set_num_threads(1)
    tasks, size = tuple(args.tasks.split(",")), (args.height, args.width)
    roads = RenderedRoads(args.batch, 0, size, tasks)
    batch = collate([roads[index].letterbox(size) for index in range(args.batch)])
    where = f"{args.height}x{args.width}, {args.rounds} rounds"
    print(f"{', '.join(tasks)}, batch {args.batch} at {where}\n")
    print(table(tasks, batch, args.rounds))
    return 0


def main() -> None:
    raise SystemExit(cli(run))


if __name__ == "__main__":
    main()
