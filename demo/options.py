"""The command line of `perceive`."""

import argparse
from pathlib import Path

from demo.overlay import KEYS
from demo.road import add_options, check_options
from demo.show import NO_DISPLAY, has_display
from perception.errors import UserError, require_extra
from perception.hub import DEFAULT
from perception.runtime.annotations import FORMATS, parse_export

VIEWER = "viewer"
LOOPBACK = "127.0.0.1:8000"
DESCRIPTION = """\
Runs the perception model on a video, a folder of images, a ROS bag, a camera or a network stream,
and shows, saves or logs the result.

examples:
  perceive drive.mp4                          write drive-overlay.mp4
  perceive drive.mp4 --show                   watch it in a window
  perceive photos/ --save out/                write one picture per photo
  perceive drive.mp4 --save drive.webp        write a small animation
  perceive drive.mcap --topic /front/image    a ROS bag (extra car)
  perceive 0 --serve                          the first camera, on a page in the browser
  perceive rtsp://host/front --json log.jsonl log a stream
"""


def check(args: argparse.Namespace) -> None:
    """Raises UserError for invalid arguments, before anything is opened."""
    if not args.video and not args.web:
        raise UserError("give a video, a folder of images, a camera number or a stream address")
    if args.score is not None and not 0 <= args.score <= 1:
        raise UserError(f"--score {args.score}: give a number from 0 to 1")
    check_options(args)
    rerun = Path(args.rerun) if args.rerun and args.rerun != VIEWER else None
    if rerun and rerun.suffix.lower() != ".rrd":
        raise UserError(f"--rerun {rerun}: end the name in .rrd, or give none for the viewer")
    save = Path(args.save) if args.save else None
    export = parse_export(args.export)[1] if args.export else None
    given = [path for path in (save, args.json, args.mcap, rerun, export) if path]
    plain = [path for path in given if not path.exists() or path.is_file()]  # /dev/null may repeat
    if len(set(plain)) < len(plain) or Path(args.video) in plain:
        raise UserError(
            "two of VIDEO, --save, --json, --export, --mcap and --rerun name the same file"
        )
    for path in (args.json, args.mcap, rerun):
        if path and path.is_dir():
            raise UserError(f"{path}: a folder; give a file name")
    if args.save or not any(
        (args.show, args.json, args.export, args.mcap, args.rerun, args.serve, args.web)
    ):
        require_extra("demo", "av")
    if args.mcap:
        require_extra("car", "foxglove")
    if args.rerun:
        require_extra("viz", "rerun")
    if args.serve:
        require_extra("demo", "fastapi", "uvicorn")
    if args.show and not has_display():
        raise UserError(NO_DISPLAY)


def parser() -> argparse.ArgumentParser:
    """The options in groups; --help begins with what the command does."""
    made = argparse.ArgumentParser(
        "perceive",
        usage="perceive VIDEO [options]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "video",
        nargs="?",
        default="",
        help="video file, folder of images, ROS bag, camera number or stream address",
    )
    made.add_argument("--topic", metavar="NAME", help="image topic of a ROS bag that has several")
    add_outputs(made.add_argument_group("output (default: --save next to the input)"))
    add_drawing(made.add_argument_group("drawing"))
    add_options(made.add_argument_group("distances"))
    group = made.add_argument_group("model")
    group.add_argument(
        "--model",
        default=DEFAULT,
        metavar="FILE",
        help="an .onnx made by export-onnx, or hf://OWNER/NAME[@REVISION] (default: pretrained)",
    )
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
    group.add_argument("--smooth", action="store_true", help="filter masks and labels over time")
    group.add_argument("--loop", action="store_true", help="repeat a file without end")
    group.add_argument("--seconds", type=float, default=0, help="stop after this time")
    return made


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
        "--score", type=float, help="lowest score of a box (default: per class, from the model)"
    )
    group.add_argument("--ego", action="store_true", help="borders of the ego lane")
    group.add_argument("--fps", action="store_true", help="frame rate and model time")
    group.add_argument("--side-by-side", action="store_true", help="the input on the left")
