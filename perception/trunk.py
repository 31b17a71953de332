"""What the tasks share: a trunk, any timm backbone as a feature pyramid, and the neck (BiFPN)."""

from collections.abc import Sequence
from typing import Any, Final

import timm
import torch
from torch import Tensor, nn

from perception.errors import UserError
from perception.layers import ConvBlock, SeparableBlock, upsample

STRIDES: Final = (4, 8, 16, 32)


class Trunk(nn.Module):
    """Pyramid features of a timm model, always (B, C, H/stride, W/stride).

    `channels` and `strides` are read from timm's feature_info. Raises UserError if timm has no such
    model or the model lacks one of the strides.
    """

    def __init__(self, name: str, pretrained: bool = False, drop_path: float = 0.0) -> None:
        super().__init__()
        self.name = name
        self.body = _create(name, pretrained, drop_path)
        info: Any = self.body.feature_info
        self.channels: tuple[int, ...] = tuple(info.channels())
        self.strides: tuple[int, ...] = tuple(info.reduction())

    def forward(self, image: Tensor) -> list[Tensor]:
        """image (B, 3, H, W) normalised RGB -> one feature map per stride."""
        features = self.body(image)
        return [
            feature if feature.shape[1] == channels else feature.permute(0, 3, 1, 2)
            for feature, channels in zip(features, self.channels, strict=True)
        ]


def _create(name: str, pretrained: bool, drop_path: float) -> nn.Module:
    if not timm.is_model(name):
        raise UserError(f"timm has no model {name!r}; see timm.list_models()")
    options: dict[str, Any] = {"features_only": True, "pretrained": pretrained}
    if drop_path:
        options["drop_path_rate"] = drop_path
    if name.startswith("swin"):
        # By default window attention is built for one image size.
        options |= {"strict_img_size": False}
    try:
        info: Any = timm.create_model(name, features_only=True).feature_info
        reductions = info.reduction()
        out_indices = [reductions.index(stride) for stride in STRIDES]
        return timm.create_model(name, out_indices=out_indices, **options)
    except ValueError:
        raise UserError(f"{name!r} has no features at strides {STRIDES}") from None
    except OSError as error:
        raise UserError(
            f"the pretrained weights of {name!r} could not be downloaded ({type(error).__name__}); "
            "train without --pretrained, or give a local file with --init"
        ) from None


def load_trunk_weights(trunk: Trunk, weights: dict[str, Tensor], source: str) -> tuple[int, int]:
    """Copies matching weights (timm's names, or ours with a `trunk.body.` prefix) into the trunk.

    Returns (copied, total). Raises UserError if less than half of the trunk is found.
    """
    own = trunk.body.state_dict()
    found: dict[str, Tensor] = {}
    for key, value in weights.items():
        short = key.removeprefix("trunk.").removeprefix("body.")
        for candidate in _spellings(short):
            if candidate in own and own[candidate].shape == value.shape:
                found[candidate] = value
    if len(found) < len(own) / 2:
        raise UserError(
            f"{source}: only {len(found)} of {len(own)} tensors fit the trunk {trunk.name!r}; "
            "it is another architecture's file"
        )
    with torch.no_grad():
        trunk.body.load_state_dict(own | found)
    return len(found), len(own)


def _spellings(key: str) -> Sequence[str]:
    # timm flattens `stages.0.x` to `stages_0.x` in features_only models of some families.
    parts = key.split(".")
    flat = [f"{parts[0]}_{parts[1]}", *parts[2:]] if len(parts) > 2 else parts
    return key, ".".join(flat)


class Fuse(nn.Module):
    """Fast normalised fusion (EfficientDet, arXiv 1911.09070, section 3.3), then one block."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(inputs))
        self.block = SeparableBlock(width, width)

    def forward(self, *features: Tensor) -> Tensor:
        weights = torch.relu(self.weights)
        weights = weights / (weights.sum() + 1e-4)
        return self.block(sum(weight * x for weight, x in zip(weights, features, strict=True)))


class BiFPN(nn.Module):
    """Weighted bidirectional pyramid: top-down, then bottom-up with a skip from the input.

    Maps trunk features of `channels` to as many maps of `width` channels at the same strides.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.width = width
        self.lateral = nn.ModuleList(ConvBlock(c, width, active=False) for c in channels)
        self.down = nn.ModuleList(Fuse(2, width) for _ in channels[:-1])
        self.shrink = nn.ModuleList(nn.MaxPool2d(3, 2, 1) for _ in channels[1:])
        self.up = nn.ModuleList(Fuse(3, width) for _ in channels[1:-1])
        self.top = Fuse(2, width)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        inputs = [block(x) for block, x in zip(self.lateral, features, strict=True)]
        middle = [inputs[-1]]
        for x, fuse in zip(reversed(inputs[:-1]), reversed(self.down), strict=True):
            middle.insert(0, fuse(x, upsample(middle[0])))
        outputs = [middle[0]]
        for level, fuse in enumerate(self.up, start=1):
            below = self.shrink[level - 1](outputs[-1])
            outputs.append(fuse(inputs[level], middle[level], below))
        outputs.append(self.top(inputs[-1], self.shrink[-1](outputs[-1])))
        return outputs
