"""Our evaluators against the official toolkit's, on the same imperfect predictions."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.classes import (
    ATTRIBUTES,
    DETECTION,
    DRIVABLE,
    LANE_CATEGORIES,
    LANE_DIRECTIONS,
    LANE_STYLES,
    SEMANTIC,
)
from perception.metrics.classification import ClassificationMetric
from perception.metrics.confusion import ConfusionMetric
from perception.metrics.detection import DetectionMetric
from perception.metrics.lane import LaneMetric

pytest.importorskip("bdd100k", reason="pip install 'pvt-hydranet[bdd]'")
from training.evaluation import toolkit

REAL = Path(__file__).parents[4] / "shared/data/bdd100k-real/labels"
FRAMES = 32


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def real_masks(folder, count):
    files = sorted((REAL / folder).glob("*.png"))[:count]
    if not files:
        pytest.skip(f"no real frames under {REAL / folder}")
    return files


def write(folder: Path, masks) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:04d}.png" for i in range(len(masks))]
    for path, mask in zip(paths, masks, strict=True):
        cv2.imwrite(str(path), mask)
    return paths


def blobs(rng, classes, shape=(90, 160), cell=9):
    """A mask of random smooth regions of `classes` values."""
    small = rng.integers(0, classes, (shape[0] // cell, shape[1] // cell)).astype(np.uint8)
    return cv2.resize(small, shape[::-1], interpolation=cv2.INTER_NEAREST)


def spoil(rng, mask, values, share=0.2):
    """The mask shifted by a few pixels, with `share` of its pixels redrawn from `values`."""
    out = np.roll(mask, rng.integers(-3, 4, 2), (0, 1))
    wrong = rng.random(mask.shape) < share
    out[wrong] = rng.choice(np.asarray(values, np.uint8), mask.shape)[wrong]
    return out


def lines(rng, count, shape=(72, 128)):
    """A lane byte mask of `count` random lines of random types."""
    mask = np.full(shape, 255, np.uint8)
    for _ in range(count):
        a, b = (tuple(int(v) for v in rng.integers(0, shape[::-1])) for _ in range(2))
        byte = rng.integers(8) | rng.integers(2) << 4 | rng.integers(2) << 5
        cv2.line(mask, a, b, int(byte), int(rng.integers(1, 4)))
    return mask


# Detection ------------------------------------------------------------------------------------


def random_frames(rng, frames=FRAMES):
    """(target, decoded) pairs: jittered, missed, confused, duplicated and invented boxes."""
    for _ in range(frames):
        n = int(rng.integers(0, 14))
        size = rng.choice([12, 40, 90, 220], n)[:, None] * rng.uniform(0.6, 1.4, (n, 2))
        corner = rng.uniform(0, [1000, 450], (n, 2))
        truth = np.concatenate([corner, corner + size], 1).astype(np.float32)
        classes = rng.choice(len(DETECTION) - 1, n)  # the last class never occurs
        target = {"boxes_xyxy": truth, "classes": classes, "ignore": rng.random(n) < 0.1}
        pick = rng.integers(0, max(n, 1), 2 * n)
        found = truth[pick] + rng.normal(0, 0.08, (2 * n, 4)) * np.tile(size[pick], 2)
        named = np.where(rng.random(2 * n) < 0.8, classes[pick], rng.choice(10, 2 * n))
        noise = rng.uniform(0, 600, (6, 4))
        noise[:, 2:] = noise[:, :2] + rng.uniform(5, 300, (6, 2))
        boxes = np.concatenate([found, noise])
        rest = [rng.random(len(boxes)), np.append(named, rng.choice(10, 6))]
        decoded = np.column_stack([boxes, *rest]).astype(np.float32)
        yield target, decoded[np.argsort(-decoded[:, 4])][:100]


def as_scalabel(name, boxes, classes, scores=None, ignored=None):
    labels = []
    for i, (box, c) in enumerate(zip(boxes.tolist(), classes, strict=True)):
        label = {"id": f"{name}-{i}", "category": DETECTION[int(c)]}
        label["box2d"] = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
        if scores is not None:
            label["score"] = float(scores[i])
        if ignored is not None:
            label["attributes"] = {"ignored": bool(ignored[i])}
        labels.append(label)
    return {"name": name, "labels": labels}


def compare_detection(pairs):
    metric, truth, found = DetectionMetric(DETECTION), [], []
    for i, (target, decoded) in enumerate(pairs):
        metric.update(decoded, target)
        name = f"{i:04d}.jpg"
        boxes, classes = target["boxes_xyxy"], target["classes"]
        truth.append(as_scalabel(name, boxes, classes, ignored=target["ignore"]))
        found.append(as_scalabel(name, decoded[:, :4], decoded[:, 5], decoded[:, 4]))
    ours, official = metric.compute(), toolkit.evaluate_detection(truth, found)
    overall = {key: scores[-1]["OVERALL"] for key, scores in official.items()}
    names = {"AP": "mAP", "AP50": "mAP50", "AP75": "mAP75"}
    for key, value in overall.items():
        assert ours[names.get(key, key)] == pytest.approx(value, abs=1e-6, nan_ok=True), key
    for key in ("AP", "AP50"):
        for name, value in official[key][0].items():
            assert ours[f"{key}/{name}"] == pytest.approx(value, abs=1e-6, nan_ok=True)
    return ours


def test_detection_equals_the_toolkit(rng):
    ours = compare_detection(random_frames(rng))
    assert 5 < ours["mAP50"] < 95, "neither hopeless nor perfect, or the comparison shows nothing"
    assert np.isnan(ours["AP50/traffic sign"])


def test_detection_without_predictions_equals_the_toolkit(rng):
    pairs = [(target, np.zeros((0, 6), np.float32)) for target, _ in random_frames(rng, 4)]
    assert compare_detection(pairs)["mAP50"] == 0.0


# Masks ----------------------------------------------------------------------------------------


def compare_masks(task, metric, truth, found, tmp_path):
    for target, decoded in zip(truth, found, strict=True):
        metric.update(decoded, {"mask": target})
    ours = metric.compute()
    paths = write(tmp_path / "truth", truth), write(tmp_path / "found", found)
    official = toolkit.evaluate_masks(task, *paths)
    assert ours["mIoU"] == pytest.approx(official["IoU"][-1]["AVERAGE"], abs=1e-6)
    assert ours["pixAcc"] == pytest.approx(official["pAcc"], abs=1e-6)
    for name, value in official["IoU"][0].items():
        if not np.isnan(ours[f"IoU/{name}"]):  # we say NaN where the truth has none, they 0
            assert ours[f"IoU/{name}"] == pytest.approx(value, abs=1e-6)
    return ours


def test_drivable_equals_the_toolkit(rng, tmp_path):
    truth = [blobs(rng, 3) for _ in range(FRAMES)]
    found = [spoil(rng, mask, [0, 1, 2]) for mask in truth]
    metric = ConfusionMetric(DRIVABLE, counted=DRIVABLE[:2])
    ours = compare_masks("drivable", metric, truth, found, tmp_path)
    assert ours["mIoU_strict"] < ours["mIoU"] < 100


def test_semantic_equals_the_toolkit(rng, tmp_path):
    truth = [blobs(rng, 18) for _ in range(FRAMES)]  # the last class never occurs
    for mask in truth:
        mask[rng.random(mask.shape) < 0.1] = 255
    found = [spoil(rng, np.minimum(mask, 18), range(19)) for mask in truth]
    compare_masks("sem_seg", ConfusionMetric(SEMANTIC), truth, found, tmp_path)


@pytest.mark.slow
def test_drivable_equals_the_toolkit_on_real_frames(rng, tmp_path):
    truth = [cv2.imread(str(f), 0) for f in real_masks("drivable/masks/val", 30)]
    found = [spoil(rng, np.roll(mask, 12, 1), [0, 1, 2], 0.05) for mask in truth]
    metric = ConfusionMetric(DRIVABLE, counted=DRIVABLE[:2])
    compare_masks("drivable", metric, truth, found, tmp_path)


# Lanes ----------------------------------------------------------------------------------------


def compare_lanes(truth, found, tmp_path):
    metric = LaneMetric()
    for target, decoded in zip(truth, found, strict=True):
        metric.update(decoded, {"lane": target})
    ours = metric.compute()
    paths = write(tmp_path / "truth", truth), write(tmp_path / "found", found)
    official = toolkit.evaluate_masks("lane_mark", *paths)
    parts = {"direction": LANE_DIRECTIONS, "style": LANE_STYLES, "category": LANE_CATEGORIES}
    for radius in (1, 2, 5):
        *groups, means, average = official[f"F1_pix{radius}"]
        for (part, classes), scores in zip(parts.items(), groups, strict=True):
            assert ours[f"{part}_F1@{radius}"] == means[part.upper()]
            for name in classes:
                value = ours[f"F1@{radius}/{part}/{name}"]
                # NaN for a class that occurs nowhere, which the toolkit scores as 100.
                assert value == scores[name] or (np.isnan(value) and scores[name] == 100)
        assert ours[f"average_F1@{radius}"] == average["AVERAGE"]
    return ours


@pytest.mark.slow
def test_lane_f1_is_exactly_the_toolkits(rng, tmp_path):
    truth = [lines(rng, n % 7) for n in range(FRAMES)]
    found = [np.roll(mask, rng.integers(-4, 5, 2), (0, 1)) for mask in truth]
    found = [np.minimum(mask, lines(rng, 1)) if i % 3 else mask for i, mask in enumerate(found)]
    found[3][:], found[7] = 255, lines(rng, 5)
    ours = compare_lanes(truth, found, tmp_path)
    assert 5 < ours["average_F1@1"] < ours["average_F1@5"] < 95


@pytest.mark.slow
def test_lane_f1_is_exactly_the_toolkits_on_real_frames(rng, tmp_path):
    files = real_masks("lane/marking/val", 30)
    truth, found = [], []
    for file in files:
        teacher = file.parents[2] / "teacher" / "val" / file.name
        # Two quadrants of each frame, halved: the toolkit needs two seconds for a whole one.
        pair = [cv2.imread(str(f), 0)[300:620, 300:860][::2, ::2] for f in (file, teacher)]
        kinds = blobs(rng, 4, pair[0].shape, 40) | blobs(rng, 4, pair[0].shape, 40) << 4
        truth.append(np.where(pair[0] > 0, kinds, 255).astype(np.uint8))
        found.append(np.where(pair[1] > 0, np.roll(kinds, 6, 1), 255).astype(np.uint8))
    compare_lanes(truth, found, tmp_path)


# Attributes -----------------------------------------------------------------------------------


def test_tagging_equals_the_toolkit(rng):
    groups = {name: ATTRIBUTES[name] for name in ATTRIBUTES}
    widest = max(map(len, groups.values()))
    metric, truth, found = ClassificationMetric(groups), [], []
    for _ in range(60):
        labels = np.array([rng.integers(len(c) - 1) for c in groups.values()])
        decoded = np.zeros((len(groups), widest), np.float32)
        for g, classes in enumerate(groups.values()):
            decoded[g, : len(classes)] = rng.dirichlet(np.ones(len(classes)))
            decoded[g, labels[g]] += 0.3
        metric.update(decoded, {"labels": labels})
        guess = decoded.argmax(1)
        truth.append({n: c[labels[g]] for g, (n, c) in enumerate(groups.items())})
        found.append({n: c[guess[g]] for g, (n, c) in enumerate(groups.items())})
    ours, official = metric.compute(), toolkit.evaluate_tagging(groups, truth, found)
    for g, (name, classes) in enumerate(groups.items()):
        assert ours[f"accuracy/{name}"] == pytest.approx(official["accuracy"][-2][name.upper()])
        assert ours[f"F1/{name}"] == pytest.approx(official["f1_score"][-2][name.upper()])
        for label in classes:
            theirs = official["f1_score"][g][f"{name}.{label}"]
            assert ours[f"F1/{name}/{label}"] == pytest.approx(theirs, abs=1e-6, nan_ok=True)
    assert ours["accuracy"] == pytest.approx(official["accuracy"][-1]["AVERAGE"], abs=1e-6)
    assert ours["F1"] == pytest.approx(official["f1_score"][-1]["AVERAGE"], abs=1e-6)


# The adapter ----------------------------------------------------------------------------------


def test_pydantic_is_restored_after_loading_the_toolkit():
    toolkit.load()
    import pydantic

    assert int(sys.modules["pydantic"].VERSION.split(".")[0]) >= 2
    assert pydantic.TypeAdapter(int).validate_python("3") == 3


def test_names_are_mapped_as_the_toolkit_does():
    box = {"x1": 1, "y1": 1, "x2": 9, "y2": 9}
    labels = [
        {"id": str(i), "category": name, "box2d": box}
        for i, name in enumerate(("bike", "person", "other vehicle", "car"))
    ]
    (frame,) = toolkit.named([{"name": "a.jpg", "labels": labels}])
    assert [label.category for label in frame.labels] == ["bicycle", "pedestrian", "car", "car"]
    assert frame.labels[2].attributes == {"ignored": True}
