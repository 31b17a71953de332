"""eval-bdd from end to end on a small folder, with models that know or almost know the answers."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from rich.console import Console

from perception.classes import ATTRIBUTES, DETECTION, DRIVABLE
from perception.errors import UserError
from perception.runtime.description import LANE_BYTE, Group, View
from perception.runtime.letterbox import Letterbox
from training.data.bdd100k import BDD100K
from training.evaluate import main
from training.evaluation.arguments import Arguments
from training.evaluation.frames import read_frames
from training.evaluation.predictor import open_predictor, to_frame, unpadded
from training.evaluation.report import as_json, markdown
from training.evaluation.scores import Evaluation
from training.evaluation.split import evaluate, open_split
from training.evaluation.submission import Submission

NATIVE, SIZE = (180, 320), (192, 320)  # letterboxed by padding alone: 6 px above and below
BOX = Letterbox(NATIVE, SIZE)
VIEWS = {
    "det": View("boxes", classes=DETECTION),
    "drivable": View("mask", classes=DRIVABLE),
    "lane": View("mask", encoding=LANE_BYTE),
    "scene": View("label", groups=tuple(Group(n, c) for n, c in ATTRIBUTES.items())),
}
HOURS = ("daytime", "night", "daytime", "undefined", "night")


def frame_labels(index):
    """(boxes xyxy + class, drivable mask, lane mask) of frame `index`."""
    rng = np.random.default_rng(index)
    corner = rng.uniform(0, [200, 90], (4, 2)).round(1)
    boxes = np.column_stack([corner, corner + rng.uniform(20, 80, (4, 2)).round(1), [2, 2, 3, 9]])
    drivable, lane = np.full(NATIVE, 2, np.uint8), np.full(NATIVE, 255, np.uint8)
    drivable[100:, 60 + index : 200], drivable[100:, 200:260] = 0, 1
    lane[90:, 60 : 62 + index % 2], lane[90:, 200:202] = 0b010110, 0b000111
    return boxes, drivable, lane


@pytest.fixture
def folder(tmp_path):
    """Five frames in the official layout; the last has no masks."""
    root = tmp_path / "bdd"
    for part in ("images/100k/val", "labels/drivable/masks/val", "labels/lane/masks/val"):
        (root / part).mkdir(parents=True)
    entries = []
    for index, hour in enumerate(HOURS):
        boxes, drivable, lane = frame_labels(index)
        image = np.full((*NATIVE, 3), 40 + index, np.uint8)
        cv2.imwrite(str(root / f"images/100k/val/f{index}.jpg"), image)
        if index != 4:
            cv2.imwrite(str(root / f"labels/drivable/masks/val/f{index}.png"), drivable)
            cv2.imwrite(str(root / f"labels/lane/masks/val/f{index}.png"), lane)
        labels = [
            {"id": str(n), "category": DETECTION[int(b[4])], "box2d": corners(b)}
            for n, b in enumerate(boxes)
        ]
        attributes = {"weather": "clear", "scene": "highway", "timeofday": hour}
        entries.append({"name": f"f{index}.jpg", "attributes": attributes, "labels": labels})
    (root / "labels/det_20").mkdir()
    (root / "labels/det_20/det_val.json").write_text(json.dumps(entries))
    return root


def corners(box):
    return dict(zip(("x1", "y1", "x2", "y2"), box[:4], strict=True))


class Oracle:
    """Predicts the labels of each frame, which it knows by its grey value; `spoil` worsens them."""

    name, size_hw, pad_value, views = "oracle", SIZE, 114, VIEWS

    def __init__(self, spoil=False):
        self.spoil = spoil

    def __call__(self, images):
        return [self.one(int(image[90, 160, 0]) - 40) for image in images]

    def one(self, index):
        boxes, drivable, lane = frame_labels(index)
        hour = ATTRIBUTES["timeofday"].index(HOURS[index]) if HOURS[index] != "undefined" else 0
        rng = np.random.default_rng(100 + index)
        scores = np.linspace(0.9, 0.5, len(boxes)) + rng.random(len(boxes)) / 100
        if self.spoil:
            boxes = boxes + np.column_stack([rng.normal(0, 6, (4, 4)), [0, 0, 0, -(index % 2)]])
            drivable, lane = np.roll(drivable, 9, 1), np.roll(lane, index, 1)
            hour = 0
        xyxy = BOX.boxes_to_model(boxes[:, :4])
        found = np.zeros((100, 6), np.float32)
        found[: len(boxes)] = np.column_stack([xyxy, scores, boxes[:, 4]])
        padded = [np.full(SIZE, fill, np.uint8) for fill in (2, 255)]
        for out, mask in zip(padded, (drivable, lane), strict=True):
            out[BOX.inner] = mask
        scene = np.zeros((3, 6), np.float32)
        scene[0, 2] = scene[1, 5] = scene[2, hour] = 1
        return {"det": found, "drivable": padded[0], "lane": padded[1], "scene": scene}


def run(folder, predictor, **options):
    arguments = Arguments(file="model", data=str(folder), batch=2, threads=2, **options)
    dataset = open_split(arguments, predictor)
    return evaluate(arguments, predictor, dataset, Console(quiet=True))


# Scores ---------------------------------------------------------------------------------------


def test_a_model_that_knows_everything_scores_100_in_both_protocols(folder):
    result = run(folder, Oracle())
    official, panoptic = result["scores"]["bdd"], result["scores"]["panoptic"]
    assert result["frames"] == 5
    for task, key in (("det", "mAP"), ("drivable", "mIoU_strict"), ("scene", "accuracy")):
        assert official[task][key] == pytest.approx(100.0)
    assert official["lane"]["F1@1"] == official["lane"]["average_F1@1"] == 100.0
    assert panoptic["det"]["mAP50"] == panoptic["det"]["recall"] == pytest.approx(100.0)
    assert "scene" not in panoptic
    # The grid is 360 x 640 whatever the frame: scaled up from 180 x 320 the truth has soft edges.
    assert panoptic["drivable"]["mIoU_set"] > 97
    assert panoptic["lane"]["recall_set"] > 60


def test_protocol_is_chosen(folder):
    assert set(run(folder, Oracle(), protocol="bdd")["scores"]) == {"bdd"}
    assert set(run(folder, Oracle(), protocol="panoptic")["scores"]) == {"panoptic"}


def test_slices_are_scored_on_their_frames_alone(folder):
    result = run(folder, Oracle(spoil=True))
    slices = result["slices"]
    hours = {name: part["frames"] for name, part in slices.items() if "timeofday" in name}
    assert hours == {"timeofday=daytime": 2, "timeofday=night": 2, "timeofday=undefined": 1}
    night = slices["timeofday=night"]["scores"]["bdd"]
    assert night["scene"]["accuracy/timeofday"] == 0.0, "the spoilt oracle always says daytime"
    assert slices["timeofday=daytime"]["scores"]["bdd"]["scene"]["accuracy/timeofday"] == 100.0
    assert slices["timeofday=undefined"]["scores"]["bdd"]["det"]["mAP50"] > 0
    # Frame 4 is a night frame without masks: only frame 1 counts for the lanes of the night.
    one = run(folder, Oracle(spoil=True), limit=2)["slices"]["timeofday=night"]["scores"]["bdd"]
    assert night["lane"] == pytest.approx(one["lane"], nan_ok=True)
    assert night["det"]["mAP50"] != one["det"]["mAP50"]


def test_bootstrap_intervals_hold_the_score_and_have_width(folder):
    result = run(folder, Oracle(spoil=True), bootstrap=60)
    low, high = result["intervals"]["bdd"]["det"]["mAP50"]
    assert low <= result["scores"]["bdd"]["det"]["mAP50"] <= high
    assert high - low > 1
    assert "AP50/car" not in result["intervals"]["bdd"]["det"]
    again = run(folder, Oracle(spoil=True), bootstrap=60)
    assert again["intervals"] == result["intervals"]


def test_resampled_frames_count_as_often_as_they_are_drawn(folder):
    evaluation = Evaluation(VIEWS, ["bdd"])
    predictor, dataset = Oracle(spoil=True), BDD100K(folder, "val", tuple(VIEWS))
    with ThreadPoolExecutor(1) as pool:
        frames = list(read_frames(dataset, predictor, pool, 2))
        batch = [(predictor([f.image])[0], f.targets, f.box) for f in frames]
        evaluation.add(batch, [f.attributes for f in frames], pool)
        twice = Evaluation(VIEWS, ["bdd"])
        twice.add([batch[1], batch[1], batch[3]], [{}] * 3, pool)
    picked = evaluation.scores(np.array([1, 1, 3]))
    for task, scores in twice.scores()["bdd"].items():
        assert picked["bdd"][task] == pytest.approx(scores, nan_ok=True), task


def test_geometry_of_every_kind():
    model = np.zeros((2, 6), np.float32)
    model[0] = [10, 16, 50, 96, 0.9, 2]
    model[1] = [0, 0, 320, 5, 0.8, 2]  # wholly in the padding
    assert to_frame(model, VIEWS["det"], BOX).tolist() == [[10, 10, 50, 90, pytest.approx(0.9), 2]]
    mask = np.full(SIZE, 1, np.uint8)
    mask[:6] = 0
    assert to_frame(mask, VIEWS["drivable"], BOX).shape == NATIVE
    assert (unpadded(mask, VIEWS["drivable"], BOX) == 1).all()
    normals = np.zeros((3, *SIZE), np.float32)
    normals[2] = 0.5
    assert (to_frame(normals, View("normals"), BOX)[2] == 1).all()
    assert to_frame(normals[2], View("map"), BOX).shape == NATIVE


# What it writes -------------------------------------------------------------------------------


def test_submission_scored_by_the_toolkit_gives_our_scores(folder, tmp_path):
    pytest.importorskip("bdd100k", reason="pip install 'pvt-hydranet[bdd]'")
    from training.data import toolkit

    out = tmp_path / "submission"
    ours = run(folder, Oracle(spoil=True), submission=out)["scores"]["bdd"]
    found = json.loads((out / "det.json").read_text())
    assert [frame["name"] for frame in found] == [f"f{i}.jpg" for i in range(5)]
    truth = json.loads((folder / "labels/det_20/det_val.json").read_text())
    official = toolkit.evaluate_detection(truth, found)
    assert ours["det"]["mAP"] == pytest.approx(official["AP"][-1]["OVERALL"], abs=1e-6)
    assert 5 < ours["det"]["mAP"] < 95
    for task, kind, score, key in (
        ("drivable", "drivable", "IoU", "mIoU"),
        ("lane", "lane_mark", "F1_pix2", "average_F1@2"),
    ):
        masks = sorted((folder / f"labels/{task}/masks/val").glob("*.png"))
        assert len(list((out / task).iterdir())) == 5, "frames without labels are submitted too"
        result = toolkit.evaluate_masks(kind, masks, sorted((out / task).iterdir()))
        assert ours[task][key] == pytest.approx(result[score][-1]["AVERAGE"], abs=1e-6)
        assert 5 < ours[task][key] < 100


def test_a_split_without_labels_can_be_submitted_and_not_scored(folder, tmp_path):
    (folder / "images/100k/val").rename(folder / "images/100k/test")
    with pytest.raises(UserError, match="no labels"):
        run(folder, Oracle(), split="test")
    result = run(folder, Oracle(), split="test", submission=tmp_path / "out")
    assert result["scores"] == {}
    assert len(json.loads((tmp_path / "out/det.json").read_text())) == 5
    assert "no labels here for det, drivable, lane, scene: not scored" in result["notes"]


def test_a_failing_submission_leaves_nothing(tmp_path):
    def broken():
        with Submission(tmp_path / "out", VIEWS) as out:
            out.add("a", {"drivable": np.zeros(NATIVE, np.uint8)})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    with pytest.raises(UserError, match="not empty"):
        Submission(tmp_path / "full", VIEWS)


def test_truth_is_named(folder):
    assert run(folder, Oracle())["truth"] == {"drivable": {"masks": 4}, "lane": {"masks": 4}}
    (folder / "labels/lane/marking/val").mkdir(parents=True)
    white = np.zeros(NATIVE, np.uint8)
    white[90:, 60:70] = 255
    cv2.imwrite(str(folder / "labels/lane/marking/val/f4.png"), white)
    result = run(folder, Oracle())
    assert result["truth"]["lane"] == {"masks": 4, "marking": 1}
    assert any("painted area" in note for note in result["notes"])


def test_json_and_markdown_say_what_was_measured(folder):
    result = run(folder, Oracle(spoil=True), bootstrap=5)
    data = json.loads(as_json(result))
    assert data["bdd"]["det"]["mAP50"] == result["scores"]["bdd"]["det"]["mAP50"]
    assert data["bdd"]["det"]["AP50/rider"] is None, "what was not seen is null, not NaN"
    assert data["panoptic"]["drivable"]["mIoU_set"] > 0
    text = markdown(result)
    value = result["scores"]["panoptic"]["lane"]["IoU_set"]
    assert f"| lane | IoU_set | {value:.2f} |" in text
    assert "timeofday=night" in text
    assert "| car |" in text
    assert "rider" not in text, "classes that never occur have no row"
    assert "truth of lane: 4 masks" in text
    assert "forgives false alarms on the background" in text


# The command ----------------------------------------------------------------------------------


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["eval-bdd", *map(str, words)])
    return main()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none.onnx",), "none.onnx: no such file"),
        (("{folder}/labels/det_20/det_val.json",), "not a model"),
        (("x.onnx", "--limit", "-1"), "--limit -1"),
        (("x.onnx", "--batch", "0"), "--batch 0"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(monkeypatch, capsys, folder, words, message):
    words = [word.format(folder=folder) for word in words]
    assert call(monkeypatch, *words, "--data", folder) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_unreadable_frame_is_named_or_skipped(folder):
    (folder / "images/100k/val/f2.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"f2\.jpg.*--skip-bad"):
        run(folder, Oracle())
    result = run(folder, Oracle(), skip_bad=True)
    assert result["frames"] == 4
    assert "f2.jpg" in result["skipped"][0]
    assert result["scores"]["bdd"]["det"]["mAP"] == pytest.approx(100.0)


def test_a_checkpoint_and_its_onnx_score_the_same(monkeypatch, folder, tmp_path):
    for module in ("onnx", "onnxscript", "onnxslim", "onnxruntime"):
        pytest.importorskip(module, reason="pip install 'pvt-hydranet[export,cpu]'")
    import torch

    from export.to_onnx import describe, save, to_onnx
    from perception import checkpoint
    from perception.zoo import build

    torch.manual_seed(0)
    tasks = ["det", "drivable", "lane", "scene"]
    model = build("pvt-hydranet-b0", tasks)
    for branch in model.tasks["det"].children():
        for tower in branch:
            # Untrained boxes are equal squares that overlap their neighbours' by just a half, where
            # rounding decides which is a double.
            torch.nn.init.normal_(tower[-1].weight, std=0.3)
    weights = model.state_dict()
    meta = checkpoint.Meta("pvt-hydranet-b0", tasks, (96, 160))
    checkpoint.save(tmp_path / "m.safetensors", weights, meta)
    model, meta = checkpoint.load(tmp_path / "m.safetensors")
    description = describe(model, meta, meta.size_hw)
    save(to_onnx(model, description, False), tmp_path / "m.onnx")
    scores = []
    for suffix in ("safetensors", "onnx"):
        out = tmp_path / f"{suffix}.json"
        assert call(monkeypatch, tmp_path / f"m.{suffix}", "--data", folder, "--json", out) == 0
        scores.append(json.loads(out.read_text()))
    for family in ("bdd", "panoptic"):
        for task, values in scores[0][family].items():
            for key, value in values.items():
                other = scores[1][family][task][key]
                assert (value is None) == (other is None)
                assert value is None or other == pytest.approx(value, abs=0.5), (task, key)
    assert open_predictor(tmp_path / "m.onnx").size_hw == (96, 160)


def test_frames_come_in_order_however_many_read_ahead(folder):
    dataset = BDD100K(folder, "val", tuple(VIEWS))
    with ThreadPoolExecutor(3) as pool:
        for ahead in (1, 2, 9):
            names = [f.name for f in read_frames(dataset, Oracle(), pool, ahead)]
            assert names == [f"f{i}" for i in range(5)]
        assert list(read_frames([], Oracle(), pool, 4)) == []
