"""Semantic, depth and normals: what the tests over the registry do not cover."""

import numpy as np
import pytest
import torch

from perception.classes import IGNORE
from perception.tasks import TASKS
from perception.tasks.base import total_loss
from perception.tasks.dense import cross_entropy, mask_loss
from perception.tasks.depth import FARTHEST, NEAREST, Depth
from perception.tasks.image_classes import ClassesVOC
from perception.tasks.normals import Normals

STRIDES = (4, 8, 16, 32)


@pytest.mark.parametrize(
    ("name", "count"),
    [("semantic", 19), ("semantic_nyuv2", 13), ("semantic_ade20k", 150), ("semantic_voc", 21)],
)
def test_a_label_space_has_its_own_head(name: str, count: int):
    task = TASKS[name](8, STRIDES).eval()
    raw = task([torch.randn(1, 8, 4, 6)])
    assert raw["logits"].shape[1] == count == len(set(TASKS[name].view.classes))
    raw["logits"][:] = 0
    raw["logits"][:, count - 1] = 1
    assert (task.decode(raw) == count - 1).all()


@pytest.mark.parametrize("unknown", [False, True])
def test_mask_loss_equals_its_formulas(unknown: bool):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 6, 7, generator=generator)
    mask = torch.randint(0, 3, (3, 6, 7), dtype=torch.uint8, generator=generator)
    if unknown:
        mask[0, :3], mask[2] = IGNORE, IGNORE
    known, p = mask != IGNORE, logits.softmax(1)
    frames = [frame for frame in range(3) if known[frame].any()]
    per_frame = []
    for frame in frames:
        dices = []
        for index in range(3):  # classes 3 and 4 are not shown
            here = p[frame, index][known[frame]]
            truth = (mask[frame] == index)[known[frame]].float()
            dices.append(2 * (here * truth).sum() / (here.sum() + truth.sum()))
        per_frame.append(1 - torch.stack(dices).mean())
    parts = mask_loss(logits, mask)
    assert parts["overlap"].count == len(frames)
    torch.testing.assert_close(parts["overlap"].mean(), 0.5 * torch.stack(per_frame).mean())
    expected = cross_entropy(logits, mask, known).mean()
    torch.testing.assert_close(parts["cross_entropy"].mean(), expected)


def test_depth_loss_is_zero_at_the_truth_and_ignores_unknown_pixels():
    truth = torch.full((1, 16, 16), 20.0)
    truth[:, :, 8:] = torch.nan
    truth[:, 0] = 0  # some datasets write zero for unknown
    raw = {"log_depth": torch.full((1, 1, 4, 4), float(np.log(20.0)))}
    loss = total_loss(Depth(8, STRIDES).loss(raw, {"map": truth}))
    assert float(loss) == pytest.approx(0, abs=1e-5)
    twice = {"log_depth": raw["log_depth"] + float(np.log(2.0))}
    parts = Depth(8, STRIDES).loss(twice, {"map": truth})
    assert float(parts["log"].mean()) == pytest.approx(np.log(2), abs=1e-5)
    assert float(parts["metres"].mean()) == pytest.approx(
        0.5, abs=1e-5
    )  # 20 m off at a mean of 20 m


def test_f1_of_what_an_image_shows_by_hand():
    """Found present four times: absent, present, difficult and unknown in truth; one is missed."""
    metric = ClassesVOC.metric(ClassesVOC.view)
    metric.update(np.eye(3)[[1, 1, 1, 1, 0]], {"labels": np.array([0, 1, 2, -1, 1])})
    assert metric.compute() == {"F1": pytest.approx(100 * 2 / (3 + 2)), "accuracy": 25.0}


def test_depth_out_of_range_is_not_scored():
    metric = Depth.metric(Depth.view)
    truth = np.array([[10.0, 0.0, 1e6, np.nan]], np.float32)
    metric.update(np.full((1, 4), 12, np.float32), {"map": truth})
    assert metric.compute()["abs"] == pytest.approx(2)


@pytest.mark.parametrize("raw", [-50.0, 50.0])
def test_depth_stays_in_its_range(raw: float):
    decoded = Depth(8, STRIDES).decode({"log_depth": torch.full((1, 1, 2, 2), raw)})
    assert decoded.min() >= NEAREST * 0.999
    assert decoded.max() <= FARTHEST * 1.001


def test_normals_have_unit_length_and_opposite_ones_cost_most():
    task = Normals(8, STRIDES)
    up = torch.zeros(1, 3, 2, 2)
    up[:, 1] = -7
    assert torch.allclose(task.decode({"vectors": up}).norm(dim=1), torch.ones(1, 8, 8))
    truth = torch.zeros(1, 3, 8, 8)
    truth[:, 1] = -1
    truth[:, :, :, 4:] = torch.nan
    right = task.loss({"vectors": up}, {"normals": truth})
    opposite = task.loss({"vectors": -up}, {"normals": truth})
    assert float(total_loss(right)) == pytest.approx(0, abs=1e-6)
    assert float(opposite["cosine"].mean()) == pytest.approx(2)


def test_normals_at_a_right_angle_by_hand():
    """Cosine 0 costs 1; the L1 distance of (0, 0, 3) from (0, 1, 0) is 2, of which half counts."""
    vectors, truth = torch.zeros(1, 3, 1, 1), torch.zeros(1, 3, 4, 4)
    vectors[:, 2], truth[:, 1] = 3.0, 1.0
    losses = Normals(8, STRIDES).loss({"vectors": vectors}, {"normals": truth})
    assert [float(losses[name].mean()) for name in ("cosine", "l1")] == [1.0, 1.0]


def test_errors_in_metres_are_relative_to_the_mean_depth():
    """10 m for 20 m and for 5 m, and for pixels of unknown depth: 15 m off, 25 m in sum."""
    truth = torch.tensor([[[20.0, 5.0], [1e6, 0.0]]])
    raw = {"log_depth": torch.full((1, 1, 2, 2), float(np.log(10.0)))}
    losses = Depth(8, (1,)).loss(raw, {"map": truth})
    assert float(losses["metres"].mean()) == pytest.approx(0.5 * 15 / 25)
    assert float(losses["log"].mean()) == pytest.approx(np.log(2))
