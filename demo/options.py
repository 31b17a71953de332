"""The command line of `perceive`, checked as a whole before anything is opened."""

import argparse
import math
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from demo.overlay import KEYS
from demo.pipeline import frame_name
from demo.save import check_save, default_target, is_folder, picture_path
from demo.show import NO_DISPLAY, has_display
from demo.sources import BAG, CAMERA, PHOTOS, STREAM, kind_of, local_name, photos_of
from demo.speed import OwnSpeed, read_speed
from demo.temporal import tracking_available
from perception.errors import UserError, require_extra
from perception.files import check_outputs, place
from perception.hub import DEFAULT, ONNX, PREFIX, local_file
from perception.runtime.annotations import FORMATS, check_export, parse_export
from perception.runtime.camera_file import CameraFile, read_camera
from perception.runtime.providers import check_provider
from perception.runtime.road import VIEW_DEG

VIEWER = "viewer"
LOOPBACK = "127.0.0.1:8000"
LOCAL = ("127.0.0.1", "localhost", "::1")
HEIGHTS_M, VIEWS_DEG = (0.2, 6.0), (20.0, 150.0)
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


@dataclass(frozen=True)
class Job:
    """One input and the files that are written for it; None: not asked for."""

    video: str
    kind: str  # of demo.sources
    save: str | None = None
    json: Path | None = None
    export: tuple[str, Path] | None = None  # format and path
    mcap: Path | None = None
    rerun: Path | None = None

    @property
    def live(self) -> bool:
        """Whether it is watched as it happens."""
        return self.kind in (CAMERA, STREAM)

    def inputs(self) -> Iterable[tuple[str, Path]]:
        """(what it is, path) of every file that is read."""
        path = Path(local_name(self.video))
        if self.kind == BAG and path.is_dir():
            yield from (("the bag", one) for one in path.rglob("*") if one.is_file())
        elif self.kind == PHOTOS:
            yield from (("the photo", one) for one in self.photos())
        elif not self.live:
            yield "the input", path

    def outputs(self) -> Iterable[tuple[str, str, Path]]:
        """(option, input, path) of every file that is written; of a video's pictures the first."""
        if self.save:
            yield from (("--save", source, path) for source, path in self.saved())
        for name in ("json", "mcap", "rerun"):
            if (path := getattr(self, name)) is not None:
                yield f"--{name}", self.video, path
        if self.export is not None:
            kind, path = self.export
            yield "--export", self.video, path if FORMATS[kind].suffix else path / "data.yaml"
            if not FORMATS[kind].suffix and self.kind == PHOTOS:
                for photo in self.photos():
                    yield "--export", str(photo), path / "labels" / f"{photo.stem}.txt"

    def photos(self) -> list[Path]:
        return photos_of(Path(local_name(self.video)))

    def saved(self) -> list[tuple[str, Path]]:
        """(input, file) of --save; of a video's pictures the first."""
        assert self.save
        if check_save(self.save, self.kind == PHOTOS):
            return [(self.video, Path(self.save))]
        if self.kind != PHOTOS:
            first = frame_name(Path(local_name(self.video)).stem, 0)
            return [(self.video, picture_path(self.save, first, False))]
        photos = self.photos()
        alone = len(photos) == 1
        return [(str(one), picture_path(self.save, one.name, alone)) for one in photos]


@dataclass(frozen=True)
class Options:
    """What a run does. Made once from the command line by `read_options`; never changed."""

    jobs: tuple[Job, ...]
    model: Path
    provider: str = "auto"
    threads: int = 0
    score: float | None = None  # of boxes that are drawn, logged, tracked and measured
    camera: CameraFile | None = None
    camera_height: float | None = None
    camera_view: float = VIEW_DEG
    speed: OwnSpeed | None = None
    show: bool = False
    serve: tuple[str, int] | None = None
    web: tuple[str, int] | None = None
    viewer: bool = False
    ego: bool = False
    fps: bool = False
    side_by_side: bool = False
    birds_eye: bool = False
    raw: bool = False
    log_smoothed: bool = False
    track: bool | None = None
    loop: bool = False
    seconds: float = 0.0
    topic: str | None = None


