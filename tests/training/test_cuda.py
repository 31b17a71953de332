"""Training on a GPU: two steps on rendered roads, saved and resumed."""

from pathlib import Path

import pytest
import torch
from rich.console import Console

from training.command_line import parse_command_line
from training.run import Run

WORDS = ["--tasks", "det,lane,drivable,scene", "--size", "64x96", "--limit", "4"]
WORDS += ["--val-limit", "2", "--batch", "2", "--workers", "0", "--epochs", "1"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that CUDA can use")
@pytest.mark.parametrize("method", ["equal", "uncertainty", "pcgrad"])
def test_two_steps_on_a_gpu(tmp_path: Path, method: str) -> None:
    words = [*WORDS, "--balance", method, "--device", "cuda", "--out", str(tmp_path / "run")]
    first = Run(parse_command_line(words), Console(quiet=True))
    scores = first.go()
    assert set(scores) == {"det", "lane", "drivable", "scene"}
    assert first.state.step == 2
    assert all(p.is_cuda and p.isfinite().all() for p in first.learner.model.parameters())
    again = Run(parse_command_line([*words, "--resume"]), Console(quiet=True))
    for key, value in again.learner.model.state_dict().items():
        assert torch.equal(value, first.learner.model.state_dict()[key]), key
    for parameter, state in again.learner.optimizer.state.items():
        assert state["step"] == 2
        assert state["exp_avg"].device == parameter.device
