"""The command line of `perceive`, checked as a whole before anything is opened."""

import argparse
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from demo.command_line import LOOPBACK, VIEWER, parser
from demo.pipeline import frame_name
from demo.save import check_save, default_target, is_folder, picture_path
from demo.show import NO_DISPLAY, has_display
from demo.sources import BAG, CAMERA, PHOTOS, STREAM, kind_of, local_name, photos_of
from demo.speed import OwnSpeed, read_speed
from demo.temporal import tracking_available
from perception.errors import UserError, require_extra
from perception.files import check_outputs, place
from perception.hub import ONNX, PREFIX, local_file
from perception.runtime.annotations import FORMATS, check_export, parse_export
from perception.runtime.camera_file import CameraFile, read_camera
from perception.runtime.providers import check_provider
from perception.runtime.road import VIEW_DEG

LOCAL = ("127.0.0.1", "localhost", "::1")
LOGS = (".jsonl", ".json")  # of --json: one frame per line, or a list
HEIGHTS_M, VIEWS_DEG = (0.2, 6.0), (20.0, 150.0)


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
    args.serve, args.web = (
        parse_address(f"--{name}", text) if (text := getattr(args, name)) else None
        for name in ("serve", "web")
    )
    jobs = () if args.web else tuple(job(args, video) for video in args.videos)
    check_ignored(args, jobs)
    read = {
        "camera": args.camera,
        "speed": args.speed if Path(args.speed or "").is_file() else None,
    }
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
    height, view, cores = args.camera_height, args.camera_view, 4 * (os.cpu_count() or 1)
    for name, low, high, wanted in (
        ("score", 0, 1, "a number from 0 to 1"),
        ("seconds", 0, sys.float_info.max, "0 (all) or more"),
        ("threads", 0, cores, f"0 (all cores) to {cores}"),
        ("camera_height", *HEIGHTS_M, "metres from 0.2 to 6"),
        ("camera_view", *VIEWS_DEG, "degrees from 20 to 150"),
    ):
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            raise UserError(f"{option(name)} {value:g}: give {wanted}")
    if view is not None and (args.camera or height is None):
        raise UserError("--camera-view is for --camera-height without --camera; leave it out")
    args.camera_view = VIEW_DEG if view is None else view
    for name in ("birds_eye", "speed"):
        if getattr(args, name) and not args.camera and height is None:
            need = "add --camera FILE or --camera-height METRES"
            raise UserError(f"{option(name)} needs metres: {need}")


def option(name: str) -> str:
    """As it is typed."""
    return f"--{name.replace('_', '-')}"


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
            raise UserError(f"{option(name)} changes the picture; add --show, --save or --serve")
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
    for path in (one.json for one in jobs if one.json and one.json.suffix.lower() not in LOGS):
        # A device or a pipe may have any name.
        if not path.is_relative_to("/dev") and (path.is_file() or not path.exists()):
            raise UserError(f"--json {path}: end the name in {' or '.join(LOGS)}")


def parse_address(option: str, text: str) -> tuple[str, int]:
    """(host, port) of HOST:PORT. Raises UserError for anything else."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise UserError(f"{option} {text}: give HOST:PORT, such as {LOOPBACK}")
    return host.strip("[]") or LOCAL[0], int(port)


def check_free(option: str, host: str, port: int) -> None:
    """Raises UserError where nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with listening(option, host, port), socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


@contextmanager
def listening(option: str, host: str, port: int) -> Iterator[None]:
    """Raises UserError for an address that cannot be bound."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{option} {host}:{port}: cannot listen there ({error.strerror}); "
            "give another HOST:PORT"
        ) from None
