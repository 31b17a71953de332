"""Which optimiser updates which parameter, and by how much."""

import math

import pytest
import torch
from torch import nn

from training.optimiser import make_optimizer, rate_at, set_rate, stage_of

RATE = 0.01


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3)
        self.kernel = nn.Conv2d(32, 24, 3)
        self.depthwise = nn.Conv2d(32, 32, 5, groups=32)
        self.matrix = nn.Linear(48, 20)


def stepped(muon: bool, rate: float = 1.0) -> dict[str, torch.Tensor]:
    """The change of each parameter in one step at `rate` times RATE, with the same gradients."""
    torch.manual_seed(0)
    model = Layers().to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model, nn.Module(), RATE, 0.0, 1.0, muon)
    set_rate(optimizer, rate)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return {name: p.detach() - before[name] for name, p in model.named_parameters()}


@pytest.mark.parametrize("name", ["kernel.weight", "matrix.weight"])
def test_muon_steps_are_orthogonal_and_as_large_as_those_of_adamw(name: str) -> None:
    change = stepped(muon=True)[name].flatten(1)
    wanted = 0.2 * math.sqrt(max(change.shape)) * RATE  # arXiv 2502.16982, equation 4
    sizes = torch.linalg.svdvals(change) / wanted
    # Five Newton-Schulz steps leave the singular values between 0.7 and 1.2.
    assert sizes.min() > 0.6
    assert sizes.max() < 1.3
    assert torch.linalg.svdvals(stepped(muon=False)[name].flatten(1)).max() > 1.5 * wanted


@pytest.mark.parametrize(("has_bf16", "digits"), [(False, 1e-5), (True, 0.1)])
def test_muon_computes_in_single_precision_where_bf16_is_emulated(
    has_bf16: bool, digits: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.optimiser.cpu_has_bf16", lambda: has_bf16)
    layer = nn.Linear(48, 20, bias=False)
    before = layer.weight.detach().clone()
    optimizer = make_optimizer(layer, nn.Module(), RATE, 0.0, 1.0, muon=True)
    layer.weight.grad = torch.randn(20, 48, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    x = layer.weight.grad.double()
    x = x / x.norm()
    for _ in range(5):  # Newton-Schulz, coefficients of Muon's first version
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    wanted = -0.2 * math.sqrt(48) * x.float()
    error = ((layer.weight.detach() - before) / RATE - wanted).abs().max()
    assert digits / 1000 < error < digits  # bf16 has three digits, float32 seven


def test_the_rest_is_updated_as_by_adamw() -> None:
    muon, adamw = stepped(muon=True), stepped(muon=False)
    others = set(muon) - {"kernel.weight", "matrix.weight"}
    assert "first.weight" in others
    assert "depthwise.weight" in others
    for name in others:
        torch.testing.assert_close(muon[name], adamw[name], rtol=1e-6, atol=1e-8)


def test_the_schedule_reaches_both() -> None:
    whole, tenth = stepped(muon=True), stepped(muon=True, rate=0.1)
    for name, change in whole.items():
        torch.testing.assert_close(tenth[name], 0.1 * change, rtol=1e-2, atol=1e-6)


def test_a_step_of_muon_is_the_one_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.optimiser.cpu_has_bf16", lambda: True)  # torch has bf16 alone
    change = stepped(muon=True)["matrix.weight"]
    torch.manual_seed(0)
    model = Layers().to(memory_format=torch.channels_last)
    matrix = model.matrix.weight
    gradients = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    before, matrix.grad = matrix.detach().clone(), gradients["matrix.weight"]
    torch.optim.Muon([matrix], RATE, weight_decay=0.0, adjust_lr_fn="match_rms_adamw").step()
    assert torch.equal(matrix.detach() - before, change)


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("trunk.body.patch_embed.proj.weight", 0),
        ("trunk.body.stages_0.blocks.2.norm1.weight", 1),
        ("trunk.body.stages_3.downsample.proj.weight", 4),
        ("trunk.columns.0.body.stages_3.blocks.0.norm1.weight", 4),  # +cross-stitch
        ("trunk.columns.1.body.patch_embed.proj.weight", 0),
        ("trunk.mixes.2", None),  # belongs to no trunk
        ("trunk.body.blocks.3.1.conv_pw.weight", 4),  # EfficientNet
        ("trunk.body.conv_stem.weight", 0),
        ("trunk.body.layer4.0.conv1.weight", 4),  # ResNet
        ("trunk.body.layers_3.blocks.1.norm1.weight", 4),  # Swin
        ("trunk.body.s4.b1.conv1.conv.weight", 4),  # RegNet
        ("neck.up.0.weights", None),
        ("tasks.det.body.stages_1.weight", None),
    ],
)
def test_the_stage_of_a_parameter(name: str, stage: int | None) -> None:
    assert stage_of(name) == stage


