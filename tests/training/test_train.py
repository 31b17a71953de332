"""The command, end to end on a few small rendered frames, and what it says to wrong input."""

import gc
import json
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import torch
from rich.console import Console

from perception import checkpoint
from perception.errors import UserError
from perception.files import WriteError
from training import resume
from training.command_line import parse_command_line, read_command_line
from training.distributed import World
from training.learner import make_learner
from training.resume import read_state, state_files
from training.run import Run

SMALL = ["--size", "64x96", "--limit", "4", "--val-limit", "2", "--batch", "2", "--epochs", "1"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    code = "from training.train import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=300
    )


def make_run(out: Path, *words: str) -> Run:
    config = parse_command_line([*SMALL, "--workers", "0", "--out", str(out), *words])
    return Run(config, Console(quiet=True))


@pytest.mark.slow
def test_a_run_leaves_its_files(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = command(*SMALL, "--workers", "1", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr  # nor from a worker that outlives the run
    assert "rendered roads" in done.stdout
    assert "mAP50" in done.stdout

    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [0, 1]
    tasks = ["det", "lane", "drivable", "scene"]
    for line in steps:
        assert list(line["tasks"]) == tasks
        parts = [value for part in line["tasks"].values() for value in part.values()]
        assert line["loss"] == pytest.approx(sum(parts), rel=1e-5)
    assert list(lines[-1]["val"]) == tasks

    model, meta = checkpoint.load(out / "last.safetensors")
    assert list(model.tasks) == meta.tasks == tasks
    assert meta.size_hw == (64, 96)
    assert meta.training["step"] == 2
    sheet = cv2.imread(str(out / "overlays" / "epoch-001.png"))
    assert sheet.shape[:2] == (64, 192)
    assert not list(out.rglob("*.pt")) + list(out.rglob("*.part*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "lanes"], "did you mean 'lane'"),
        (["--model", "pvt-hydranet-b9"], "did you mean"),
        (["--balance", "pcgard"], "did you mean 'pcgrad'"),
        (["--augment", "geometri"], "did you mean 'geometry'"),
        (["--init", "nowhere.safetensors"], "no such file"),
        (["--data", "nowhere"], "nowhere"),
        (["--resume"], "--resume"),
    ],
)
def test_wrong_input_is_one_clear_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        make_run(tmp_path / "run", *arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_prints_that_line_and_exits_with_2() -> None:
    done = command("--balance", "nosuch")
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown balancing method 'nosuch'")
    assert "Traceback" not in done.stderr


def test_a_run_is_freed_without_the_garbage_collector(tmp_path: Path) -> None:
    gc.disable()
    try:
        run = make_run(tmp_path / "run", "--tasks", "scene")
        run.go()
        model = weakref.ref(run.learner.model)
        del run
        assert model() is None
    finally:
        gc.enable()


def test_progress_is_by_steps_or_by_minutes_whichever_is_further(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "--tasks", "scene", "--max-minutes", "2")
    assert run.steps == 2
    assert run.own_progress() < 0.05
    run.state.step = 1
    assert run.own_progress() == 0.5
    run.began -= 90
    assert 0.75 <= run.own_progress() < 0.8


def test_one_task_runs_through_the_same_lines(tmp_path: Path) -> None:
    scores = make_run(tmp_path / "run", "--tasks", "lane", "--ema", "0").go()
    assert list(scores) == ["lane"]


def test_a_full_disk_ends_the_run_with_the_last_state_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", "--tasks", "scene", "--checkpoint-every", "1")
    real = resume.save_state

    def full_from_the_second(folder: Path, *rest: object) -> Path:
        if state_files(folder):
            raise WriteError("state: the disk is full", full=True)
        return real(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(resume, "save_state", full_from_the_second)
    with pytest.raises(UserError, match="disk is full"):
        run.go()
    (left,) = state_files(run.folder)
    assert read_state(left)[1].step == 1
    monkeypatch.undo()
    again = make_run(tmp_path / "run", "--tasks", "scene", "--checkpoint-every", "1", "--resume")
    assert again.go()


def test_the_command_says_what_init_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = read_command_line([*SMALL, "--tasks", "scene", "--init", "default", "--out", "x"])
    learner = make_learner(config, World(0, 1, torch.device("cpu")), print)
    assert "trunk, neck and heads scene" in capsys.readouterr().out
    # The averaged weights follow at first: the decay of step s is 1 - s^(-2/3), see test_loop.py.
    assert learner.ema.get_decay(10) == pytest.approx(1 - 10 ** (-2 / 3))


@pytest.mark.parametrize(
    ("flags", "network"),
    [
        ([], "pvt-hydranet-b0"),
        (["--init", "fast"], "hydranet-lite0"),
        (["--init", "pvt"], "pvt-hydranet-b0"),
        (["--init", "fast", "--model", "pvt-hydranet-b0"], "pvt-hydranet-b0"),
        (["--init", "fast", "--sharing", "mtan"], "hydranet-lite0+mtan"),
        (["--init", "/nowhere"], "pvt-hydranet-b0"),  # reported where the weights are read
    ],
)
def test_the_network_is_that_of_init_unless_it_is_named(flags: list[str], network: str) -> None:
    assert read_command_line([*flags, "--out", "x"]).model.model == network


def test_a_settings_file_names_the_network_too(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("model: pvt-hydranet-b0\ninit: fast\n")
    assert read_command_line(["--config", str(file)]).model.model == "pvt-hydranet-b0"


def test_init_takes_trunk_neck_and_the_heads_both_have(tmp_path: Path) -> None:
    first = make_run(tmp_path / "first", "--tasks", "scene,drivable")
    first.export("given", {})
    given = str(first.folder / "given.safetensors")
    second = make_run(tmp_path / "second", "--tasks", "scene,lane", "--init", given, "--seed", "9")
    before, after = first.learner.model.state_dict(), second.learner.model.state_dict()
    for key, value in after.items():
        if not key.startswith("tasks.lane"):
            assert torch.equal(value, before[key]), key
