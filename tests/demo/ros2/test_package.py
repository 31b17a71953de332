"""The ament_python package, installed as colcon installs it."""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from demo.car.ros2.node import MESSAGES, Parameters

ROOT = Path(__file__).resolve().parents[3]
AMENT = ROOT / "demo" / "car" / "ros2" / "ament"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ament")
    shutil.copytree(AMENT, folder / "source")
    command = [sys.executable, "setup.py", "install", "--prefix", str(folder / "install")]
    command += ["--single-version-externally-managed", "--record", str(folder / "files.txt")]
    subprocess.run(command, cwd=folder / "source", check=True, capture_output=True)
    return folder / "install"


def test_it_has_what_ros_looks_for(installed):
    name = ET.parse(AMENT / "package.xml").findtext("name")
    assert (installed / "share/ament_index/resource_index/packages" / name).is_file()
    for file in ("package.xml", "launch/perceive.launch.xml", "config/perceive.yaml"):
        assert (installed / "share" / name / file).is_file()
    script = installed / "lib" / name / "perceive"
    # The interpreter of the active environment, which may see ROS's packages and those of pip.
    assert script.read_text().startswith("#!/usr/bin/env python3\n")


def test_its_script_starts_the_node(installed):
    (script,) = installed.glob("lib/*/perceive")
    (packages,) = installed.glob("lib/python*/site-packages")
    env = os.environ | {"PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert "setup.bash" in done.stderr  # there is no ROS here


def test_it_depends_on_every_message_package():
    found = {entry.text for entry in ET.parse(AMENT / "package.xml").iter("exec_depend")}
    assert found >= {"rclpy", *MESSAGES}


def test_the_parameter_file_holds_the_defaults():
    given = yaml.safe_load((AMENT / "config" / "perceive.yaml").read_text())
    values = given["perceive"]["ros__parameters"]
    assert values == vars(Parameters())
    # ROS refuses a whole number for a parameter declared as a float.
    assert [type(value) for value in values.values()] == [
        type(v) for v in vars(Parameters()).values()
    ]


def test_the_launch_file_names_what_exists():
    launch = ET.parse(AMENT / "launch" / "perceive.launch.xml").getroot()
    (node,) = launch.iter("node")
    assert node.get("pkg") == ET.parse(AMENT / "package.xml").findtext("name")
    assert (node.get("exec"), node.get("name")) == ("perceive", "perceive")
    arguments = {entry.get("name") for entry in launch.iter("arg")}
    used = {value for entry in node.iter() for value in entry.attrib.values() if "$(var" in value}
    assert used == {f"$(var {name})" for name in arguments}
    assert {entry.get("name") for entry in node.iter("param")} - {None} <= set(vars(Parameters()))