def read_options(argv: Sequence[str] | None = None) -> Options:
    """The checked command line. Raises UserError, in one line, for whatever cannot work."""
    args = parser().parse_args(argv)
    check_numbers(args)
    if args.provider != "auto":
        check_provider(args.provider)
    args.serve, args.web = (address(args, name) for name in ("serve", "web"))
    jobs = () if args.web else tuple(job(args, video) for video in args.videos)
    check_ignored(args, jobs)
    read = {"camera": args.camera, "speed": args.speed if is_path(args.speed) else None}
    args.camera = read_camera(args.camera, args.camera_height) if args.camera else None
    args.speed = read_speed(args.speed) if args.speed else None
    if not PREFIX.match(args.model):
        args.model = read["model"] = local_file(args.model, ONNX)
    inputs = [(f"--{name}", Path(path)) for name, path in read.items() if path]
    check_files(jobs, inputs)
    check_extras(args, jobs)
    for option, at in (("--serve", args.serve), ("--web", args.web)):
        if at is not None:
            check_free(option, *at)
    # A model of a hub is downloaded last.
    args.model, args.jobs = local_file(args.model, ONNX), jobs
    args.viewer = args.rerun == VIEWER
    return Options(**{one.name: getattr(args, one.name) for one in fields(Options)})


def check_numbers(args: argparse.Namespace) -> None:
    """Raises UserError for numbers that are not possible."""
    score, height, view = args.score, args.camera_height, args.camera_view
    if score is not None and not 0 <= score <= 1:
        raise UserError(f"--score {score:g}: give a number from 0 to 1")
    if not 0 <= args.seconds < math.inf:
        raise UserError(f"--seconds {args.seconds:g}: give 0 (all) or more")
    most = 4 * (os.cpu_count() or 1)
    if not 0 <= args.threads <= most:
        raise UserError(f"--threads {args.threads}: give 0 (all cores) to {most}")
    if height is not None and not HEIGHTS_M[0] <= height <= HEIGHTS_M[1]:
        raise UserError(f"--camera-height {height:g}: give metres from 0.2 to 6")
    if view is not None and not VIEWS_DEG[0] <= view <= VIEWS_DEG[1]:
        raise UserError(f"--camera-view {view:g}: give degrees from 20 to 150")
    if view is not None and (args.camera or height is None):
        raise UserError("--camera-view is for --camera-height without --camera; leave it out")
    args.camera_view = VIEW_DEG if view is None else view
    for name in ("birds_eye", "speed"):
        if getattr(args, name) and not args.camera and height is None:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} needs metres: add --camera FILE or --camera-height METRES")


