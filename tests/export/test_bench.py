"""The timing's arithmetic and order; never how fast this machine is."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export import bench, bench_onnx
from export.bench import MODEL, Subject, example, measure, open_subject, ratio, summary
from perception.errors import UserError


@pytest.fixture(autouse=True)
def free_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinning would hold the rest of the test run to one core."""
    monkeypatch.setattr(bench, "pin", lambda threads: list(range(threads)))


def foreign(path: Path, inputs: int = 1, shape: tuple = (1, 3, "h", "w")) -> Path:
    """Somebody else's model: no description."""
    names = [f"in{i}" for i in range(inputs)]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in names]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Sum", names, ["out"])]
    graph = helper.make_graph(nodes, "g", infos, [out])
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def test_every_round_runs_each_once_in_changing_order() -> None:
    order: list[str] = []

    def subject(name: str) -> Subject:
        return Subject(name, "cpu", lambda: order.append(name) or {MODEL: 1.0})

    names = ["a", "b", "c"]
    found = [subject(name) for name in names]
    measure(found, rounds=20, warmup=2, pause=0, seed=1)
    assert order[:6] == ["a", "a", "b", "b", "c", "c"]
    rounds = [tuple(order[6 + 3 * i : 9 + 3 * i]) for i in range(20)]
    assert all(sorted(one) == names for one in rounds)
    assert len(set(rounds)) > 3
    assert all(len(s.times[MODEL]) == 20 for s in found)


def test_ratio_of_equal_times_is_one_and_noise_in_common_cancels() -> None:
    rng = np.random.default_rng(0)
    disturbance = rng.uniform(1, 3, 60)
    ours, theirs = 20 * disturbance, 40 * disturbance
    assert ratio(theirs, theirs) == {"median": 1, "low": 1, "high": 1, "p10": 1}
    half = ratio(ours, theirs)
    assert half["low"] == pytest.approx(0.5)
    assert half["high"] == pytest.approx(0.5)
    noisy = ratio(ours * rng.uniform(0.9, 1.1, 60), theirs)
    assert noisy["low"] < 0.5 < noisy["high"]
    assert noisy["low"] <= noisy["median"] <= noisy["high"]


def test_the_interval_of_a_ratio_has_95_percent() -> None:
    """The median of n uniform times has a standard deviation of range / (2 sqrt n), here 5 %."""
    found = ratio(np.linspace(0, 1, 101), np.ones(101))
    assert found["median"] == 0.5
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 0.05, rel=0.15)


def test_summary_is_percentiles() -> None:
    assert summary(list(range(101))) == {"median": 50, "p10": 10, "p90": 90}


INPUTS = [
    ((1, 64, 96, 3), "tensor(uint8)", (1, 64, 96, 3), np.uint8),
    (("batch", "height", "width", 3), "tensor(uint8)", (1, 384, 640, 3), np.uint8),
    ((None, 3, "h", "w"), "tensor(float)", (1, 3, 384, 640), np.float32),
    ((2, 3, 32, 32), "tensor(float16)", (2, 3, 32, 32), np.float16),
]


@pytest.mark.parametrize(("shape", "kind", "expected", "dtype"), INPUTS)
def test_free_axes_are_filled(
    shape: tuple, kind: str, expected: tuple[int, ...], dtype: type
) -> None:
    array = example(shape, kind, (384, 640), "model.onnx")
    assert array.shape == expected
    assert array.dtype == dtype


def test_inputs_that_are_no_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="4 axes"):
        example((1, 5), "tensor(float)", (64, 96), "model.onnx")
    with pytest.raises(UserError, match="2 inputs"):
        open_subject("x", foreign(tmp_path / "two.onnx", 2), "cpu", 1, (64, 96), (64, 96))


def test_our_models_are_timed_by_stage_and_others_as_a_whole(
    exported: SimpleNamespace, tmp_path: Path
) -> None:
    ours = open_subject("ours", exported.path, "cpu", 1, (72, 128), exported.size_hw)
    assert set(ours.run()) > {MODEL}
    theirs = open_subject("x", foreign(tmp_path / "x.onnx"), "cpu", 1, (72, 128), (64, 96))
    start = time.perf_counter()
    (stage,) = theirs.run().items()
    assert stage[0] == MODEL
    assert 0 < stage[1] <= 1e3 * (time.perf_counter() - start)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["bench-onnx", *map(str, arguments)])
    return bench_onnx.main()


def test_command_writes_every_number(
    exported: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = [foreign(tmp_path / "x.onnx"), exported.path]
    options = ["--threads", "1", "--rounds", "3", "--warmup", "1", "--json", tmp_path / "b.json"]
    assert command(monkeypatch, *models, *options) == 0
    data = json.loads((tmp_path / "b.json").read_text())
    assert [row["name"] for row in data["subjects"]] == [str(path) for path in models]
    assert data["subjects"][0]["ratio"]["median"] == 1
    assert all(len(row["times"][MODEL]) == 3 for row in data["subjects"])
    assert data["machine"]["packages"]["onnxruntime"]
    shown = capsys.readouterr().out
    assert "median" in shown
    assert "3 rounds, 1 threads" in shown


BAD = [
    ([], "at least one"),
    (["absent.onnx"], "absent.onnx"),
    (["timm:no_such_trunk"], "no_such_trunk"),
    (["zoo:pvt-hydranet-b9"], "did you mean"),
    (["absent.onnx", "--size", "12"], "--size 12"),
    (["absent.onnx", "--rounds", "0"], "--rounds"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_arguments_exit_with_2_and_one_line(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
