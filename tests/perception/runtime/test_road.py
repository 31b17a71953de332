"""Lanes, the estimated camera, distances and the vehicle ahead, on drawn roads."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from perception.classes import DETECTION, DRIVABLE, LANE_CATEGORIES, LANE_DIRECTIONS, LANE_STYLES
from perception.runtime import birds_eye
from perception.runtime.camera import Camera
from perception.runtime.camera_estimate import FLOOR, SIGMA_MOUNT, CameraEstimator, usual_camera
from perception.runtime.camera_file import CameraFile
from perception.runtime.distance import _ttc, foot_sigma
from perception.runtime.road import RoadGeometry
from perception.runtime.scene import Boxes, Mask, Scene
from perception.runtime.view import LANE_BYTE, View

SIZE = (360, 640)
CAMERA = Camera(SIZE, (550, 550), (320, 180), 1.4, pitch=0.02)
VIEW = View("mask", encoding=LANE_BYTE, categories=LANE_CATEGORIES, styles=LANE_STYLES,
            directions=LANE_DIRECTIONS)  # fmt: skip
WHITE, YELLOW, KERB, CROSSWALK = (
    LANE_CATEGORIES.index(name) for name in
    ("single white", "double yellow", "road curb", "crosswalk")
)  # fmt: skip
DASHED, ACROSS = 16, 32
LINES = {-5.3: WHITE, -1.9: YELLOW, 1.6: WHITE | DASHED, 5.0: KERB}  # offset in metres: byte
VIEW_DEG = float(np.degrees(2 * np.arctan(320 / 550)))


def scene(
    lines: dict[float, int] | None = None,
    bend: float = 0.0,
    cars: dict[int, tuple[float, float]] | None = None,
    shift: float = 0.0,
    camera: Camera = CAMERA,
    far: float = 60,
) -> Scene:
    """A road of curvature `bend` and cars {track: (right, forward)} as the camera sees them."""
    byte = np.full(SIZE, 255, np.uint8)
    z = np.geomspace(3, far, 80)
    for offset, value in (LINES if lines is None else lines).items():
        x = offset + shift + bend * z**2 / 2
        points = np.round(camera.pixels(np.column_stack([x, z]))).astype(np.int32)
        cv2.polylines(byte, [points], False, value, 3)
    xyxy, ids = [], []
    for track, (x, ahead) in (cars or {}).items():
        (left, foot), (right, _) = camera.pixels(np.array([[x - 0.9, ahead], [x + 0.9, ahead]]))
        xyxy.append([left, foot - 0.85 * (right - left), right, foot])
        ids.append(track)
    boxes = Boxes(
        np.array(xyxy, np.float32).reshape(-1, 4),
        np.full(len(ids), 0.9, np.float32),
        np.full(len(ids), DETECTION.index("car")),
        DETECTION,
        np.array(ids, np.int64),
    )
    return Scene(SIZE, {"b": boxes, "paint": Mask(byte, SIZE, VIEW)})


def with_camera() -> RoadGeometry:
    return RoadGeometry(CameraFile(CAMERA, True, "camera.yaml"))


def test_lanes_have_sides_types_and_metres():
    road = with_camera().update(scene(), 0.0)
    sides = {lane.side: lane for lane in road.lanes}
    assert list(sides) == ["next left", "ego left", "ego right", "kerb right"]
    assert sides["ego left"].category == "double yellow"
    assert (sides["ego right"].style, sides["ego left"].style) == ("dashed", "solid")
    for side, offset in zip(sides, LINES, strict=True):
        assert np.abs(sides[side].ground[:, 0] - offset).max() < 0.25
        assert sides[side].score > 0.9
    assert road.ego_offset_m == pytest.approx(0.15, abs=0.05)
    assert road.lane_width_m == pytest.approx(3.5, abs=0.1)
    assert road.curvature == pytest.approx(0, abs=5e-4)
    assert road.departure is None


def test_a_curve_is_measured():
    road = with_camera().update(scene(bend=0.004), 0.0)
    assert road.curvature == pytest.approx(0.004, rel=0.15)
    assert {"ego left", "ego right"} <= {lane.side for lane in road.lanes}


def test_without_lanes_there_are_no_numbers():
    road = with_camera().update(scene({}), 0.0)
    assert road.lanes == []
    assert road.ego_offset_m is road.curvature is road.departure is None


def test_a_crosswalk_and_a_stop_line_are_lines_across():
    seen = scene()
    byte = seen.outputs["paint"].small
    byte[300:306, 150:500] = CROSSWALK | ACROSS
    byte[260:264, 200:430] = WHITE | ACROSS
    lanes = with_camera().update(seen, 0.0).lanes
    across = {lane.side: lane for lane in lanes if lane.curve is None}
    assert set(across) == {"crosswalk", "across"}
    assert np.abs(across["crosswalk"].points[:, 1] - 303).max() < 2
    assert {"ego left", "ego right"} <= {lane.side for lane in lanes}


@pytest.mark.parametrize(("wide", "found"), [(32, 1), (28, 0)])
def test_what_is_across_is_half_as_wide_again_as_high(wide, found):
    byte = np.full(SIZE, 255, np.uint8)
    byte[280:300, 200 : 200 + wide] = WHITE | ACROSS
    seen = Scene(SIZE, {"paint": Mask(byte, SIZE, VIEW)})
    assert len(with_camera().update(seen, 0.0).lanes) == found


def test_reflections_in_the_bonnet_do_not_bend_a_border():
    seen = scene()
    byte = seen.outputs["paint"].small
    byte[320:] = 255
    byte[326:354, 400:412] = byte[326:354, 240:252] = WHITE
    road = with_camera().update(seen, 0.0)
    assert road.lane_width_m == pytest.approx(3.5, abs=0.2)


def test_ids_stay_while_the_car_moves_and_a_missed_lane_is_kept_for_a_moment():
    geometry = with_camera()
    first = {lane.side: lane.id for lane in geometry.update(scene(), 0.0).lanes}
    for step in range(1, 6):
        lines = {k: v for k, v in LINES.items() if step != 3 or v != YELLOW}
        road = geometry.update(scene(lines, shift=0.08 * step), step / 10)
        assert {lane.side: lane.id for lane in road.lanes} == first
    for step in range(6, 12):
        road = geometry.update(scene({}), step / 10)
    assert road.lanes == []


def test_over_the_line_is_a_departure():
    geometry = with_camera()
    for step in range(8):
        road = geometry.update(scene(shift=-0.13 * step), step / 10)
    assert road.departure == "right"


def test_the_camera_is_estimated_from_the_lanes():
    geometry = RoadGeometry(height_m=1.4, view_deg=VIEW_DEG)
    for step in range(12):
        road = geometry.update(scene(cars={1: (0, 25.0)}), step / 10)
        assert road.ranges["b"].lead == 0
    assert road.camera.pitch == pytest.approx(CAMERA.pitch, abs=0.004)
    ranges = road.ranges["b"]
    assert ranges.distance_m[0] == pytest.approx(25, rel=0.12)
    assert ranges.distance_sigma_m[0] > 25 * 0.15  # the focal length is a guess


@pytest.mark.parametrize("yaw", [-0.04, 0.04])
def test_the_yaw_is_estimated_from_the_lanes(yaw):
    geometry = RoadGeometry(height_m=1.4, view_deg=VIEW_DEG)
    for step in range(30):
        road = geometry.update(scene(camera=replace(CAMERA, yaw=yaw)), step / 10)
    assert road.camera.yaw == pytest.approx(yaw, abs=0.012)


@pytest.mark.parametrize("pitch", [-0.08, 0.0, 0.05])
def test_the_camera_is_estimated_from_the_heights_of_cars(pitch):
    camera = replace(CAMERA, pitch=pitch)
    geometry = RoadGeometry(height_m=1.4, view_deg=VIEW_DEG)
    cars = {1: (0, 25.0), 2: (-3.4, 15.0), 3: (3.4, 40.0)}
    for step in range(3):
        road = geometry.update(scene({}, cars=cars, camera=camera), step / 10)
    assert road.camera.horizon == pytest.approx(camera.horizon, abs=4)
    np.testing.assert_allclose(road.ranges["b"].distance_m, [25, 15, 40], rtol=0.25)
    assert road.ranges["b"].lead == 0


def test_an_implausible_height_moves_the_horizon_less():
    geometry = RoadGeometry(height_m=1.4, view_deg=VIEW_DEG)
    seen = scene({}, cars={1: (0, 25.0), 2: (-3.4, 15.0), 3: (3.4, 40.0), 4: (3.4, 20.0)})
    seen.outputs["b"].xyxy[3, 1] -= 60  # a car three times as tall
    assert geometry.update(seen, 0.0).camera.horizon == pytest.approx(CAMERA.horizon, abs=6)


def test_without_lanes_and_road_users_there_is_no_estimated_camera():
    geometry = RoadGeometry(height_m=1.4)
    for step in range(20):
        road = geometry.update(scene({}), step / 10)
        assert road.camera is None


def test_an_uncertain_camera_gives_the_vehicle_ahead_but_no_distance():
    geometry = RoadGeometry(height_m=1.4, view_deg=VIEW_DEG)
    seen = scene({1.6: WHITE}, cars={1: (0, 20.0), 2: (-3.5, 20.0)})
    seen.outputs["b"].classes[:] = DETECTION.index("truck")  # of any height
    road = geometry.update(seen, 0.0)
    assert road.camera is None
    assert np.isnan(road.ranges["b"].distance_m).all()
    assert road.ranges["b"].lead == 0


def test_the_drivable_mask_gives_the_own_path_where_no_border_is_seen():
    area = np.full(SIZE, 2, np.uint8)
    path = CAMERA.pixels(np.array([[-1.6, 4], [1.6, 4], [3.6, 25], [0.4, 25]]))
    cv2.fillPoly(area, [np.round(path).astype(np.int32)], 0)
    seen = scene({}, cars={1: (-1.4, 25.0), 2: (2.0, 25.0)})
    assert with_camera().update(seen, 0.0).ranges["b"].lead == -1
    seen.outputs["area"] = Mask(area, SIZE, View("mask", classes=DRIVABLE))
    assert with_camera().update(seen, 0.0).ranges["b"].lead == 1


def test_a_line_that_puts_the_vehicle_out_of_its_lane_is_not_its_border():
    seen = scene({-3.2: WHITE}, cars={1: (-1.7, 19.0), 2: (0.7, 11.0)})
    assert with_camera().update(seen, 0.0).ranges["b"].lead == 1


def test_a_box_too_narrow_for_a_car_is_not_the_vehicle_ahead():
    seen = scene(cars={1: (0.0, 20.0), 2: (0.0, 8.0)})
    assert with_camera().update(seen, 0.0).ranges["b"].lead == 1
    x1, _, x2, _ = seen.outputs["b"].xyxy[1]
    seen.outputs["b"].xyxy[1, [0, 2]] = (x1 + x2) / 2 + np.array([-0.25, 0.25]) * (x2 - x1)
    assert with_camera().update(seen, 0.0).ranges["b"].lead == 0


def test_the_flank_of_a_vehicle_in_the_next_lane_is_not_in_the_own_path():
    seen = scene({}, cars={1: (2.9, 9.0)})
    x1, _, x2, _ = seen.outputs["b"].xyxy[0]
    seen.outputs["b"].xyxy[0, 0] = x1 - (x2 - x1)  # its flank is visible as well
    ranges = with_camera().update(seen, 0.0).ranges["b"]
    assert ranges.lead == -1
    assert ranges.offset_m[0] == pytest.approx(2.9, abs=0.15)


@pytest.mark.parametrize(
    ("kind", "width"), [("car", 1.8), ("truck", 2.5), ("bus", 2.5), ("train", 2.6)]
)
def test_the_near_side_of_a_vehicle_is_as_wide_as_its_kind(kind, width):
    seen = scene({}, cars={1: (2.9, 9.0)})
    boxes = seen.outputs["b"]
    edges = CAMERA.pixels(np.array([[2.9 - width / 2, 9.0], [2.9 + width / 2, 9.0]]))
    boxes.xyxy[0, [0, 2]] = edges[:, 0] - (60, 0)  # its flank is visible as well
    boxes.classes[0] = DETECTION.index(kind)
    ranges = with_camera().update(seen, 0.0).ranges["b"]
    assert ranges.offset_m[0] == pytest.approx(2.9, abs=0.02)


@pytest.mark.parametrize("fps", [10, 30])
def test_lanes_are_smoothed_per_second(fps):
    geometry = with_camera()
    for step in range(fps):
        geometry.update(scene(), step / fps)
    for step in range(fps, fps + round(0.2 * fps)):
        road = geometry.update(scene(shift=0.3), step / fps)
    # 1 - exp(-0.2 / 0.13) of the step of -0.3 m, from 0.15 m.
    assert road.ego_offset_m == pytest.approx(0.15 - 0.3 * 0.785, abs=0.03)


def test_with_neither_camera_nor_height_lanes_stay_in_pixels():
    geometry = RoadGeometry()
    for step in range(8):
        road = geometry.update(scene(cars={1: (0, 25.0)}), step / 10)
    assert road.camera is None
    assert np.isnan(road.ranges["b"].distance_m).all()
    assert all(lane.ground is None for lane in road.lanes)
    assert road.ranges["b"].lead == 0  # between the borders in the picture
    assert birds_eye.costmap(scene(), road) is None


def test_distances_offsets_and_the_vehicle_ahead():
    cars = {1: (-3.4, 12.0), 2: (0.2, 30.0), 3: (0.0, 50.0), 4: (3.4, 18.0)}
    ranges = with_camera().update(scene(cars=cars), 0.0).ranges["b"]
    np.testing.assert_allclose(ranges.distance_m, [12, 30, 50, 18], rtol=0.02)
    np.testing.assert_allclose(ranges.offset_m, [-3.4, 0.2, 0, 3.4], atol=0.1)
    assert ranges.lead == 1
    assert (ranges.distance_sigma_m / ranges.distance_m)[2] > 0.05


def test_uncertainties_of_a_car_at_the_side():
    """Foot point: 1.5 % of the box's height and one of 384 rows, in quadrature. Offset: the
    distance's uncertainty along the ray; across it, those of the column and the camera's yaw."""
    seen = scene(cars={1: (3.4, 20.0)})
    boxes = seen.outputs["b"]
    ranges = with_camera().update(seen, 0.0).ranges["b"]
    tall = float(boxes.xyxy[0, 3] - boxes.xyxy[0, 1])
    foot = np.hypot(0.015 * tall, 360 / 384)
    assert foot_sigma(boxes, 360)[0] == pytest.approx(foot)
    share = ranges.distance_sigma_m[0] / ranges.distance_m[0]
    across = ranges.distance_m[0] * np.hypot(foot / 550, CAMERA.sigma_yaw)
    expected = np.hypot(share * ranges.offset_m[0], across)
    assert ranges.offset_sigma_m[0] == pytest.approx(expected, rel=1e-6)


def test_the_uncertainty_of_the_own_place_is_that_of_the_mean_of_two_borders():
    exact = replace(CAMERA, sigma_roll=0.0, sigma_height=0.0)
    road = RoadGeometry(CameraFile(exact, True, "camera.yaml")).update(scene(), 0.0)
    left, right = (1.4 * road.borders[s].curve.covariance[0, 0] ** 0.5 for s in ("left", "right"))
    assert road.ego_offset_sigma_m == pytest.approx(np.hypot(left, right) / 2)


def test_values_that_the_geometry_does_not_support_are_nan():
    seen = scene(cars={1: (0, 20.0), 2: (0, 20.0), 3: (0, 20.0), 4: (0, 20.0), 5: (0, 20.0)})
    boxes = seen.outputs["b"]
    boxes.xyxy[0] = (300, 100, 340, 150)  # above the horizon
    boxes.xyxy[1] = (250, 200, 400, 360)  # cut off below
    boxes.xyxy[2] = (0, 180, 90, 260)  # cut off at the side
    boxes.xyxy[3, 3] = CAMERA.horizon + 1  # too far to tell
    boxes.classes[4] = DETECTION.index("traffic sign")
    ranges = with_camera().update(seen, 0.0).ranges["b"]
    assert np.isnan(ranges.distance_m).all()
    assert np.isnan(ranges.offset_m).all()


@pytest.mark.parametrize(
    ("box", "whole"),
    [
        ((250, 200, 400, 357), True),  # two of the model's 384 rows are 1.9 of 360
        ((250, 200, 400, 359), False),
        ((3, 200, 150, 300), True),
        ((1, 200, 150, 300), False),
        ((490, 200, 637, 300), True),
        ((490, 200, 639, 300), False),
    ],
)
def test_a_box_two_pixels_from_the_edge_is_cut_off(box, whole):
    seen = scene(cars={1: (0, 20.0)})
    seen.outputs["b"].xyxy[0] = box
    assert np.isfinite(with_camera().update(seen, 0.0).ranges["b"].distance_m[0]) == whole


def test_a_rider_stands_where_the_two_wheeler_does():
    seen = scene(cars={1: (0, 20.0), 2: (0, 20.0), 3: (3.4, 20.0)})
    boxes = seen.outputs["b"]
    boxes.classes[:] = [DETECTION.index(name) for name in ("bicycle", "rider", "rider")]
    boxes.xyxy[1:, 3] -= 8  # the feet are above the road
    ranges = with_camera().update(seen, 0.0).ranges["b"]
    np.testing.assert_allclose(ranges.distance_m, [20, 20, np.nan], rtol=0.02)
    width = boxes.xyxy[1, 2] - boxes.xyxy[1, 0]
    boxes.xyxy[1, [0, 2]] += 0.6 * width  # less than half above the wheels
    assert np.isnan(with_camera().update(seen, 0.0).ranges["b"].distance_m[1])


def test_time_to_collision_comes_from_the_track():
    geometry, warned = with_camera(), []
    for step in range(30):
        gap = 40 - 8 * step / 10
        road = geometry.update(scene(cars={7: (0, gap), 8: (3.4, 20.0)}), step / 10, 20.0)
        warned.append(road.collision)
    ranges = road.ranges["b"]
    assert ranges.ttc_s[0] == pytest.approx(gap / 8, rel=0.15)
    assert np.isnan(ranges.ttc_s[1])  # keeps its distance
    assert road.headway_s == pytest.approx(gap / 20, rel=0.05)
    assert warned[-1]
    assert not any(warned[:15])


def test_a_track_that_is_hidden_for_a_moment_keeps_its_history():
    geometry = with_camera()
    for step in range(15):
        cars = {} if 7 < step < 14 else {7: (0, 40 - 0.8 * step)}
        road = geometry.update(scene(cars=cars), step / 10)
    assert road.ranges["b"].ttc_s[0] == pytest.approx(3.6, rel=0.1)


@pytest.mark.parametrize(("error", "given"), [(20.0, True), (34.0, False)])
def test_a_time_to_collision_is_two_standard_deviations_from_none(error, given):
    """Rows and widths grow by a fifth per second. An error of 20 pixels makes 2.8 standard
    deviations of that, 34 pixels 1.7."""
    t = np.linspace(0, 1, 11)
    size = 100 * np.exp(0.2 * t)
    samples = np.column_stack([t, 180 + size, size, np.full(11, error)])
    ttc, _ = _ttc(samples, 180.0, 1.0)
    assert ttc == (pytest.approx(5 - 0.5) if given else pytest.approx(np.nan, nan_ok=True))


def test_a_warning_is_given_where_it_holds_one_standard_deviation_later():
    geometry, early = with_camera(), 0
    for step in range(34):
        road = geometry.update(scene(cars={7: (0, 40 - 0.8 * step)}), step / 10)
        ranges = road.ranges["b"]
        ttc, sigma = ranges.ttc_s[0], ranges.ttc_sigma_s[0]
        assert road.collision == (ttc + sigma < 2.7)
        early += bool(ttc - sigma < 2.7 <= ttc + sigma)
    assert road.collision
    assert early > 0


def test_errors_of_a_small_far_box_are_no_approach():
    geometry = RoadGeometry(height_m=1.4, view_deg=VIEW_DEG)
    for step in range(16):
        seen = scene(cars={7: (0, 120.0)})
        seen.outputs["b"].xyxy[0] += np.array([-1, -1, 1, 1]) * step / 5  # 3 pixels in 1.5 s
        road = geometry.update(seen, step / 10)
        assert not road.collision
    assert np.isnan(road.ranges["b"].ttc_s[0])


def test_a_weak_box_is_not_the_vehicle_ahead():
    seen = scene(cars={1: (0, 20.0)})
    seen.outputs["b"].scores[:] = 0.1
    ranges = with_camera().update(seen, 0.0).ranges["b"]
    assert ranges.lead == -1
    assert ranges.distance_m[0] == pytest.approx(20, rel=0.02)  # whoever shows it has its distance


def test_frames_of_another_size_start_the_estimate_anew():
    geometry = RoadGeometry(height_m=1.4)
    for step in range(6):
        geometry.update(scene(), step / 10)
    small = Mask(np.full((90, 160), 255, np.uint8), (90, 160), VIEW)
    assert geometry.update(Scene((90, 160), {"paint": small}), 1.0).camera is None
    assert geometry.update(scene(), 1.1).camera.size_hw == SIZE


def test_the_costmap_has_lanes_cars_and_seen_ground():
    area = np.full(SIZE, 2, np.uint8)
    polygon = CAMERA.pixels(np.array([[-2, 4], [2, 4], [2, 45], [-2, 45]]))
    cv2.fillPoly(area, [np.round(polygon).astype(np.int32)], 0)
    seen = scene(cars={1: (0, 20.0)})
    seen.outputs["area"] = Mask(area, SIZE, View("mask", classes=DRIVABLE))
    road = with_camera().update(seen, 0.0)
    grid = birds_eye.costmap(seen, road)
    assert grid.shape == (200, 100)

    def at(right: float, forward: float) -> int:
        column, row = birds_eye.to_cells(np.array([[right, forward]]))[0]
        return int(grid[row, column])

    assert at(0, 10) == birds_eye.FREE
    assert at(0.5, 21) == birds_eye.OCCUPIED
    assert at(-1.9, 10) == birds_eye.LINE
    assert at(10, 10) == birds_eye.UNKNOWN
    picture = birds_eye.picture(seen, road, 200)
    assert picture.shape == (200, 100, 3)


def test_one_border_is_enough_for_the_own_path():
    lines = {1.6: WHITE}
    road = with_camera().update(scene(lines, cars={1: (0, 20.0), 2: (-3.5, 20.0)}), 0.0)
    assert set(road.borders) == {"right"}
    assert road.ranges["b"].lead == 0
    assert road.lane_width_m is None


def test_a_mask_of_one_row_has_no_lanes():
    mask = Mask(np.full((1, 160), 6, np.uint8), (1, 160), VIEW)
    assert RoadGeometry().update(Scene((1, 160), {"paint": mask}), 0.0).lanes == []


def test_markings_that_reach_the_horizon_give_the_camera_too():
    low = replace(CAMERA, pitch=-0.08)  # the horizon is 44 rows below the frame's middle
    geometry = RoadGeometry(height_m=1.4, view_deg=VIEW_DEG)
    for step in range(6):
        road = geometry.update(scene(camera=low, far=200), step / 10)
        assert {"ego left", "ego right"} <= {lane.side for lane in road.lanes}
    assert road.camera.horizon == pytest.approx(low.horizon, abs=3)


def test_a_lens_with_distortion_gives_the_same_numbers():
    bent = replace(CAMERA, distortion=(-0.25, 0.08, 0.0, 0.0, 0.0))
    geometry = RoadGeometry(CameraFile(bent, True, "camera.yaml"))
    road = geometry.update(scene(cars={1: (-3.4, 12.0), 2: (0.2, 30.0)}, camera=bent), 0.0)
    np.testing.assert_allclose(road.ranges["b"].distance_m, [12, 30], rtol=0.03)
    assert road.ego_offset_m == pytest.approx(0.15, abs=0.1)
    assert road.lane_width_m == pytest.approx(3.5, abs=0.15)


def test_a_parked_car_at_the_edge_of_the_frame_is_not_the_vehicle_ahead():
    seen = scene({-1.9: YELLOW}, cars={1: (0, 12.0), 2: (0, 6.0)})
    seen.outputs["b"].xyxy[1] = (420, 140, 640, 356)  # its visible part is inside the path
    assert with_camera().update(seen, 0.0).ranges["b"].lead == 0


@pytest.mark.parametrize(("gap", "markings"), [(0.25, 2), (0.3, 2), (0.4, 3), (0.5, 3)])
def test_parallel_stripes_of_a_quarter_of_a_camera_height_are_one_marking(gap, markings):
    road = with_camera().update(scene({-1.9: YELLOW, 1.6: WHITE, 1.6 + gap: WHITE}), 0.0)
    assert len(road.lanes) == markings


@pytest.mark.parametrize(("line", "side"), [(4.1, "ego right"), (4.3, "")])
def test_the_ego_line_is_within_the_width_of_a_lane(line, side):
    """MAX_LANE_WIDTH is 3 camera heights of 1.4 m."""
    lanes = with_camera().update(scene({-1.9: WHITE, line: WHITE}), 0.0).lanes
    assert [lane.side for lane in lanes] == ["ego left", side]


def test_a_line_less_than_a_lane_further_is_not_the_next_one():
    """MIN_LANE_WIDTH is 1.2 camera heights of 1.4 m."""
    lines = dict.fromkeys((-1.9, 1.6, 2.8, 5.0), WHITE)
    lanes = with_camera().update(scene(lines), 0.0).lanes
    assert [lane.side for lane in lanes] == ["ego left", "ego right", "", "next right"]


@pytest.mark.parametrize(("kerb", "borders"), [(2.3, {"left", "right"}), (2.45, {"left"})])
def test_a_kerb_within_reach_is_a_border_of_the_own_lane(kerb, borders):
    """KERB_REACH is 1.7 camera heights of 1.4 m: 2.38 m."""
    road = with_camera().update(scene({-1.9: YELLOW, kerb: KERB}), 0.0)
    assert set(road.borders) == borders


CARS = {1: (0.0, 25.0), 2: (-3.4, 15.0), 3: (3.4, 40.0)}


def estimate_from_cars(times: list[float], pitches: list[float]) -> list[tuple[float, float]]:
    """(row, standard deviation) of the horizon after each frame, from cars of usual height."""
    estimator, found = CameraEstimator(usual_camera(SIZE, 1.4, VIEW_DEG)), []
    for seconds, pitch in zip(times, pitches, strict=True):
        seen = scene({}, cars=CARS, camera=replace(CAMERA, pitch=pitch))
        estimator.update([], [seen.outputs["b"]], seconds)
        found.append(estimator.row)
    return found


def test_the_horizon_by_one_car_and_its_error():
    """It cuts the car at 1.4 of its 1.55 m, 0.16 m more or less. Of an error of the lower edge
    1 - 1.4 / 1.55 remain in the row, of one of the upper edge 1.4 / 1.55."""
    boxes = scene({}, cars={1: (0.0, 25.0)}).outputs["b"]
    boxes.xyxy[0, [1, 3]] = (188.0, 250.0)
    estimator = CameraEstimator(replace(usual_camera(SIZE, 1.4, VIEW_DEG), sigma_height=0.0))
    ((row, sigma),) = estimator._user_rows(boxes)
    ratio, forward = 1.4 / 1.55, 550 * 1.4 / (250 - 180)
    share = np.hypot(0.16 / 1.55, 0.5 * 1e-4 * forward**2 / 1.4)
    edge = np.hypot(0.015 * 62, 360 / 384)
    assert row == pytest.approx(250 - 62 * ratio)
    assert sigma == pytest.approx(np.hypot(share * 62 * ratio, edge * np.hypot(1 - ratio, ratio)))


@pytest.mark.parametrize(("height", "used", "sigma"), [(None, 1.4, 0.2), (1.2, 1.2, 0.05)])
def test_an_unknown_height_is_less_certain(height, used, sigma):
    camera = usual_camera(SIZE, height, 60.0)
    assert (camera.height, camera.sigma_height) == (used, sigma)


def test_what_the_camera_saw_long_ago_is_forgotten():
    """The load moved after 20 s, by 5.5 rows; 80 s are four time constants."""
    rows = estimate_from_cars(list(range(100)), [0.02] * 20 + [0.03] * 80)
    assert rows[19][0] == pytest.approx(180 - 550 * 0.02, abs=1)
    assert rows[-1][0] == pytest.approx(180 - 550 * 0.03, abs=1)


def test_a_measurement_far_off_counts_little():
    """One frame of 55 rows further down after ten: a tenth of it would be five rows."""
    rows = estimate_from_cars([4.0 * step for step in range(11)], [0.02] * 10 + [-0.08])
    assert abs(rows[10][0] - rows[9][0]) < 1


def test_frames_of_one_moment_count_as_one_measurement():
    """The same vehicles are measured anew after 4 s: 1 + t / 4 measurements until t."""
    rows = estimate_from_cars([step / 10 for step in range(41)], [0.02] * 41)
    prior = (550 * SIGMA_MOUNT) ** -2
    soon, later = (1 / (sigma**2 - (FLOOR * 360) ** 2) - prior for _, sigma in (rows[5], rows[40]))
    assert later / soon == pytest.approx(2 / 1.125, rel=0.12)


def test_the_costmap_asks_for_the_ground_at_the_middle_of_a_cell():
    """The area begins at 5 pixels right of the middle: 0.09 m at 10 m, where the cells to the right
    of the camera have their middles at 0.125 m."""
    area = np.full(SIZE, 2, np.uint8)
    area[:, 325:] = 0
    seen = scene({})
    seen.outputs["area"] = Mask(area, SIZE, View("mask", classes=DRIVABLE))
    grid = birds_eye.costmap(seen, with_camera().update(seen, 0.0))
    row = grid[200 - 40]
    assert row[49] == birds_eye.UNKNOWN
    assert row[50] == birds_eye.FREE


def test_the_vehicle_ahead_stays_it_a_little_outside_of_the_path():
    """The path ends at 0.8 of half the lane's width, 1.25 m to the right; a held lead at 1.6 m."""
    for track, lead in ((1, 0), (2, -1)):
        geometry = with_camera()
        geometry.update(scene(cars={1: (0.0, 20.0)}), 0.0)
        road = geometry.update(scene(cars={track: (1.45, 20.0)}), 0.1)
        assert road.ranges["b"].lead == lead


