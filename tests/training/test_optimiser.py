"""Which optimiser updates which parameter, and by how much."""

import math

import pytest
import torch
from torch import nn

from training.optimiser import make_optimizer, set_rate

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


def test_a_step_of_muon_is_the_one_of_torch() -> None:
    change = stepped(muon=True)["matrix.weight"]
    torch.manual_seed(0)
    model = Layers().to(memory_format=torch.channels_last)
    matrix = model.matrix.weight
    gradients = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    before, matrix.grad = matrix.detach().clone(), gradients["matrix.weight"]
    torch.optim.Muon([matrix], RATE, weight_decay=0.0, adjust_lr_fn="match_rms_adamw").step()
    assert torch.equal(matrix.detach() - before, change)
