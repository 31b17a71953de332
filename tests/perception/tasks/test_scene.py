"""Calibration of the frame attributes."""

import pytest
import torch
from torch import nn

from perception.runtime.view import Group, View
from perception.tasks.base import total_loss
from perception.tasks.scene import Scene


def test_the_temperature_corrects_overconfidence_only():
    torch.manual_seed(0)
    scene = Scene(4, (4, 8))
    # Answers drawn from softmax(logits): three times the logits is three times too sure.
    fair = torch.randn(4000, sum(scene.sizes))
    labels = torch.stack(
        [torch.multinomial(part.softmax(1), 1)[:, 0] for part in fair.split(scene.sizes, 1)], 1
    )
    logits = 3 * fair
    optimizer = torch.optim.Adam([scene.log_temperature], 0.1)
    for _ in range(60):
        optimizer.zero_grad()
        raw = {"logits": logits, "tempered": scene.tempered(logits)}
        losses = scene.loss(raw, {"labels": labels})
        sum(v.mean() for k, v in losses.items() if k.endswith("temperature")).backward()
        optimizer.step()
    assert scene.log_temperature.exp().tolist() == pytest.approx([3.0] * 3, rel=0.1)
    before = logits.split(scene.sizes, 1)
    after = scene.decode({"logits": logits, "tempered": scene.tempered(logits)})
    for index, (part, size) in enumerate(zip(before, scene.sizes, strict=True)):
        assert torch.equal(part.argmax(1), after[:, index, :size].argmax(1))
        expected = (fair.split(scene.sizes, 1)[index]).softmax(1)
        torch.testing.assert_close(after[:, index, :size], expected, atol=0.05, rtol=0)


def test_unknown_attributes_do_not_change_the_temperature():
    scene = Scene(4, (4, 8))
    logits = torch.randn(2, sum(scene.sizes))
    raw = {"logits": logits, "tempered": scene.tempered(logits)}
    total_loss(scene.loss(raw, {"labels": torch.full((2, 3), -1)})).backward()
    assert not scene.log_temperature.grad.any()


def test_the_temperature_loss_has_no_gradient_on_the_head():
    torch.manual_seed(0)
    scene = Scene(4, (4, 8))
    raw = scene([torch.randn(2, 4, 4, 4), torch.randn(2, 4, 2, 2)])
    losses = scene.loss(raw, {"labels": torch.zeros(2, 3, dtype=torch.int64)})
    sum(v.mean() for k, v in losses.items() if k.endswith("temperature")).backward()
    assert scene.log_temperature.grad.all()
    assert all(parameter.grad is None for parameter in scene.perceptron.parameters())


def test_rare_classes_are_weighted_by_the_root_of_their_inverse_frequency():
    view = View("label", groups=(Group("sky", ("sun", "rain")),))
    scene = Scene(4, (4, 8), view).eval()
    scene.counts[:] = torch.tensor([40.0, 10.0])  # weights in the ratio 1 to 2
    logits = torch.tensor([[3.0, 1.0], [3.0, 1.0]]).log()  # probabilities 3/4 and 1/4
    raw = {"logits": logits, "tempered": logits}
    losses = scene.loss(raw, {"labels": torch.tensor([[0], [1]])})
    # (ln(4/3) + 2 ln 4) / 3, halved; the temperature's loss is not weighted, and a tenth.
    assert float(losses["sky"].mean()) == pytest.approx(0.510045, abs=1e-5)
    assert float(losses["sky_temperature"].mean()) == pytest.approx(0.083699, abs=1e-5)
    # At most 5: the root of 200 is 14.
    scene.counts[:] = torch.tensor([399.0, 1.0])
    rare = scene.loss(raw, {"labels": torch.tensor([[-1], [1]])})["sky"]
    assert float(rare.count) == pytest.approx(5.0)


def test_the_two_coarsest_levels_reach_the_logits_finer_first():
    view = View("label", groups=(Group("a", tuple("vwxyz")), Group("b", tuple("xyz"))))
    scene = Scene(4, (4, 8, 16, 32), view)
    scene.perceptron = nn.Identity()
    levels = [torch.full((1, 4, size, size), 8.0 / size) for size in (8, 4, 2, 1)]
    levels[2][..., 0] = 0.0  # the mean of a half is 2
    assert scene(levels)["logits"].tolist() == [[2.0] * 4 + [8.0] * 4]
