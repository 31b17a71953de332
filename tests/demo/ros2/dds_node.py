"""The node on real DDS, as ROS 2 does it: dds_node.py ARGUMENTS

A stand-in for rclpy maps topics, types and qualities to DDS as rmw does (REP 2003 and the ROS 2
design article "Topic and Service name mapping to DDS"): /a is rt/a, package/msg/Name is
package::msg::dds_::Name_. Messages are CDR with the definitions of ROS.
"""

import json
import sys
from functools import cache
from types import ModuleType, SimpleNamespace

from cyclonedds.core import Listener, Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import make_idl_struct, types
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration
from ros_types import message_class, typestore
from rosbags.interfaces import Nodetype

RELEASE = "humble"


@cache
def idl(type_name: str):
    """The DDS type of "package/msg/Name"."""
    fields = dict(typestore(RELEASE).fielddefs[type_name][1])
    package, name = type_name.split("/msg/")
    wire = f"{package}::msg::dds_::{name}_"
    return make_idl_struct(name, wire, {key: _idl(kind) for key, kind in fields.items()})


def _idl(kind):
    what, of = kind
    if what is Nodetype.BASE:
        return {"string": str, "bool": bool}.get(of[0]) or getattr(types, of[0])
    if what is Nodetype.NAME:
        return idl(of)
    item, count = of
    return types.array[_idl(item), count] if what is Nodetype.ARRAY else types.sequence[_idl(item)]


def to_dds(message):
    """A message of ros_types as the object that DDS sends."""
    values = {name: getattr(message, name) for name in message.fields}
    return idl(message.type_name)(**{name: _to_dds(value) for name, value in values.items()})


def _to_dds(value):
    if hasattr(value, "type_name"):
        return to_dds(value)
    if isinstance(value, str | bool | int | float):
        return value
    return [_to_dds(one) for one in (value.tolist() if hasattr(value, "tolist") else value)]


def quality(depth=10, reliable=True, kept=False) -> Qos:
    """DDS's policies of a ROS quality; the defaults are those of ROS."""
    return Qos(
        Policy.History.KeepLast(depth),
        Policy.Reliability.Reliable(duration(seconds=1))
        if reliable
        else Policy.Reliability.BestEffort,
        Policy.Durability.TransientLocal if kept else Policy.Durability.Volatile,
    )


class Endpoints:
    """Readers and writers in one DDS domain."""

    def __init__(self, domain: int) -> None:
        self.participant = DomainParticipant(domain)

    def topic(self, type_name: str, name: str) -> Topic:
        return Topic(self.participant, f"rt/{name.strip('/')}", idl(type_name))

    def writer(self, type_name: str, name: str, qos: Qos) -> DataWriter:
        return DataWriter(self.participant, self.topic(type_name, name), qos=qos)

    def reader(self, type_name: str, name: str, qos: Qos, listener=None) -> DataReader:
        return DataReader(self.participant, self.topic(type_name, name), qos=qos, listener=listener)


class Node:
    """The part of rclpy.node.Node that the node uses."""

    def __init__(self, name: str, domain: int, parameters: dict) -> None:
        self.name, self.parameters, self.endpoints = name, parameters, Endpoints(domain)
        self.kept: list = []

    def declare_parameter(self, name, default):
        return SimpleNamespace(value=self.parameters.get(name, default))

    def create_subscription(self, kind, name, callback, qos):
        class Arrived(Listener):
            def on_data_available(self, reader):
                for sample in reader.take():
                    callback(kind.from_plain(sample))

        self.kept.append(self.endpoints.reader(kind.type_name, name, qos, Arrived()))

    def create_publisher(self, kind, name, qos):
        writer = self.endpoints.writer(
            kind.type_name,
            name.replace("~", self.name),
            qos if isinstance(qos, Qos) else quality(qos),
        )
        return SimpleNamespace(publish=lambda message: writer.write(to_dds(message)))

    def get_logger(self):
        def log(text, throttle_duration_sec=0.0):
            print(text, file=sys.stderr, flush=True)

        return SimpleNamespace(info=log, warning=log)

    def destroy_node(self):
        self.kept.clear()


def install_rclpy(packages: dict, domain: int, parameters: dict) -> None:
    """Puts the stand-in and the message packages into sys.modules."""
    rclpy, qos, executors = (ModuleType(f"rclpy{name}") for name in ("", ".qos", ".executors"))
    rclpy.init = lambda args=None: None
    rclpy.create_node = lambda name: Node(name, domain, parameters)
    rclpy.spin = lambda node: sys.stdin.read()  # until the test closes it
    rclpy.try_shutdown = lambda: None
    qos.QoSProfile = lambda depth, reliability=True, durability=False: quality(
        depth, reliability, durability
    )
    qos.ReliabilityPolicy = SimpleNamespace(BEST_EFFORT=False)
    qos.DurabilityPolicy = SimpleNamespace(TRANSIENT_LOCAL=True)
    executors.ExternalShutdownException = KeyboardInterrupt
    sys.modules.update({module.__name__: module for module in (rclpy, qos, executors)})
    for package, names in packages.items():
        module = ModuleType(f"{package}.msg")
        for name in names:
            setattr(module, name, message_class(RELEASE, f"{package}/msg/{name}"))
        sys.modules.update({package: ModuleType(package), module.__name__: module})


if __name__ == "__main__":
    from demo.car.ros2.node import MESSAGES, main

    install_rclpy(MESSAGES, int(sys.argv[1]), json.loads(sys.argv[2]))
    sys.exit(main([]))
