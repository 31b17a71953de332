"""Static INT8 quantisation with ranges measured on real frames.

Only convolutions are quantised. The first one and the last ones before each output stay in float,
as do LayerNorm, attention and decoding: with these kept, the pretrained model lost nothing
measurable on 150 validation frames.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import onnx

from export.to_onnx import INPUT
from perception.runtime.description import KEY, Description

WEIGHTED: Final = ("Conv", "Gemm", "MatMul")
# The matrix products and the softmax of attention lose most in INT8, and the linear layers around
# them are too small for the conversion to pay off.
INTEGER: Final = ("Conv",)


def to_int8(
    graph: onnx.ModelProto, description: Description, frames: np.ndarray
) -> onnx.ModelProto:
    """A QDQ copy with integer convolutions; `frames` uint8 (N, H, W, 3) set the ranges."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with TemporaryDirectory() as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(graph, source)
        # It advises on the root logger to simplify the graph first; to_onnx has done so.
        logging.disable(logging.WARNING)
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
        logging.disable(logging.NOTSET)
        integer = onnx.load(target)
    onnx.helper.set_model_props(integer, {KEY: description.to_json()})
    return integer


class Frames:
    """Calibration data reader: one frame per call, then None."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames: Iterator[np.ndarray] = iter(frames)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next model input."""
        frame = next(self.frames, None)
        return None if frame is None else {INPUT: frame[None]}


def sensitive(graph: onnx.ModelProto) -> set[str]:
    """Names of the first weighted nodes after the input and of the last ones before the outputs."""
    first = walk(graph, {tensor.name for tensor in graph.graph.input}, forward=True)
    last = walk(graph, {tensor.name for tensor in graph.graph.output}, forward=False)
    return first | last


def walk(graph: onnx.ModelProto, tensors: set[str], forward: bool) -> set[str]:
    """Names of the first Conv, Gemm or MatMul on every path from the tensors, along the graph or
    against it."""
    found, reached = set(), set(tensors)
    # Nodes are stored in topological order, so that one pass reaches everything.
    for node in graph.graph.node if forward else reversed(graph.graph.node):
        entries, exits = (node.input, node.output) if forward else (node.output, node.input)
        if reached.isdisjoint(entries):
            continue
        if node.op_type in WEIGHTED:
            found.add(node.name)
        else:
            reached.update(exits)
    return found
