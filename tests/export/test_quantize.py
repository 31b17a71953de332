"""Lower precisions: what changes, what must not, and that the file still answers."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from export.check import compare
from export.frames import synthetic_frames
from export.quantize import sensitive, to_int8
from export.to_onnx import save, to_onnx
from perception.runtime.providers import load, read_description
from perception.runtime.view import BOXES


@pytest.fixture(scope="module")
def integer(exported: SimpleNamespace) -> onnx.ModelProto:
    frames = synthetic_frames(exported.size_hw, 2)
    return to_int8(exported.graph, exported.description, frames)


def makers(graph: onnx.ModelProto) -> dict[str, str]:
    return {name: node.op_type for node in graph.graph.node for name in node.output}


def test_sensitive_convolutions_stay_in_float_and_the_rest_do_not(
    exported: SimpleNamespace, integer: onnx.ModelProto
) -> None:
    made_by = makers(integer)
    kept = sensitive(exported.graph)
    convolutions = [node for node in integer.graph.node if node.op_type == "Conv"]
    assert len(kept) > len(exported.description.views)  # the first one, and one or more a head
    for node in convolutions:
        is_integer = made_by.get(node.input[1]) == "DequantizeLinear"
        assert is_integer == (node.name not in kept), node.name


def test_first_and_last_are_the_sensitive_ones(exported: SimpleNamespace) -> None:
    nodes = [n for n in exported.graph.graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    kept = sensitive(exported.graph)
    assert nodes[0].name in kept
    # No kept node but the first feeds another weighted one.
    assert len(kept) < len(nodes) / 3


def test_the_int8_file_runs_and_describes_itself(
    exported: SimpleNamespace, integer: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "int8.onnx"
    save(integer, path)
    assert read_description(path) == exported.description
    assert path.stat().st_size < 0.6 * exported.path.stat().st_size
    frames = synthetic_frames(exported.size_hw, 2)
    differences = compare(exported.model, path, exported.description, frames, "int8")
    assert all(np.isfinite(d.value) for d in differences)
    strict = compare(exported.model, path, exported.description, frames)
    assert not all(d.agrees for d in strict)  # integers are felt: the strict check is no formality


@pytest.mark.slow
def test_half_weights_and_float_outputs(exported: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    graph = to_onnx(exported.model, exported.description, half=True)
    save(graph, path)
    types = {w.name: w.data_type for w in graph.graph.initializer}
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    assert {types[node.input[1]] for node in convolutions} == {TensorProto.FLOAT16}
    for output in graph.graph.output:
        assert output.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.UINT8)
    frames = synthetic_frames(exported.size_hw, 2)
    differences = compare(exported.model, path, exported.description, frames, "fp16")
    boxes = [d for d in differences if d.kind != BOXES]
    assert all(d.agrees for d in boxes), boxes
    assert all(str(p.dtype) == "torch.float32" for p in exported.model.parameters())


@pytest.mark.slow
def test_openvino_keeps_the_output_names_of_a_float16_file(
    exported: SimpleNamespace, tmp_path: Path
) -> None:
    """An output that is only cast at the end has several names there."""
    pytest.importorskip("openvino", reason="openvino is not installed (extra openvino)")
    path = tmp_path / "half.onnx"
    save(to_onnx(exported.model, exported.description, half=True), path)
    assert load(path, "openvino", 1).names == tuple(exported.description.views)
