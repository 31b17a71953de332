"""What a run prints: progress on a terminal and in a file, and the table of an epoch."""

import io
import itertools
import json
import math
import re
from pathlib import Path

import pytest
from rich.console import Console

from training import logs
from training.logs import EpochProgress, JsonLog, score_table

LOSSES = {"det": 12.345, "lane": 0.678, "drivable": 0.123, "scene": 2.5}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes whenever somebody looks."""
    seconds = itertools.count()
    monkeypatch.setattr(logs, "monotonic", lambda: float(next(seconds)))


def printed(width: int, terminal: bool, steps: int, done: int = 0) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None)
    with EpochProgress(console, "epoch 12/100", steps, done) as progress:
        for _ in range(steps - done):
            progress.step(16, LOSSES)
        progress.bar.refresh()
    return out.getvalue()


def test_80_columns_show_bar_step_speed_and_time_left() -> None:
    shown = printed(80, True, 5000)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    plain = [line for line in re.split(r"[\r\n]", shown) if "5000/5000" in line][-1].rstrip()
    assert len(plain) <= 80
    for wanted in ("epoch 12/100", "━━━", "5000/5000", "frames/s", "left"):
        assert wanted in plain, (wanted, plain)
    assert re.search(r"\d:\d\d:\d\d", plain), plain
    assert "…" not in plain
    assert "det" not in plain  # losses yield first


def test_a_wide_terminal_shows_losses_too() -> None:
    assert "det 12.345  lane 0.678  drivable 0.123  scene 2.500" in printed(160, True, 50)
    some = printed(100, True, 50)
    assert "det 12.345" in some
    assert "scene" not in some


@pytest.mark.parametrize(("steps", "done", "lines"), [(100, 0, 10), (25, 0, 10), (3, 0, 3),
                                                      (100, 50, 5), (1000, 0, 10)])  # fmt: skip
def test_piped_output_has_a_line_per_ten_percent(steps: int, done: int, lines: int) -> None:
    found = printed(80, False, steps, done)
    assert len(found.splitlines()) == lines
    assert found.count("epoch 12/100: ") == lines
    assert "16.0 frames/s" in found
    assert f"{steps}/{steps} steps" in found
    assert "\x1b" not in found
    assert "\r" not in found
    if (steps, done) == (100, 0):  # a second per step
        assert "50/100 steps, 16.0 frames/s, 0:00:50 left" in found
    last = found[found.rindex("epoch") :]
    assert re.search(r"16\.0 frames/s, \d+:\d\d:\d\d, det 12\.345", last)  # how long it took
    assert "scene 2.500" in last


def test_the_table_of_an_epoch_has_the_headline_and_at_most_three_more() -> None:
    scores = {
        "det": {"mAP": 1.0, "mAP50": 22.22, "AP50/car": 3.0, "AP50/bus": math.nan, "AR": 4.0,
                "AR50": 5.0},
        "lane": {"F1@5": math.nan, "F1@1": math.nan},
        "scene": {"accuracy": 50.0},
    }  # fmt: skip
    out = io.StringIO()
    heads = {"det": "mAP50", "lane": "F1@5", "scene": "accuracy"}
    Console(file=out, width=80).print(score_table(scores, heads, "epoch 1"))
    text = out.getvalue()
    (det,) = [line for line in text.splitlines() if " det " in line]
    assert det.split() == ["det", "mAP50", "22.22", "mAP", "1.00", "AP50/car", "3.00", "AR", "4.00"]
    assert "lane" not in text
    assert "nan" not in text
    assert "accuracy 50.00" in text


def test_validation_gives_the_scores_of_eval_bdd(tmp_path: Path) -> None:
    import json

    from perception import checkpoint
    from training.command_line import parse_command_line
    from training.data.sources import open_dataset
    from training.evaluation.predictor import open_predictor
    from training.evaluation.scores import evaluate
    from training.run import Run

    words = (
        "--tasks scene,drivable,det --size 64x96 --data rendered:4/3 --batch 2 --workers 0 --epochs"
    )
    out = ["1", "--out", str(tmp_path / "run"), "--device", "cpu", "--trackers", "none"]
    scores = Run(parse_command_line([*words.split(), *out]), Console(quiet=True)).go()
    predictor = open_predictor(tmp_path / "run" / "last.safetensors")
    dataset = open_dataset(
        "rendered:4/3", "val", ("scene", "drivable", "det"), (64, 96), exact=True
    )
    found = evaluate(predictor, dataset)["scores"]["bdd"]
    assert set(scores) == {"scene", "drivable", "det"}
    for task, values in found.items():
        assert scores[task] == pytest.approx(values, rel=1e-6, nan_ok=True)
    # Thresholds go with the scores into the checkpoint, from there into the .onnx.
    stored = checkpoint.read(tmp_path / "run" / "last.safetensors")[1].scores["det"]
    assert 0 <= stored["shown_threshold/car"] <= 100
    record = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    # They are no scores: studies read theirs from the log.
    assert not any("threshold" in key for values in record["val"].values() for key in values)
    value = record["val"]["drivable"]["mIoU_strict"]
    assert value == pytest.approx(found["drivable"]["mIoU_strict"], rel=1e-6)


@pytest.mark.parametrize(("before", "offset"), [("", 100), ('{"step": 0}\n{"step": 1}\n', 12)])
def test_a_log_is_continued_where_the_state_was_saved(before: str, offset: int, tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_text(before)
    log = JsonLog(path, offset)
    log.write({"step": 9})
    log.close()
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    assert steps == ([0, 9] if before else [9])  # a log that was lost has no gap of zero bytes
