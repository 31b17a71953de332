"""The file: contract 3, and what other runtimes can read."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from export.check import compare
from export.frames import synthetic_frames
from export.to_onnx import OPSET, describe, round_to_half, save, to_onnx
from perception.checkpoint import Meta
from perception.errors import UserError
from perception.model import build
from perception.runtime.description import KEY, Description
from perception.runtime.providers import load
from perception.runtime.view import BOXES, LABEL, MASK
from perception.tasks import TASKS

# What TensorRT or RKNN cannot build, or only by falling back to the host.
FORBIDDEN = {"NonZero", "ScatterND", "ScatterElements", "Loop", "If", "Scan", "NonMaxSuppression"}


def operations(graph: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in graph.graph.node}


def test_one_output_per_task_in_order_with_fixed_shapes(exported: SimpleNamespace) -> None:
    assert [output.name for output in exported.graph.graph.output] == list(
        exported.description.views
    )
    height, width = exported.size_hw
    expected = {BOXES: [1, 300, 6], MASK: [1, height, width], LABEL: [1, 3, 6]}
    for output in exported.graph.graph.output:
        shape = [axis.dim_value for axis in output.type.tensor_type.shape.dim]
        kind = exported.description.views[output.name].kind
        assert shape == expected.get(kind, shape)
        assert all(shape), f"{output.name} has a free axis: {shape}"


def test_the_input_is_a_uint8_frame(exported: SimpleNamespace) -> None:
    (frame,) = exported.graph.graph.input
    assert frame.name == "frame"
    assert frame.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [axis.dim_value for axis in frame.type.tensor_type.shape.dim] == [
        1,
        *exported.size_hw,
        3,
    ]


def test_file_describes_itself(exported: SimpleNamespace) -> None:
    properties = {p.key: p.value for p in onnx.load(exported.path).metadata_props}
    assert Description.from_json(properties[KEY], "model.onnx") == exported.description


def test_only_standard_operations_are_used(exported: SimpleNamespace) -> None:
    assert not operations(exported.graph) & FORBIDDEN
    assert {node.domain for node in exported.graph.graph.node} <= {"", "ai.onnx"}
    assert [(o.domain, o.version) for o in exported.graph.opset_import] == [("", OPSET)]


def test_operations_are_fused_and_constants_folded(exported: SimpleNamespace) -> None:
    found = operations(exported.graph)
    assert {"LayerNormalization", "Gelu"} <= found
    # Shapes are constants; batch norm is inside the convolutions; GELU is no chain around Erf.
    assert not found & {"Shape", "BatchNormalization", "Erf", "Identity", "Dropout", "Constant"}


@pytest.mark.slow
def test_half_stored_weights_give_the_same_numbers(
    exported: SimpleNamespace, tmp_path: Path
) -> None:
    model = copy.deepcopy(exported.model)
    round_to_half(model)
    outputs, sizes = [], []
    for half_weights in (False, True):
        path = tmp_path / f"{half_weights}.onnx"
        save(to_onnx(model, exported.description, half_weights=half_weights), path)
        sizes.append(path.stat().st_size)
        frames = synthetic_frames(exported.size_hw, 2)
        outputs.append([load(path, "cpu", 1).run(frame[None]) for frame in frames])
    assert sizes[1] < 0.6 * sizes[0]
    for single, half in zip(*outputs, strict=True):
        for a, b in zip(single, half, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_weights_that_float16_cannot_hold_stay_single(exported: SimpleNamespace) -> None:
    graph = to_onnx(exported.model, exported.description, half_weights=True)
    assert TensorProto.FLOAT16 not in {tensor.data_type for tensor in graph.graph.initializer}


@pytest.mark.slow
def test_rewrite_saves_transposes_of_the_wide_tokens(exported: SimpleNamespace) -> None:
    plain = to_onnx(exported.model, exported.description, rewrite=False)

    def moved(graph: onnx.ModelProto) -> int:
        """Elements that transposes write."""
        inferred = onnx.shape_inference.infer_shapes(graph)
        shapes = {
            value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
            for value in (*inferred.graph.value_info, *inferred.graph.output)
        }
        transposes = [node for node in graph.graph.node if node.op_type == "Transpose"]
        return sum(int(np.prod(shapes[node.output[0]])) for node in transposes)

    assert moved(exported.graph) < 0.6 * moved(plain)


@pytest.mark.parametrize("size_hw", [(384, 641), (0, 640), (100, 100)])
def test_sizes_that_are_no_multiple_of_32_are_refused(
    exported: SimpleNamespace, size_hw: tuple[int, int]
) -> None:
    meta = Meta("pvt-hydranet-b0", list(TASKS), size_hw)
    with pytest.raises(UserError, match="multiples of 32"):
        describe(exported.model, meta, size_hw)


@pytest.mark.slow
def test_dynamic_graph_takes_other_batches_and_sizes(
    exported: SimpleNamespace, tmp_path: Path
) -> None:
    import onnxruntime

    path = tmp_path / "dynamic.onnx"
    graph = to_onnx(exported.model, exported.description, dynamic=True)
    save(graph, path)
    assert not operations(graph) & FORBIDDEN
    frames = synthetic_frames((96, 160), 3)
    assert all(d.agrees for d in compare(exported.model, path, exported.description, frames))
    session = onnxruntime.InferenceSession(path)
    together = session.run(None, {"frame": frames})
    apart = [session.run(None, {"frame": frame[None]}) for frame in frames]
    for output, parts in zip(together, zip(*apart, strict=True), strict=True):
        np.testing.assert_allclose(output, np.concatenate(parts), atol=1e-3)


@pytest.mark.parametrize("name", ["hydranet-regnet"])
def test_other_networks_of_the_zoo_are_exported(
    name: str, awaken: Callable, exported: SimpleNamespace, tmp_path: Path
) -> None:
    model = build(name, list(TASKS)[:1])
    awaken(model)
    description = describe(model, Meta(name, list(TASKS)[:1], exported.size_hw), exported.size_hw)
    path = tmp_path / "other.onnx"
    save(to_onnx(model, description), path)
    differences = compare(model, path, description, synthetic_frames(exported.size_hw, 1))
    assert all(d.agrees for d in differences), differences
