"""average-checkpoints: the mean of weights, and what does not go together."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch

from perception import checkpoint
from perception.model import build
from training.average import main, mean_of

META = checkpoint.Meta("pvt-hydranet-b0", ["scene"], (64, 96), licence="x")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of one network, and one of another."""
    place = tmp_path_factory.mktemp("checkpoints")
    for name, seed, tasks in (("a", 0, ["scene"]), ("b", 1, ["scene"]), ("other", 0, ["lane"])):
        torch.manual_seed(seed)
        meta = dataclasses.replace(META, tasks=tasks, scores={"scene": {"top1": 1.0}})
        model = build(meta.model, tasks)
        checkpoint.save(place / f"{name}.safetensors", model.state_dict(), meta)
    return place


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["average-checkpoints", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_weights_are_averaged(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = folder / "a.safetensors", folder / "b.safetensors"
    out = tmp_path / "mean.safetensors"
    assert command(monkeypatch, a, b, b, "-o", out) == 0
    one, two, mean = (checkpoint.read(path)[0] for path in (a, b, out))
    for key, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (one[key] + 2 * two[key]) / 3)
        else:
            assert torch.equal(value, two[key])
    model, meta = checkpoint.load(out)
    assert meta.scores == {}  # the mean was not evaluated
    assert meta.training["averaged"] == [str(a), str(b), str(b)]
    assert meta.licence == "x"
    assert list(model.tasks) == ["scene"]


def test_one_checkpoint_is_converted_to_half_precision(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, out = folder / "a.safetensors", tmp_path / "half.safetensors"
    assert command(monkeypatch, a, "--half", "--out", out) == 0
    assert out.stat().st_size < 0.55 * a.stat().st_size
    checkpoint.load(out)
    mean, _ = mean_of([out, out])  # and is read again, at single precision
    assert {v.dtype for v in mean.values() if v.is_floating_point()} == {torch.float32}


def test_invalid_inputs_are_refused(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    a, out = folder / "a.safetensors", tmp_path / "out.safetensors"
    weights, meta = checkpoint.read(a)
    key = next(name for name, value in weights.items() if value.is_floating_point())
    broken = tmp_path / "broken.safetensors"
    checkpoint.save(broken, weights | {key: weights[key] * float("inf")}, meta)
    resized = tmp_path / "resized.safetensors"
    checkpoint.save(resized, weights | {key: weights[key][:1]}, meta)
    for other, message in (
        (folder / "other.safetensors", "tasks ['lane'] is not ['scene']"),
        (tmp_path / "none.safetensors", "no such checkpoint"),
        (broken, "NaN or infinity"),
        (resized, "shape of"),
    ):
        assert command(monkeypatch, a, other, "-o", out) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert str(other) in line
        assert message in line
    assert command(monkeypatch, "-o", out) == 2
    assert not out.exists()


def test_the_description_is_that_of_the_last_file(folder: Path, tmp_path: Path) -> None:
    weights, meta = checkpoint.read(folder / "b.safetensors")
    larger = tmp_path / "larger.safetensors"
    checkpoint.save(larger, weights, dataclasses.replace(meta, size_hw=(96, 160)))
    assert mean_of([folder / "a.safetensors", larger])[1].size_hw == (96, 160)
