"""MTI-Net: what is propagated between scales, on hand-made maps."""

from math import log

import pytest
import torch
from torch import nn

from perception.model import build
from perception.sharing.mti_net import MTINet, Propagation


def test_maps_are_weighed_by_attention_over_tasks_and_added_to_each():
    propagation = Propagation(1, 2)
    propagation.attention = nn.Sequential(nn.Conv2d(2, 2, 1))
    propagation.shared = nn.Conv2d(2, 1, 1)
    with torch.no_grad():
        propagation.attention[0].weight.zero_()
        propagation.attention[0].bias.copy_(torch.tensor([log(3), 0.0]))  # 3/4 and 1/4
        propagation.shared.weight.copy_(torch.tensor([1.0, 2.0]).view(1, 2, 1, 1))
        propagation.shared.bias.zero_()
        for refine, gate in zip(propagation.refine, (1 / 2, 3 / 4), strict=True):
            refine.fc2.weight.zero_()
            refine.fc2.bias.fill_(log(gate / (1 - gate)))
        first, second = propagation([torch.full((1, 1, 1, 2), value) for value in (4.0, 8.0)])
    # Weighted maps 3 and 2; shared map 3 + 2 * 2 = 7; 4 + 7/2 and 8 + 7 * 3/4.
    assert first.shape == (1, 1, 2, 4)
    assert first.flatten().tolist() == pytest.approx([7.5] * 8)
    assert second.flatten().tolist() == pytest.approx([13.25] * 8)


def test_a_coarse_map_reaches_the_finer_maps_of_every_task_and_no_coarser_one():
    torch.manual_seed(0)
    neck = build("pvt-hydranet-b0+mti-net", ["depth", "normals"]).eval().neck
    assert isinstance(neck, MTINet)
    shared = [torch.rand(1, 64, 16 >> level, 24 >> level) for level in range(4)]
    before = neck.initial_maps(shared)
    for level in range(4):
        changed = [x + (number == level) for number, x in enumerate(shared)]
        for one, two in zip(before, neck.initial_maps(changed), strict=True):
            same = [torch.equal(x, y) for x, y in zip(one, two, strict=True)]
            assert same == [False] * (level + 1) + [True] * (3 - level)
