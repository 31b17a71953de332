"""Rewrite PVT v2 for inference: equal outputs from fewer and larger operations.

Batch norm is folded into convolutions here and in EfficientNet.

timm computes the MLP as linear layers around a depthwise convolution, with two transposes of the
widened tokens per block. Here the linear layers are 1x1 convolutions, so that the wide tensor
stays in the layout of the convolution. Tokens are a matrix (B*H*W, C), which keeps ONNX Runtime
from a slower fusion of addition and LayerNorm. Constants of the attention are folded into its
weights. Weights are copies, so the result is not for training.
"""

import copy
from itertools import pairwise
from typing import Final, TypeVar, cast

import torch
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.pvt_v2 import Attention, Block, MlpWithDepthwiseConv, PyramidVisionTransformerStage
from torch import Tensor, nn
from torch.nn import functional as F

from perception.sharing import unfold
from perception.tasks.base import Task

Size = tuple[int, int, int]  # batch, height, width of the token grid
Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)
Network = TypeVar("Network", bound=nn.Module)
# What calls its children one after the other.
FOLDED: Final = (nn.Sequential, DepthwiseSeparableConv, InvertedResidual, EfficientNetFeatures)
PARTS: Final = 4  # of the queries of stage 1; their number is a multiple of 64


def rewrite_for_inference(module: Network) -> Network:
    """A copy of `module` in evaluation mode: PVT v2 stages rewritten, batch norm folded.

    Works on a timm model, a Trunk or a HydraNet; other modules are copied unchanged. Outputs are
    equal to 1e-5. Of a layer whose weight was multiplied by constants, `factors` holds the original
    weight and those constants.
    """
    module = copy.deepcopy(module).eval().requires_grad_(False)
    unfold(module)
    for child in module.modules():
        if isinstance(child, FOLDED):
            _fold_batch_norm(child)
    for child in module.modules():
        if isinstance(child, Task):
            child.for_inference()
    known = [name for name, child in module.named_modules() if _rewritable(child)]
    for name in known:
        parent, _, leaf = name.rpartition(".")
        stage = cast(PyramidVisionTransformerStage, module.get_submodule(name))
        setattr(module.get_submodule(parent), leaf, InferenceStage(stage))
    return module


def _fold_batch_norm(block: nn.Module) -> None:
    """Folds batch norm into the convolution before it; in its place stays the activation that
    timm's batch norms hold."""
    for (name, conv), (next_name, norm) in pairwise(list(block.named_children())):
        if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
            continue
        mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        scale = norm.weight / (var + norm.eps).sqrt()  # (outputs,)
        bias = norm.bias - mean * scale + (0 if conv.bias is None else conv.bias * scale)
        folded, factor = copy.deepcopy(conv), scale[:, None, None, None]
        folded.bias = nn.Parameter(torch.empty_like(bias), requires_grad=False)
        setattr(block, name, _filled(folded, conv.weight * factor, bias, (conv.weight, factor)))
        setattr(block, next_name, getattr(norm, "act", nn.Identity()))


def _rewritable(module: nn.Module) -> bool:
    """Whether this is a stage of PVT v2 as timm makes it: no other blocks, no forward hooks."""
    return (
        isinstance(module, PyramidVisionTransformerStage)
        and all(isinstance(block, Block) for block in module.blocks)
        and not any(one._forward_hooks or one._forward_pre_hooks for one in module.modules())
    )


class InferenceStage(nn.Module):
    """One stage: the patch embedding's (B, H, W, C) or the last stage's (B, C, H, W) in,
    (B, C, H, W) out."""

    def __init__(self, stage: PyramidVisionTransformerStage) -> None:
        super().__init__()
        self.downsample, self.norm = stage.downsample, stage.norm
        self.blocks = nn.ModuleList(InferenceBlock(cast(Block, block)) for block in stage.blocks)

    def forward(self, x: Tensor) -> Tensor:
        if self.downsample is not None:
            x = self.downsample(x)  # (B, H, W, C)
        batch, height, width, channels = x.shape
        tokens = x.reshape(-1, channels)  # (B*H*W, C)
        for block in self.blocks:
            tokens = block(tokens, (batch, height, width))
        return _image(self.norm(tokens), (batch, height, width))


