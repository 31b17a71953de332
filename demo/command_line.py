"""The options of `perceive`; demo/options.py checks them."""

import argparse
from pathlib import Path

from demo.overlay import KEYS
from perception.hub import DEFAULT
from perception.runtime.annotations import FORMATS
from perception.runtime.road import VIEW_DEG

VIEWER = "viewer"
LOOPBACK = "127.0.0.1:8000"
DESCRIPTION = """\
Runs the perception model on videos, a folder of images, a ROS bag, a camera or a network stream,
and shows, saves or logs the result.

examples:
  perceive drive.mp4                          write drive-overlay.mp4
  perceive drive.mp4 --show                   watch it in a window
  perceive photos/ --save out/                write one picture per photo
  perceive a.mp4 b.mp4 --json log.jsonl       write log-a.jsonl and log-b.jsonl
  perceive drive.mp4 --save drive.webp        write a small animation
  perceive drive.mcap --topic /front/image    a ROS bag (extra car)
  perceive 0 --serve                          the first camera, on a page in the browser
  perceive rtsp://host/front --json log.jsonl log a stream
"""


def parser() -> argparse.ArgumentParser:
    """The options in groups; --help begins with what the command does."""
    made = argparse.ArgumentParser(
        "perceive",
        usage="perceive VIDEO... [options]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "videos",
        nargs="*",
        metavar="VIDEO",
        help="video file, folder of images, ROS bag, camera number or stream address",
    )
    made.add_argument("--topic", metavar="NAME", help="image topic of a ROS bag that has several")
    add_outputs(made.add_argument_group("output (default: --save next to the input)"))
    add_drawing(made.add_argument_group("drawing"))
    add_distances(made.add_argument_group("distances"))
    group = made.add_argument_group("model")
    add_model(group)
    group.add_argument(
        "--provider",
        default="auto",
        help="auto, cpu, cuda, tensorrt, openvino or openvino-bf16 (default: %(default)s)",
    )
    group.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all")
    group = made.add_argument_group("processing")
    group.add_argument(
        "--track",
        action=argparse.BooleanOptionalAction,
        help="track ids for boxes (extra demo; default: for videos, not for photos)",
    )
    group.add_argument("--loop", action="store_true", help="repeat a file without end")
    group.add_argument(
        "--seconds", type=float, default=0, help="stop after so much of the video, or of a stream"
    )
    return made


def add_model(group: argparse._ActionsContainer) -> None:
    """The option --model, of every command that runs one."""
    group.add_argument(
        "--model",
        default=DEFAULT,
        metavar="FILE",
        help="default, fast, an .onnx made by export-onnx, or hf://OWNER/NAME[@REVISION]",
    )


def add_outputs(group: argparse._ArgumentGroup) -> None:
    """Where results go."""
    group.add_argument("--show", action="store_true", help=f"live view in a window ({KEYS})")
    group.add_argument(
        "--save",
        metavar="FILE",
        help="overlay as .mp4, .mov, .mkv or .webp; DIR/ or, for photos, .jpg or .png: one "
        "picture per frame",
    )
    group.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="Scalabel frames, one per line (.jsonl) or as a list (.json)",
    )
    group.add_argument(
        "--export",
        metavar="FORMAT:PATH",
        help=f"labels to correct and train on; FORMAT: {', '.join(FORMATS)}",
    )
    group.add_argument(
        "--log-smoothed",
        action="store_true",
        help="log masks and labels as they are drawn: filtered over time",
    )
    group.add_argument("--mcap", type=Path, metavar="FILE", help="log for Foxglove (.mcap)")
    group.add_argument(
        "--serve", nargs="?", const=LOOPBACK, metavar="HOST:PORT", help="live view in the browser"
    )
    group.add_argument(
        "--web",
        nargs="?",
        const=LOOPBACK,
        metavar="HOST:PORT",
        help="serve a page that runs the model inside the browser, on your photos and clips",
    )
    group.add_argument(
        "--rerun",
        nargs="?",
        const=VIEWER,
        metavar="FILE.rrd",
        help="Rerun viewer, or a file for it",
    )


def add_drawing(group: argparse._ArgumentGroup) -> None:
    """What the overlay shows."""
    group.add_argument(
        "--score",
        type=float,
        help="lowest score of a box that is drawn, logged, tracked and measured (default: per "
        "class, from the model)",
    )
    group.add_argument(
        "--raw", action="store_true", help="each frame by itself, not filtered over time"
    )
    group.add_argument("--ego", action="store_true", help="borders of the ego lane")
    group.add_argument("--fps", action="store_true", help="frame rate and model time")
    group.add_argument("--side-by-side", action="store_true", help="the input on the left")


def add_distances(group: argparse._ArgumentGroup) -> None:
    """The options of distances and the view from above."""
    group.add_argument(
        "--camera",
        type=Path,
        metavar="FILE",
        help="calibration: YAML as in docs/geometry.md, or a camera_info file of ROS",
    )
    group.add_argument(
        "--camera-height",
        type=float,
        metavar="METRES",
        help="height above the road; without --camera the direction is estimated from the lanes",
    )
    group.add_argument(
        "--camera-view",
        type=float,
        metavar="DEGREES",
        help=f"horizontal field of view, for --camera-height alone (default: {VIEW_DEG:g})",
    )
    group.add_argument(
        "--speed",
        metavar="KMH|FILE",
        help="own speed for the headway: km/h, or CSV with seconds and speed_m_s or speed_km_h",
    )
    group.add_argument(
        "--birds-eye",
        action="store_true",
        help="view from above in a corner (needs --camera or --camera-height)",
    )
