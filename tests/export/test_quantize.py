"""Lower precisions: what changes, what must not, and that the file still answers."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from export.check import compare
from export.frames import synthetic_frames
from export.quantize import heads_of, is_depthwise, kept_in_float, to_int8
from export.to_onnx import save, to_onnx
from perception.runtime.providers import load, read_description
from perception.runtime.view import BOXES


@pytest.fixture(scope="module")
def integer(exported: SimpleNamespace) -> onnx.ModelProto:
    frames = synthetic_frames(exported.size_hw, 2)
    return to_int8(exported.graph, exported.description, frames)


def makers(graph: onnx.ModelProto) -> dict[str, str]:
    return {name: node.op_type for node in graph.graph.node for name in node.output}


def test_what_is_kept_stays_in_float_and_every_other_convolution_does_not(
    exported: SimpleNamespace, integer: onnx.ModelProto
) -> None:
    made_by = makers(integer)
    boxes = {name for name, view in exported.description.views.items() if view.kind == BOXES}
    kept = kept_in_float(exported.graph) | heads_of(exported.graph, boxes)
    convolutions = [node for node in integer.graph.node if node.op_type == "Conv"]
    quantised = [n for n in convolutions if made_by.get(n.input[1]) == "DequantizeLinear"]
    assert {node.name for node in quantised} == {n.name for n in convolutions} - kept
    assert len(quantised) > len(convolutions) / 4
    assert not any(f"/{name}/" in node.name for node in quantised for name in boxes)
    assert any(f"/{name}/" in node.name for node in convolutions for name in boxes)
    assert not any(is_depthwise(node) for node in quantised)


def test_normalisation_and_decoding_are_kept(exported: SimpleNamespace) -> None:
    nodes = exported.graph.graph.node
    kept = kept_in_float(exported.graph)
    weighted = [n for n in nodes if n.op_type in ("Conv", "Gemm", "MatMul")]
    before = nodes[: list(nodes).index(weighted[0]) + 1]
    assert len(before) > 2
    assert {node.name for node in before} <= kept
    makes = {name: node for node in nodes for name in node.output}
    outputs = [makes[tensor.name].name for tensor in exported.graph.graph.output]
    assert set(outputs) <= kept
    assert {n.name for n in nodes if n.op_type in ("TopK", "ArgMax")} <= kept


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
