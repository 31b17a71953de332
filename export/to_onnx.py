"""HydraNet -> one ONNX file with the decoding inside and its description in the metadata."""

import copy
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

import onnx
import onnxslim
import torch
from torch import nn

from export.inference_rewrite import lean
from perception.checkpoint import Meta
from perception.errors import UserError
from perception.model import Deployed, HydraNet
from perception.runtime.description import KEY, Description

# 20 is the first opset with Gelu as one operation (LayerNormalization came with 17). Later opsets
# bring nothing this graph uses, and fewer runtimes read them.
OPSET: Final = 20
INPUT: Final = "frame"
STEP: Final = 32  # the coarsest stride: sizes are multiples of it
AXES: Final = {0: "batch", 1: "height", 2: "width"}


def describe(model: HydraNet, meta: Meta, size_hw: tuple[int, int]) -> Description:
    """What the file will say about itself. Raises UserError for a size no pyramid has."""
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
) -> onnx.ModelProto:
    """The deployed network: uint8 `frame` (1, H, W, 3) BGR -> one output a task, named after it.

    With `dynamic` batch, height and width stay free; with `half` the weights are float16.
    `rewrite=False` leaves the trunk as timm writes it (for measuring).
    """
    height, width = description.size_hw
    network = cast(HydraNet, lean(model) if rewrite else model)
    deployed = Half(network) if half else Deployed(network)
    # Two frames where the batch is free: with one, the tracer would fold the batch axis away.
    frame = torch.zeros(2 if dynamic else 1, height, width, 3, dtype=torch.uint8)
    graph = trace(deployed, frame, list(description.views), AXES if dynamic else None)
    onnx.helper.set_model_props(graph, {KEY: description.to_json()})
    graph.producer_name = "pvt-hydranet"
    return graph


class Half(nn.Module):
    """Deployed with float16 weights: normalisation, decoding of what tasks take to float32, and
    the outputs stay in float32."""

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
    module: nn.Module,
    example: torch.Tensor,
    outputs: list[str],
    axes: dict[int, str] | None = None,
) -> onnx.ModelProto:
    """Any module of one input as an ONNX graph, constants folded and the rest slimmed."""
    with torch.no_grad(), warnings.catch_warnings(), TemporaryDirectory() as folder:
        path = Path(folder, "traced.onnx")
        # The tracer warns of every Python number; the check against torch covers what it means.
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
    """Writes the graph once the checker finds it well-formed."""
    onnx.checker.check_model(graph)
    onnx.save(graph, path)
