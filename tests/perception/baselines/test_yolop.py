from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from perception.baselines.yolop import (
    ANCHORS,
    MAX_BOXES,
    REACH,
    AnchorDet,
    _anchors,
    _match,
    _nms,
)
from perception.tasks.base import Raw, total_loss

STRIDES = (4, 8, 16, 32)
SIZE_HW = (96, 640)


def features(batch: int = 2, channels: int = 16) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, channels, SIZE_HW[0] // s, SIZE_HW[1] // s, generator=generator)
        for s in STRIDES
    ]


def target(*frames: list[tuple[float, float, float, float, int]]) -> dict[str, Tensor]:
    """Frames as lists of (x1, y1, x2, y2, class), padded to the longest and by one more."""
    length = max(len(frame) for frame in frames) + 1
    boxes, classes = torch.zeros(len(frames), length, 4), torch.full((len(frames), length), -1)
    for i, frame in enumerate(frames):
        for j, (*xyxy, label) in enumerate(frame):
            boxes[i, j], classes[i, j] = torch.tensor(xyxy), label
    return {"boxes_xyxy": boxes, "classes": classes, "ignore": torch.zeros_like(classes).bool()}


SCENE = target(
    [(10, 12, 34, 30, 2), (60, 40, 64, 50, 8), (300, 20, 450, 90, 4), (100, 5, 109, 12, 9)],
    [(5, 60, 12, 84, 0)],
)
EMPTY = target([], [])


def encode(wanted: dict[str, Tensor]) -> Raw:
    """Raw outputs of a detector that shows these boxes at every place matched with them."""
    raw = {}
    for s in ANCHORS:
        size = (SIZE_HW[0] // s, SIZE_HW[1] // s)
        anchors = _anchors(s, size[1], torch.device("cpu"))
        values = torch.full((len(wanted["classes"]), 3, 15, *size), -9.0)
        match = _match(wanted, anchors, s, size)
        centre = (match.xyxy[:, :2] + match.xyxy[:, 2:]) / 2 / s
        offset = (centre - torch.stack([match.x, match.y], 1) + 0.5) / 2
        root = ((match.xyxy[:, 2:] - match.xyxy[:, :2]) / anchors[match.anchor]).sqrt() / 2
        place = (match.frame, match.anchor, slice(None), match.y, match.x)
        values[place] = torch.cat(
            [
                torch.logit(offset, 1e-6),
                torch.logit(root),
                torch.full((len(root), 1), 9.0),
                nn.functional.one_hot(match.label, 10) * 18.0 - 9.0,
            ],
            1,
        )
        raw[f"anchors{s}"] = values
    return raw


def test_a_perfect_detector_scores_100() -> None:
    task = AnchorDet(16, STRIDES)
    decoded = task.decode(encode(SCENE))
    assert decoded.shape == (2, MAX_BOXES, 6)
    assert (decoded[..., 4] > 0.5).sum(1).tolist() == [4, 1]
    metric = task.metric(task.view)
    for frame in range(2):
        arrays = {key: value[frame].numpy() for key, value in SCENE.items()}
        metric.update(decoded[frame].numpy(), arrays)
    assert metric.compute()[task.score] == pytest.approx(100)


def test_the_loss_of_the_truth_is_near_zero() -> None:
    for key, value in AnchorDet(16, STRIDES).loss(encode(SCENE), SCENE).items():
        assert value.mean() < 0.05, key


@pytest.mark.parametrize("wanted", [EMPTY, SCENE], ids=["empty", "scene"])
def test_loss_is_finite_and_has_gradients(wanted: dict[str, Tensor]) -> None:
    task = AnchorDet(16, STRIDES)
    total = total_loss(task.loss(task(features()), wanted))
    total.backward()
    assert torch.isfinite(total)
    for parameter in task.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def test_boxes_that_shrank_to_a_point_have_a_finite_gradient() -> None:
    task, raw = AnchorDet(16, STRIDES), encode(SCENE)
    for value in raw.values():
        value[:, :, 2:4] = -20.0
        value.requires_grad_()
    total_loss(task.loss(raw, SCENE)).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in raw.values())


