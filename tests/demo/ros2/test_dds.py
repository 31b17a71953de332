"""The node in a process of its own, reached through DDS as any ROS 2 process would reach it."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from perception.runtime.runner import Runner

pytest.importorskip("cyclonedds", reason="cyclonedds is not installed (extra dev)")
HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.fixture(scope="module")
def dds(ros_types):
    sys.path.insert(0, str(HERE))
    import dds_node

    sys.path.pop(0)
    return dds_node


def test_two_libraries_write_the_same_bytes(msg, picture, dds):
    """rosbags and Cyclone DDS are independent implementations of CDR."""
    frame = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    image = picture(frame)
    found = msg.Detection2DArray(header=image.header, detections=[msg.Detection2D(id="7")])
    for message in (image, found, msg.Marker(ns="ego left"), msg.OccupancyGrid()):
        ours, theirs = bytes(message.cdr()), bytes(dds.to_dds(message).serialize())
        # The second library pads the end to four bytes and says so in the header's last byte.
        assert theirs[4 : len(ours)] == ours[4:]
        assert len(theirs) - len(ours) < 4
        assert type(message).from_plain(dds.idl(message.type_name).deserialize(ours)) == message


@pytest.mark.slow
def test_images_in_and_detections_out_between_two_processes(
    dds, ros_types, picture, tiny_onnx, tmp_path
):
    domain = random.randrange(1, 100)
    (tmp_path / "camera.yaml").write_text(
        "width: 160\nheight: 96\nfocal: [140, 140]\ncentre: [80, 40]\nheight_m: 1.4\npitch_deg: 0\n"
    )
    parameters = {
        "model": str(tiny_onnx),
        "provider": "cpu",
        "threads": 1,
        "camera": str(tmp_path / "camera.yaml"),
    }
    node = subprocess.Popen(
        [sys.executable, str(HERE / "dds_node.py"), str(domain), json.dumps(parameters)],
        stdin=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        here = dds.Endpoints(domain)
        wanted = {
            "perceive/things": "vision_msgs/msg/Detection2DArray",
            "perceive/area": "sensor_msgs/msg/Image",
            "perceive/lanes": "visualization_msgs/msg/MarkerArray",
            "perceive/grid": "nav_msgs/msg/OccupancyGrid",
        }
        readers = {name: here.reader(kind, name, dds.quality()) for name, kind in wanted.items()}
        late = here.reader("std_msgs/msg/String", "perceive/description", dds.quality(1, kept=True))
        camera = here.writer("sensor_msgs/msg/Image", "image", dds.quality(reliable=False))
        frame = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)
        received: dict = {}
        end = time.monotonic() + 60
        while set(received) != set(wanted) and time.monotonic() < end:
            camera.write(dds.to_dds(picture(frame)))
            time.sleep(0.2)
            for name, reader in readers.items():
                for sample in reader.take():
                    received[name] = ros_types.message_class("humble", wanted[name]).from_plain(
                        sample
                    )
        assert set(received) == set(wanted)
        (described,) = late.take()
    finally:
        node.stdin.close()
        code = node.wait(30)
    assert code == 0
    assert json.loads(described.data)["name"] == "tiny"
    boxes = Runner(tiny_onnx, "cpu", 1)(frame).outputs["things"]
    found = received["perceive/things"].detections
    assert [one.results[0].hypothesis.class_id for one in found] == [boxes.name(0), boxes.name(1)]
    assert {message.header.frame_id for message in (received["perceive/things"], found[0])} == {
        "front"
    }
    assert received["perceive/grid"].info.width * received["perceive/grid"].info.height == len(
        received["perceive/grid"].data
    )
