"""Dense heads: what their decoding computes."""

import pytest
import torch

from perception.tasks.dense import MAX_COMPARED, enlarge, enlarged_argmax


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