class Staged(nn.Module):
    """Names of a trunk with two stages, a neck and a head."""

    def __init__(self) -> None:
        super().__init__()
        names = ("stem", "stages_0", "stages_1")
        self.trunk = nn.ModuleDict({"body": nn.ModuleDict({n: nn.Linear(2, 2) for n in names})})
        self.neck = nn.Linear(2, 2)


def test_layer_decay_halves_the_rate_towards_the_stem() -> None:
    model = Staged()
    optimizer = make_optimizer(model, nn.Module(), 1.0, 0.0, 0.5)
    rates = {p: group["peak"] for group in optimizer.param_groups for p in group["params"]}
    found = {name.removesuffix(".weight"): rates[p] for name, p in model.named_parameters()}
    assert found["trunk.body.stem"] == 0.125
    assert found["trunk.body.stages_0"] == 0.25
    assert found["trunk.body.stages_1"] == 0.5
    assert found["neck"] == 1.0


def test_the_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    assert rate_at(0.0, 0.03) == 1e-3
    assert rate_at(0.015, 0.03) == 0.5
    assert rate_at(0.03, 0.03) == 1.0
    assert rate_at(0.515, 0.03) == pytest.approx(0.505)  # half of the rest: (1 + 0.01) / 2
    assert rate_at(0.2725, 0.03) == pytest.approx(0.01 + 0.99 * 0.5 * (1 + math.sqrt(0.5)))
    assert rate_at(1.0, 0.03) == pytest.approx(0.01)
    assert rate_at(1.2, 0.03) == pytest.approx(0.01)
    assert rate_at(0.5, 0.0) == pytest.approx(0.505)


@pytest.mark.parametrize("muon", [False, True])
def test_vectors_and_the_balancers_own_parameters_have_no_weight_decay(muon: bool) -> None:
    model, balancer = Layers(), nn.Linear(3, 3)
    optimizer = make_optimizer(model, balancer, RATE, 0.05, 1.0, muon)
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.999)}
    decays = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert decays[parameter] == (0.05 if name.endswith("weight") else 0.0), name
    assert [decays[parameter] for parameter in balancer.parameters()] == [0.0, 0.0]


def test_frozen_parameters_are_not_updated() -> None:
    model = Layers()
    model.kernel.requires_grad_(False)
    optimizer = make_optimizer(model, nn.Module(), RATE, 0.05, 1.0)
    updated = {p for group in optimizer.param_groups for p in group["params"]}
    assert updated == set(model.parameters()) - set(model.kernel.parameters())


@pytest.mark.parametrize(
    ("shape", "muon"),
    [
        ((16, 16), True),
        ((15, 64), False),
        ((64, 15), False),
        ((16, 16, 3, 3), True),
        ((64,), False),
    ],
)
def test_muon_updates_matrices_of_16_channels_and_more(shape: tuple[int, ...], muon: bool) -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(shape))
    (group,) = make_optimizer(model, nn.Module(), RATE, 0.0, 1.0, muon=True).param_groups
    assert group.get("use_fallback", False) != muon
