"""Cameras: the ground and back, camera files, and estimates from lanes."""

import numpy as np
import pytest

from perception.errors import UserError
from perception.runtime.camera import Camera
from perception.runtime.camera_file import read_camera

CAMERA = Camera((720, 1280), (1000, 1000), (640, 360), 1.5, pitch=0.03, roll=0.02, yaw=-0.05)
OWN = """
width: 1280
height: 720
focal: [1000, 1010]
centre: [640, 360]
height_m: 1.5
pitch_deg: 2
"""
ROS = """
image_width: 1280
image_height: 720
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [1000, 0, 640, 0, 1010, 360, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.2, 0.05, 0.001, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]}
"""
GROUND = np.array([[0.0, 5.0], [-3.0, 20.0], [4.0, 60.0]])


def test_the_ground_straight_ahead_follows_the_pinhole_formula():
    camera = Camera((720, 1280), (1000, 1000), (640, 360), 1.5)
    np.testing.assert_allclose(camera.ground(np.array([[640, 460.0]])), [[0, 15]])
    assert camera.horizon == 360


@pytest.mark.parametrize(
    "camera",
    [
        CAMERA,
        Camera((720, 1280), (1000, 1000), (640, 360), 1.5, distortion=(-0.2, 0.05, 1e-3, 0, 0)),
        Camera((720, 1280), (600, 600), (640, 360), 1.5, distortion=(0.05, 0.01, 0, 0),
               distortion_model="equidistant"),
    ],
)  # fmt: skip
def test_ground_and_pixels_are_inverse(camera):
    np.testing.assert_allclose(camera.ground(camera.pixels(GROUND)), GROUND, rtol=2e-3, atol=1e-2)


def test_a_camera_that_looks_to_the_right_sees_the_road_s_direction_on_the_left():
    """By atan(0.1): 100 pixels of a focal length of 1000. The ground at 15 m along its axis is to
    the right of the vehicle."""
    camera = Camera((720, 1280), (1000, 1000), (640, 360), 1.5, yaw=float(np.arctan(0.1)))
    np.testing.assert_allclose(camera.vanishing_xy, (540, 360))
    at = 15 * np.array([0.1, 1.0]) / np.hypot(0.1, 1.0)
    np.testing.assert_allclose(camera.ground(np.array([[640, 460.0]])), [at])


def test_a_camera_turned_clockwise_sees_the_horizon_rise_to_the_right():
    """Of a direction 45 degrees to the right the camera frame has (cos r, -sin r, 1)."""
    camera = Camera((720, 1280), (1000, 1000), (640, 360), 1.5, roll=0.1)
    far = camera.pixels(np.array([[1e7, 1e7]]))[0]
    np.testing.assert_allclose(far, [640 + 1000 * np.cos(0.1), 360 - 1000 * np.sin(0.1)], atol=0.01)


def test_points_above_the_horizon_and_behind_are_nan():
    x, y = CAMERA.vanishing_xy
    assert np.isnan(CAMERA.ground(np.array([[x, y - 1], [x, y], [x, 0]]))).all()
    assert np.isnan(CAMERA.pixels(np.array([[0.0, -3.0]]))).all()


def test_the_vanishing_point_is_that_of_the_road():
    far = CAMERA.pixels(np.array([[0.0, 1e6]]))[0]
    np.testing.assert_allclose(CAMERA.vanishing_xy, far, atol=0.01)


def test_the_uncertainty_of_a_distance():
    """At f 1000, h 1.4 and 20 m there are v = 70 rows: sqrt((row / v)^2 + bump^2 + known), with a
    row of hypot(1, 1000 * 0.003) = 3.162 at the middle column."""
    camera = Camera((720, 1280), (1000, 1000), (640, 360), 1.4)
    found = camera.relative_sigma(np.array([20.0, 40.0]), np.full(2, 640.0), 1.0)
    known = 0.01**2 + 0.03**2
    expected = [
        (10 / 70**2 + (0.5 * 1e-4 * 20**2 / 1.4) ** 2 + known) ** 0.5,
        (10 / 35**2 + (0.5 * 1e-4 * 40**2 / 1.4) ** 2 + known) ** 0.5,
    ]
    assert found == pytest.approx(expected, rel=1e-6)
    assert found[0] == pytest.approx(0.0569, abs=2e-4)
    aside = camera.relative_sigma(np.array([20.0]), np.array([1240.0]), 1.0)
    assert aside[0] == pytest.approx(((10 + 9) / 70**2 + expected[0] ** 2 - 10 / 70**2) ** 0.5)


def test_a_calibration_file_in_yaml(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(OWN)
    found = read_camera(path)
    assert found.has_pitch
    assert found.camera.size_hw == (720, 1280)
    assert found.camera.focal_xy == (1000, 1010)
    assert found.camera.pitch == pytest.approx(np.radians(2))
    found.check_size((720, 1280))
    with pytest.raises(UserError, match=r"1280x720.*1920x1080"):
        found.check_size((1080, 1920))


def test_camera_info_of_ros_takes_the_height_from_the_option(tmp_path):
    path = tmp_path / "front.yaml"
    path.write_text(ROS)
    found = read_camera(path, 1.2)
    assert not found.has_pitch
    assert (found.camera.height, found.camera.centre_xy) == (1.2, (640, 360))
    assert found.camera.distortion == (-0.2, 0.05, 0.001, 0, 0)
    with pytest.raises(UserError, match="height_m"):
        read_camera(path)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("height_m: 1.5", "", "height_m"),
        ("height_m: 1.5", "height_m: 0", "height_m"),
        ("height_m: 1.5", "height_m: -1", "height_m"),
        ("height_m: 1.5", "height_m: .nan", "height_m"),
        ("height_m: 1.5", "height_m: high", "height_m"),
        ("height_m: 1.5", "height_m: true", "height_m"),
        ("focal: [1000, 1010]", "", "focal"),
        ("focal: [1000, 1010]", "focal: [1000]", "focal"),
        ("focal: [1000, 1010]", "focal: [10, 1010]", "focal"),
        ("focal: [1000, 1010]", "focal: [1000, 8000]", "focal"),
        ("centre: [640, 360]", "centre: [640, 900]", "centre"),
        ("width: 1280", "", "width"),
        ("pitch_deg: 2", "pitch_deg: 40", "horizon"),
        ("pitch_deg: 2", "pitch: 2", "unknown field 'pitch'"),
        ("pitch_deg: 2", "distortion: [1, 2, 3]", "distortion"),
        ("pitch_deg: 2", "distortion_model: magic", "distortion_model"),
        (OWN, "- 1", "fields"),
        (OWN, "a: [", "not a YAML file"),
        (OWN, "", "fields"),
    ],
)
def test_wrong_files_are_one_line_that_names_the_field(tmp_path, old, new, field):
    path = tmp_path / "camera.yaml"
    path.write_text(OWN.replace(old, new))
    with pytest.raises(UserError, match=field) as caught:
        read_camera(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
