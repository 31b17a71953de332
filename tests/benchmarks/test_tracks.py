"""BDD100K's MOT labels."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from perception.classes import DETECTION
from perception.errors import NoFramesError, UserError

PATH = Path(__file__).parents[2] / "benchmarks/tracks.py"


def read_tracks(path):
    spec = importlib.util.spec_from_file_location("benchmarks_tracks", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.read_tracks(path)


def label(identity, category="car", box=(10, 20, 50, 60), **attributes):
    box2d = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
    return {"id": identity, "category": category, "box2d": box2d, "attributes": attributes}


def frame(index, *labels, video="b1c66a42-6f7d68ca", **more):
    name = f"{video}-{index + 1:07d}.jpg"
    return {"name": name, "videoName": video, "frameIndex": index, "labels": list(labels)} | more


def write(folder, *frames, name="b1c66a42-6f7d68ca.json"):
    path = folder / name
    path.write_text(json.dumps(list(frames)))
    return path


def test_identities_are_numbers_of_their_video(tmp_path):
    write(tmp_path, frame(1, label("00000044", box=(12, 20, 52, 60))),
          frame(0, label("00000044"), label("7", "pedestrian"), attributes={"timeofday": "night"}),
          )  # fmt: skip
    write(tmp_path, frame(0, label("7"), video="other"), name="other.json")
    videos = read_tracks(tmp_path)
    assert list(videos) == ["b1c66a42-6f7d68ca", "other"]
    first, second = videos["b1c66a42-6f7d68ca"]
    assert (first.index, second.index) == (0, 1)
    assert first.name == "b1c66a42-6f7d68ca-0000001.jpg"
    assert first.attributes == {"timeofday": "night"}
    assert [DETECTION[one] for one in first.classes] == ["car", "pedestrian"]
    assert second.ids[0] == first.ids[0] != first.ids[1]
    np.testing.assert_array_equal(second.boxes_xyxy, [[12, 20, 52, 60]])


def test_crowds_and_uncertain_categories_are_ignored_regions(tmp_path):
    labels = [
        label("1"),
        label("2", crowd=True),
        label("3", "other vehicle"),
        label("4", "traffic cone"),
        label("5") | {"box2d": None},
    ]
    (only,) = read_tracks(write(tmp_path, frame(0, *labels)))["b1c66a42-6f7d68ca"]
    assert only.ignored.tolist() == [False, True, True]


@pytest.mark.parametrize("labels", [[], None])
def test_a_frame_without_boxes(labels, tmp_path):
    (only,) = read_tracks(write(tmp_path, frame(0) | {"labels": labels}))["b1c66a42-6f7d68ca"]
    assert only.boxes_xyxy.shape == (0, 4)
    assert len(only.ids) == len(only.classes) == len(only.ignored) == 0


@pytest.mark.parametrize(
    "frames",
    [
        [{"name": "a.jpg", "labels": []}],  # no frameIndex
        [frame(0, {"category": "car", "box2d": {"x1": 0, "y1": 0, "x2": 1, "y2": 1}})],  # no id
        [frame(0, label("1", box=(5, 5, 4, 9)))],
        [frame(0, label("1", box=(5, 5, float("nan"), 9)))],
        [frame(0, label("1"), label("1", box=(0, 0, 5, 5)))],
        [frame(0, label("1")), frame(0, label("1"))],
    ],
)
def test_what_cannot_be_a_track_is_named(frames, tmp_path):
    with pytest.raises(UserError, match="b1c66a42"):
        read_tracks(write(tmp_path, *frames))


def test_a_folder_without_labels(tmp_path):
    with pytest.raises(NoFramesError):
        read_tracks(tmp_path)
