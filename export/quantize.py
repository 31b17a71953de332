"""Lower precision: fp16 for GPUs, INT8 with ranges measured on real frames.

What a few wrong bits would spoil stays in float32: everything after the last convolution or matrix
product on the way to an output of boxes (coordinates up to 640 px need more than fp16's 11 bits),
normalisation of the frame, LayerNorm and attention in INT8.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import onnx

from export.to_onnx import INPUT
from perception.runtime.description import BOXES, KEY, Description

WEIGHTED: Final = ("Conv", "Gemm", "MatMul")
# Attention's two products and its softmax lose most in INT8, and the linear layers around them are
# too small to pay for the conversion.
INTEGER: Final = ("Conv",)


def lowered(
    graph: onnx.ModelProto, description: Description, frames: np.ndarray, precision: str
) -> onnx.ModelProto:
    """The graph at fp32, fp16 or int8; `frames` are read for int8 only."""
    if precision == "fp16":
        return to_fp16(graph, description)
    return to_int8(graph, description, frames) if precision == "int8" else graph


def to_fp16(graph: onnx.ModelProto, description: Description) -> onnx.ModelProto:
    """A float16 copy; frame and outputs keep their types."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = convert_float_to_float16(
        onnx.ModelProto.FromString(graph.SerializeToString()),
        keep_io_types=True,
        node_block_list=sorted(kept_in_float(graph, description)),
    )
    return _described(half, description)


def to_int8(
    graph: onnx.ModelProto, description: Description, frames: np.ndarray
) -> onnx.ModelProto:
    """A QDQ copy with integer convolutions; `frames` uint8 (N, H, W, 3) set the ranges.

    The first convolution (three channels, all detail passes it) and the last before each output
    (their logits are the answer) stay in float.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with TemporaryDirectory() as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(graph, source)
        quantize_static(
            source,
            target,
            Frames(frames),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(INTEGER),
            nodes_to_exclude=sorted(sensitive(graph)),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": False},
        )
        return _described(onnx.load(target), description)


class Frames:
    """What the calibrator reads from: one frame a call, then None."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames: Iterator[np.ndarray] = iter(frames)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next input of the model."""
        frame = next(self.frames, None)
        return None if frame is None else {INPUT: frame[None]}


def sensitive(graph: onnx.ModelProto) -> set[str]:
    """Names of the first weighted nodes after the input and of the last ones before the outputs."""
    first = walk(graph, {tensor.name for tensor in graph.graph.input}, forward=True).stopped
    last = walk(graph, {tensor.name for tensor in graph.graph.output}, forward=False).stopped
    return first | last


def kept_in_float(graph: onnx.ModelProto, description: Description) -> set[str]:
    """Names of the nodes that normalise the frame and of those that decode boxes."""
    boxes = {name for name, view in description.views.items() if view.kind == BOXES}
    before = walk(graph, {tensor.name for tensor in graph.graph.input}, forward=True).passed
    return before | walk(graph, boxes, forward=False).passed


@dataclass
class Walk:
    """Names of nodes without weights on the way, and of the weighted ones that end it."""

    passed: set[str]
    stopped: set[str]


def walk(graph: onnx.ModelProto, tensors: set[str], forward: bool) -> Walk:
    """From the tensors along the graph (or against it) up to the next Conv, Gemm or MatMul."""
    found, reached = Walk(set(), set()), set(tensors)
    # Nodes are stored in topological order, so that one pass reaches everything.
    nodes = graph.graph.node if forward else reversed(graph.graph.node)
    for node in nodes:
        entries, exits = (node.input, node.output) if forward else (node.output, node.input)
        if reached.isdisjoint(entries):
            continue
        if node.op_type in WEIGHTED:
            found.stopped.add(node.name)
        else:
            found.passed.add(node.name)
            reached.update(exits)
    return found


def _described(graph: onnx.ModelProto, description: Description) -> onnx.ModelProto:
    onnx.helper.set_model_props(graph, {KEY: description.to_json()})
    return graph
