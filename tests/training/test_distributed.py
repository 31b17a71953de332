"""Two processes over gloo, compared with one process and the joint batch."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from perception.model import build
from perception.sharing.sparse import Masked
from perception.trunk import Trunk
from training.balance import BALANCERS
from training.command_line import parse_command_line
from training.data.sample import Batch
from training.distributed import World, join_world
from training.learner import Learner
from training.loop import train_step
from training.optimiser import make_optimizer
from training.run import Run

pytestmark = pytest.mark.slow
TASKS = ("drivable", "scene", "lane", "det")


def batch(rows: slice) -> Batch:
    """Four frames, or some of them. Only the first is labelled for lane, the last for nothing."""
    draw = torch.Generator().manual_seed(3)
    frames = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8, generator=draw)
    mask = torch.randint(0, 3, (4, 64, 64), dtype=torch.uint8, generator=draw)
    mask[1, :40] = 255  # frames do not count alike: losses are means over pixels
    boxes = torch.tensor([[[4.0, 4, 40, 30], [20, 30, 60, 60]], [[8, 8, 50, 50], [0, 0, 0, 0]]])
    labels = {
        "drivable": ([0, 1, 2], {"mask": mask[:3]}),
        "scene": ([0, 2], {"labels": torch.tensor([[0, 1, 2], [3, -1, 0]])}),
        "lane": ([0], {"lane": torch.where(mask[:1] == 1, 6, 255).to(torch.uint8)}),
        "det": (
            [1, 2],
            {
                "boxes_xyxy": boxes,
                "classes": torch.tensor([[2, 0], [5, -1]]),
                "ignore": torch.zeros(2, 2, dtype=torch.bool),
                "occluded": torch.zeros(2, 2, dtype=torch.bool),
                "truncated": torch.zeros(2, 2, dtype=torch.bool),
            },
        ),
    }
    wanted = range(4)[rows]
    found = Batch(frames[rows], {}, {}, [str(row) for row in wanted])
    for task, (having, target) in labels.items():
        keep = [place for place, row in enumerate(having) if row in wanted]
        if keep:
            found.rows[task] = torch.tensor([having[place] - wanted.start for place in keep])
            found.targets[task] = {key: value[keep] for key, value in target.items()}
            if task == "det":  # a rank pads to its own largest number of boxes
                most = int((found.targets[task]["classes"] >= 0).sum(1).max())
                found.targets[task] = {k: v[:, :most] for k, v in found.targets[task].items()}
    return found


@contextmanager
def counted_messages(sizes: list[int]) -> Iterator[None]:
    """Appends the bytes of every message handed to torch.distributed; those of an all-gather as a
    negative number."""
    names = ("all_reduce", "all_gather")
    original = {name: getattr(torch.distributed, name) for name in names}

    def all_reduce(tensor: torch.Tensor, *more: object) -> object:
        sizes.append(tensor.numel() * tensor.element_size())
        return original["all_reduce"](tensor, *more)

    def all_gather(tensors: list[torch.Tensor], tensor: torch.Tensor) -> object:
        sizes.append(-tensor.numel() * tensor.element_size())
        return original["all_gather"](tensors, tensor)

    torch.distributed.all_reduce, torch.distributed.all_gather = all_reduce, all_gather
    try:
        yield
    finally:
        for name in names:
            setattr(torch.distributed, name, original[name])


def gradients(world: World, method: str, rows: slice) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = build("pvt-hydranet-b0", TASKS)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, torch.nn.BatchNorm2d):  # of a rank's own frames in training mode
            module.eval()
    balancer = BALANCERS[method](TASKS)
    student = Learner(model, balancer, make_optimizer(model, balancer, 1e-9, 0, 1), world)
    student.clip = float("inf")
    report = train_step(student, batch(rows))
    assert set(report.parts) == set(TASKS)
    found = {name: p.grad for name, p in model.named_parameters()}
    found |= {name: buffer.float() for name, buffer in model.named_buffers()}
    return found | {"loss": torch.tensor(report.loss)}


def work(folder: str) -> None:
    """What each of the two ranks runs."""
    torch.set_num_threads(1)
    world = join_world("cpu")
    rows = (slice(0, 1), slice(1, 4))[world.rank]
    for method in ("equal", "uncertainty", "pcgrad"):
        sizes: list[int] = []
        with counted_messages(sizes):
            found = gradients(world, method, rows)
        Path(f"{folder}/{method}{world.rank}.json").write_text(json.dumps(sizes))
        save_file({k: v.contiguous() for k, v in found.items()}, f"{folder}/{method}{world.rank}")
    gathered = world.gather({"rank": np.full(3, world.rank)})
    assert [int(part["rank"][0]) for part in gathered] == [0, 1]
    assert world.largest(float(world.rank)) == 1.0
    assert (
        world.gather_names([f"of rank {world.rank}"] * (world.rank + 1))
        == ["of rank 0"] + ["of rank 1"] * 2
    )
    assert_statistics_are_averaged(world)
    assert (world.agree(7.0), world.agree(float(world.rank))) == (True, False)
    world.close()


def assert_statistics_are_averaged(world: World) -> None:
    """Those of batch norms, and those that a way of sharing keeps for each task; masks stay."""
    trunk = Trunk("tf_efficientnet_lite0")
    own = Masked(trunk)
    for module in (trunk, own):
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.fill_(world.rank)
    world.average_statistics(trunk, own)
    for module in (trunk, own):
        means = [b for name, b in module.named_buffers() if name.endswith("running_mean")]
        assert len(means) > 10
        assert all(bool((mean == 0.5).all()) for mean in means)
    assert not own.pruned()


def launch(arguments: list[str], **options: str) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]


def finish(processes: list[subprocess.Popen[str]]) -> None:
    texts = [process.communicate(timeout=300)[0] for process in processes]
    codes = [process.returncode for process in processes]
    assert codes == [0, 0], "\n".join(texts)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    finish(launch([__file__, str(folder)]))
    return folder


@pytest.mark.parametrize("method", ["equal", "uncertainty", "pcgrad"])
def test_two_ranks_have_the_gradients_of_the_joint_batch(method: str, two_ranks: Path) -> None:
    alone = gradients(World(0, 1, torch.device("cpu")), method, slice(0, 4))
    first, second = (load_file(two_ranks / f"{method}{rank}") for rank in (0, 1))
    scale = max(float(value.abs().max()) for key, value in alone.items() if "running" not in key)
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        difference = float((first[name] - value).abs().max())
        assert difference <= 1e-5 * max(scale, 1.0), (name, difference, scale)


@pytest.mark.parametrize(("method", "more"), [("equal", 1), ("uncertainty", 1), ("pcgrad", 2)])
def test_a_step_sends_counts_and_gradients_and_nothing_else(
    method: str, more: int, two_ranks: Path
) -> None:
    for rank in range(2):
        counts, *rest = json.loads((two_ranks / f"{method}{rank}.json").read_text())
        assert 0 < counts < 1000  # bytes
        assert len(rest) == more  # heads and shared parameters apart where methods compare
        assert all(size > 0 for size in rest)


def losses(log: Path) -> list[float]:
    """The loss of every step in a log."""
    return [line["loss"] for line in map(json.loads, log.open()) if "loss" in line]


def test_a_run_goes_on_with_another_number_of_ranks(tmp_path: Path) -> None:
    code = "from training.train import main; main()"
    words = ["--tasks", "drivable", "--size", "64x64", "--limit", "6", "--val-limit", "3"]
    words += ["--batch", "2", "--workers", "0", "--epochs", "2", "--precision", "fp32"]
    whole = Run(parse_command_line([*words, "--out", str(tmp_path / "whole")]))
    whole.go()
    words += ["--out", str(tmp_path / "run")]
    alone = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = tmp_path / "run" / "log.jsonl"
    while alone.poll() is None and not (log.exists() and '"val"' in log.read_text()):
        time.sleep(0.05)
    alone.terminate()
    text, _ = alone.communicate(timeout=300)
    assert alone.returncode == 130, text
    finish(launch(["-c", code, *words, "--resume"]))
    resumed, expected = losses(log), losses(tmp_path / "whole" / "log.jsonl")
    assert len(resumed) == 6
    # Each rank normalises by its own frames, so the losses are close, not equal.
    assert resumed == pytest.approx(expected, rel=0.03)


def test_one_rank_killed_ends_the_other_with_a_clear_line(tmp_path: Path) -> None:
    code = "from training.train import main; main()"
    words = ["--tasks", "scene", "--size", "64x64", "--limit", "4", "--val-limit", "1"]
    words += ["--batch", "2", "--workers", "0", "--out", str(tmp_path / "run"), "--epochs", "99"]
    left, killed = launch(["-c", code, *words])
    log = tmp_path / "run" / "log.jsonl"
    while left.poll() is None and not (log.exists() and '"loss"' in log.read_text()):
        time.sleep(0.05)
    killed.kill()
    text, _ = left.communicate(timeout=300)
    killed.communicate()
    assert left.returncode == 2, text
    assert "another rank has ended" in text
    assert "Traceback" not in text


if __name__ == "__main__":
    work(sys.argv[1])