def check_ignored(args: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Raises UserError for options that would have no effect."""
    files = ("save", "json", "export", "mcap", "rerun")
    if args.web:
        given = [f"--{name}" for name in (*files, "show", "serve") if getattr(args, name)]
        if args.videos or given:
            raise UserError(
                "--web: the page opens photos and clips by itself; leave out "
                f"{' '.join([*args.videos, *given])}"
            )
        return
    if not jobs:
        raise UserError("give a video, a folder of images, a camera number or a stream address")
    drawn = args.show or args.serve or any(job.save for job in jobs)
    for name in ("ego", "fps", "side_by_side", "birds_eye", "raw"):
        if getattr(args, name) and not drawn:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} changes the picture; add --show, --save or --serve")
    if args.raw and args.log_smoothed:
        raise UserError("--raw and --log-smoothed exclude each other; give one of them")
    for one in jobs:
        if args.loop and one.live:
            raise UserError(f"--loop: {one.kind} {one.video} has no end; leave it out")
        if args.topic is not None and one.kind != BAG:
            raise UserError(
                f"--topic {args.topic}: only a ROS bag has topics, and {one.video} is none"
            )
        if one.live and not (drawn or one.json or one.export or one.mcap or args.rerun):
            raise UserError("a camera or stream needs an output: --show, --serve or --save FILE")


def check_extras(args: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Raises UserError for a library or a display that is missing."""
    if any(job.save for job in jobs) and not all(is_folder(job.save or "") for job in jobs):
        require_extra("demo", "av")
    if args.mcap:
        require_extra("car", "foxglove")
    if args.rerun:
        require_extra("viz", "rerun")
    if args.serve:
        require_extra("demo", "fastapi", "uvicorn")
    if args.track and not tracking_available():
        require_extra("demo", "trackers", "supervision")
    if args.show and not has_display():
        raise UserError(NO_DISPLAY)
    if args.rerun == VIEWER and not has_display():
        raise UserError("--rerun: the viewer needs a display; give FILE.rrd instead")


def job(args: argparse.Namespace, video: str) -> Job:
    """The input and its outputs; with several inputs, files are named after each."""
    kind = kind_of(video)
    several = len(args.videos) > 1
    stem = Path(local_name(video)).name if several else ""

    def named(path: Path | None) -> Path | None:
        if path is None or not several or (path.exists() and not path.is_file()):
            return path
        return path.with_name(f"{path.stem}-{Path(stem).stem}{path.suffix}")

    save = args.save
    outputs = (args.json, args.export, args.mcap, args.rerun)
    if not any((save, args.show, args.serve, *outputs)) and kind not in (CAMERA, STREAM):
        save = default_target(local_name(video), kind == PHOTOS)
    elif save and not is_folder(save):
        check_save(save, kind == PHOTOS)
        save = str(named(Path(save)))
    export = None
    if args.export:
        form, path = parse_export(args.export)
        export = (
            (form, path.with_name(f"{path.name}-{Path(stem).stem}"))
            if (several and not FORMATS[form].suffix)
            else (form, named(path) or path)
        )
        check_export(*export)
    rerun = Path(args.rerun) if args.rerun and args.rerun != VIEWER else None
    if rerun and rerun.suffix.lower() != ".rrd":
        raise UserError(f"--rerun {rerun}: end the name in .rrd, or give none for the viewer")
    return Job(video, kind, save, named(args.json), export, named(args.mcap), named(rerun))


def check_files(jobs: Sequence[Job], inputs: Sequence[tuple[str, Path]]) -> None:
    """Raises UserError where an output would replace an input or another output, links resolved,
    or cannot be written."""
    read = [item for one in jobs for item in one.inputs()]
    outputs = [item for one in jobs for item in one.outputs()]
    before: dict[object, str] = {}
    for option, source, path in outputs:
        at = (option, place(path))
        if at in before and (path.is_file() or not path.exists()):  # /dev/null may repeat
            raise UserError(
                f"{option}: {before[at]} and {source} would both write {path}; rename one of them, "
                "or give them one at a time"
            )
        before[at] = source
    check_outputs([(option, path) for option, _, path in outputs], [*read, *inputs])


def is_path(text: str | None) -> bool:
    """Whether --speed names a file."""
    try:
        float(text or "0")
    except ValueError:
        return True
    return False


def address(args: argparse.Namespace, name: str) -> tuple[str, int] | None:
    """(host, port) of --serve or --web. Raises UserError for anything else."""
    text = getattr(args, name)
    return parse_address(f"--{name}", text) if text else None


def parse_address(option: str, text: str) -> tuple[str, int]:
    """(host, port) of HOST:PORT. Raises UserError for anything else."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise UserError(f"{option} {text}: give HOST:PORT, such as {LOOPBACK}")
    return host.strip("[]") or LOCAL[0], int(port)


def check_free(option: str, host: str, port: int) -> None:
    """Raises UserError where nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise UserError(
            f"{option} {host}:{port}: cannot listen there ({error.strerror}); "
            "give another HOST:PORT"
        ) from None


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
    group.add_argument(
        "--model",
        default=DEFAULT,
        metavar="FILE",
        help="default, fast, an .onnx made by export-onnx, or hf://OWNER/NAME[@REVISION]",
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
    group.add_argument("--loop", action="store_true", help="repeat a file without end")
    group.add_argument(
        "--seconds", type=float, default=0, help="stop after so much of the video, or of a stream"
    )
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