class InferenceBlock(nn.Module):
    """Attention and MLP with their residuals, on (B*H*W, C)."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.attn, self.mlp = InferenceAttention(block.attn), InferenceMlp(block.mlp)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens), size)
        return tokens + self.mlp(self.norm2(tokens), size)


class InferenceMlp(nn.Module):
    """1x1 convolution, ReLU in the linear variants, depthwise 3x3, GELU, 1x1 convolution."""

    def __init__(self, mlp: MlpWithDepthwiseConv) -> None:
        super().__init__()
        self.depthwise, self.relu = mlp.dwconv, mlp.relu
        self.widen, self.narrow = _pointwise(mlp.fc1), _pointwise(mlp.fc2)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        hidden = self.depthwise(self.relu(self.widen(_image(tokens, size))))
        return _tokens(self.narrow(F.gelu(hidden)))


class InferenceAttention(nn.Module):
    """Spatial-reduction attention with the scale folded into the queries.

    With one head the output projection is folded into the values: the rows of the attention sum
    to one, so softmax(S) (V P^T + b) equals softmax(S) V P^T + b, and the few values are projected
    instead of the many tokens. With more heads the values would grow by the number of heads.
    """

    def __init__(self, attn: Attention) -> None:
        super().__init__()
        self.heads, self.head_dim = attn.num_heads, attn.head_dim
        self.reduce, self.norm = attn.sr, attn.norm
        self.pooled = cast(int, attn.pool.output_size) if attn.pool is not None else 0
        self.query = _scaled(attn.q, attn.head_dim**-0.5)
        self.key, value = _halves(attn.kv)
        self.project: nn.Module = attn.proj
        if self.heads == 1:
            value, self.project = _composed(value, attn.proj), nn.Identity()
        self.value = value

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        source = tokens
        if self.reduce is not None:
            image = _image(tokens, size)
            reduced = self.reduce(adaptive_mean(image, self.pooled) if self.pooled else image)
            source = self.norm(_tokens(reduced))
        if self.pooled:  # linear spatial-reduction attention has an activation here
            source = F.gelu(source)
        query = self._split(self.query(tokens), size).transpose(1, 2)  # (B, heads, N, D)
        key = self._split(self.key(source), size).permute(0, 2, 3, 1)  # (B, heads, D, M)
        value = self._split(self.value(source), size).transpose(1, 2)  # (B, heads, M, D)
        if self.heads > 1:
            mixed = (query @ key).softmax(-1) @ value  # (B, heads, N, D)
        else:
            # Stage 1 has the most tokens; its scores (15,360 x 240 at 384x640) leave the cache
            # between the three operations unless computed in parts.
            parts = query.unflatten(2, (PARTS, -1)).unbind(2)
            mixed = torch.cat([(part @ key).softmax(-1) @ value for part in parts], 2)
        return self.project(mixed.transpose(1, 2).reshape(tokens.shape))

    def _split(self, tokens: Tensor, size: Size) -> Tensor:
        return tokens.reshape(size[0], -1, self.heads, self.head_dim)  # (B, N, heads, D)


def adaptive_mean(image: Tensor, side: int) -> Tensor:
    """F.adaptive_avg_pool2d(image, side) of (B, C, H, W) as two matrix products.

    ONNX has no such operator where `side` does not divide the size.
    """
    height, width = (_pooling(length, side, image) for length in image.shape[2:])
    return height @ image @ width.transpose(0, 1)


def _pooling(length: int, side: int, like: Tensor) -> Tensor:
    """(side, length): row i is the mean over floor(i * length / side) to
    ceil((i + 1) * length / side), the latter excluded."""
    cell = torch.arange(side, device=like.device)[:, None]
    position = torch.arange(length, device=like.device)  # traced: a free size stays free
    inside = ((position + 1) * side > cell * length) & (position * side < (cell + 1) * length)
    share = inside.to(like.dtype)
    return share / share.sum(1, keepdim=True)


def _image(tokens: Tensor, size: Size) -> Tensor:
    """(B*H*W, C) -> (B, C, H, W)."""
    return tokens.reshape(*size, tokens.shape[-1]).permute(0, 3, 1, 2)


def _tokens(image: Tensor) -> Tensor:
    """(B, C, H, W) -> (B*H*W, C)."""
    return image.permute(0, 2, 3, 1).reshape(-1, image.shape[1])


def _pointwise(linear: nn.Linear) -> nn.Conv2d:
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
    return _filled(conv, linear.weight[:, :, None, None], linear.bias)


def _scaled(linear: nn.Linear, scale: float) -> nn.Linear:
    bias = None if linear.bias is None else linear.bias * scale
    factor = linear.weight.new_tensor(scale)
    return _linear(linear.weight * factor, bias, (linear.weight, factor))


def _halves(linear: nn.Linear) -> tuple[nn.Linear, nn.Linear]:
    """timm's joint key-value layer as two layers."""
    biases = (None, None) if linear.bias is None else linear.bias.chunk(2)
    key, value = (_linear(*part) for part in zip(linear.weight.chunk(2), biases, strict=True))
    return key, value


def _composed(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    """One linear layer equal to second(first(x))."""
    bias = 0 if first.bias is None else second.weight @ first.bias
    return _linear(second.weight @ first.weight, second.bias + bias)


def _linear(
    weight: Tensor, bias: Tensor | None, factors: tuple[Tensor, Tensor] | None = None
) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    return _filled(layer, weight, bias, factors)


def _filled(
    layer: Layer, weight: Tensor, bias: Tensor | None, factors: tuple[Tensor, Tensor] | None = None
) -> Layer:
    layer.factors = factors  # type: ignore[assignment]
    layer = layer.to(weight.device, weight.dtype).eval().requires_grad_(False)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if layer.bias is not None:
            layer.bias.copy_(torch.zeros_like(layer.bias) if bias is None else bias)
    return layer
