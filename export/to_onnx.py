"""Convert a HydraNet to an ONNX graph with decoding inside and a JSON description as metadata."""

import copy
import math
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

import onnx
import onnxslim
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from export.inference_rewrite import rewrite_for_inference
from perception.checkpoint import Meta
from perception.errors import UserError
from perception.model import Deployed, HydraNet
from perception.runtime.description import KEY, Description
from perception.trunk import Trunk

# 20 is the first opset with Gelu as one operation (LayerNormalization came with 17). Later opsets
# bring nothing this graph uses, and fewer runtimes read them.
OPSET: Final = 20
INPUT: Final = "frame"
MIN_HALF: Final = 1024  # elements of a tensor from which on float16 saves anything
STEP: Final = 32  # the coarsest stride: sizes are multiples of it
SMALLEST: Final = 128  # side that a graph of free size is traced at
AXES: Final = {0: "batch", 1: "height", 2: "width"}


def describe(model: HydraNet, meta: Meta, size_hw: tuple[int, int]) -> Description:
    """The description to store in the file. Raises UserError where a side is no multiple of 32."""
    if any(side <= 0 or side % STEP for side in size_hw):
        raise UserError(f"size {size_hw[0]}x{size_hw[1]}: both must be multiples of {STEP}")
    return Description(
        name=meta.model,
        size_hw=size_hw,
        views={name: task.view for name, task in model.tasks.items()},
        scores=meta.scores,
        training=meta.training,
        licence=meta.licence,
    )


def to_onnx(
    model: HydraNet,
    description: Description,
    dynamic: bool = False,
    half: bool = False,
    rewrite: bool = True,
    half_weights: bool = False,
) -> onnx.ModelProto:
    """The deployed network: uint8 `frame` (1, H, W, 3) BGR -> one output per task, named after it.

    `dynamic` leaves batch, height and width free; `half` computes in float16;
    `half_weights` stores weights in float16 where that is exact;
    `rewrite=False` leaves the trunk as timm defines it (for comparison).
    """
    height, width = description.size_hw
    network = rewrite_for_inference(model) if rewrite else model
    deployed = Half(network) if half else Deployed(network)
    batch = 1
    if dynamic:
        # With one frame the tracer would fold the batch axis away; and it keeps the number of
        # candidates of a decoder, which a small frame would not have.
        batch, height, width = 2, max(height, SMALLEST), max(width, SMALLEST)
    frame = torch.zeros(batch, height, width, 3, dtype=torch.uint8)
    graph = trace(deployed, frame, list(description.views), AXES if dynamic else None)
    if half_weights:
        store_half(graph, network)
    helper.set_model_props(graph, {KEY: description.to_json()})
    graph.producer_name = "pvt-hydranet"
    return graph


def store_half(graph: onnx.ModelProto, network: nn.Module) -> None:
    """Stores those weights of `network` (rewritten for inference) that float16 represents so.

    In the graph a Cast to float32 restores them, and a Mul where batch norm or a scale was folded
    into them. Runtimes fold both when they load the file: arithmetic and speed are unchanged.
    """
    layers = {f"model.{name}.weight": layer for name, layer in network.named_modules()}
    restored = []
    for tensor in list(graph.graph.initializer):
        layer = layers.get(tensor.name)
        if layer is None or math.prod(tensor.dims) < MIN_HALF:
            continue
        name, factors = tensor.name, getattr(layer, "factors", None)
        weight, factor = factors or (cast(Tensor, layer.weight), None)
        if not torch.equal(weight.half().float(), weight):
            continue
        half = onnx.numpy_helper.from_array(weight.half().numpy(), f"{name}.half")
        tensor.CopyFrom(half)
        single = name if factor is None else f"{name}.single"
        restored.append(helper.make_node("Cast", [half.name], [single], to=TensorProto.FLOAT))
        if factor is not None:
            scale = onnx.numpy_helper.from_array(factor.numpy(), f"{name}.factor")
            graph.graph.initializer.append(scale)
            restored.append(helper.make_node("Mul", [single, scale.name], [name]))
    nodes = [*restored, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


@torch.no_grad()
def round_to_half(model: nn.Module) -> None:
    """Rounds parameters of at least MIN_HALF elements to float16, as half-precision checkpoints
    store them."""
    for parameter in model.parameters():
        if parameter.numel() >= MIN_HALF:
            parameter.copy_(parameter.half())


class Half(nn.Module):
    """Deployed in float16; normalisation, the outputs, and what a task decodes in float32 stay
    float32."""

    def __init__(self, model: HydraNet) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        for part in (self.model.trunk, self.model.neck, self.model.tasks):
            part.half()

    def forward(self, frame: torch.Tensor) -> tuple[torch.Tensor, ...]:
        model = self.model
        raws = model.heads(model.neck(model.trunk(model.image(frame).half())))
        decoded = (task.decode(raws[name]) for name, task in model.tasks.items())
        return tuple(out.float() if out.is_floating_point() else out for out in decoded)


def trace(
    module: nn.Module, example: torch.Tensor, outputs: list[str], axes: dict[int, str] | None = None
) -> onnx.ModelProto:
    """A module with one input as a simplified ONNX graph."""
    with torch.no_grad(), warnings.catch_warnings(), TemporaryDirectory() as folder:
        path = Path(folder, "traced.onnx")
        # The tracer warns of every Python number; export.check reveals values that were frozen.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (example,),
            path,
            opset_version=OPSET,
            dynamo=False,  # the newer exporter writes a slower graph of PVT v2 and fixes the batch
            input_names=[INPUT],
            output_names=outputs,
            dynamic_axes={INPUT: axes} if axes else None,
        )
        graph = onnx.load(path)
    return onnxslim.slim(graph)


def save(graph: onnx.ModelProto, path: Path) -> None:
    """Validates the graph and writes it."""
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


def latency_reference(name: str, size_hw: tuple[int, int]) -> onnx.ModelProto:
    """An untrained timm backbone that latencies are divided by: float image (1, 3, H, W) -> four
    feature maps.

    Exported by the same call as HydraNet. Raises UserError where timm has no such model.
    """
    trunk = Trunk(name)
    return trace(trunk, torch.zeros(1, 3, *size_hw), [f"stride{s}" for s in trunk.strides])
