"""The rewrite for inference changes no output."""

import pytest
import timm
import torch
from torch import nn

from export.inference_rewrite import InferenceStage, adaptive_mean, rewrite_for_inference
from perception.layers import SeparableBlock
from perception.tasks.det import Det


def features(name: str) -> nn.Module:
    """A trunk with random biases and LayerNorm parameters instead of zeros and ones."""
    torch.manual_seed(0)
    trunk = timm.create_model(name, features_only=True, pretrained=False).eval()
    for parameter in trunk.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 0.3, 0.3)
    return trunk


def stages(module: nn.Module) -> int:
    return sum(isinstance(child, InferenceStage) for child in module.modules())


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", ["pvt_v2_b0", "pvt_v2_b1", "pvt_v2_b2_li"])
def test_rewritten_trunk_gives_the_same_features(name: str, batch: int) -> None:
    trunk = features(name)
    image = torch.randn(batch, 3, 96, 160)
    with torch.no_grad():
        expected, found = trunk(image), rewrite_for_inference(trunk)(image)
    assert stages(rewrite_for_inference(trunk)) == 4
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5)


def test_batch_norm_of_efficientnet_is_folded_and_its_weights_kept() -> None:
    trunk = features("tf_efficientnet_lite0")
    rewritten = rewrite_for_inference(trunk)
    assert not any(isinstance(child, nn.BatchNorm2d) for child in rewritten.modules())
    weight, factor = rewritten.conv_stem.factors
    assert torch.equal(weight, trunk.conv_stem.weight)
    torch.testing.assert_close(weight * factor, rewritten.conv_stem.weight)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for a, b in zip(trunk(image), rewritten(image), strict=True):
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size_hw", [(7, 14), (12, 20), (96, 160), (5, 3)])
def test_pooling_by_matrices_is_adaptive_pooling(size_hw: tuple[int, int]) -> None:
    image = torch.randn(2, 3, *size_hw)
    expected = torch.nn.functional.adaptive_avg_pool2d(image, 7)
    torch.testing.assert_close(adaptive_mean(image, 7), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet18"])
def test_stages_of_other_trunks_are_kept(name: str) -> None:
    trunk = features(name)
    image, rewritten = torch.randn(1, 3, 64, 96), rewrite_for_inference(trunk)
    with torch.no_grad():
        for expected, found in zip(trunk(image), rewritten(image), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert stages(rewritten) == 0


def test_batch_norm_is_folded() -> None:
    torch.manual_seed(0)
    block = SeparableBlock(8, 16, kernel=5, stride=2)
    for _ in range(3):
        block(torch.randn(4, 8, 20, 20) * 3 + 1)  # running statistics away from 0 and 1
    block[1].running_var[0] = 1e-4  # small enough for eps to count
    rewritten = rewrite_for_inference(nn.ModuleList([block]))[0]
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in rewritten)
    image = torch.randn(2, 8, 21, 33)
    with torch.no_grad():
        torch.testing.assert_close(rewritten(image), block.eval()(image), rtol=1e-5, atol=1e-5)


def test_the_original_stays_trainable_and_unchanged() -> None:
    trunk = features("pvt_v2_b0").train()
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    rewritten = rewrite_for_inference(trunk)
    assert trunk.training
    assert all(p.requires_grad for p in trunk.parameters())
    assert stages(trunk) == 0
    assert not any(p.requires_grad for p in rewritten.parameters())
    with torch.no_grad():
        for parameter in rewritten.parameters():
            parameter.zero_()
    assert all(torch.equal(before[key], value) for key, value in trunk.state_dict().items())


def test_boxes_are_the_same_when_their_last_layer_comes_after_the_choice_of_points() -> None:
    """Towers of different width and points of every level, the first and last of each included."""
    torch.manual_seed(0)
    det = Det(16, (4, 8, 16, 32)).eval()
    for parameter in det.parameters():
        nn.init.normal_(parameter, 0.0, 0.5)
    rewritten = rewrite_for_inference(nn.Sequential(det))[0]
    features = [torch.randn(2, 16, 64 // s, 96 // s) for s in (4, 8, 16, 32)]
    with torch.no_grad():
        raw, later = det(features), rewritten(features)
        widths = [later[f"box{s}"].shape[1] for s in (4, 8, 16, 32)]
        assert widths == [8, 16, 16, 16]
        point = torch.arange(510).repeat(2, 1)  # 384 + 96 + 24 + 6 points
        torch.testing.assert_close(rewritten._box_at(later, point), det._box_at(raw, point))
        torch.testing.assert_close(rewritten.decode(later), det.decode(raw))