@pytest.mark.parametrize("side", [-1, 1])
def test_the_middle_of_the_path_is_half_a_lane_inside_its_one_border(side):
    """A border at 0.9 m puts the middle at 0.75 m on its other side, and with it a vehicle at 1.45
    m, which is no vehicle ahead without the border."""
    car = {1: (-1.45 * side, 15.0)}
    assert with_camera().update(scene({}, cars=car), 0.0).ranges["b"].lead == -1
    seen = scene({0.9 * side: WHITE}, cars=car)
    assert with_camera().update(seen, 0.0).ranges["b"].lead == 0


@pytest.mark.parametrize("side", [-1, 1])
def test_of_borders_too_far_apart_the_nearer_one_is_that_of_the_own_lane(side):
    """5.05 m are more than 1.5 lanes of 3.3 m; see the test before."""
    lines = {-4.15 * side: WHITE, 0.9 * side: WHITE}
    road = with_camera().update(scene(lines, cars={1: (-1.5 * side, 15.0)}), 0.0)
    assert set(road.borders) == {"left", "right"}
    assert road.ranges["b"].lead == 0


@pytest.mark.parametrize(
    ("right", "without", "lead"), [(-2.0, -1, 0), (0.2, 0, 0), (0.5, 0, -1), (0.6, 0, -1)]
)
def test_the_ground_below_a_vehicle_says_whether_it_is_in_the_own_path(right, without, lead):
    """The own lane in the mask is from -3.3 to -0.3 m: right in nine of ten cases."""
    seen = scene({}, cars={1: (right, 15.0)})
    assert with_camera().update(seen, 0.0).ranges["b"].lead == without
    area = np.full(SIZE, 2, np.uint8)
    corners = CAMERA.pixels(np.array([[-3.3, 4], [-0.3, 4], [-0.3, 45], [-3.3, 45]]))
    cv2.fillPoly(area, [np.round(corners).astype(np.int32)], 0)
    seen.outputs["area"] = Mask(area, SIZE, View("mask", classes=DRIVABLE))
    assert with_camera().update(seen, 0.0).ranges["b"].lead == lead
