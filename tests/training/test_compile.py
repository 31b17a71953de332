"""--compile changes the time of a step, not its losses."""

import json
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from training import learner
from training.command_line import parse_command_line
from training.learner import compile_parts
from training.run import Run

WORDS = ["--tasks", "drivable,scene", "--model", "hydranet-lite0", "--size", "64x96"]
WORDS += ["--limit", "4", "--val-limit", "1", "--batch", "2", "--workers", "0", "--epochs", "1"]
WORDS += ["--device", "cpu", "--precision", "fp32", "--trackers", "none"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["equal", "pcgrad@features"])
def test_compiled_steps_have_the_same_losses(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The whole of torch.compile but generating C++, which takes minutes.
    monkeypatch.setattr(learner, "compile_parts", partial(compile_parts, backend="aot_eager"))
    losses = []
    for name, extra in (("plain", []), ("compiled", ["--compile"])):
        out = tmp_path / name
        words = [*WORDS, "--balance", method, "--out", str(out), *extra]
        Run(parse_command_line(words), Console(quiet=True)).go()
        lines = map(json.loads, (out / "log.jsonl").read_text().splitlines())
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert len(losses[0]) == 2
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
