"""ROS bags as a source: the images of one topic of a rosbag2 folder, .mcap, .db3 or ROS 1 .bag.

Read by the `rosbags` library (extra `car`); neither ROS nor the definitions in the bag are needed.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from demo.car.ros2.images import to_bgr
from demo.pipeline import Source, SourceFrame, frame_name
from perception.errors import UserError, first_line, require_extra, unknown_name

SUFFIXES = (".mcap", ".db3", ".bag")
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
MAX_NAMED = 10  # topics in an error message
RATE_SAMPLES = 20


def is_bag(path: Path) -> bool:
    """Whether a path is a bag file, or a folder as `ros2 bag record` writes it."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with open(path / "metadata.yaml", "rb") as file:
            return b"rosbag2_bagfile_information" in file.read(4096)
    except OSError:
        return False


class Bag(Source):
    """The images of one topic, with the times at which they were recorded.

    A message that is no usable image is left out and reported in `problems`, as is a bag that ends
    early. Raises UserError for a file that is no bag, for one without image topics, and where
    `topic` is none of them or is missing though there are several.
    """

    def __init__(self, path: Path, topic: str | None = None) -> None:
        require_extra("car", "rosbags")
        self.path = path
        with _opened(path) as reader:
            self.topic = _chosen(path, reader, topic)
            found = self._connections(reader)
            count = sum(connection.msgcount for connection in found)
            times: list[int] = []
            with suppress(UserError):  # reported when the frames are read
                messages = islice(_read(path, reader, found), RATE_SAMPLES)
                times.extend(time for _, time, _ in messages)
        steps = sorted(later - earlier for earlier, later in pairwise(times))
        step_s = 1e-9 * steps[len(steps) // 2] if steps else 0
        super().__init__(path.name, 1 / step_s if 1e-3 < step_s < 100 else 10.0, count)
        self.epoch_ns = min(times, default=0)

    def __iter__(self) -> Iterator[SourceFrame]:
        read, index, last = _parser(self.path), 0, -1.0
        for number, (message_type, time, data) in enumerate(self._messages(), 1):
            try:
                image = to_bgr(read(data, message_type))
            except UserError as error:
                place = f"{self.path}: message {number} of {self.topic}"
                self.complain(f"{place}: {error}; left out")
                continue
            seconds = 1e-9 * (time - self.epoch_ns)
            if seconds <= last:
                seconds = last + 1 / self.fps
            yield SourceFrame(image, index, seconds, frame_name(self.stem, index))
            index, last = index + 1, seconds

    def _messages(self) -> Iterator[tuple[str, int, bytes]]:
        """(type, nanoseconds, bytes) up to the end, or to where the file is damaged."""
        number = 0
        try:
            with _opened(self.path) as reader:
                messages = _read(self.path, reader, self._connections(reader))
                for connection, time, data in messages:
                    number += 1
                    yield connection.msgtype, time, data
        except UserError as error:
            self.complain(f"{error}; ends at message {number} of {self.count}")

    def _connections(self, reader: Any) -> list[Any]:
        return [one for one in reader.connections if one.topic == self.topic]


def _chosen(path: Path, reader: Any, topic: str | None) -> str:
    """The topic to read: the one named, or the only one."""
    counts: dict[str, int] = {}
    for one in reader.connections:
        if one.msgtype in IMAGE_TYPES and one.msgcount:
            counts[one.topic] = counts.get(one.topic, 0) + one.msgcount
    if not counts:
        others = sorted({one.topic for one in reader.connections})
        named = f"; its topics: {', '.join(others[:MAX_NAMED])}" if others else ""
        raise UserError(
            f"{path}: no images in it (sensor_msgs/Image or sensor_msgs/CompressedImage){named}"
        )
    if topic is not None:
        if topic not in counts:
            raise unknown_name(f"image topic of {path}", topic, counts)
        return topic
    if len(counts) > 1:
        named = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:MAX_NAMED])
        raise UserError(f"{path}: several image topics; choose one with --topic: {named}")
    return next(iter(counts))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A reader. The library raises errors of many kinds for damaged files."""
    from rosbags import rosbag1, rosbag2

    try:
        reader = (rosbag1 if path.suffix.lower() == ".bag" else rosbag2).Reader(path)
        reader.open()
    except Exception as error:
        raise UserError(f"{path}: not a bag that can be read ({first_line(error)})") from None
    try:
        yield reader
    finally:
        reader.close()


def _read(path: Path, reader: Any, connections: list[Any]) -> Iterator[tuple[Any, int, bytes]]:
    """(connection, nanoseconds, bytes) in order of time. Raises UserError where the file is
    damaged."""
    messages = reader.messages(connections=connections)
    while True:
        try:
            found = next(messages, None)
        except Exception as error:
            raise UserError(f"{path}: cut off or damaged ({first_line(error)})") from None
        if found is None:
            return
        yield found


def _parser(path: Path) -> Any:
    """The function from bytes and type to a message. Raises UserError for broken bytes. Image
    messages are the same in every release of ROS 2."""
    from rosbags.typesys import Stores, get_typestore

    ros1 = path.suffix.lower() == ".bag"
    store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)
    parse = store.deserialize_ros1 if ros1 else store.deserialize_cdr

    def read(data: bytes, kind: str) -> Any:
        try:
            return parse(data, kind)
        except Exception as error:
            raise UserError(f"does not parse ({first_line(error)})") from None

    return read
