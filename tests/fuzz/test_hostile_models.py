"""Checkpoints and models made to do harm: each is refused in one line that names it."""

import json
import os
import struct

import numpy as np
import pytest

from perception.errors import UserError
from perception.runtime.runner import Runner, read_description


def safetensors(header: dict | bytes, body: bytes = bytes(16), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(start: int, stop: int, shape: tuple[int, ...] = (2,)) -> dict:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, stop]}


OFFSETS = {
    "beyond the file": safetensors({"a": tensor(0, 1 << 40, (1 << 38,))}),
    "negative": safetensors({"a": tensor(-8, 0)}),
    "backwards": safetensors({"a": tensor(16, 8)}),
    "overlapping": safetensors({"a": tensor(0, 8), "b": tensor(4, 12)}),
    "with a hole": safetensors({"a": tensor(0, 4, (1,)), "b": tensor(8, 16)}),
    "of another shape": safetensors({"a": tensor(0, 16, (1 << 30, 1 << 30, 1 << 30))}),
    "in a header of 2^63 bytes": safetensors({"a": tensor(0, 16, (4,))}, length=1 << 63),
    "in a header longer than the file": safetensors({"a": tensor(0, 16, (4,))}, length=5000),
    "in a header of 5 MB": safetensors(b"{" + b" " * (5 << 20) + b"}"),
    "nested": safetensors(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}


@pytest.mark.parametrize("name", OFFSETS)
def test_tensors_at_invalid_offsets_are_one_line(name, tmp_path, write):
    from perception import checkpoint

    path = write(tmp_path / "x.safetensors", OFFSETS[name])
    with pytest.raises(UserError, match=r"x\.safetensors: not a readable safetensors") as caught:
        checkpoint.read(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_checkpoint_of_a_terabyte_is_not_opened(tmp_path, write):
    from perception import checkpoint

    path = write(tmp_path / "x.safetensors", safetensors({"a": tensor(0, 1 << 40, (1 << 38,))}))
    os.truncate(path, 1 << 40)
    with pytest.raises(UserError, match=r"1048576 MB, at most 512 are read"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("model", 3), ("model", "x" * 1_000_000), ("tasks", "det"), ("tasks", []),
     ("tasks", [["det"]]),
     ("tasks", ["det", "det"]), ("tasks", None), ("size_hw", [0, 5]), ("size_hw", [1e999, 5]),
     ("size_hw", [10**9, 10**9]), ("scores", []), ("licence", {})],
)  # fmt: skip
def test_a_description_of_the_wrong_kind_names_its_field(field, value, tmp_path):
    from safetensors.numpy import save_file

    from perception import checkpoint

    metadata = {"format": 1, "model": "pvt-hydranet-b0", "tasks": ["det"], "size_hw": [64, 96]}
    path = tmp_path / "x.safetensors"
    save_file(
        {"a": np.zeros(1, np.float32)}, path, {"perception": json.dumps(metadata | {field: value})}
    )
    with pytest.raises(UserError, match=r"x\.safetensors|unknown model") as caught:
        checkpoint.load(path)
    assert len(str(caught.value)) < 400


# --- models -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["../../../../../etc/passwd", "/etc/passwd", "beside.bin", "linked.bin"]
)
def test_an_onnx_with_external_data_is_refused(place, tiny_onnx, tmp_path, write):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tiny_onnx)
    (tmp_path / "beside.bin").write_bytes(bytes(1000))
    (tmp_path / "linked.bin").symlink_to("/etc/passwd")
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", place
    path = write(tmp_path / "m.onnx", model.SerializeToString())
    for read in (read_description, lambda p: Runner(p, "cpu", 1)):
        with pytest.raises(
            UserError, match=r"m\.onnx: keeps weights in another file .*export-onnx"
        ):
            read(path)


def test_external_data_is_found_at_any_depth(tiny_onnx, tmp_path, write):
    """In a constant of a branch of a function, without the flag that says so."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tiny_onnx)
    hidden = onnx.TensorProto(name="w", data_type=1, dims=[4])
    hidden.external_data.add(key="location", value="/etc/passwd")
    constant = onnx.helper.make_node("Constant", [], ["c"], value=hidden)
    branch = onnx.helper.make_graph([constant], "branch", [], [])
    node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    model.functions.add(name="f", domain="d").node.append(node)
    path = write(tmp_path / "m.onnx", model.SerializeToString())
    with pytest.raises(UserError, match="/etc/passwd"):
        read_description(path)


def test_a_graph_that_needs_40_gigabytes_fails_in_one_line(tiny_onnx, tmp_path, write):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tiny_onnx)
    shape = onnx.numpy_helper.from_array(np.array([100_000, 100_000], np.int64), "huge")
    one = onnx.numpy_helper.from_array(np.ones((1, 1), np.float32), "one")
    model.graph.initializer.extend([shape, one])
    nodes = [
        onnx.helper.make_node("Expand", ["one", "huge"], ["field"]),
        onnx.helper.make_node("ReduceSum", ["field"], ["sum"], keepdims=0),
        onnx.helper.make_node("Mul", ["sum", "half"], ["more"]),
    ]
    for node in nodes:
        model.graph.node.append(node)
    next(n for n in model.graph.node if n.op_type == "Greater").input[1] = "more"
    path = write(tmp_path / "m.onnx", model.SerializeToString())
    with pytest.raises(UserError, match=r"m\.onnx: (fails on a frame|ONNX Runtime cannot load)"):
        Runner(path, "cpu", 1)(np.zeros((48, 80, 3), np.uint8))


def test_a_model_of_gigabytes_or_zero_bytes_is_not_opened(tmp_path, write):
    path = write(tmp_path / "m.onnx", b"")
    for size, said in ((0, "an empty file; copy"), (4 << 30, "4096 MB; a model has up to 512")):
        os.truncate(path, size)
        with pytest.raises(UserError, match=rf"m\.onnx: {said}"):
            read_description(path)
