"""Methods with a pass of the trunk per task: attentive single-tasking, experts with gates."""

from math import log

import pytest
import torch
from timm.layers import Mlp
from torch import nn

from perception.errors import UserError
from perception.model import build
from perception.sharing.attentive import Attentive, Modulation, branches
from perception.sharing.experts import BIAS_STEP, Gate, TaskExperts, gate_hidden_units
from perception.trunk import Trunk


def image() -> torch.Tensor:
    return torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def assert_equal(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    for one, two in zip(found, wanted, strict=True):
        assert torch.allclose(one, two, atol=1e-5)


@pytest.mark.parametrize(("axis", "shape"), [(-1, (1, 2, 1)), (1, (1, 1, 2, 1))])
def test_a_branch_is_adapted_and_its_channels_weighted(axis: int, shape: tuple[int, ...]):
    modulation = Modulation(1, axis)
    branch = torch.tensor([1.0, 3.0]).view(shape)
    assert torch.equal(modulation(branch), branch)
    with torch.no_grad():
        modulation.adapter.weight.fill_(2.0)  # b + A b = 3 b: 3 and 9, mean 6
        modulation.squeeze.weight.copy_(torch.tensor([[1.0], [0.0], [0.0], [-1.0]]))
        modulation.squeeze.bias.zero_()
        modulation.excite.weight.copy_(torch.tensor([[1.0, 5.0, 5.0, 7.0]]))
        modulation.excite.bias.fill_(log(3) - 6)  # factor 2 * 3/4
    assert modulation(branch).flatten().tolist() == pytest.approx([4.5, 13.5], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "count", "axis"),
    [
        ("pvt_v2_b0", 16, -1),
        ("tf_efficientnet_lite0", 9, 1),
        ("swin_tiny_patch4_window7_224", 24, -1),
    ],
)
def test_every_residual_branch_is_modulated_for_its_own_task(name: str, count: int, axis: int):
    torch.manual_seed(0)
    trunk = Trunk(name)
    plain = trunk.eval()(image())
    assert [place for _, place in branches(trunk).values()] == [axis] * count
    attentive = Attentive(lambda: trunk, 2).eval()
    with torch.no_grad():
        assert_equal(attentive(image()), [*plain, *plain])
        attentive.parts[1].modulations[0].adapter.weight.fill_(0.1)
        assert_equal(attentive(image())[:4], plain)
        changed = attentive(image())[4:]
        assert not any(torch.allclose(x, y) for x, y in zip(changed[1:], plain[1:], strict=True))
        assert_equal(attentive.unfolded()(image()), attentive(image()))
    assert_equal(trunk(image()), plain)  # no hook is left


def test_a_trunk_without_residual_branches_is_refused():
    with pytest.raises(UserError, match="no residual blocks"):
        build("resnet50+attentive", ["depth"])


def test_the_best_experts_are_weighted_by_a_softmax_and_the_least_used_preferred():
    gate = Gate(3, experts=3, chosen=2).train()
    with torch.no_grad():
        gate.scores.weight.copy_(torch.eye(3))
    token = torch.tensor([[log(1), log(3), log(9)]])
    # Experts 1 and 2: a softmax of 1/4 and 3/4, times two.
    assert gate(token).flatten().tolist() == pytest.approx([0.0, 0.5, 1.5])
    assert gate.bias.tolist() == pytest.approx([BIAS_STEP, -BIAS_STEP, -BIAS_STEP])
    gate.eval().bias.copy_(torch.tensor([5.0, 0.0, 0.0]))
    assert gate(token).flatten().tolist() == pytest.approx([0.2, 0.0, 1.8])
    assert gate.bias.tolist() == [5.0, 0.0, 0.0]


def test_hidden_units_are_multiplied_by_the_weight_of_their_expert():
    mlp = Mlp(1, 4, 1, act_layer=nn.Identity)
    gate = Gate(1, experts=2, chosen=1).eval()
    with torch.no_grad():
        mlp.fc1.weight.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
        mlp.fc2.weight.fill_(1.0)
        mlp.fc1.bias.zero_()
        mlp.fc2.bias.zero_()
        gate.scores.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        handles = gate_hidden_units(mlp, gate)
        tokens = torch.tensor([[1.0], [-1.0]])
        # The first token has the first expert, 1 + 2; the second the other one, -(3 + 4).
        assert mlp(tokens).flatten().tolist() == [3.0, -7.0]
        for handle in handles:
            handle.remove()
        assert mlp(tokens).flatten().tolist() == [10.0, -10.0]


@pytest.mark.parametrize("name", ["pvt_v2_b0", "swin_tiny_patch4_window7_224"])
def test_all_experts_with_equal_weights_are_the_trunk_itself(name: str):
    torch.manual_seed(0)
    trunk = Trunk(name)
    plain = trunk.eval()(image())
    experts = TaskExperts(lambda: trunk, 2).eval()
    with torch.no_grad():
        assert not torch.allclose(experts(image())[3], plain[3])
        for gate in (gate for part in experts.parts for gate in part.gates):
            gate.chosen = len(gate.bias)
            gate.scores.weight.zero_()
        assert_equal(experts(image()), [*plain, *plain])


def test_a_trunk_without_mlps_is_refused():
    with pytest.raises(UserError, match="it has no MLPs"):
        build("hydranet-lite0+task-experts", ["depth"])
