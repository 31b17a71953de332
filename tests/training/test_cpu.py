"""The CPU replacements have the gradients of the operators they replace."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from perception.model import build
from perception.runtime.providers import cpu_has_bf16
from training.cpu import Depthwise, for_cpu
from training.learner import use_bf16


def gradients(module: nn.Module, x: Tensor, weight: Tensor) -> list[Tensor]:
    """Gradients of sum(weight * module(x)) by x and by the module's parameters, under bf16."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    loss = (y.float() * weight).sum()
    return list(torch.autograd.grad(loss, [x, *module.parameters()]))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (2, 7), (12, 9), (8, 10)])
@pytest.mark.parametrize(
    "conv_of",
    [
        partial(nn.Conv2d, kernel_size=5, padding=2),
        partial(nn.Conv2d, kernel_size=3, stride=2, padding=1),
        partial(nn.Conv2d, kernel_size=5, stride=2, padding=(2, 3)),
        partial(Conv2dSame, kernel_size=3, stride=2),
        partial(Conv2dSame, kernel_size=5, stride=2),
    ],
)
def test_depthwise_gradients(
    size: tuple[int, int], bias: bool, conv_of: Callable[..., nn.Conv2d]
) -> None:
    torch.manual_seed(0)
    conv = conv_of(6, 6, groups=6, bias=bias)
    x = torch.randn(3, 6, *size).bfloat16().float()
    conv.weight.data = conv.weight.data.bfloat16().float()
    weight = torch.randn_like(conv(x)).bfloat16().float()
    net = nn.Sequential(conv)
    for_cpu(net)
    assert isinstance(net[0], Depthwise)
    torch.testing.assert_close(net(x), conv(x))
    mine = gradients(net, x, weight)
    x.requires_grad_()
    true = torch.autograd.grad((conv(x) * weight).sum(), [x, *conv.parameters()])
    for a, b in zip(mine, true, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2 * float(b.abs().max()))


@pytest.mark.parametrize("stride", [1, 2])
def test_stand_ins_work_under_vmap(stride: int) -> None:
    """Jacobian methods ask for several tasks' gradients at once."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 4, 5, stride, 2, groups=4), nn.GELU())
    for_cpu(net)
    assert isinstance(net[0], Depthwise)
    x = torch.randn(2, 4, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        y = net(x).contiguous()
    several = torch.randn(3, *y.shape).bfloat16()
    weight = net[0].weight
    (batched,) = torch.autograd.grad(y, weight, several, is_grads_batched=True, retain_graph=True)
    for row, one in zip(batched, several, strict=True):
        (true,) = torch.autograd.grad(y, weight, one, retain_graph=True)
        torch.testing.assert_close(row, true, rtol=2e-2, atol=2e-2)


def test_model_keeps_names_weights_and_float_outputs() -> None:
    torch.manual_seed(0)
    model = build("pvt-hydranet-b0", ["det", "lane", "drivable", "scene"]).eval()
    frames = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    names = list(model.state_dict())
    with torch.no_grad():
        before = model(frames)
        for_cpu(model)
        after = model(frames)
    assert list(model.state_dict()) == names
    kinds = {type(module) for module in model.modules()}
    assert Depthwise in kinds
    for task, raw in before.items():
        for key, value in raw.items():
            torch.testing.assert_close(after[task][key], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ("fpu avx512f avx512_vnni amx_tile", False),  # Ice Lake: bf16 is emulated
        ("fpu avx512f avx512_bf16", True),
        ("fpu amx_bf16", True),
        ("Features : fp asimd bf16 i8mm", True),  # ARM
        ("Features : fp asimd", False),
        ("", False),
    ],
)
def test_bf16_needs_instructions(
    flags: str, has: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor : 0\nflags : {flags}\n")
    assert cpu_has_bf16(path) is has
    assert not cpu_has_bf16(tmp_path / "none")
    monkeypatch.setattr("training.learner.cpu_has_bf16", lambda: cpu_has_bf16(path))
    # What oneDNN calls supported includes emulation.
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    cpu = torch.device("cpu")
    assert use_bf16("auto", cpu) is has
    assert use_bf16("bf16", cpu) is True
    assert use_bf16("fp32", cpu) is False
