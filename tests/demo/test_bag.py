"""ROS bags as a source, written with the rosbags library."""

import sqlite3
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.sources import open_source
from perception.errors import UserError

pytest.importorskip("rosbags", reason="rosbags is not installed (extra car)")
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_typestore

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
STEP_NS = 40_000_000


def frame(number: int) -> np.ndarray:
    return np.full((6, 8, 3), 10 * number, np.uint8)


def message(store, kind: str, number: int):
    """An image of one grey value."""
    time = store.types["builtin_interfaces/msg/Time"](number, 0)
    fields = store.fielddefs["std_msgs/msg/Header"][1]
    header = store.types["std_msgs/msg/Header"](*([0] * (len(fields) - 2)), time, "front")
    image = frame(number)
    if kind == RAW:
        return store.types[kind](header, 6, 8, "bgr8", 0, 24, image.reshape(-1))
    data = cv2.imencode(".png", image)[1].reshape(-1)
    return store.types[kind](header, "bgr8; png compressed bgr8", data)


def write(path: Path, topics: dict[str, str], storage: str = "MCAP", broken: int = -1) -> Path:
    """A bag with five images per topic, 25 per second; returns the folder, or the .bag file."""
    ros1 = path.suffix == ".bag"
    store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)
    plugin = rosbag2.StoragePlugin[storage]
    with (
        rosbag1.Writer(path)
        if ros1
        else rosbag2.Writer(path, version=9, storage_plugin=plugin) as writer
    ):
        serialise = store.serialize_ros1 if ros1 else store.serialize_cdr
        for topic, kind in topics.items():
            connection = writer.add_connection(topic, kind, typestore=store)
            for number in range(5):
                if kind in (RAW, COMPRESSED):
                    data = bytes(serialise(message(store, kind, number), kind))
                else:
                    data = bytes(serialise(store.types[kind]("text"), kind))
                data = data[: len(data) // 3] if number == broken else data
                writer.write(connection, 10**18 + number * STEP_NS, data)
    return path


@pytest.mark.parametrize("kind", [RAW, COMPRESSED])
@pytest.mark.parametrize("form", ["SQLITE3", "MCAP", ".mcap", ".db3", ".bag"])
def test_images_of_every_kind_of_bag(form, kind, tmp_path):
    name = "drive.bag" if form == ".bag" else "drive"
    storage = {".mcap": "MCAP", ".db3": "SQLITE3"}.get(form, form if form[0] != "." else "MCAP")
    path = write(tmp_path / name, {"/front": kind, "/notes": "std_msgs/msg/String"}, storage)
    if form in (".mcap", ".db3"):
        (path,) = path.glob(f"*{form}")
    source = open_source(str(path))
    assert (source.count, source.fps, source.live, source.still) == (5, 25, False, False)
    frames = list(source)
    np.testing.assert_allclose([one.seconds for one in frames], np.arange(5) * 0.04)
    for number, found in zip(count(), frames, strict=False):
        np.testing.assert_array_equal(found.image, frame(number))
    assert source.problems == []
    assert source.epoch_ns == 10**18
    assert open_source(str(path), loop=True).epoch_ns == 10**18
    assert len(list(source)) == 5


def test_of_several_topics_one_is_chosen(tmp_path):
    path = write(tmp_path / "drive", {"/front": RAW, "/rear": COMPRESSED})
    with pytest.raises(UserError, match=r"--topic: /front \(5\), /rear \(5\)"):
        open_source(str(path))
    assert len(list(open_source(str(path), topic="/rear"))) == 5
    with pytest.raises(UserError, match="did you mean '/rear'"):
        open_source(str(path), topic="/rea")


def test_a_bag_without_images_names_its_topics(tmp_path):
    path = write(tmp_path / "drive", {"/notes": "std_msgs/msg/String"})
    with pytest.raises(UserError, match=r"no images in it .*; its topics: /notes"):
        open_source(str(path))


@pytest.mark.parametrize("kind", [RAW, COMPRESSED])
def test_a_broken_message_is_left_out_and_reported(kind, tmp_path):
    path = write(tmp_path / "drive", {"/front": kind}, broken=2)
    source = open_source(str(path))
    frames = list(source)
    assert [one.image[0, 0, 0] for one in frames] == [0, 10, 30, 40]
    assert [one.index for one in frames] == [0, 1, 2, 3]
    (problem,) = source.problems
    assert "message 3 of /front" in problem
    assert len(problem.splitlines()) == 1


@pytest.mark.parametrize("storage", ["SQLITE3", "MCAP"])
def test_a_file_cut_short_is_one_line(storage, tmp_path):
    path = write(tmp_path / "drive", {"/front": RAW}, storage)
    (file,) = (one for one in path.iterdir() if one.suffix != ".yaml")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    problems = []
    try:
        source = open_source(str(file))
        assert len(list(source)) < 5
        problems = source.problems
    except UserError as error:
        problems = [str(error)]
    (problem,) = problems
    assert str(file) in problem
    assert len(problem.splitlines()) == 1


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.bag"])
def test_another_file_with_the_name_of_a_bag_is_one_line(name, tmp_path):
    (tmp_path / name).write_bytes(b"no bag" * 100)
    with pytest.raises(UserError, match="not a bag that can be read") as caught:
        open_source(str(tmp_path / name))
    assert len(str(caught.value).splitlines()) == 1


def test_a_database_that_is_no_bag_is_one_line(tmp_path):
    with sqlite3.connect(tmp_path / "a.db3") as database:
        database.execute("create table t (a)")
    with pytest.raises(UserError, match="not a bag that can be read"):
        open_source(str(tmp_path / "a.db3"))
