"""--freeze trunk: one head is trained, the others answer as before to the last bit."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from perception import checkpoint
from perception.errors import UserError
from training.command_line import parse_command_line
from training.run import Run

pytestmark = pytest.mark.slow
SMALL = ["--size", "64x96", "--limit", "4", "--val-limit", "2", "--batch", "2", "--workers", "0"]


def run(out: Path, *words: str) -> Run:
    return Run(parse_command_line([*SMALL, "--out", str(out), *words]), Console(quiet=True))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint; with another seed, or all runs would start from the same weights."""
    out = tmp_path_factory.mktemp("given")
    run(out, "--tasks", "scene,drivable", "--seed", "9").export("given", {})
    return out / "given.safetensors"


@pytest.mark.parametrize("part", ["all", "shared", "trunk"])
def test_init_part_selects_the_copied_weights(tmp_path: Path, given: Path, part: str):
    words = ["--tasks", "scene,drivable", "--init", str(given), "--init-part", part]
    own = run(tmp_path, *words).learner.model.state_dict()
    same = {
        group: all(
            torch.equal(value, own[key])
            for key, value in checkpoint.read(given)[0].items()
            if key.startswith(group) and value.is_floating_point()
        )
        for group in ("trunk.", "neck.", "tasks.")
    }
    taken = {
        "all": ("trunk.", "neck.", "tasks."),
        "shared": ("trunk.", "neck."),
        "trunk": ("trunk.",),
    }
    assert {group for group, equal in same.items() if equal} == set(taken[part])


def outputs(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    model, _ = checkpoint.load(path)
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8))
    with torch.no_grad():
        return model(frames)


@pytest.mark.parametrize("tasks", ["lane", "scene"])
def test_the_other_heads_are_untouched(tasks: str, given: Path, tmp_path: Path) -> None:
    words = ["--init", str(given), "--freeze", "trunk", "--tasks", tasks, "--epochs", "2"]
    second = run(tmp_path / "run", *words)
    scores = second.go()
    assert set(scores) == {tasks}  # the others have no labels in this run
    before, after = outputs(given), outputs(second.folder / "last.safetensors")
    for name in set(before) - {tasks}:
        for key, value in before[name].items():
            assert torch.equal(value, after[name][key]), (name, key)
    if tasks in before:
        assert not torch.equal(before[tasks]["logits"], after[tasks]["logits"])
    first, *_ = (second.folder / "log.jsonl").read_text().splitlines()
    assert f'"tasks": {{"{tasks}"' in first


def test_a_foreign_file_cannot_be_frozen(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        run(tmp_path, "--init", "nowhere.safetensors", "--freeze", "trunk")
