"""What a network costs apart from time: parameters and multiply-adds."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from export.inference_rewrite import rewrite_for_inference
from perception.model import Deployed, HydraNet


def cost_of(model: HydraNet, size_hw: tuple[int, int]) -> dict[str, int]:
    """parameters and multiply_adds of a network."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, "multiply_adds": multiply_adds(model, size_hw)}


def multiply_adds(model: HydraNet, size_hw: tuple[int, int]) -> int:
    """Multiply-adds per deployed frame: convolutions and all matrix products, attention included.

    Build the model with timm's fused attention off; the products of the fused call are not counted.
    """
    deployed = Deployed(rewrite_for_inference(model)).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        deployed(torch.zeros(1, *size_hw, 3, dtype=torch.uint8))
    return counter.get_total_flops() // 2
