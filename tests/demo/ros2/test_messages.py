"""Messages with the definitions of Humble and Jazzy: their values, and to CDR and back."""

import numpy as np
import pytest

from demo.car.ros2.messages import (
    Place,
    boxes_message,
    class_messages,
    grid_message,
    image_message,
    lanes_message,
)
from perception.runtime.birds_eye import FORWARD_M, FREE, SIDE_M, UNKNOWN
from perception.runtime.camera import Camera
from perception.runtime.distance import Ranges
from perception.runtime.lanes import Lane
from perception.runtime.scene import Boxes, Labels

CAMERA = Camera((100, 200), (170, 170), (100, 50), 1.4, pitch=0.05, roll=0.02, yaw=-0.03)
GROUND = np.array([[-1.7, 4.0], [-1.6, 12.0], [-1.2, 30.0]])


@pytest.fixture(params=["humble", "jazzy"])
def msg(request, messages_of):
    return messages_of(request.param)


@pytest.fixture
def header(msg):
    return msg.Header(stamp=msg.Time(sec=5, nanosec=7), frame_id="front")


def boxes(*scores, ids=None) -> Boxes:
    count = len(scores)
    xyxy = np.tile(np.array([[10, 20, 30, 70]], np.float32), (count, 1))
    ids = None if ids is None else np.array(ids)
    return Boxes(xyxy, np.array(scores, np.float32), np.zeros(count, int), ("car",), ids)


def lane(ground=GROUND, **more) -> Lane:
    fields = {"side": "ego left", "id": 3} | more
    points = CAMERA.pixels(GROUND)
    return Lane(points, "single white", "solid", "parallel", 0.8, ground=ground, **fields)


def ranges() -> Ranges:
    found = Ranges.empty(2)
    found.distance_m[0], found.distance_sigma_m[0] = 20.0, 2.0
    found.offset_m[0], found.offset_sigma_m[0] = -1.5, 0.2
    return found


def test_axes_on_the_road_in_the_camera_s_frame():
    """Of a level camera: forward is z, left is -x, up is -y, a turn by 120 degrees."""
    level = Camera((100, 200), (170, 170), (100, 50), 1.4)
    assert Place(level, ground=False).quaternion() == pytest.approx((0.5, -0.5, 0.5, 0.5))
    assert Place(CAMERA, ground=True).quaternion() == pytest.approx((0, 0, 0, 1))
    tilted = Place(CAMERA, ground=False)
    x, y, z, w = tilted.quaternion()
    near, far = tilted.points(np.array([[0.0, 5.0], [0.0, 6.0]]))
    turned = (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y))  # of (1, 0, 0)
    np.testing.assert_allclose(turned, far - near, atol=1e-9)


def xyz(point) -> tuple[float, float, float]:
    return point.x, point.y, point.z


def test_every_message_is_equal_after_cdr(msg, header):
    place = Place(CAMERA, ground=False)
    cells = np.random.default_rng(0).integers(-1, 101, (200, 100)).astype(np.int8)
    labels = Labels({"weather": {"clear": 0.9, "rainy": 0.1}, "none": {}})
    sent = [
        boxes_message(msg, boxes(), header),
        boxes_message(msg, boxes(0.9, 0.5, ids=[7, -1]), header, ranges(), place),
        image_message(msg, np.arange(12, dtype=np.uint8).reshape(3, 4), header),
        image_message(msg, np.ones((3, 4), np.float32), header),
        image_message(msg, np.ones((3, 3, 4), np.float32), header),
        *class_messages(msg, labels, header).values(),
        lanes_message(msg, [], header, place),
        lanes_message(msg, [lane(), lane(ground=None)], header, place),
        grid_message(msg, cells, header, place),
        msg.String(data="{}"),
        msg.UInt64(data=2**64 - 1),
    ]
    for message in sent:
        back = type(message).from_cdr(message.cdr())
        assert back == message
        if hasattr(message, "header"):
            assert (back.header.stamp.sec, back.header.frame_id) == (5, "front")


