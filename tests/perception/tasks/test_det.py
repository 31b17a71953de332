import itertools
import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from perception.tasks.base import Raw, total_loss
from perception.tasks.det import BINS, MAX_BOXES, SPAN, START_SIZE, Det

STRIDES = (4, 8, 16, 32)
SIZE_HW = (96, 160)
CLASSES = 10


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
    [(10, 12, 34, 30, 2), (60, 40, 64, 50, 8), (50, 20, 150, 90, 4), (100, 5, 109, 12, 9)],
    [(5, 60, 12, 84, 0)],
)
EMPTY = target([], [])


def spread(numbers: Tensor) -> Tensor:
    """(B, 64, h, w): logits of distributions in which the two nearest bins share each number."""
    bins = BINS
    place = ((numbers + SPAN) / (2 * SPAN) * (bins - 1))[:, :, None]  # (B, 4, 1, h, w)
    shares = (1 - (place - torch.arange(bins).view(bins, 1, 1)).abs()).clamp(min=1e-9)
    return shares.log().flatten(1, 2)


def encode(wanted: dict[str, Tensor]) -> Raw:
    """Raw outputs of a detector that is sure of exactly these boxes, each at its nearest point."""
    return {key: spread(x) if "box" in key else x for key, x in direct(wanted).items()}


