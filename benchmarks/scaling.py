"""Ranks against threads, and what ranks send: python benchmarks/scaling.py [--rounds 6]

One process with two threads and two processes with one thread each train on the same joint batch
in turn (plain sum, no loader, fp32), so that other work on the machine affects both alike. Prints
wall-clock and processor milliseconds per step, the median ratio with its range over the rounds,
the messages and bytes that one rank gives to all-reduce and all-gather per step, by purpose, and
the losses' share of a step's processor time. Each rank computes the losses of its own frames.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from perception.errors import cli
from perception.model import build
from perception.tasks.base import total_loss
from training.balance import BALANCERS
from training.data.rendered import RenderedRoads
from training.data.sample import Batch, collate
from training.distributed import World, join_world
from training.learner import Learner
from training.loop import train_step
from training.optimiser import make_optimizer

TASKS = ("det", "lane", "drivable", "scene")
# Purpose of a message by the function that sends it: the first of these on the stack.
PURPOSES = {
    "reduced": {"border.py": "gradients"},
    "reduce_step": {"loop.py": "losses, counts and flags"},
}


def work(args: argparse.Namespace) -> int:
    """One rank: a line on stdin, a round of steps, a line of JSON on stdout."""
    threads = args.threads
    torch.set_num_threads(threads)
    world = join_world("cpu")
    learner, batch = make(args, world)
    train_step(learner, batch)
    counted: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    with counting(counted) if world.size > 1 else counting({}):
        train_step(learner, batch)
    gradient = sum(parameter.numel() * 4 for parameter in learner.trained)
    share = losses_share(learner, batch) if world.size == 1 else None
    say({"sent": counted, "gradient": gradient, "losses": share})
    for _ in sys.stdin:
        start, start_cpu = time.perf_counter(), time.process_time()
        for _ in range(args.steps):
            train_step(learner, batch)
        spent = time.perf_counter() - start, time.process_time() - start_cpu
        say([seconds / args.steps * 1e3 for seconds in spent])
    world.close()
    return 0


def make(args: argparse.Namespace, world: World) -> tuple[Learner, Batch]:
    """A fresh learner and this rank's share of the joint batch."""
    torch.manual_seed(0)
    model = build("pvt-hydranet-b0", TASKS)
    balancer = BALANCERS["equal"](TASKS)
    optimizer = make_optimizer(model, balancer, 1e-4, 0.05, 1.0)
    roads = RenderedRoads(args.batch, 0, (args.height, args.width), TASKS)
    mine = range(world.rank, args.batch, world.size)
    batch = collate([roads[index].letterbox((args.height, args.width)) for index in mine])
    return Learner(model, balancer, optimizer, world), batch


def losses_share(learner: Learner, batch: Batch) -> float:
    """Processor time of the losses, forward and backward, relative to the whole step's."""
    model = learner.model
    with torch.no_grad():
        features = model.features(batch.frames)
        raws = {task: h(features) for task, h in learner.tasks.items()}
    spent: list[float] = []
    for _ in range(3):
        start = time.process_time()
        for task, head in learner.tasks.items():
            raw = {key: value.clone().requires_grad_() for key, value in raws[task].items()}
            total_loss(head.loss(raw, batch.targets[task])).backward()
        middle = time.process_time()
        train_step(learner, batch)
        spent.append((middle - start) / (time.process_time() - middle))
    return statistics.median(spent)


@contextmanager
def counting(counted: dict[str, list[int]]) -> Iterator[None]:
    """Adds messages and bytes handed to torch.distributed, by purpose."""
    names = ("all_reduce", "all_gather")
    true = {name: getattr(torch.distributed, name) for name in names}

    def counter(name: str) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            tensor: Tensor = given[0] if name == "all_reduce" else given[1]
            entry = counted.setdefault(f"{purpose()} ({name})", [0, 0])
            entry[0] += 1
            entry[1] += tensor.numel() * tensor.element_size()
            return true[name](*given, **more)

        return call

    for name in names:
        setattr(torch.distributed, name, counter(name))
    try:
        yield
    finally:
        for name in names:
            setattr(torch.distributed, name, true[name])


def purpose() -> str:
    """Purpose of the current message, from the stack."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        found = PURPOSES.get(code.co_name, {}).get(Path(code.co_filename).name)
        if found:
            return found
        frame = frame.f_back
    return "counts and flags"


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


class Ranks:
    """Processes of one arrangement; each starts a round when it reads a line on stdin."""

    def __init__(self, ranks: int, threads: int, words: list[str]) -> None:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = str(free.getsockname()[1])
        shared = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        shared |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        command = [sys.executable, __file__, "--threads", str(threads), *words]
        self.processes = [
            subprocess.Popen(
                command,
                env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(ranks)
        ]

    def hear(self) -> list[Any]:
        """A line of each process."""
        return [json.loads(process.stdout.readline()) for process in self.processes]  # type: ignore[union-attr]

    def round(self) -> tuple[float, float]:
        """Milliseconds per step: wall-clock, and processor time of all processes."""
        for process in self.processes:
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        clocks, processors = zip(*self.hear(), strict=True)
        return max(clocks), sum(processors)

    def close(self) -> None:
        """Ends the processes."""
        for process in self.processes:
            process.communicate()


def compare(args: argparse.Namespace, words: list[str]) -> int:
    """Both arrangements in turn, and what a rank of two sends."""
    one, two = Ranks(1, 2, words), Ranks(2, 1, words)
    share = one.hear()[0]["losses"]
    sent = two.hear()[0]
    times = [(one.round(), two.round()) for _ in range(args.rounds)]
    one.close()
    two.close()
    print(f"joint batch {args.batch} at {args.height}x{args.width}, {args.rounds} rounds")
    for kind, name in enumerate(("the clock", "the processors")):
        first, second = (
            statistics.median(t[kind] for t in column) for column in zip(*times, strict=True)
        )
        ratios = sorted(b[kind] / a[kind] for a, b in times)
        print(
            f"{name}: 1 rank with 2 threads {first:.0f} ms per step, 2 ranks with 1 thread "
            f"{second:.0f}; ratio {statistics.median(ratios):.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    print(f"losses, forward and backward: {share:.3f} of a step's processor time")
    print(f"gradient {sent['gradient'] / 1e6:.2f} MB; one of two ranks sends per step:")
    for name, (messages, size) in sorted(sent["sent"].items()):
        print(f"  {name}: {messages} messages, {size / 1e6:.3f} MB")
    return 0


def run() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=2, help="steps per round")
    parser.add_argument("--batch", type=int, default=4, help="frames of the joint batch")
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--threads", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    return work(args) if args.threads else compare(args, sys.argv[1:])


def main() -> None:
    raise SystemExit(cli(run))


if __name__ == "__main__":
    main()
