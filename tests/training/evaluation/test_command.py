"""The command eval-bdd: its options, files and errors."""

import errno
import json
import sys

import pytest

from perception.errors import UserError
from training import evaluate
from training.evaluate import main, open_data, parse_arguments, score
from training.evaluation.predictor import open_predictor


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["eval-bdd", *map(str, words)])
    return main()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.onnx",), "none.onnx: no such file"),
        (("{folder}/labels/det_20/det_val.json",), "not a model"),
        (("x.onnx", "--limit", "-1"), "--limit -1"),
        (("x.onnx", "--batch", "0"), "--batch 0"),
        (("x.onnx", "--protocol-batch", "0"), "--protocol-batch 0"),
        (("x.onnx", "--store"), "--store x.onnx: only a checkpoint"),
        (("x.onnx", "--bootstrap", "60"), "--bootstrap 60: must be at least 200, or 0"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(monkeypatch, capsys, folder, words, message):
    words = [word.format(folder=folder) for word in words]
    assert call(monkeypatch, *words, "--data", folder) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_files_are_written(folder, oracle, tmp_path, capsys):
    words = ["m.onnx", "--data", folder, "--json", tmp_path / "a.json"]
    words += ["--markdown", tmp_path / "a.md", "--submission", tmp_path / "out"]
    score(parse_arguments(list(map(str, words))), oracle())
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["bdd"]["det"]["mAP"] == pytest.approx(100.0)
    assert (data["file"], data["data"], data["split"]) == ("m.onnx", str(folder), "val")
    assert "| det | mAP |" in (tmp_path / "a.md").read_text()
    assert len(json.loads((tmp_path / "out/det.json").read_text())) == 5
    assert "mAP" in capsys.readouterr().out


def test_a_full_disk_is_one_line(monkeypatch, folder, oracle, tmp_path, capsys):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(evaluate, "write_atomic", full)
    monkeypatch.setattr("training.evaluation.predictor.open_predictor", lambda *_: oracle())
    out = tmp_path / "a.json"
    assert call(monkeypatch, "m.onnx", "--data", folder, "--json", out, "--protocol", "bdd") == 2
    error = capsys.readouterr().err
    assert "disk" in error
    assert error.count("\n") == 1


def test_a_split_without_labels_can_be_submitted_but_not_scored(folder, oracle, tmp_path):
    (folder / "images/100k/val").rename(folder / "images/100k/test")
    arguments = parse_arguments(["m.onnx", "--data", str(folder), "--split", "test"])
    with pytest.raises(UserError, match="no labels"):
        open_data(arguments.data, oracle(), unlabelled=False)
    words = ["--submission", tmp_path / "out", "--json", tmp_path / "a.json"]
    words = ["m.onnx", "--data", folder, "--split", "test", *words]
    score(parse_arguments(list(map(str, words))), oracle())
    data = json.loads((tmp_path / "a.json").read_text())
    assert "bdd" not in data
    assert "not scored, no labels: det, drivable, lane, scene" in data["notes"]
    assert len(json.loads((tmp_path / "out/det.json").read_text())) == 5


def test_rendered_roads_are_scored_without_data(oracle):
    for split, count in (("train", 50), ("val", 2), ("val", 3)):
        words = ["m.onnx", "--limit", str(count), "--split", split]
        assert len(open_data(parse_arguments(words).data, oracle(), False)) == count
    arguments = parse_arguments(["m.onnx", "--limit", "2"])
    assert len(open_data(arguments.data, oracle(), unlabelled=False)) == 2


def test_scores_and_thresholds_are_stored_in_the_checkpoint(folder, oracle, tmp_path):
    import torch

    from perception import checkpoint
    from perception.runtime.description import Description

    path, weights = tmp_path / "m.safetensors", {"a": torch.ones(2)}
    old = {"det": {"mAP50": 1.0}, "depth": {"abs": 2.0}}
    meta = checkpoint.Meta("m", ["det", "lane", "depth"], (192, 320), scores=old)
    checkpoint.save(path, weights, meta)
    score(parse_arguments([str(path), "--data", str(folder), "--store"]), oracle())
    kept, meta = checkpoint.read(path)
    assert torch.equal(kept["a"], weights["a"])
    assert meta.scores["det"]["mAP50"] == pytest.approx(100.0)
    assert meta.scores["depth"] == {"abs": 2.0}
    assert "scene" not in meta.scores
    description = Description("m", (192, 320), oracle().views, scores=meta.scores)
    shown = dict(zip(oracle().views["det"].classes, description.shown_scores("det"), strict=True))
    assert 0.3 < shown["car"] < 1
    assert shown["rider"] == description.box_score  # without objects there is no threshold


@pytest.mark.slow
def test_a_checkpoint_and_its_onnx_score_the_same(monkeypatch, folder, tmp_path):
    for module in ("onnx", "onnxscript", "onnxslim", "onnxruntime"):
        pytest.importorskip(module, reason="pip install 'pvt-hydranet[export,cpu]'")
    import torch

    from export.to_onnx import describe, save, to_onnx
    from perception import checkpoint
    from perception.model import build

    torch.manual_seed(0)
    tasks = ["det", "drivable", "lane", "scene"]
    model = build("pvt-hydranet-b0", tasks)
    for branch in model.tasks["det"].children():
        for tower in branch:
            # Untrained boxes are equal squares that overlap their neighbours by exactly half, where
            # rounding decides which ones are suppressed.
            torch.nn.init.normal_(tower[-1].weight, std=0.3)
    weights = model.state_dict()
    meta = checkpoint.Meta("pvt-hydranet-b0", tasks, (96, 160))
    checkpoint.save(tmp_path / "m.safetensors", weights, meta)
    model, meta = checkpoint.load(tmp_path / "m.safetensors")
    description = describe(model, meta, meta.size_hw)
    save(to_onnx(model, description, False), tmp_path / "m.onnx")
    scores = []
    for suffix in ("safetensors", "onnx"):
        out = tmp_path / f"{suffix}.json"
        assert call(monkeypatch, tmp_path / f"m.{suffix}", "--data", folder, "--json", out) == 0
        scores.append(json.loads(out.read_text()))
    for family in ("bdd", "panoptic"):
        for task, values in scores[0][family].items():
            for key, value in values.items():
                other = scores[1][family][task][key]
                assert (value is None) == (other is None)
                assert value is None or other == pytest.approx(value, abs=0.5), (task, key)
    assert open_predictor(tmp_path / "m.onnx").size_hw == (96, 160)
