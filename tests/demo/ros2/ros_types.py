"""Message classes that behave as rclpy's do, made from the real definitions of a ROS release.

`rosbags` carries the definitions of ROS's own packages; those of vision_msgs 4.1.1, which Humble
and Jazzy share, are below. Messages go to bytes (CDR) and back through rosbags.
"""

from array import array
from functools import cache
from types import SimpleNamespace

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

RELEASES = {"humble": Stores.ROS2_HUMBLE, "jazzy": Stores.ROS2_JAZZY}
VISION_MSGS = {
    "Point2D": "float64 x\nfloat64 y",
    "Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "ObjectHypothesis": "string class_id\nfloat64 score",
    "ObjectHypothesisWithPose": "ObjectHypothesis hypothesis\n"
    "geometry_msgs/PoseWithCovariance pose",
    "Detection2D": "std_msgs/Header header\nObjectHypothesisWithPose[] results\n"
    "BoundingBox2D bbox\nstring id",
    "Detection2DArray": "std_msgs/Header header\nDetection2D[] detections",
    "Classification": "std_msgs/Header header\nObjectHypothesis[] results",
}
# Of array.array and numpy, for sequences and arrays of numbers.
CODES = {"uint8": "B", "int8": "b", "uint16": "H", "int32": "i", "uint32": "I", "float32": "f",
         "float64": "d"}  # fmt: skip


@cache
def typestore(release: str):
    """rosbags' definitions of a release, with vision_msgs."""
    store = get_typestore(RELEASES[release])
    for name, text in VISION_MSGS.items():
        store.register(get_types_from_msg(text, f"vision_msgs/msg/{name}"))
    return store


class Message:
    """A message; as in rclpy, fields have defaults and refuse values of other types."""

    store = type_name = fields = None

    def __init__(self, **given):
        for name, kind in self.fields.items():
            setattr(self, name, given.pop(name) if name in given else self.default(kind))
        assert not given, f"{self.type_name} has no field {given}"

    def __setattr__(self, name, value):
        assert name in self.fields, f"{self.type_name} has no field {name}"
        assert self.fits(self.fields[name], value), f"{self.type_name}.{name} is not {value!r:.99}"
        object.__setattr__(self, name, value)

    def __eq__(self, other):
        return type(self) is type(other) and bytes(self.cdr()) == bytes(other.cdr())

    __hash__ = None

    def default(self, kind):
        what, of = kind
        if what is Nodetype.BASE:
            return {"string": "", "bool": False}.get(of[0], 0.0 if of[0][0] == "f" else 0)
        if what is Nodetype.NAME:
            return message_class(self.release, of)()
        item, count = of
        code = CODES.get(item[1][0]) if item[0] is Nodetype.BASE else None
        if what is Nodetype.ARRAY:
            return np.zeros(count, code)
        return array(code) if code else []

    def fits(self, kind, value):
        what, of = kind
        if what is Nodetype.BASE:
            name, python = of[0], {"s": str, "b": bool, "f": float}.get(of[0][0], int)
            bits = int("".join(filter(str.isdigit, name)) or 0)
            low = 0 if name[0] == "u" else -(2 ** max(bits - 1, 0))
            return isinstance(value, python) and (python is not int or low <= value < 2**bits + low)
        if what is Nodetype.NAME:
            return isinstance(value, Message) and value.type_name == of
        item, count = of
        code = CODES.get(item[1][0]) if item[0] is Nodetype.BASE else None
        if what is Nodetype.ARRAY:
            return isinstance(value, np.ndarray) and value.shape == (count,) and value.dtype == code
        if code:
            return isinstance(value, array) and value.typecode == code
        return isinstance(value, list) and all(self.fits(item, one) for one in value)

    def plain(self):
        """The same as an object of rosbags."""
        values = {name: plain(getattr(self, name)) for name in self.fields}
        return self.store.types[self.type_name](**values)

    def cdr(self):
        """The bytes on the wire."""
        return self.store.serialize_cdr(self.plain(), self.type_name)

    @classmethod
    def from_cdr(cls, data):
        return cls.from_plain(cls.store.deserialize_cdr(data, cls.type_name))

    @classmethod
    def from_plain(cls, found):
        """From an object of rosbags with the same fields."""
        given = {name: cls._value(kind, getattr(found, name)) for name, kind in cls.fields.items()}
        return cls(**given)

    @classmethod
    def _value(cls, kind, value):
        what, of = kind
        if what is Nodetype.BASE:
            return value
        if what is Nodetype.NAME:
            return message_class(cls.release, of).from_plain(value)
        item, _ = of
        code = CODES.get(item[1][0]) if item[0] is Nodetype.BASE else None
        if what is Nodetype.ARRAY:
            return np.array(value, code)
        if code:
            return array(code, np.asarray(value, code).tobytes())
        return [cls._value(item, one) for one in value]


def plain(value):
    if isinstance(value, Message):
        return value.plain()
    if isinstance(value, list):
        return [plain(one) for one in value]
    return np.array(value, value.typecode) if isinstance(value, array) else value


@cache
def message_class(release: str, type_name: str):
    """The class of "package/msg/Name"."""
    store = typestore(release)
    fields = dict(store.fielddefs[type_name][1])
    space = {"store": store, "release": release, "type_name": type_name, "fields": fields}
    return type(type_name.rpartition("/")[2], (Message,), space)


def message_classes(release: str, packages: dict) -> SimpleNamespace:
    """Classes by name, of {package: names}."""
    found = SimpleNamespace()
    for package, names in packages.items():
        for name in names:
            setattr(found, name, message_class(release, f"{package}/msg/{name}"))
    return found