def test_boxes_below_the_score_are_left_out_and_ids_are_text(msg, header):
    found = boxes_message(msg, boxes(0.9, 0.5, 0.1, ids=[7, -1, 8]), header).detections
    assert [detection.id for detection in found] == ["7", ""]
    assert found[0].bbox.center.position.x == 20
    assert (found[0].bbox.size_x, found[0].bbox.size_y) == (20, 50)
    assert found[0].results[0].hypothesis.class_id == "car"
    assert found[0].results[0].pose.covariance[0] == -1


def test_a_distance_is_the_pose_in_the_camera_s_frame(msg, header):
    place = Place(CAMERA, ground=False)
    first, second = boxes_message(msg, boxes(0.9, 0.5), header, ranges(), place).detections
    x, y, z = xyz(first.results[0].pose.pose.position)
    # Projected by the pinhole model, it is where the ground point is in the image.
    pixel = (170 * x / z + 100, 170 * y / z + 50)
    np.testing.assert_allclose(pixel, CAMERA.pixels(np.array([[-1.5, 20.0]]))[0])
    covariance = first.results[0].pose.covariance.reshape(6, 6)[:3, :3]
    np.testing.assert_allclose(np.sort(np.linalg.eigvalsh(covariance)), [0, 0.04, 4], atol=1e-9)
    assert second.results[0].pose.covariance[0] == -1


def test_lanes_are_line_strips_in_metres(msg, header):
    place = Place(CAMERA, ground=False)
    clear, first, across = lanes_message(
        msg, [lane(), lane(side="crosswalk", id=-1)], header, place
    ).markers
    assert clear.action == 3  # DELETEALL
    assert (first.ns, first.id, first.type, first.action) == ("ego left", 3, 4, 0)
    assert first.text == "single white, solid, parallel"
    assert first.color.a == pytest.approx(0.8)
    assert across.id < 0
    points = np.array([xyz(point) for point in first.points])
    pixels = 170 * points[:, :2] / points[:, 2:] + (100, 50)
    np.testing.assert_allclose(pixels, CAMERA.pixels(GROUND))


@pytest.mark.parametrize("ground", [False, True])
def test_cells_of_the_grid_are_where_their_ground_is(ground, msg, header):
    cells = np.full((200, 100), UNKNOWN, np.int8)
    cells[40, 90] = FREE  # far ahead, to the right
    grid = grid_message(msg, cells, header, Place(CAMERA, ground))
    info = grid.info
    data = np.frombuffer(grid.data, np.int8).reshape(info.height, info.width)
    ((row, column),) = np.argwhere(data == FREE)
    local = np.array([column + 0.5, row + 0.5, 0]) * info.resolution
    turn = rotation(info.origin.orientation)
    found = turn @ local + xyz(info.origin.position)
    right, forward = 90.5 * 0.25 - SIDE_M, FORWARD_M - 40.5 * 0.25
    expected = Place(CAMERA, ground).points(np.array([[right, forward]]))[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    if ground:
        np.testing.assert_allclose(found, [forward, -right, 0], atol=1e-6)
        np.testing.assert_allclose(turn, np.eye(3), atol=1e-9)


def rotation(q) -> np.ndarray:
    """(3, 3) of a quaternion."""
    x, y, z, w = q.x, q.y, q.z, q.w
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_maps_are_little_endian_rows(msg, header):
    values = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    sent = image_message(msg, values, header)
    assert (sent.encoding, sent.height, sent.width, sent.step) == ("32FC3", 2, 4, 48)
    read = np.frombuffer(sent.data, "<f4").reshape(2, 4, 3)
    np.testing.assert_array_equal(read, values.transpose(1, 2, 0))
    flat = image_message(msg, values[0], header)
    assert (flat.encoding, flat.step) == ("32FC1", 16)
