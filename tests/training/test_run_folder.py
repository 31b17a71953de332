"""A run's folder: resumed on other data, by two runs at once, after a kill, elsewhere."""

import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console

from perception.errors import UserError
from training.command_line import read_command_line
from training.config import Config, OptimArgs
from training.data.sources import open_dataset
from training.resume import check_same_data, check_same_settings, drop_states, lock, state_files
from training.run import Run

SMALL = "--tasks det --size 64x96 --batch 2 --workers 0 --device cpu --trackers none --epochs 1"


def yolo(root: Path, names: str = "cone, forklift", frames: int = 6) -> Path:
    """A YOLO folder with one box per frame, of the two classes in turn."""
    for index in range(frames + 2):
        split = "train" if index < frames else "val"
        for part in ("images", "labels"):
            (root / part / split).mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(index)
        image = rng.integers(0, 255, (48, 80, 3)).astype(np.uint8)
        cv2.imwrite(str(root / f"images/{split}/f{index:02}.jpg"), image)
        (root / f"labels/{split}/f{index:02}.txt").write_text(f"{index % 2} .5 .5 .25 .25\n")
    (root / "data.yaml").write_text(f"names: [{names}]\n")
    return root


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def started(words: list[str]) -> Run:
    """A run as the command makes it."""
    config = read_command_line(words)
    run = Run(config, Console(quiet=True))
    (run.folder / "config.json").write_text(config.to_file())
    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data` and its finished `run`."""
    folder = tmp_path_factory.mktemp("finished")
    words = [*SMALL.split(), "--data", str(yolo(folder / "data")), "--out", str(folder / "run")]
    started(words).go()
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of its own; the data in it is not where the run found it."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def resumed(folder: Path, *words: str) -> Run:
    data = ["--data", str(folder / "data")]
    return started(["--out", str(folder / "run"), "--resume", "--epochs", "2", *data, *words])


def swap(data: Path) -> None:
    (data / "data.yaml").write_text("names: [forklift, cone]\n")


def add(data: Path) -> None:
    (data / "data.yaml").write_text("names: [cone, forklift, barrier]\n")


def fewer(data: Path) -> None:
    for index in range(2, 6):
        (data / f"images/train/f{index:02}.jpg").unlink()
        (data / f"labels/train/f{index:02}.txt").unlink()


def relabel(data: Path) -> None:
    (data / "labels/train/f03.txt").write_text("0 .5 .5 .25 .25\n")


def move(data: Path) -> None:
    (data / "labels/val/f07.txt").write_text("1 .4 .5 .25 .25\n")


def rename(data: Path) -> None:
    for part, suffix in (("images", "jpg"), ("labels", "txt")):
        (data / f"{part}/train/f00.{suffix}").rename(data / f"{part}/train/g00.{suffix}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "line"),
    [
        (swap, "det classes cone, forklift, not forklift, cone"),
        (add, "det classes cone, forklift, not cone, forklift, barrier"),
        (fewer, r"frames of split train \(6 frames then, 2 now\)"),
        (relabel, "the labels are not"),
        (move, "the labels are not"),
        (rename, "frames of split train"),
    ],
)
def test_a_run_is_not_resumed_on_other_data(
    change: Callable[[Path], None], line: str, copied: Path
) -> None:
    change(copied / "data")
    before = [(path.name, path.read_bytes()) for path in sorted((copied / "run").glob("*"))
              if path.is_file()]  # fmt: skip
    with pytest.raises(UserError, match=f"--resume: .*{line}") as caught:
        resumed(copied)
    assert "\n" not in str(caught.value)
    for name, data in before:
        assert (copied / "run" / name).read_bytes() == data, name


@pytest.mark.slow
def test_a_run_is_resumed_on_data_that_has_moved(copied: Path) -> None:
    run = resumed(copied)
    run.go()
    assert (run.state.epoch, run.state.step) == (2, 6)


@pytest.mark.parametrize(
    ("epochs", "finished", "refused"), [(9, True, False), (9, False, True), (7, True, True)]
)
def test_only_a_finished_run_gets_more_epochs(epochs: int, finished: bool, refused: bool) -> None:
    before = Config(optim=OptimArgs(epochs=8)).to_json()
    now = Config(optim=OptimArgs(epochs=epochs))
    if refused:
        with pytest.raises(UserError, match=f"began with --epochs 8, not {epochs}"):
            check_same_settings(before, now, finished)
    else:
        check_same_settings(before, now, finished)


@pytest.mark.slow
def test_resume_may_repeat_data_and_labels(finished: Path, tmp_path: Path) -> None:
    """As torchrun does, which repeats the whole command."""
    data = str(yolo(tmp_path / "data"))
    labels = ["--labels", data]
    words = [*SMALL.split(), "--data", data, *labels, "--out", str(tmp_path / "run")]
    started(words).go()
    config = read_command_line([*words, "--resume"])
    assert (config.data.data, config.data.labels) == ((data,), (data,))
    assert Run(config, Console(quiet=True)).state.epoch == 1
    for more in ([], ["--data", data]):
        again = read_command_line(["--out", str(tmp_path / "run"), "--resume", *more])
        assert (again.data.data, again.data.labels) == ((data,), (data,))


def test_contents_depend_on_labels_and_not_on_the_place(
    tmp_path: Path, bdd_frames: Any, bdd_write: Any
) -> None:
    root = Path(bdd_write(tmp_path / "data", "masks", bdd_frames))
    tasks = ("det", "drivable", "lane", "scene")
    before = open_dataset(str(root), "train", tasks).contents()
    assert before["frames"] == 3
    moved = Path(shutil.copytree(root, tmp_path / "elsewhere"))
    assert open_dataset(str(moved), "train", tasks).contents() == before
    mask = next((moved / "labels/drivable/masks/train").glob("*.png"))
    pixels = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
    pixels[::3, ::2] = 1
    cv2.imwrite(str(mask), pixels)
    after = open_dataset(str(moved), "train", tasks).contents()
    assert after["names"] == before["names"]
    assert after["labels"] != before["labels"]


def test_a_run_is_not_resumed_on_masks_of_equal_size(
    tmp_path: Path, bdd_frames: Any, bdd_write: Any
) -> None:
    """A swapped mask with the size and the time of the old one."""
    root = Path(bdd_write(tmp_path / "data", "masks", bdd_frames))
    masks = sorted((root / "labels/drivable/masks/train").glob("*.png"))
    for number, mask in enumerate(masks):
        pixels = np.full((180, 320), number % 3, np.uint8)
        cv2.imwrite(str(mask), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    before = open_dataset(str(root), "train", ("drivable",)).contents()
    check_same_data({"train": before}, {"train": before})
    first, second = masks[0].read_bytes(), masks[1].read_bytes()
    assert len(first) == len(second)
    times = masks[0].stat()
    masks[0].write_bytes(second)
    os.utime(masks[0], ns=(times.st_atime_ns, times.st_mtime_ns))
    after = open_dataset(str(root), "train", ("drivable",)).contents()
    with pytest.raises(UserError, match="--resume: the masks are not those the run began with"):
        check_same_data({"train": before}, {"train": after})
    del before["masks"]  # as a run of before this digest has it
    check_same_data({"train": before}, {"train": after})


def hold(folder: Path, held: Any) -> None:
    """Another run's process."""
    file = lock(folder)
    held.set()
    time.sleep(600)
    file.close()


@pytest.mark.slow
def test_two_runs_do_not_share_a_folder(copied: Path) -> None:
    run = copied / "run"
    log = (run / "log.jsonl").read_text()
    context = multiprocessing.get_context("fork")
    held = context.Event()
    other = context.Process(target=hold, args=(run, held), daemon=True)
    other.start()
    assert held.wait(60)
    with pytest.raises(UserError, match="another run is writing there"):
        resumed(copied)
    new = [*SMALL.split(), "--data", str(copied / "data"), "--out", str(run.parent / "new")]
    started(new)  # another folder is free
    assert (run / "log.jsonl").read_text() == log
    other.kill()  # a killed run leaves no lock
    other.join()
    assert resumed(copied).state.step == 3


def test_the_newest_states_are_kept(tmp_path: Path) -> None:
    for step in (2, 4, 10, 8, 6):
        (tmp_path / f"state-{step:08d}.safetensors").touch()
    drop_states(tmp_path, 2)
    names = [path.name for path in state_files(tmp_path)]
    assert names == ["state-00000008.safetensors", "state-00000010.safetensors"]


@pytest.mark.slow
def test_what_a_killed_run_leaves_is_removed(copied: Path) -> None:
    run = copied / "run"
    left = [".tmpAb3xYz", ".state-00000004.123.part.safetensors", ".best.77.part.safetensors"]
    for name in left:
        (run / name).write_bytes(b"half")
    (run / ".notes").write_text("mine")
    resumed(copied)
    assert not any((run / name).exists() for name in left)
    assert (run / ".notes").read_text() == "mine"
    assert state_files(run)


@pytest.mark.slow
def test_a_state_of_another_version_is_refused_in_one_line(copied: Path) -> None:
    (path,) = state_files(copied / "run")
    data = path.read_bytes()
    assert data.count(rb"\"format\": 3") == 1
    path.write_bytes(data.replace(rb"\"format\": 3", rb"\"format\": 2"))
    with pytest.raises(UserError, match=r"another version; train on with --init .*last") as caught:
        resumed(copied)
    assert "\n" not in str(caught.value)
    assert path.exists()


@pytest.mark.slow
def test_validation_without_objects_still_leaves_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.train import train

    data = yolo(tmp_path / "data")
    for path in (data / "labels/val").iterdir():
        path.write_text("")
    words = [*SMALL.split(), "--data", str(data), "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["train-bdd", *words])
    assert train() == 0
    said = capsys.readouterr().out
    assert "val: no frame shows any object" in said
    assert "inf" not in said
    (done,) = [line for line in said.splitlines() if line.startswith("Done")]
    path = Path(done.rpartition(": ")[2])
    assert path.name == "last.safetensors"
    assert path.exists()
    record = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    assert record["mean"] is None
    commands = [line.split() for line in said.splitlines() if line.startswith("  ")]
    assert [words[0] for words in commands[-3:]] == ["eval-bdd", "export-onnx", "perceive"]
    assert commands[-3][1:] == [str(path), "--data", str(data)]


@pytest.mark.slow
def test_unreadable_validation_frames_are_left_out_of_the_scores(tmp_path: Path) -> None:
    data = yolo(tmp_path / "data")
    (data / "images/val/f06.jpg").write_bytes(b"no picture")
    words = [*SMALL.split(), "--data", str(data), "--out", str(tmp_path / "run")]
    with pytest.raises(UserError, match=r"f06\.jpg"):
        started(words).go()
    shutil.rmtree(tmp_path / "run")
    run = started([*words, "--skip-bad", "0.6"])
    run.go()
    record = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    assert len(record["skipped"]) == 1
    assert "f06.jpg" in record["skipped"][0]
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(UserError, match="1 of 2 validation frames are bad, more than"):
        started([*words, "--skip-bad", "0.4"]).go()
