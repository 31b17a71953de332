"""Rendered roads: the labels must follow from the geometry, and (seed, index) must fix a frame."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.classes import (
    ATTRIBUTES,
    DETECTION,
    LANE_BACKGROUND,
    LANE_CATEGORIES,
    SEMANTIC,
)
from perception.errors import UserError
from training.data.rendered import TASKS, RenderedRoads, drive, write_bdd100k, write_drive_video
from training.data.roads import effects, road_users, truth
from training.data.roads.atmosphere import atmosphere
from training.data.roads.camera import Camera, Curve, Viewpoint
from training.data.roads.frame import RenderedFrame, render
from training.data.roads.gbuffer import VisibleObject
from training.data.roads.ground import MarkingPainter
from training.data.roads.layout import LaneStrip, Road, RoadLine, lane_byte
from training.data.roads.mesh import Thing
from training.data.roads.traffic import vehicle
from training.data.roads.world import Drive, build
from training.data.sample import collate

SMALL = (192, 320)
WORLDS = 150


def camera(curve: Curve | None = None, size_hw: tuple[int, int] = SMALL) -> Viewpoint:
    h, w = size_hw
    return Viewpoint(Camera(size_hw, 0.8 * w, (w / 2, h / 2), 1.4), curve or Curve(), 0.0, 0.0)


def plain_road() -> Road:
    lanes = [
        LaneStrip(-5.1, -1.7, "opposite"),
        LaneStrip(-1.7, 1.7, "direct"),
        LaneStrip(1.7, 5.1, "alternative"),
    ]
    lines = [RoadLine(-1.7, "double yellow"), RoadLine(1.7, "single white", dashed=True)]
    return Road("city street", lanes, lines, (True, True), 2.0, "grass")


def car(s: float, t: float, track: int = 0, kind: str = "suv") -> Thing:
    mesh = road_users.vehicle(kind, False, False)
    return Thing(mesh, s, t, tracks={DETECTION.index("car"): track}, shadow=1.0, blocks=True)


def picture(things: Sequence[Thing]) -> RenderedFrame:
    """A clear day on a plain straight road, seen by a flawless camera."""
    rng = np.random.default_rng(0)
    device = effects.DashCam(1.0, 1.0, (1, 1, 1), 0, 0, 0, 0, (0, 0), (0, 0, 0), (0, 0, 0, 0), 0)
    attributes = {"weather": "clear", "scene": "city street", "timeofday": "daytime"}
    air = atmosphere(rng, "clear", "daytime")
    world = Drive(attributes, plain_road(), list(things), air, device, camera().camera)
    return render(world, 0.0, TASKS, rng)


def test_seed_and_index_fix_a_frame() -> None:
    first, again = RenderedRoads(4, 3, SMALL), RenderedRoads(9, 3, SMALL)
    again[0]  # the order of access changes nothing
    a, b = first[2], again[2]
    assert np.array_equal(a.image, b.image)
    for task in TASKS:
        ours, theirs = a.labels[task].arrays(), b.labels[task].arrays()
        for key, value in ours.items():
            np.testing.assert_array_equal(value, theirs[key])
    assert not np.array_equal(a.image, first[1].image)
    assert not np.array_equal(a.image, RenderedRoads(4, 4, SMALL)[2].image)


@pytest.mark.parametrize("size_hw", [(192, 320), (180, 320)])
def test_every_task_has_a_label_of_the_frame(size_hw: tuple[int, int]) -> None:
    sample = RenderedRoads(2, 1, size_hw)[1]
    h, w = size_hw
    assert sample.image.shape == (h, w, 3)
    assert sample.image.dtype == np.uint8
    assert set(sample.labels) == set(TASKS)
    arrays = {task: label.arrays() for task, label in sample.labels.items()}
    assert set(np.unique(arrays["drivable"]["mask"])) <= {0, 1, 2}
    assert set(np.unique(arrays["semantic"]["mask"])) <= {*range(len(SEMANTIC)), 255}
    assert arrays["scene"]["labels"].shape == (3,)
    depth, normals = arrays["depth"]["map"], arrays["normals"]["normals"]
    assert depth.dtype == normals.dtype == np.float32
    assert normals.shape == (3, h, w)
    known = np.isfinite(depth)
    assert np.array_equal(known, np.isfinite(normals[0]))
    assert depth[known].min() > 0
    np.testing.assert_allclose(np.linalg.norm(normals[:, known], axis=0), 1, atol=1e-3)
    lane = arrays["lane"]["lane"]
    marked = lane[lane != LANE_BACKGROUND]
    assert ((marked & 0b11001000) == 0).all()
    assert collate([sample]).targets.keys() == set(TASKS)


def test_only_the_asked_tasks() -> None:
    data = RenderedRoads(1, 0, SMALL, tasks=("lane", "det"))
    assert data.tasks == ("lane", "det")
    assert set(data[0].labels) == {"lane", "det"}
    assert len(data) == 1
    with pytest.raises(IndexError):
        data[1]
    with pytest.raises(UserError, match="did you mean 'depth'"):
        RenderedRoads(1, tasks=("dept",))


def test_rendered_roads_have_every_attribute_object_and_marking() -> None:
    attributes: dict[str, set[str]] = {group: set() for group in ATTRIBUTES}
    kinds: set[int] = set()
    values: set[int] = set()
    for index in range(WORLDS):
        world = build(17, index, SMALL)
        for group, value in world.attributes.items():
            attributes[group].add(value)
        kinds |= {kind for thing in world.things for kind in thing.mesh.kinds}
        marker = MarkingPainter(world.view(0.0), world.road)
        marker.everything()
        values |= set(np.unique(marker.lane).tolist())
    assert attributes == {group: set(names) for group, names in ATTRIBUTES.items()}
    assert kinds == set(range(len(DETECTION)))
    values.discard(LANE_BACKGROUND)
    assert {value & 7 for value in values} == set(range(len(LANE_CATEGORIES)))
    assert {value & 16 for value in values} == {0, 16}
    assert {value & 32 for value in values} == {0, 32}
    assert lane_byte("crosswalk", vertical=True) in values


@pytest.mark.parametrize("curve", [Curve(), Curve(0.03, 0.002, 1e-4), Curve(-0.02, 0.001, -1e-4)])
def test_a_point_of_the_ground_has_the_depth_of_its_pixel(curve: Curve) -> None:
    view = Viewpoint(Camera((384, 640), 500, (320, 190), 1.4, 0.02, 0.01), curve, 0.0, 0.0)
    depth = view.camera.ground_depth(curve)
    for s, t in ((6.0, 1.0), (12.0, -3.0), (30.0, 2.0)):
        x, y = view.project(np.array([s]), np.array([t]))[0]
        seen = cv2.remap(depth, np.float32([[x]]), np.float32([[y]]), cv2.INTER_LINEAR)[0, 0]
        point = curve.place(np.array([s]), np.array([t]))
        truth = view.camera.to_camera(point)[0, 2]
        assert seen == pytest.approx(truth, rel=0.03)


def test_points_along_a_curved_and_sloping_road() -> None:
    """x = t + yaw z + bend z^2 / 2 and y = lift z^2 / 2, ten metres ahead."""
    curve = Curve(yaw=0.1, bend=0.01, lift=0.002)
    np.testing.assert_allclose(curve.place(np.array([10.0]), np.array([2.0])), [[3.5, 0.1, 10]])
    assert curve.heading(np.array([10.0])) == pytest.approx(np.arctan(0.2))
    assert curve.sight(1.5) == 260
    # The crest of a hill is where the ray touches it: z^2 = 2 h / lift.
    assert Curve(lift=-0.001).sight(1.5) == pytest.approx(0.97 * 3000**0.5)


def test_a_camera_that_looks_down_sees_the_horizon_above_its_middle() -> None:
    view = Camera((720, 1280), 1000.0, (640.0, 360.0), 1.5, pitch=float(np.arctan(0.1)))
    far = view.pixels(view.to_camera(np.array([[0.0, 0.0, 1e7]], np.float32)))[0]
    np.testing.assert_allclose(far, (640, 260), atol=0.01)
    assert view.horizon() == pytest.approx(260)
    # The ground under the middle of the frame: 1.5 m below, a tenth of the way ahead.
    near = view.pixels(view.to_camera(np.array([[0.0, 0.0, 15.0]], np.float32)))[0]
    np.testing.assert_allclose(near, (640, 360), atol=0.01)


def test_depth_and_normal_of_a_wall_of_known_place() -> None:
    rng = np.random.default_rng(1)
    bus = vehicle(rng, 20.0, 0.0, 0.0, False, 0.0)
    bus.mesh, bus.scale = road_users.vehicle("bus", False, False), (1, 1, 1)
    frame = picture([bus])
    depth = frame.labels["depth"].arrays()["map"]
    normals = frame.labels["normals"].arrays()["normals"]
    x, y = camera().project(np.array([20 - 11.5 / 2]), np.array([0.0]), 1.6)[0].round().astype(int)
    assert depth[y, x] == pytest.approx(20 - 11.5 / 2, abs=0.1)
    np.testing.assert_allclose(normals[:, y, x], (0, 0, -1), atol=1e-3)
    np.testing.assert_allclose(normals[:, -1, SMALL[1] // 2], (0, -1, 0), atol=1e-3)
    assert np.isnan(depth[0, 0])


def test_ground_that_no_ray_meets_has_no_depth() -> None:
    # In its last frame a ray misses the raised sidewalk at the crest of a hill.
    *_, last = drive(4, 31, 10.0, SMALL, ("depth", "normals"))
    depth = last.labels["depth"].arrays()["map"]
    assert not np.isinf(depth).any()
    normals = last.labels["normals"].arrays()["normals"]
    assert np.array_equal(np.isfinite(depth), np.isfinite(normals[0]))


def test_boxes_state_occlusion_and_truncation() -> None:
    whole = picture([car(12, 0, 1)]).found
    assert [(f.track, f.occluded, f.truncated) for f in whole] == [(1, False, False)]
    behind = {f.track: f for f in picture([car(10, 0, 1), car(17, 1.6, 2)]).found}
    assert behind[2].occluded
    assert not behind[1].occluded
    hidden = {f.track for f in picture([car(8, 0, 1, "van"), car(40, 0, 2, "coupe")]).found}
    assert hidden == {1}
    cut = picture([car(4.5, 2.6, 1)]).found
    assert [(f.track, f.truncated) for f in cut] == [(1, True)]


@pytest.mark.parametrize(
    ("pixels", "occluded"), [(400, False), (352, False), (351, True), (48, True), (47, None)]
)
def test_an_object_is_occluded_below_88_and_left_out_below_12_percent(
    pixels: int, occluded: bool | None
) -> None:
    face = np.zeros((384, 640), np.int32)
    face[100:120, 200:220] = np.where(np.arange(400) < pixels, 50, 0).reshape(20, 20).T
    seen = VisibleObject(2, 1, 50, 50, [200, 100, 220, 120], alone=400)
    found = truth.labelled(face, seen)
    assert (found and found.occluded) == occluded


@pytest.mark.parametrize(
    ("tall", "wide", "found"), [(4, 4, True), (3, 6, False), (6, 3, True), (8, 2, False)]
)
def test_the_smallest_objects_are_three_and_a_half_rows_tall(
    tall: int, wide: int, found: bool
) -> None:
    """And 0.7 of that wide, in 384 rows."""
    face = np.zeros((384, 640), np.int32)
    face[100 : 100 + tall, 200 : 200 + wide] = 50
    seen = VisibleObject(2, 1, 50, 50, [200, 100, 200 + wide, 100 + tall], alone=tall * wide)
    assert (truth.labelled(face, seen) is not None) == found


@pytest.mark.parametrize(
    ("side", "by", "truncated"),
    [(0, -1, False), (0, -2, True), (1, -2, True), (2, 1, False), (2, 2, True), (3, 2, True)],
)
def test_an_object_is_truncated_more_than_a_pixel_outside(
    side: int, by: int, truncated: bool
) -> None:
    face = np.full((384, 640), 50, np.int32)
    extent = [0.0, 0.0, 640.0, 384.0]
    extent[side] += by
    found = truth.labelled(face, VisibleObject(2, 1, 50, 50, extent, alone=face.size))
    assert found is not None
    assert found.truncated == truncated


def test_the_normal_of_rising_ground_leans_towards_the_camera() -> None:
    """20 m ahead of a flat place that rises by 0.002 z, the slope is 0.04."""
    world = replace(picture([]).drive, lift=(0.002, 0.0))
    frame = render(world, 0.0, ("normals",), np.random.default_rng(0))
    x, y = frame.view.project(np.array([20.0]), np.array([0.5]))[0].round().astype(int)
    normal = frame.labels["normals"].arrays()["normals"][:, y, x]
    np.testing.assert_allclose(normal, (0, -1, -0.04), atol=3e-3)


def test_a_box_encloses_exactly_the_pixels_of_its_object() -> None:
    frame = picture([car(12, 1.0, 1)])
    pixels = frame.labels["semantic"].arrays()["mask"] == SEMANTIC.index("car")
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    expected = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert frame.found[0].box_xyxy == tuple(float(v) for v in expected)
    np.testing.assert_array_equal(frame.labels["det"].arrays()["boxes_xyxy"][0], expected)


def test_the_lane_is_drivable_up_to_the_car_ahead_and_no_further() -> None:
    free, blocked = picture([]), picture([car(15, 0.0)])
    for frame, most in ((free, 100.0), (blocked, 15 - 4.7 / 2 + 0.5)):
        direct = frame.labels["drivable"].arrays()["mask"] == 0
        depth = frame.labels["depth"].arrays()["map"]
        assert direct.any()
        assert (depth[direct].max() <= most) == (frame is blocked)
    mask = blocked.labels["drivable"].arrays()["mask"]
    semantic = blocked.labels["semantic"].arrays()["mask"]
    assert (semantic[mask < 2] == SEMANTIC.index("road")).all()
    assert (mask == 1).any()


def test_markings_follow_the_plan_and_are_hidden_by_cars() -> None:
    view = camera()
    lane = picture([]).labels["lane"].arrays()["lane"]
    for t, value in ((-1.7, lane_byte("double yellow")), (1.7, lane_byte("single white", True))):
        x, y = view.project(np.array([9.0]), np.array([t]))[0].round().astype(int)
        assert lane[y, x] == value
    x, y = view.project(np.array([9.0]), np.array([0.0]))[0].round().astype(int)
    assert lane[y, x] == LANE_BACKGROUND
    frame = picture([car(9, 1.7)])
    cars = frame.labels["semantic"].arrays()["mask"] == SEMANTIC.index("car")
    assert (lane[cars] != LANE_BACKGROUND).any()
    assert (frame.labels["lane"].arrays()["lane"][cars] == LANE_BACKGROUND).all()


def test_a_drive_moves_and_keeps_its_ids() -> None:
    frames = list(drive(5, 8, 10.0, SMALL, ("det",)))
    assert len(frames) == 8
    again = list(drive(5, 3, 10.0, SMALL, ()))  # a shorter drive is the same drive
    assert np.array_equal(again[2].image, frames[2].image)
    ids = [{f.track for f in frame.found} - {-1} for frame in frames]
    for before, after in pairwise(ids):
        assert len(before & after) >= 0.6 * len(before)
    change = np.abs(frames[0].image.astype(int) - frames[-1].image).mean()
    assert change > 1


def test_written_as_bdd100k(tmp_path: Path) -> None:
    write_bdd100k(tmp_path, 2, 1, seed=6, size_hw=(90, 160))
    for split, count in (("train", 2), ("val", 1)):
        frames = json.loads((tmp_path / f"labels/det_20/det_{split}.json").read_text())
        assert len(frames) == count
        for frame in frames:
            stem = Path(frame["name"]).stem
            image = cv2.imread(str(tmp_path / "images/100k" / split / frame["name"]))
            assert image.shape == (90, 160, 3)
            for place in ("drivable", "lane", "sem_seg"):
                mask = cv2.imread(str(tmp_path / f"labels/{place}/masks/{split}/{stem}.png"), -1)
                assert mask.shape == (90, 160)
            for label in frame["labels"]:
                box = label["box2d"]
                assert label["category"] in DETECTION
                assert 0 <= box["x1"] < box["x2"] <= 160
                assert 0 <= box["y1"] < box["y2"] <= 90
            assert all(frame["attributes"][g] in names for g, names in ATTRIBUTES.items())
    assert len(list((tmp_path / "images/100k").rglob("*.jpg"))) == 3


def test_a_drive_as_video(tmp_path: Path) -> None:
    path = tmp_path / "drive.mp4"
    write_drive_video(path, 2, 5, 10.0, SMALL)
    reader = cv2.VideoCapture(str(path))
    count = 0
    while reader.read()[0]:
        count += 1
    assert count == 5
    assert [p.name for p in tmp_path.iterdir()] == ["drive.mp4"]