def direct(wanted: dict[str, Tensor]) -> Raw:
    """The same of one whose boxes are four numbers each."""
    batch = len(wanted["classes"])
    raw = {}
    for s in STRIDES:
        size = (SIZE_HW[0] // s, SIZE_HW[1] // s)
        raw |= {f"{head}{s}": torch.full((batch, CLASSES, *size), -9.0) for head in ("one", "many")}
        raw[f"box{s}"] = torch.zeros(batch, 4, *size)
    for frame, box in (wanted["classes"] >= 0).nonzero().tolist():
        xyxy, label = wanted["boxes_xyxy"][frame, box], int(wanted["classes"][frame, box])
        centre, wh = (xyxy[:2] + xyxy[2:]) / 2, xyxy[2:] - xyxy[:2]
        s = min(STRIDES, key=lambda s: abs(float(wh.max()) - START_SIZE * s))
        x, y = (int(v) for v in centre // s)
        offset = centre / s - torch.tensor([x + 0.5, y + 0.5])
        raw[f"box{s}"][frame, :, y, x] = torch.cat([offset, (wh / s / START_SIZE).log()])
        for head in ("one", "many"):
            raw[f"{head}{s}"][frame, label, y, x] = 9.0
    return raw


def test_a_perfect_detector_scores_100() -> None:
    task = Det(16, STRIDES)
    decoded = task.decode(encode(SCENE)).numpy()
    metric = task.metric(task.view)
    for frame in range(2):
        arrays = {key: value[frame].numpy() for key, value in SCENE.items()}
        metric.update(decoded[frame], arrays)
    scores = metric.compute()
    assert scores[task.score] == pytest.approx(100)
    assert scores["mAP"] == pytest.approx(100)


def test_decode_returns_the_encoded_boxes_best_first() -> None:
    decoded = Det(16, STRIDES).decode(encode(SCENE))
    assert decoded.shape == (2, MAX_BOXES, 6)
    score = decoded[..., 4]
    assert (score[:, :-1] >= score[:, 1:]).all()
    assert (score > 0.5).sum(1).tolist() == [4, 1]
    torch.testing.assert_close(decoded[1, 0, :4], SCENE["boxes_xyxy"][1, 0])
    assert decoded[1, 0, 5] == 0
    assert sorted(decoded[0, :4, 5].tolist()) == [2, 4, 8, 9]


def test_an_object_has_one_class() -> None:
    raw = encode(target([(60, 40, 64, 50, 8)]))
    raw["many4"][0, 3] = torch.where(raw["many4"][0, 8] > 0, 5.0, -9.0)  # nearly as sure of 3
    decoded = Det(16, STRIDES).decode(raw)
    assert decoded[0, 0, 5] == 8
    assert decoded[0, 1, 4] < 0.01


def test_boxes_end_at_the_frame() -> None:
    decoded = Det(16, STRIDES).decode(encode(target([(-7, 40, 9, 52, 2), (140, 80, 170, 110, 2)])))
    expected = torch.tensor([[0.0, 40, 9, 52], [140, 80, 160, 96]])
    order = decoded[0, :2, 0].argsort()
    torch.testing.assert_close(decoded[0, order, :4], expected)


def test_fewer_points_than_boxes_are_padded_with_score_zero() -> None:
    task = Det(16, (32,))
    raw = task([torch.zeros(1, 16, 2, 3)])
    decoded = task.decode(raw)
    assert decoded.shape == (1, MAX_BOXES, 6)
    assert (decoded[0, 6:] == 0).all()


@pytest.mark.parametrize("wanted", [SCENE, EMPTY], ids=["scene", "empty"])
def test_loss_is_finite_and_reaches_every_parameter(wanted: dict[str, Tensor]) -> None:
    task = Det(16, STRIDES)
    losses = task.loss(task(features()), wanted)
    total = total_loss(losses)
    assert total.ndim == 0
    assert torch.isfinite(total)
    total.backward()
    for name, parameter in task.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_targets_without_columns_are_empty_frames() -> None:
    task = Det(16, STRIDES).eval()
    raw = task(features())
    none = {key: value[:, :0] for key, value in EMPTY.items()}
    for key, value in task.loss(raw, none).items():
        torch.testing.assert_close(value.mean(), task.loss(raw, EMPTY)[key].mean())


def test_training_on_one_scene_lowers_the_loss() -> None:
    torch.manual_seed(0)
    task, inputs = Det(16, STRIDES), features()
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-2)

    def step() -> float:
        loss = total_loss(task.loss(task(inputs), SCENE))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    first = step()
    for _ in range(30):
        last = step()
    assert last < 0.5 * first


def test_the_loss_of_the_truth_is_near_zero() -> None:
    losses = Det(16, STRIDES).eval().loss(encode(SCENE), SCENE)
    assert losses["many_score"].mean() < 0.05
    assert losses["one_score"].mean() < 0.05
    # Two bins that share a number have an entropy of ln 2 at most; a quarter of it, weighted by 2.
    assert losses["one_box"].mean() < math.log(2) / 2 + 0.05


def test_ignored_boxes_contribute_no_loss() -> None:
    task = Det(16, STRIDES).eval()

    def losses(raw: Raw, wanted: dict[str, Tensor]) -> dict[str, float]:
        return {key: float(part.mean()) for key, part in task.loss(raw, wanted).items()}

    ignored = target([(10, 12, 34, 30, 2)])
    ignored["ignore"][0, 0] = True
    raw = encode(target([(10, 12, 34, 30, 2)]))
    assert max(losses(raw, ignored).values()) < 1e-3
    assert max(losses(encode(target([])), ignored).values()) < 1e-3
    # Elsewhere, or as another class, the same prediction is a false positive.
    assert losses(raw, target([]))["one_score"] > 1
    other = encode(target([(10, 12, 34, 30, 7)]))
    assert losses(other, ignored)["one_score"] > 1
    assert losses(encode(target([(100, 12, 124, 30, 2)])), ignored)["one_score"] > 1
    # An ignored box of unknown class covers every class.
    ignored["classes"][0, 0] = -1
    assert losses(other, ignored)["one_score"] < 1e-3


def test_degenerate_boxes_are_left_out() -> None:
    task = Det(16, STRIDES).eval()
    raw = task(features(1))
    flat = target([(20, 20, 20, 40, 1), (30, 30, 20, 50, 1)])
    assert task.loss(raw, flat)["many_box"].sum == 0


def test_positives_of_rare_classes_are_weighted_more() -> None:
    task = Det(16, STRIDES)
    cars, bus = target([(10, 12, 34, 30, 2)]), target([(10, 12, 34, 30, 4)])
    before = [task.eval().loss(encode(wanted), wanted)["one_box"].sum for wanted in (cars, bus)]
    for _ in range(3):
        task.train().loss(encode(cars), cars)
    assert task.seen.tolist() == [100, 100, 103, *[100] * 7]
    task.seen[2] = 1000
    after = [task.eval().loss(encode(wanted), wanted)["one_box"].sum for wanted in (cars, bus)]
    assert after[0] == before[0]
    assert after[1] / before[1] == pytest.approx(10**0.3, rel=1e-4)
    assert task.seen.sum() == 1900  # not counted in evaluation mode


def test_the_score_of_a_rare_class_is_weighted_too() -> None:
    task, bus = Det(16, STRIDES).eval(), target([(10, 12, 34, 30, 4)])
    raw = {key: x.clamp(max=0) if "one" in key else x for key, x in encode(bus).items()}  # p = 1/2
    before = task.loss(raw, bus)["one_score"].sum
    task.seen[2] = 1000
    assert task.loss(raw, bus)["one_score"].sum / before == pytest.approx(10**0.3, rel=1e-3)


def test_a_rare_class_is_weighted_five_times_at_most() -> None:
    task, bus = Det(16, STRIDES).eval(), target([(10, 12, 34, 30, 4)])
    before = task.loss(encode(bus), bus)["one_box"].sum
    task.seen[2] = 1e6  # (1e6 / 100)^0.3 = 15.8
    assert task.loss(encode(bus), bus)["one_box"].sum / before == pytest.approx(5.0, rel=1e-4)


def test_bfloat16_outputs_give_a_float32_loss_and_boxes() -> None:
    task = Det(16, STRIDES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        raw = task(features())
        losses, decoded = task.loss(raw, SCENE), task.decode(raw)
    assert raw["one4"].dtype == torch.bfloat16
    assert decoded.dtype == torch.float32
    for value in losses.values():
        assert value.sum.dtype == torch.float32
        assert torch.isfinite(value.mean())


class Decoded(nn.Module):
    def __init__(self, task: Det) -> None:
        super().__init__()
        self.task = task

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.task.decode(self.task(inputs))


def test_onnx_outputs_equal_those_of_torch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Decoded(Det(16, STRIDES)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    inputs, path = tuple(features(1)), str(tmp_path / "det.onnx")
    names = [f"f{s}" for s in STRIDES]
    torch.onnx.export(model, inputs, path, dynamo=False, input_names=names)
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert not operators & {"NonZero", "ScatterND", "ScatterElements", "Loop", "If"}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    with torch.no_grad():
        expected = model(*inputs).numpy()
    np.testing.assert_allclose(session.run(None, feed)[0], expected, rtol=1e-4, atol=1e-3)


def test_duplicates_do_not_use_up_the_boxes() -> None:
    """Sixty cars, each seen by nine points: the 300 best points show 33 of them."""
    raw = direct(EMPTY)
    for car in range(60):
        x, y = 1 + 4 * (car % 10), 1 + 4 * (car // 10)
        for dx, dy in itertools.product((-1, 0, 1), repeat=2):
            raw["many4"][0, 2, y + dy, x + dx] = 5 - 0.05 * car
            raw["box4"][0, :2, y + dy, x + dx] = torch.tensor([-dx, -dy])
    raw = {key: spread(x) if "box" in key else x for key, x in raw.items()}
    found = Det(16, STRIDES).decode(raw)[0]
    sure = found[found[:, 4] > 0.5]
    assert len(sure) == 60
    assert len(sure[:, :2].unique(dim=0)) == 60


def test_sizes_at_both_ends_of_the_span_by_hand() -> None:
    """At stride 4 a box is 12 pixels wide at log size 0."""
    raw = {"many4": torch.full((1, CLASSES, 80, 80), -9.0), "box4": torch.zeros(1, 4, 80, 80)}
    raw["one4"] = raw["many4"]
    raw["many4"][0, 2, 40, 40] = 9.0
    raw["box4"][0, :, 40, 40] = torch.tensor([0.5, -1.0, -SPAN, SPAN])
    found = Det(16, (4,)).decode(raw | {"box4": spread(raw["box4"])})[0, 0]
    # The point is at 162, its centre half a cell to the right and one up; e^-3 and e^3 times 12.
    expected = torch.tensor([164 - 0.298722, 158 - 120.513222, 164 + 0.298722, 158 + 120.513222])
    torch.testing.assert_close(found[:4], expected, rtol=1e-5, atol=1e-3)
