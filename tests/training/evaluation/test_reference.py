"""The toolkit's evaluators and the benchmark server's files, from the same predictions."""

import json

import cv2
import numpy as np
import pytest

from perception.runtime.scene import Scene
from training.evaluation.predictor import LabelledFrame
from training.evaluation.reference import expressible
from training.evaluation.submission import Submission

NATIVE = (180, 320)


@pytest.mark.slow
def test_the_toolkit_scores_the_same_predictions(folder, oracle, score, tmp_path):
    pytest.importorskip("bdd100k", reason="pip install 'pvt-hydranet[bdd]'")
    from training.evaluation.reference import ToolkitCheck

    predictor = oracle(spoil=True)
    check = ToolkitCheck(predictor.views, tmp_path / "masks")
    ours = score(folder, predictor, sinks=[check.add])["scores"]["bdd"]
    rows = check.compare()
    frames = {row["task"]: row["frames"] for row in rows}
    # One frame has an undefined attribute, another no masks.
    assert frames == {"det": 5, "drivable": 4, "lane": 4, "scene": 4}
    for row in rows:
        assert row["ours"] == pytest.approx(row["toolkit"], abs=1e-6, nan_ok=True), row
        if row["task"] != "scene":
            assert row["ours"] == pytest.approx(ours[row["task"]][row["score"]], nan_ok=True)
    values = {(row["task"], row["score"]): row["toolkit"] for row in rows}
    for key in (("det", "mAP"), ("drivable", "pixAcc"), ("lane", "average_F1@2")):
        assert 5 < values[key] < 99, key


def test_labels_that_official_files_cannot_hold_are_left_out(folder, oracle, score, tmp_path):
    pytest.importorskip("bdd100k", reason="pip install 'pvt-hydranet[bdd]'")
    from training.evaluation.reference import ToolkitCheck

    target = folder / "ll_seg_annotations/val"  # lanes without a type
    target.mkdir(parents=True)
    cv2.imwrite(str(target / "f4.png"), np.full(NATIVE, 255, np.uint8))
    check = ToolkitCheck(oracle().views, tmp_path / "masks")
    assert score(folder, oracle(), sinks=[check.add])["labelled"]["bdd"]["lane"] == 5
    assert len(check.entries["lane"]) == 4
    assert check.notes() == []


@pytest.mark.slow
def test_a_submission_scored_by_the_toolkit_gives_our_scores(folder, oracle, score, tmp_path):
    pytest.importorskip("bdd100k", reason="pip install 'pvt-hydranet[bdd]'")
    from training.evaluation import toolkit

    out, predictor = tmp_path / "submission", oracle(spoil=True)
    with Submission(out, predictor.views) as sink:
        ours = score(folder, predictor, sinks=[sink.add])["scores"]["bdd"]
    found = json.loads((out / "det.json").read_text())
    assert [frame["name"] for frame in found] == [f"f{i}.jpg" for i in range(5)]
    truth = json.loads((folder / "labels/det_20/det_val.json").read_text())
    official = toolkit.evaluate_detection(truth, found)
    assert ours["det"]["mAP"] == pytest.approx(official["AP"][-1]["OVERALL"], abs=1e-6)
    assert 5 < ours["det"]["mAP"] < 95
    for task, kind, key, name in (
        ("drivable", "drivable", "IoU", "mIoU"),
        ("lane", "lane_mark", "F1_pix2", "average_F1@2"),
    ):
        masks = sorted((folder / f"labels/{task}/masks/val").glob("*.png"))
        assert len(list((out / task).iterdir())) == 5, "frames without labels are submitted too"
        result = toolkit.evaluate_masks(kind, masks, sorted((out / task).iterdir()))
        assert ours[task][name] == pytest.approx(result[key][-1]["AVERAGE"], abs=1e-6)
        assert 5 < ours[task][name] < 100


@pytest.mark.parametrize(("labels", "held"), [([0, 5, 0], True), ([0, -1, 0], False)])
def test_official_files_hold_attributes_that_are_all_known(labels, held):
    assert expressible({"labels": np.array(labels)}) == held


def test_a_failing_submission_leaves_nothing(oracle, tmp_path):
    frame = LabelledFrame(0, "a", NATIVE, np.full((*NATIVE, 3), 40, np.uint8), {}, {})
    views = oracle().views

    def broken():
        with Submission(tmp_path / "out", views) as out:
            scene = oracle()([frame.image])[0]
            out.add(frame, Scene(NATIVE, {"drivable": scene.outputs["drivable"]}))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert list(tmp_path.iterdir()) == []


def test_a_submission_folder_must_be_new(oracle, tmp_path):
    from perception.errors import UserError

    (tmp_path / "x").touch()
    with pytest.raises(UserError, match="not empty"):
        Submission(tmp_path, oracle().views)
