"""Dense heads: what their decoding computes."""

import pytest
import torch

from perception.classes import LANE_BACKGROUND, LANE_IGNORE
from perception.tasks.dense import MAX_COMPARED, enlarge, enlarged_argmax, tversky
from perception.tasks.lane import Lane


@pytest.mark.parametrize("classes", [2, 3, MAX_COMPARED, MAX_COMPARED + 1])
@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7)])
def test_enlarged_argmax_is_argmax_of_the_enlarged(classes, factor, shape):
    torch.manual_seed(0)
    logits = torch.randn(2, classes, *shape)
    expected = enlarge(logits, factor).argmax(1)
    found = enlarged_argmax(logits, factor)
    assert found.dtype == torch.uint8
    assert torch.equal(found.long(), expected)


def test_first_class_wins_ties():
    assert not enlarged_argmax(torch.ones(1, 3, 2, 2), 4).any()


@pytest.mark.parametrize(
    ("probability", "truth", "known", "loss"),
    [
        ([1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], 1 - 2 / 2.4),  # one false positive
        ([1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], 1 - 2 / 2.6),  # one miss
        ([1, 0, 1, 0], [1, 0, 0, 1], [1, 1, 0, 0], 0.0),  # both where nothing is known
        ([0.5, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], 1 - 1 / 1.2),  # no lane at all
    ],
)
def test_tversky_by_hand(probability, truth, known, loss):
    arrays = (torch.tensor([[row]], dtype=torch.float32) for row in (probability, truth, known))
    found = tversky(*arrays, alpha=0.4, beta=0.6)
    assert float(found.mean()) == pytest.approx(loss, abs=1e-6)
    assert found.count == 1


LN = torch.tensor([1.0, 3.0]).log()  # probabilities 1/4 and 3/4


def lane_raw(lane: Lane) -> dict[str, torch.Tensor]:
    """One cell at stride 4: every category alike, style 3/4 dashed, direction 3/4 vertical."""
    raw = {"foreground": torch.zeros(1, 16, 1, 1), "category": torch.zeros(1, 8, 1, 1)}
    return raw | {name: LN.view(1, 2, 1, 1) for name in ("style", "direction")}


@pytest.mark.parametrize(
    ("byte", "style", "direction"),
    [
        (6, 1.386294, 1.386294),  # solid, parallel: ln 4
        (6 + 16, 0.287682, 1.386294),  # dashed, parallel
        (6 + 32, 1.386294, 0.287682),  # solid, vertical: ln(4/3)
    ],
)
def test_lane_types_cost_three_tenths_of_their_cross_entropy(byte, style, direction):
    lane = Lane(8, (4,))
    target = torch.full((1, 4, 4), LANE_BACKGROUND, dtype=torch.uint8)
    target[0, 2, 1] = byte
    losses = lane.loss(lane_raw(lane), {"lane": target})
    found = [float(losses[name].mean()) for name in ("category", "style", "direction")]
    assert found == pytest.approx([0.3 * 2.079442, 0.3 * style, 0.3 * direction], abs=1e-5)


def test_focal_loss_of_lanes_by_hand():
    """At probability 1/2: 20 * 0.25 * ln 2 times 0.75 for lane, 0.25 for background."""
    lane = Lane(8, (4,))
    target = torch.full((1, 4, 4), LANE_IGNORE, dtype=torch.uint8)
    target[0, 0, 0] = 6
    assert float(lane.loss(lane_raw(lane), {"lane": target})["focal"].mean()) == pytest.approx(
        2.599302, abs=1e-5
    )
    target[0, 0, 0] = LANE_BACKGROUND
    assert float(lane.loss(lane_raw(lane), {"lane": target})["focal"].mean()) == pytest.approx(
        0.866434, abs=1e-5
    )


def test_the_decoded_lane_byte_has_each_part_at_its_bits():
    lane = Lane(8, (4,))
    raw = lane_raw(lane)
    raw["foreground"][:, 5] = 1.0  # row 1, column 1 of the cell
    raw["category"][:, 3] = 1.0
    bits = {(0, 0): 3, (1, 0): 3 + 16, (0, 1): 3 + 32, (1, 1): 3 + 16 + 32}
    for (style, direction), byte in bits.items():
        raw["style"] = torch.eye(2)[style].view(1, 2, 1, 1)
        raw["direction"] = torch.eye(2)[direction].view(1, 2, 1, 1)
        expected = torch.full((1, 4, 4), LANE_BACKGROUND, dtype=torch.uint8)
        expected[0, 1, 1] = byte
        assert torch.equal(lane.decode(raw), expected)
