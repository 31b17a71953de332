"""docs/extending.md: its tasks, datasets, balancing method and kind of output, run as they stand
there."""

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from demo import perceive
from export import export_onnx
from perception import checkpoint
from perception.runtime.runner import Runner
from perception.runtime.scene import KINDS
from perception.tasks import TASKS
from training.balance import BALANCERS
from training.command_line import parse_command_line
from training.data.sources import DATASETS
from training.evaluate import parse_arguments, score
from training.evaluation.predictor import open_predictor
from training.run import Run

DOCS = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
HW = (64, 96)


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples under the names that the page gives them in the registries."""
    text, found = DOCS.read_text(), dict[str, Any]()
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(code, str(DOCS), "exec", dont_inherit=True), found)
    registries = {"TASKS": TASKS, "DATASETS": DATASETS, "BALANCERS": BALANCERS, "KINDS": KINDS}
    for name, registry in registries.items():
        lines = re.findall(rf'`"(\w+)": (\w+)` in `{name}`', text.replace("\n", " "))
        assert lines
        for entry, code in lines:
            monkeypatch.setitem(registry, entry, found[code])


def write_frames(root: Path) -> None:
    for split, count in (("train", 4), ("val", 2)):
        for place in ("images", "water"):
            (root / place / split).mkdir(parents=True)
        for number in range(count):
            water = np.zeros(HW, np.uint8)
            water[40:, 20 * number : 20 * number + 30] = 255
            image = np.dstack([water // 2 + 60] * 3)
            cv2.imwrite(str(root / f"images/{split}/{number}.jpg"), image)
            cv2.imwrite(str(root / f"water/{split}/{number}.png"), water)


@pytest.mark.slow
@pytest.mark.usefixtures("examples")
def test_the_examples_train_and_score(tmp_path: Path) -> None:
    write_frames(tmp_path / "data")
    small = ["--size", "64x96", "--batch", "2", "--epochs", "1", "--workers", "0"]
    words = ["--data", f"wet_roads:{tmp_path}/data", "--data", "rendered:2/2", "--tasks"]
    words += ["water,scene", "--balance", "largest", "--out", str(tmp_path / "run")]
    scores = Run(parse_command_line([*small, *words]), Console(quiet=True)).go()
    assert "mIoU" in scores["water"]
    best = tmp_path / "run/last.safetensors"
    assert checkpoint.read(best)[1].tasks == ["water", "scene"]
    words = [str(best), "--data", f"wet_roads:{tmp_path}/data", "--json", str(tmp_path / "s.json")]
    score(parse_arguments(words), open_predictor(best))
    assert "IoU/water" in json.loads((tmp_path / "s.json").read_text())["bdd"]["water"]


@pytest.mark.slow
@pytest.mark.usefixtures("examples")
def test_a_number_per_frame_goes_from_the_head_to_log_and_overlay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (tmp_path / "data/images" / split).mkdir(parents=True)
        for name in "abcd":
            image = np.full((*HW, 3), rng.integers(20, 230), np.uint8)
            cv2.imwrite(str(tmp_path / f"data/images/{split}/{name}.jpg"), image)
    words = ["--data", f"brightness:{tmp_path}/data", "--tasks", "luminance", "--size", "64x96"]
    words += ["--batch", "2", "--epochs", "1", "--workers", "0", "--zoom", "1", "1"]
    words += ["--augment", "flip", "--out", str(tmp_path / "run")]
    scores = Run(parse_command_line(words), Console(quiet=True)).go()
    assert scores["luminance"]["error"] >= 0

    model = tmp_path / "m.onnx"
    words = ["export-onnx", str(tmp_path / "run/last.safetensors"), "-o", str(model)]
    monkeypatch.setattr("sys.argv", words)
    assert export_onnx.main() == 0
    assert "largest difference" in capsys.readouterr().out
    runner = Runner(model, "cpu")
    assert runner.description.views["luminance"].kind == "number"
    frame = cv2.imread(str(tmp_path / "data/images/val/a.jpg"))
    output = runner(frame).outputs["luminance"]

    words = [str(tmp_path / "data/images/val"), "--model", str(model), "--provider", "cpu"]
    words += ["--json", str(tmp_path / "l.jsonl"), "--save", f"{tmp_path}/drawn/"]
    assert perceive.main(words) == 0
    first = json.loads((tmp_path / "l.jsonl").read_text().splitlines()[0])
    assert first["attributes"]["luminance"] == pytest.approx(output.array()[0], abs=1e-3)
    drawn = cv2.imread(str(sorted((tmp_path / "drawn").iterdir())[0]))
    assert (drawn[:12] != frame[:12]).any()
