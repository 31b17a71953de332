"""The ament_python package: an entry point to the node, a launch file and parameters."""

from setuptools import setup

NAME = "pvt_hydranet_ros"

if __name__ == "__main__":
    setup(
        name=NAME,
        version="0.1.0",
        packages=[],
        data_files=[
            ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
            (f"share/{NAME}", ["package.xml"]),
            (f"share/{NAME}/launch", ["launch/perceive.launch.xml"]),
            (f"share/{NAME}/config", ["config/perceive.yaml"]),
        ],
        install_requires=["setuptools"],
        zip_safe=True,
        entry_points={"console_scripts": ["perceive = demo.car.ros2.node:main"]},
    )
