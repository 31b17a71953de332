"""One small network with all heads, exported once."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from export.to_onnx import describe, save, to_onnx
from perception.checkpoint import Meta
from perception.model import build
from perception.tasks import TASKS

SIZE_HW = (64, 96)


def awake(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights that answer differently for different frames, unlike those training starts
    with, so that comparing outputs means something."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 0.3, 0.5)
        else:
            nn.init.normal_(parameter, 0.0, 1.5 * parameter[0].numel() ** -0.5)
    return model.eval()


@pytest.fixture(scope="session")
def awaken() -> Callable[[nn.Module], nn.Module]:
    """The function above, for tests that build another network."""
    return awake


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """pvt-hydranet-b0 with a task of every kind at 64x96: .model .description .graph .path
    .size_hw."""
    # The first task of each kind and encoding: the others go the same ways.
    tasks = list(
        {(t.view.kind, t.view.encoding): name for name, t in reversed(TASKS.items())}.values()
    )
    model = build("pvt-hydranet-b0", tasks)
    awake(model)
    meta = Meta("pvt-hydranet-b0", tasks, SIZE_HW, scores={"total": 1.0}, licence="test")
    description = describe(model, meta, SIZE_HW)
    graph = to_onnx(model, description)
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    save(graph, path)
    return SimpleNamespace(
        model=model, description=description, graph=graph, path=path, size_hw=SIZE_HW
    )
