import numpy as np
import torch

from perception.tasks.duplicates import SUPPRESSED, cluster_nms


def suppress(boxes: list[list[float]], label: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of score 0.8 each, and what becomes of them: boxes and scores / 0.8."""
    scores = torch.full((1, len(boxes)), 0.8)
    merged, left = cluster_nms(torch.tensor([boxes]), scores, torch.tensor([label]))
    return merged[0].numpy(), left[0].numpy() / 0.8


def test_duplicates_of_a_better_box_are_suppressed():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 8], [0, 2, 10, 10], [0, 0, 10, 9.5], [50, 50, 60, 60.0]]
    # All but the last overlap the first: by 0.8, its own class; 0.8, another class; 0.95, another.
    _, left = suppress(boxes, [2, 2, 3, 4, 2.0])
    np.testing.assert_allclose(left > 2 * SUPPRESSED, [True, False, True, False, True])
    np.testing.assert_allclose(left[[0, 2, 4]], 1, atol=1e-6)


def test_a_box_that_only_a_duplicate_overlaps_is_kept():
    # Each overlaps the next by 0.54: the second duplicates the first, the fourth the third.
    chain = [[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10], [9, 0, 19, 10.0]]
    _, left = suppress(chain, [0.0] * 4)
    np.testing.assert_allclose(left > 2 * SUPPRESSED, [True, False, True, False])
    # The third overlaps the first, which is kept, by 4 / 16.
    np.testing.assert_allclose(left[[0, 2]], [1, np.exp(-(0.25**2))], atol=1e-6)


def test_a_kept_box_is_the_mean_of_its_duplicates_weighted_by_score_and_overlap():
    boxes = torch.tensor([[[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 6], [0, 0, 10, 4.0]]])
    scores, label = torch.tensor([[0.9, 0.5, 0.4, 0.3]]), torch.tensor([[1.0, 1, 2, 1]])
    merged, _ = cluster_nms(boxes, scores, label)
    # The second has IoU 0.8 with the first; the third another class, the fourth IoU 0.4.
    bottom = (0.9 * 0.5 * 10 + 0.5 * 0.3 * 8) / (0.9 * 0.5 + 0.5 * 0.3)
    np.testing.assert_allclose(merged[0, 0], [0, 0, 10, bottom], rtol=1e-6)


def test_boxes_of_no_size_are_no_duplicates():
    merged, left = suppress([[5.0, 5, 5, 5]] * 3, [0.0] * 3)
    assert merged.tolist() == [[5, 5, 5, 5]] * 3
    assert left.tolist() == [1, 1, 1]