def test_training_on_one_scene_lowers_the_loss() -> None:
    torch.manual_seed(0)
    task, inputs = AnchorDet(64, STRIDES), features(channels=64)
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-2)
    values = []
    for _ in range(40):
        loss = total_loss(task.loss(task(inputs), SCENE))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.7 * values[0]


def test_a_box_is_matched_by_size_and_in_the_nearest_cells() -> None:
    wanted = target([(100, 40, 109, 47, 9)])  # centre (104.5, 43.5): cell (13, 5) of stride 8
    anchors = _anchors(8, 80, torch.device("cpu"))
    match = _match(wanted, anchors, 8, (12, 80))
    ratio = torch.tensor([9.0, 7.0]) / anchors
    fits = torch.maximum(ratio, 1 / ratio).amax(1) < REACH
    assert set(match.anchor.tolist()) == set(fits.nonzero().flatten().tolist())
    assert set(zip(match.x.tolist(), match.y.tolist(), strict=True)) == {(13, 5), (12, 5), (13, 4)}
    large = target([(0, 0, 640, 96, 4)])
    assert len(_match(large, anchors, 8, (12, 80)).frame) == 0


def test_matches_at_the_border_stay_in_the_frame() -> None:
    wanted = target([(-8, -8, 10, 9, 2), (630, 86, 650, 106, 2)])
    match = _match(wanted, _anchors(16, 40, torch.device("cpu")), 16, (6, 40))
    assert len(match.x) > 0
    assert match.x.min() >= 0
    assert match.x.max() < 40
    assert match.y.min() >= 0
    assert match.y.max() < 6


def test_anchors_grow_with_the_frame() -> None:
    cpu = torch.device("cpu")
    torch.testing.assert_close(_anchors(8, 40, cpu) * 2, _anchors(8, 80, cpu))


def test_ignored_boxes_contribute_no_loss() -> None:
    task = AnchorDet(16, STRIDES)
    ignored = target([(70, 4, 134, 68, 2)])
    raw = encode(ignored)
    ignored["ignore"][0, 0] = True
    without, excused = task.loss(raw, target([])), task.loss(raw, ignored)
    assert all(excused[f"box{s}"].sum == 0 for s in task.scales)
    assert without["object16"].sum > 10 * excused["object16"].sum


def test_nms_keeps_the_best_of_each_class() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 11], [50, 0, 60, 10]])
    scores = torch.tensor([[0.5, 0.0], [0.9, 0.4], [0.3, 0.0]])
    found = _nms(boxes, scores)
    assert found.shape == (MAX_BOXES, 6)
    torch.testing.assert_close(found[:3, 4], torch.tensor([0.9, 0.4, 0.3]))
    assert found[:3, 5].tolist() == [0, 1, 0]
    assert (found[3:, 4] == 0).all()


class Decoded(nn.Module):
    def __init__(self, task: AnchorDet) -> None:
        super().__init__()
        self.task = task

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.task.decode(self.task(inputs))


def test_onnx_outputs_equal_those_of_torch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, inputs = Decoded(AnchorDet(16, STRIDES)).eval(), tuple(features(1))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    path, names = str(tmp_path / "det.onnx"), [f"f{s}" for s in STRIDES]
    torch.onnx.export(model, inputs, path, dynamo=False, input_names=names)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    used = {node.name for node in session.get_inputs()}
    feed = {n: v.numpy() for n, v in zip(names, inputs, strict=True) if n in used}
    with torch.no_grad():
        expected = model(*inputs).numpy()
    np.testing.assert_allclose(session.run(None, feed)[0], expected, rtol=1e-4, atol=1e-3)
