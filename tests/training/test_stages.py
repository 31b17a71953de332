"""Stages of a recipe: each once, in order; after a stop the right one continues."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from perception.errors import UserError
from training.command_line import read_command_line
from training.config import Config
from training.distributed import STARTS, World
from training.run import Run
from training.train import begin, run_stages

ALONE = World(0, 1, torch.device("cpu"))
SMALL = "--size 64x96 --limit 4 --val-limit 2 --batch 2 --workers 0 --epochs 1 --tasks scene"


class Trained:
    """Stands for training: writes a state, and stops in a given stage."""

    def __init__(self, stop_in: str = "", early: bool = False) -> None:
        self.stop_in, self.early = stop_in, early
        self.seen: list[tuple[str, bool]] = []
        self.said: list[str] = []

    def __call__(self, config: Config) -> None:
        folder = Path(config.run.out)
        self.seen.append((folder.name, config.run.resume))
        folder.mkdir(parents=True, exist_ok=True)
        if not self.early:
            (folder / "state-00000001.safetensors").touch()
        if folder.name == self.stop_in:
            raise KeyboardInterrupt

    def go(self, *words: str) -> list[tuple[str, bool]]:
        stages = read_command_line(["--recipe", "bdd-small", *words])
        run_stages(stages, ALONE, self, self.said.append)
        return self.seen


def stopped(out: Path, stage: str, early: bool = False) -> None:
    with pytest.raises(KeyboardInterrupt):
        Trained(stage, early).go("--out", str(out))


def test_both_stages_in_order(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert Trained().go("--out", str(out)) == [("1-small", False), ("run", False)]
    record = json.loads((out / "stages.json").read_text())
    assert record == {
        "recipe": "bdd-small",
        "stages": ["small", "full"],
        "done": ["small", "full"],
    }


@pytest.mark.parametrize(
    ("stage", "early", "left"),
    [
        ("1-small", False, [("1-small", True), ("run", False)]),
        ("1-small", True, [("1-small", False), ("run", False)]),  # before its first state
        ("run", True, [("run", False)]),
        ("run", False, [("run", True)]),
    ],
)
def test_a_stopped_recipe_continues_in_its_stage(
    stage: str, early: bool, left: list[tuple[str, bool]], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    stopped(out, stage, early)
    again = Trained()
    assert again.go("--out", str(out), "--resume") == left
    assert ("Stage small is done." in again.said) == (len(left) == 1)
    assert Trained().go("--out", str(out), "--resume") == []


def refused(*words: str) -> str:
    trained = Trained()
    with pytest.raises(UserError) as caught:
        trained.go(*words)
    assert trained.seen == []
    return str(caught.value)


def test_what_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert "no stages.json" in refused("--out", str(out), "--resume")
    stopped(out, "1-small")
    assert "add --resume" in refused("--out", str(out))
    other = read_command_line(["--recipe", "bdd100k-full", "--out", str(out), "--resume"])
    with pytest.raises(UserError, match="began with --recipe bdd-small"):
        run_stages(other, ALONE, Trained(), print)
    assert "began with --lr 0.001, not 0.5" in refused("--out", str(out), "--resume", "--lr", "0.5")
    (out / "stages.json").write_text("{")
    assert "not readable" in refused("--out", str(out), "--resume")


def test_resume_alone_knows_every_stage(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["--recipe", "bdd-small", "--out", str(out), "--size", "64x96", "--tasks", "scene"]
    with pytest.raises(KeyboardInterrupt):
        run_stages(read_command_line(words), ALONE, Trained("1-small"), print)
    expected = read_command_line([*words, "--resume"])
    stages = read_command_line(["--out", str(out), "--resume"])
    assert stages == expected
    again = Trained()
    run_stages(stages, ALONE, again, print)
    assert again.seen == [("1-small", True), ("run", False)]


def test_torchrun_may_pass_resume_at_its_first_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STARTS, "0")
    words = ["--recipe", "bdd-small", "--out", str(tmp_path / "run"), "--resume"]
    assert begin(read_command_line(words)).done == []


def train(stop: bool) -> Callable[[Config], None]:
    def one(config: Config) -> None:
        run = Run(config, Console(quiet=True), ALONE)
        run.go()
        if stop:
            raise KeyboardInterrupt  # killed after the last state, before stages.json says so

    return one


@pytest.mark.slow
def test_stopped_between_its_stages_it_ends_the_same_to_the_bit(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = []
    for name, stop in (("whole", False), ("stopped", True)):
        words = ["--recipe", "bdd-small", *SMALL.split(), "--out", str(tmp_path / name)]
        if stop:
            with pytest.raises(KeyboardInterrupt):
                run_stages(read_command_line(words), ALONE, train(True), print)
            words.append("--resume")
        run_stages(read_command_line(words), ALONE, train(False), print)
        found.append(tmp_path / name)
    torch.set_num_threads(threads)
    whole, stopped = (load_file(folder / "last.safetensors") for folder in found)
    before = load_file(found[0] / "stages" / "1-small" / "last.safetensors")
    assert all(torch.equal(whole[key], stopped[key]) for key in whole)
    assert not all(torch.equal(whole[key], before[key]) for key in whole)
    records = [(folder / "log.jsonl").read_text() for folder in found]
    assert records[0] == records[1]
