"""Training in bf16 on a CPU: replacements for two operators with slow PyTorch kernels.

`for_cpu` inserts equivalent modules; parameter names, weights and checkpoints do not change.
Measured on one thread of an AMD EPYC at 384x640, batch 8: gradient of a depthwise 5x5's weight
187 -> 41 ms, attention to 240 tokens of 15,360 188 -> 134 ms; at 256x448, batch 16: gradients of a
depthwise 5x5 of stride 2 and 144 channels 331 -> 54 ms, of a depthwise 3x3 of stride 2 and 96
channels 223 -> 90 ms.
"""

from typing import Any

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad


def for_cpu(model: nn.Module) -> None:
    """Replaces slow depthwise convolutions and fused attention by faster ones, in place."""
    for module in model.modules():
        if vars(module).get("fused_attn", False):
            # Two matrix products and a softmax in bf16 beat the fused kernel, which works in float.
            vars(module)["fused_attn"] = False
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and _is_slow(child):
                setattr(module, name, Depthwise(child))


def _is_slow(conv: nn.Conv2d) -> bool:
    """A depthwise 5x5 of stride 1, or a depthwise 3x3 or 5x5 of stride 2."""
    if type(conv) not in (nn.Conv2d, Conv2dSame):
        return False
    form = (conv.kernel_size, conv.stride)
    slow = form in (((5, 5), (1, 1)), ((3, 3), (2, 2)), ((5, 5), (2, 2)))
    zeros = conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    return slow and zeros and conv.groups == conv.in_channels == conv.out_channels


def _in_bf16(x: Tensor) -> bool:
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")
    return x.device.type == "cpu" and torch.bfloat16 in (x.dtype, autocast)


class Depthwise(nn.Conv2d):
    """A depthwise 3x3 or 5x5 of stride 1 or 2 whose gradients are assembled from fast kernels."""

    def __init__(self, conv: nn.Conv2d) -> None:
        channels, size, stride = conv.in_channels, conv.kernel_size[0], conv.stride[0]
        with_bias = conv.bias is not None
        super().__init__(channels, channels, size, stride, groups=channels, bias=with_bias)
        self.padding = conv.padding
        self.weight, self.bias = conv.weight, conv.bias
        self.same = isinstance(conv, Conv2dSame)  # pads by TensorFlow's rule, which depends on x
        self.train(conv.training)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H / stride, W / stride), rounded as by nn.Conv2d."""
        size, stride = self.kernel_size[0], self.stride[0]
        sides = [int(side) for side in self.padding for _ in range(2)]  # top, bottom, left, right
        if self.same:
            need = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[2:]]
            sides = [side for n in need for side in (n // 2, n - n // 2)]
        if not _in_bf16(x) or not torch.is_grad_enabled():
            padded = _padded(x, sides)
            return conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)
        y: Tensor = _Depthwise.apply(x.bfloat16(), self.weight.bfloat16(), stride, sides)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]


class _Depthwise(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: int, sides: list[int]) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return conv2d(_padded(x, sides), weight, stride=stride, groups=len(weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int, list[int]], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.stride, ctx.sides = inputs[2:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        by_x = by_weight = None
        with torch.autocast("cpu", enabled=False):
            if ctx.needs_input_grad[0]:
                by_x = _input_gradient(gradient, x.shape[2:], weight, ctx.stride, ctx.sides)
            if ctx.needs_input_grad[1]:
                padded = _padded(x, ctx.sides)
                by_weight = _weight_gradient(gradient, padded, weight, ctx.stride)
        return by_x, by_weight, None, None


def _padded(x: Tensor, sides: list[int]) -> Tensor:
    top, bottom, left, right = sides
    return pad(x, (left, right, top, bottom))


def _input_gradient(
    gradient: Tensor, size_hw: torch.Size, weight: Tensor, stride: int, sides: list[int]
) -> Tensor:
    """The gradient with `stride - 1` zeros between its values, convolved with the turned kernel."""
    batch, channels, height, width = gradient.shape
    k = weight.shape[-1]
    spread = gradient.new_zeros(batch, size_hw[0] + k - 1, size_hw[1] + k - 1, channels)
    spread = spread.permute(0, 3, 1, 2)  # channels_last
    top, left = k - 1 - sides[0], k - 1 - sides[2]
    rows = slice(top, top + stride * (height - 1) + 1, stride)
    columns = slice(left, left + stride * (width - 1) + 1, stride)
    spread[:, :, rows, columns] = gradient
    return conv2d(spread, weight.flip(2, 3), groups=channels)


def _weight_gradient(gradient: Tensor, padded: Tensor, weight: Tensor, stride: int) -> Tensor:
    """dW[i, j] = sum of gradient[y, x] * padded[stride y + i, stride x + j], by windows of 3x3."""
    height, width = (stride * (n - 1) + 3 for n in gradient.shape[2:])
    small = weight[:, :, :3, :3].contiguous()

    def window(i: int, j: int) -> Tensor:
        part = padded[:, :, i : i + height, j : j + width]
        by_weight: Tensor = torch.ops.aten.convolution_backward(
            gradient, part, small, None, [stride] * 2, [0, 0], [1, 1], False, [0, 0], len(weight),
            [False, True, False],
        )[1]  # fmt: skip
        return by_weight

    if weight.shape[-1] == 3:
        return window(0, 0)
    # Row 2 and column 2 of a 5x5 are in two windows each.
    rows = [torch.cat([window(i, 0), window(i, 2)[..., 1:]], -1) for i in (0, 2)]
    return torch.cat([rows[0], rows[1][..., 1:, :]], -2)
