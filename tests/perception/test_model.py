"""Every named network builds, has the same outputs and is found by its name."""

import pytest
import torch
from torch import nn

from perception.errors import UserError
from perception.model import Deployed, HydraNet, build

TASKS = ["det", "drivable", "lane", "scene"]
LIGHT = ["pvt-hydranet-b0", "hydranet-regnet", "yolop-like"]


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_frames_are_bgr_and_the_network_sees_normalised_rgb():
    blue = torch.tensor([255, 0, 0], dtype=torch.uint8).expand(1, 2, 4, 3)
    image = HydraNet(nn.Identity(), nn.Identity(), {}).image(blue)
    assert image.shape == (1, 3, 2, 4)
    # Red and green -mean / std of ImageNet, blue (255 - 103.53) / 57.375.
    assert image[0, :, 0, 0].tolist() == pytest.approx([-2.1179, -2.0357, 2.6400], abs=1e-4)


@pytest.mark.parametrize("name", LIGHT)
def test_same_outputs_from_every_recipe(name):
    model = build(name, TASKS).eval()
    with torch.no_grad():
        outputs = Deployed(model)(torch.zeros(1, 64, 96, 3, dtype=torch.uint8))
    shapes = [tuple(output.shape) for output in outputs]
    assert shapes == [(1, 300, 6), (1, 64, 96), (1, 64, 96), (1, 3, 6)]


@pytest.mark.parametrize("name", ["resnet50", "swin-tiny"])
def test_study_trunks_give_the_pyramid(name):
    model = build(name, ["scene"]).eval()
    with torch.no_grad():
        features = model.features(torch.zeros(1, 64, 96, 3, dtype=torch.uint8))
    assert [tuple(f.shape[2:]) for f in features] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_a_single_task_model_is_the_same_model_with_one_head():
    torch.manual_seed(0)
    alone = build("pvt-hydranet-b0", ["lane"])
    assert list(alone.tasks) == ["lane"]
    assert set(alone.state_dict()) < set(build("pvt-hydranet-b0", TASKS).state_dict())


def test_the_four_task_model_is_hardly_larger_than_its_trunk():
    model = build("pvt-hydranet-b0", TASKS)
    assert parameters(model) <= 1.35 * parameters(model.trunk)
    assert parameters(model) <= 0.40 * sum(
        parameters(build("pvt-hydranet-b0", [task])) for task in TASKS
    )


def test_the_yolop_like_baseline_has_yolops_size():
    assert parameters(build("yolop-like", TASKS)) == pytest.approx(7.9e6, rel=0.1)


@pytest.mark.parametrize(
    ("name", "tasks", "message"),
    [
        ("pvt-hydranet-b9", ["det"], "did you mean 'pvt-hydranet-b"),
        ("pvt-hydranet-b0", ["lanes"], "did you mean 'lane'"),
        ("pvt-hydranet-b0", ["xyz"], "known: "),
    ],
)
def test_an_unknown_name_suggests_the_closest(name, tasks, message):
    with pytest.raises(UserError, match=message):
        build(name, tasks)
