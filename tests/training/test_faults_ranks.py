"""Several ranks and one that goes wrong: a NaN, a death, a start by torchrun, and one more."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from perception.errors import UserError
from training.command_line import parse_command_line
from training.data.sampling import Order
from training.distributed import World
from training.run import Run

pytestmark = pytest.mark.slow
SMALL = ["--size", "64x64", "--batch", "2", "--workers", "1", "--val-limit", "3"]
COMMAND = "from training.train import main; main()"
# Labels of one training frame whose sum overflows: the loss of whoever reads it is infinite.
POISONED = """
import numpy as np
from training.data.labels import Normals
from training.data.rendered import RenderedRoads
true = RenderedRoads.__getitem__
def poisoned(self, index):
    sample = true(self, index)
    if (self.seed, index) == (0, BAD):
        sample.labels["normals"] = Normals(np.full((3, *sample.image.shape[:2]), 3e38, np.float32))
    return sample
RenderedRoads.__getitem__ = poisoned
"""
# What each rank has learned, for comparison.
SEALED = """
from training.run import Run
from training.resume import digest
true_go = Run.go
def go(self):
    true_go(self)
    seal = digest(self.learner.model.state_dict())
    (self.folder / f"seal{self.world.rank}").write_text(seal)
Run.go = go
"""


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"} | more


def two_ranks(code: str, words: list[str]) -> list[tuple[int, str]]:
    """Exit code and output of each of two ranks that run this code."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env=environment(**shared, RANK=rank, LOCAL_RANK=rank),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]
    said = [process.communicate(timeout=600)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def records(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def of_the_other_rank(limit: int) -> int:
    """The frame that rank 1 reads in the first step."""
    order = Order(limit, 2, 0, rank=1, ranks=2)
    return next(iter(order))[0][1]


def test_an_infinity_on_one_rank_is_left_out_on_both_and_its_frame_named(tmp_path: Path) -> None:
    bad, out = of_the_other_rank(4), tmp_path / "run"
    words = [*SMALL, "--tasks", "normals,drivable", "--limit", "4", "--epochs", "1"]
    code = POISONED.replace("BAD", str(bad)) + SEALED + COMMAND
    first, second = two_ranks(code, [*words, "--out", str(out)])
    assert (first[0], second[0]) == (0, 0), first[1] + second[1]
    name = f"rendered-0-{bad:06d}"
    assert f"step 0 skipped: loss of normals not finite ({name})" in " ".join(first[1].split())
    wrong, right = (line for line in records(out) if "loss" in line)
    assert (wrong["skipped"], wrong["frames"], wrong["loss"]) == ("loss of normals", [name], None)
    assert "skipped" not in right
    assert isinstance(right["loss"], float)
    assert (out / "seal0").read_text() == (out / "seal1").read_text()


def test_too_many_bad_steps_end_both_ranks_naming_the_frame(tmp_path: Path) -> None:
    bad = of_the_other_rank(2)
    words = [*SMALL, "--tasks", "normals", "--limit", "2", "--epochs", "9", "--max-bad", "2"]
    code = POISONED.replace("BAD", str(bad)) + COMMAND
    for exit_code, text in two_ranks(code, [*words, "--out", str(tmp_path / "run")]):
        assert exit_code == 2, text
        assert "error: 2 steps in a row had a loss or gradient that is not finite" in text
        assert f"frames rendered-0-{bad:06d})" in text
        assert "Traceback" not in text


def test_ranks_that_find_different_states_are_refused(tmp_path: Path) -> None:
    class Apart(World):
        def agree(self, number: float) -> bool:
            return False

    words = [*SMALL, "--tasks", "scene", "--limit", "2", "--out", str(tmp_path)]
    with pytest.raises(UserError, match="find different states"):
        Run(parse_command_line(words), world=Apart(0, 1, torch.device("cpu")))


def torchrun(*words: str) -> subprocess.Popen[str]:
    """The installed command under torchrun, as README starts it."""
    script = shutil.which("train-bdd", path=str(Path(sys.executable).parent))
    if script is None:
        pytest.skip("train-bdd is not installed with this Python (pip install .)")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", "2", "--max-restarts", "1", "--no-python", script]
    return subprocess.Popen(
        [*launcher, *SMALL, *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def process_of_rank(launcher: int, rank: str) -> int:
    """The pid of a rank that torchrun started."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                words = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if parent == str(launcher) and f"RANK={rank}".encode() in words:
                return int(folder.name)
    raise AssertionError(f"no rank {rank} under {launcher}")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for a rank in /proc")
def test_torchrun_restarts_a_killed_group_and_it_continues_exactly(tmp_path: Path) -> None:
    words = ["--tasks", "drivable,scene", "--limit", "8", "--epochs", "3"]
    words += ["--checkpoint-every", "2", "--resume"]
    whole, out = tmp_path / "whole", tmp_path / "run"
    undisturbed = torchrun(*words, "--out", str(whole))
    text, _ = undisturbed.communicate(timeout=600)
    assert undisturbed.returncode == 0, text
    assert text.count(f"--resume: {whole} holds no state yet; starting at step 0") == 2

    launcher = torchrun(*words, "--out", str(out))
    log = out / "log.jsonl"
    killed = 0
    while launcher.poll() is None and not (killed and log.read_text().count('"loss"') >= 3):
        if not killed and log.exists():
            killed = process_of_rank(launcher.pid, "1")
        time.sleep(0.02)
    os.kill(killed, signal.SIGKILL)
    text, _ = launcher.communicate(timeout=600)
    assert launcher.returncode == 0, text
    assert text.count("error: ") == 1
    assert "error: rank 0: another rank has ended" in text
    # A thread of multiprocessing may print its own when its process is killed.
    blocks = text.split("Traceback")[1:]
    assert all("multiprocessing/resource_sharer" in block for block in blocks), text
    assert text.count("holds no state yet") == 2  # the second start went on
    assert records(out) == records(whole)
