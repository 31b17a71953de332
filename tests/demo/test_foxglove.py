"""The log for Foxglove, read with Foxglove's own schemas, and the layout that shows it."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from demo.pipeline import Packet, SourceFrame
from perception.classes import DRIVABLE, LANE_CATEGORIES, LANE_DIRECTIONS, LANE_STYLES
from perception.runtime.birds_eye import FREE, OCCUPIED, SIDE_M
from perception.runtime.camera import Camera
from perception.runtime.camera_file import CameraFile
from perception.runtime.road import RoadGeometry
from perception.runtime.scene import Boxes, Mask, Scene
from perception.runtime.view import LANE_BYTE, View

pytest.importorskip("foxglove", reason="foxglove-sdk is not installed (extra car)")
schemas = pytest.importorskip("foxglove_schemas_protobuf", reason="not installed (extra dev)")

LAYOUT = Path(__file__).parents[2] / "demo" / "car" / "foxglove-layout.json"
PANELS = {"Image", "3D", "RawMessages"}
CAMERA = Camera((100, 200), (170, 170), (100, 50), 1.4)


def packet() -> Packet:
    """Two lane lines 1.7 m to either side, a car 8 m ahead, and drivable road."""
    byte = np.full((100, 200), 255, np.uint8)
    for y in range(56, 100):
        for x in (99.5 - 1.2 * (y - 49.5), 99.5 + 1.2 * (y - 49.5)):
            byte[y, max(round(x) - 1, 0) : max(round(x) + 2, 0)] = 6
    area = np.full((100, 200), len(DRIVABLE) - 1, np.uint8)
    area[56:] = 0
    lanes = View("mask", encoding=LANE_BYTE, categories=LANE_CATEGORIES, styles=LANE_STYLES,
                 directions=LANE_DIRECTIONS)  # fmt: skip
    outputs = {
        "b": Boxes(
            np.array([[90, 60, 110, 80]], np.float32),
            np.array([0.9], np.float32),
            np.zeros(1, int),
            ("car",),
        ),
        "a": Mask(area, (100, 200), View("mask", classes=DRIVABLE)),
        "p": Mask(byte, (100, 200), lanes),
    }
    scene = Scene((100, 200), outputs)
    image = np.zeros((100, 200, 3), np.uint8)
    one = Packet(SourceFrame(image, 0, 0.5, "clip-0000001"), scene)
    one.road = RoadGeometry(CameraFile(CAMERA, True, Path("camera.yaml"))).update(scene, 0.5)
    return one


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """{topic: (schema, message decoded by Foxglove's definitions)} of a log of one frame."""
    from mcap.reader import make_reader

    from demo.mcap_sink import McapSink

    path = tmp_path_factory.mktemp("log") / "o.mcap"
    with McapSink(path, SimpleNamespace(epoch_ns=0)) as sink:
        sink.write(packet())
    found = {}
    with path.open("rb") as file:
        for schema, channel, message in make_reader(file).iter_messages():
            name = schema.name.removeprefix("foxglove.")
            module = __import__(f"{schemas.__name__}.{name}_pb2", fromlist=[name])
            found[channel.topic] = (name, getattr(module, name).FromString(message.data))
    return found


def test_the_grid_is_the_costmap_in_metres(log):
    name, grid = log["/road/grid"]
    assert (name, grid.frame_id, grid.timestamp.nanos) == ("Grid", "road", 500_000_000)
    assert [field.name for field in grid.fields] == ["red", "green", "blue", "alpha", "cost"]
    rows = np.frombuffer(grid.data, np.int8).reshape(-1, grid.column_count, grid.cell_stride)
    assert rows.shape[1] * grid.cell_stride == grid.row_stride
    cost = rows[..., 4]

    def at(forward, left):
        x = forward - grid.pose.position.x
        y = left - grid.pose.position.y
        return cost[int(y / grid.cell_size.y), int(x / grid.cell_size.x)]

    distance = 170 * 1.4 / 30
    assert at(distance + 1, 0) == OCCUPIED
    assert at(distance - 1.5, 0.4) == FREE
    assert grid.pose.position.y == -SIDE_M


def test_lanes_and_road_users_are_in_the_scene(log):
    _, update = log["/road/scene"]
    lines = [entity.lines[0] for entity in update.entities if entity.lines]
    sides = [np.mean([point.y for point in line.points]) for line in lines]
    np.testing.assert_allclose(sides, [1.68, -1.68], atol=0.1)  # y is left, the left one first
    (user,) = (entity for entity in update.entities if entity.cubes)
    assert user.texts[0].text == "car 8 m"
    near = user.cubes[0].pose.position.x - user.cubes[0].size.x / 2
    assert near == pytest.approx(170 * 1.4 / 30, abs=0.1)


def test_captions_have_the_distance_and_lanes_are_drawn(log):
    _, notes = log["/camera/annotations"]
    assert [text.text for text in notes.texts] == ["car 90 % 8 m"]
    assert len(notes.points) == 1 + 2  # the box and two lanes


def test_the_layout_shows_topics_of_the_log(log):
    layout = json.loads(LAYOUT.read_text())
    assert set(leaves(layout["layout"])) == set(layout["configById"])
    assert {panel.split("!")[0] for panel in layout["configById"]} <= PANELS
    kinds = {}
    for panel, config in layout["configById"].items():
        mode = config.get("imageMode", {})
        named = [*config.get("topics", {}), *mode.get("annotations", {})]
        named += [config.get("topicPath"), mode.get("imageTopic")]
        kinds[panel] = {log[topic][0] for topic in named if topic}
    assert kinds["Image!camera"] == {"CompressedImage", "ImageAnnotations"}
    assert kinds["3D!road"] == {"Grid", "SceneUpdate"}


def leaves(node) -> list[str]:
    """Panels of a mosaic: a name, or two nodes side by side."""
    if isinstance(node, str):
        return [node]
    assert node["direction"] in ("row", "column")
    assert 0 < node["splitPercentage"] < 100
    return leaves(node["first"]) + leaves(node["second"])
