"""Post-training INT8 quantisation by NNCF, written as one QDQ file for ONNX Runtime and OpenVINO.

Convolutions are quantised. In float stay: heads of boxes; what lies before the first convolution
(normalisation) and after the last ones (scores, pooled scene features, decoding); these
convolutions; depthwise convolutions, whose channels have ranges too different for one scale (22
against 30 dB at the heads' outputs of hydranet-lite0; OpenVINO computes them in float anyway);
attention.
"""

import copy
import logging
from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx

from export.to_onnx import INPUT
from perception.runtime.description import KEY, Description
from perception.runtime.view import BOXES

WEIGHTED: Final = ("Conv", "Gemm", "MatMul")


def to_int8(
    graph: onnx.ModelProto, description: Description, frames: np.ndarray
) -> onnx.ModelProto:
    """A QDQ copy with integer convolutions; `frames` uint8 (N, H, W, 3) set the ranges.

    Weights have a scale per output channel, activations one per tensor. `graph` must not store its
    weights in float16.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    boxes = {name for name, view in description.views.items() if view.kind == BOXES}
    kept = kept_in_float(graph) | heads_of(graph, boxes)
    integer = nncf.quantize(
        copy.deepcopy(graph),
        nncf.Dataset([{INPUT: frame[None]} for frame in frames]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(frames),
        fast_bias_correction=True,
        ignored_scope=nncf.IgnoredScope(names=sorted(kept), validate=False),
    )
    del integer.graph.value_info[:]
    onnx.helper.set_model_props(integer, {KEY: description.to_json()})
    return integer


def kept_in_float(graph: onnx.ModelProto) -> set[str]:
    """Names of the nodes that are not quantised."""
    first = walk(graph, {tensor.name for tensor in graph.graph.input}, forward=True)
    last = walk(graph, {tensor.name for tensor in graph.graph.output}, forward=False)
    others = {
        node.name
        for node in graph.graph.node
        if node.op_type in WEIGHTED and (node.op_type != "Conv" or is_depthwise(node))
    }
    return first | last | others


def heads_of(graph: onnx.ModelProto, outputs: set[str]) -> set[str]:
    """Names of the nodes that only these outputs depend on."""
    others = {tensor.name for tensor in graph.graph.output} - outputs
    return walk(graph, outputs, False, ()) - walk(graph, others, False, ())


def is_depthwise(conv: onnx.NodeProto) -> bool:
    """Whether a convolution has groups."""
    return any(attribute.name == "group" and attribute.i > 1 for attribute in conv.attribute)


def walk(
    graph: onnx.ModelProto, tensors: set[str], forward: bool, ends: Sequence[str] = WEIGHTED
) -> set[str]:
    """Names of all nodes on the paths from the tensors to the first operator of `ends`, that one
    included; along the graph or against it."""
    found, reached = set(), set(tensors)
    # Nodes are stored in topological order, so that one pass reaches everything.
    for node in graph.graph.node if forward else reversed(graph.graph.node):
        entries, exits = (node.input, node.output) if forward else (node.output, node.input)
        if reached.isdisjoint(entries):
            continue
        found.add(node.name)
        if node.op_type not in ends:
            reached.update(exits)
    return found
