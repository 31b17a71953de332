"""Broken files, dead processes and full disks: each ends the command with one clear line."""

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from perception.errors import UserError, cli
from perception.files import WriteError
from training.command_line import parse_command_line
from training.data.rendered import RenderedRoads
from training.data.sample import Sample
from training.data.sampling import SkipBad, TransformedFrames
from training.distributed import World
from training.evaluation.predictor import read_frames
from training.resume import read_state, state_files
from training.run import Run
from training.stops import Stop, early_ends
from training.train import train

STEM = "0b00bbbb-00000002"
SMALL = ["--size", "64x96", "--batch", "3", "--epochs", "1"]
IMAGE = f"images/100k/train/{STEM}.jpg"
MASK = f"labels/drivable/masks/train/{STEM}.png"
JSON = "labels/det_20/det_train.json"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def damaged(tmp_path: Path, frames: Any, write: Any, name: str, data: bytes | None) -> Path:
    """A BDD100K folder in which one file has other bytes, or lacks its second half."""
    write(tmp_path / "data", "masks", frames[:1], "val")
    root = write(tmp_path / "data", "masks", frames)
    path: Path = root / name
    before = path.read_bytes()
    path.write_bytes(before[: len(before) // 2] if data is None else data)
    return root


def train_bdd(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The command's exit code."""
    monkeypatch.setattr(sys, "argv", ["train-bdd", *SMALL, *words])
    return cli(train)


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        (IMAGE, b"not a picture", "does not decode"),
        (IMAGE, None, "does not decode"),
        (MASK, b"\x89PNG\r\n", "does not decode"),
        (JSON, None, "not valid JSON near character"),
    ],
)
def test_a_corrupt_file_is_named_in_one_line(
    name: str,
    data: bytes | None,
    line: str,
    workers: str,
    tmp_path: Path,
    bdd_frames: Any,
    bdd_write: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    root = damaged(tmp_path, bdd_frames, bdd_write, name, data)
    words = ["--data", str(root), "--tasks", "drivable,det", "--workers", workers]
    assert train_bdd(monkeypatch, *words, "--out", str(tmp_path / "run")) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1, said
    assert said[0].startswith("error: ")
    assert str(root / name) in said[0]
    assert line in said[0]


def test_a_corrupt_image_may_be_passed_over(
    tmp_path: Path,
    bdd_frames: Any,
    bdd_write: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    root = damaged(tmp_path, bdd_frames, bdd_write, IMAGE, b"")
    words = ["--data", str(root), "--tasks", "drivable", "--workers", "1", "--skip-bad", "0.4"]
    assert train_bdd(monkeypatch, *words, "--out", str(tmp_path / "run")) == 0
    said = capfd.readouterr().err
    assert said.count("skipped (1 of 3)") == 1
    assert str(root / IMAGE) in said


def test_a_dead_reader_ends_the_run_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = os.getpid()

    def die(self: RenderedRoads, index: int) -> None:
        assert os.getpid() != main
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory is short

    words = ["--tasks", "scene", "--limit", "4", "--val-limit", "1", "--workers", "1"]
    run = Run(parse_command_line([*SMALL, *words, "--out", str(tmp_path / "run")]))
    monkeypatch.setattr(RenderedRoads, "__getitem__", die)
    with pytest.raises(
        UserError, match=r"data loader process has ended \(DataLoader worker.*--workers"
    ):
        run.go()


def small_disk() -> list[str]:
    """A command that runs another with a disk of its own to mount; skips where none may."""
    for prefix in (["unshare", "-m"], ["unshare", "-Urm"]):
        if shutil.which("unshare"):
            probe = [*prefix, "mount", "-t", "tmpfs", "none", "/mnt"]
            if subprocess.run(probe, capture_output=True).returncode == 0:
                return prefix
    pytest.skip("no file system may be mounted here; test_train_bdd.py injects the error instead")


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_whole_states(tmp_path: Path) -> None:
    """150 MB hold two states of 57 MB and not a third."""
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    script = """
    mount -t tmpfs -o size=150m none "$1" || exit 99
    "$2" -c 'from training.train import main; main()' --tasks scene --size 64x96 --limit 8 \
        --val-limit 1 --batch 2 --epochs 1 --workers 0 --checkpoint-every 1 --out "$1/run"
    code=$?
    cp "$1"/run/* "$3" 2>/dev/null
    exit $code
    """
    words = [*small_disk(), "sh", "-c", script, "sh", str(disk), sys.executable, str(kept)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: {disk / 'run'}: the disk is full; free some space")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    states = state_files(kept)
    assert [read_state(path)[1].step for path in states] == [1, 2]
    assert states[-1].name in done.stderr


@pytest.mark.slow
def test_too_little_shared_memory_is_one_line(tmp_path: Path) -> None:
    """A container's default is 64 MB; left to the loader's queue the run would wait for ever."""
    script = """
    mount -t tmpfs -o size=512k none /dev/shm || exit 99
    exec "$1" -c 'from training.train import main; main()' --tasks scene --size 192x320 --limit 16 \
        --val-limit 1 --batch 4 --epochs 1 --workers 2 --trackers none --out "$2"
    """
    words = [*small_disk(), "sh", "-c", script, "sh", sys.executable, str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    # 10 seconds on an idle core, of which 5 are imports.
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=180)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    for word in ("/dev/shm", "--shm-size", "--workers 0"):
        assert word in line


def in_a_process(kind: str, line: str) -> str:
    """The message of an error that torch raises again in the main process."""
    trace = f'Original Traceback:\n  File "x.py", line 1, in get\n{kind}: {line}'
    return f"Caught {kind} in DataLoader worker process 0.\n{trace}"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            WriteError(in_a_process("perception.files.WriteError", "cache/1: the disk is full")),
            "cache/1: the disk is full",
        ),
        (
            UserError(in_a_process("perception.errors.UserError", "a.jpg: does not decode: gone")),
            "a.jpg: does not decode: gone",
        ),
        (
            OSError(in_a_process("OSError", "[Errno 28] No space left on device: 'x'")),
            "the disk is full; free some space and continue with --resume",
        ),
        (RuntimeError("unable to write to file </torch_1_2>: No space left (28)"), "--shm-size"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible "
                         "that dataloader's workers are out of shared memory."),
            "--shm-size",
        ),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "process has end"),
    ],
)  # fmt: skip
def test_errors_of_loader_processes_are_one_line(
    error: Exception, line: str, tmp_path: Path
) -> None:
    alone = World(0, 1, torch.device("cpu"))
    with pytest.raises(UserError) as caught, early_ends(tmp_path, alone, Stop()):
        raise error
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_loader_process_that_ends_after_a_requested_stop_is_part_of_it(tmp_path: Path) -> None:
    """A scheduler's SIGTERM reaches the processes too; during a slow step they end first."""
    stop = Stop()
    stop.wanted = True
    alone = World(0, 1, torch.device("cpu"))
    with pytest.raises(KeyboardInterrupt), early_ends(tmp_path, alone, stop):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Alarm clock.")


def test_a_mistake_of_the_program_keeps_its_traceback(tmp_path: Path) -> None:
    alone = World(0, 1, torch.device("cpu"))
    with (
        pytest.raises(RuntimeError, match="shapes"),
        early_ends(tmp_path, alone, Stop()),
    ):
        raise RuntimeError(in_a_process("RuntimeError", "shapes do not match"))


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_cache_that_cannot_be_written_is_no_bad_frame(skip_bad: bool) -> None:
    class Full(RenderedRoads):
        def __getitem__(self, index: int) -> Sample:
            raise WriteError("cache/0000001: the disk is full", full=True)

    frames = Full(4, 0, (64, 96), ("scene",))
    readable = SkipBad(frames, 0.9) if skip_bad else frames
    with pytest.raises(WriteError, match=r"^cache/0000001: the disk is full$"):
        TransformedFrames(readable, lambda sample, rng: sample, 0)[0, 1]
    if isinstance(readable, SkipBad):
        assert readable.skipped() == []
    with ThreadPoolExecutor(1) as pool, pytest.raises(WriteError, match=r"disk is full$"):
        list(read_frames(frames, pool, 2, [] if skip_bad else None))
