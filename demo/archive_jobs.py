"""The videos of an archive, how they are labelled, and the outcome of each."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from perception.errors import UserError
from perception.runtime.annotations import FORMATS

VIDEOS = r"\.(mp4|m4v|mov|mkv|webm|avi|ts|mts|m2ts|mpg|mpeg|mjpeg|wmv|flv|3gp)$"


@dataclass(frozen=True)
class Settings:
    """How videos are labelled. All fields but `provider` and `threads` affect the labels."""

    model: str
    provider: str = "auto"
    threads: int = 1
    score: float = 0.3
    every: int = 1  # label every n-th frame
    frames: int = 0  # at most this many per video; 0: all
    track: bool = False


@dataclass(frozen=True)
class Job:
    """One video to label."""

    name: str  # relative to the folder on the command line
    video: str
    labels: str  # the file to write
    export: tuple[str, str] | None = None  # format and path to write in addition


@dataclass(frozen=True)
class VideoOutcome:
    """The result for one video. `problem` is one line, empty on success; `labelled` says whether
    labels were written, as they are also for a video that ends early."""

    name: str
    labelled: bool = False
    frames: int = 0
    seconds: float = 0.0
    problem: str = ""


def find_jobs(
    places: Iterable[Path], out: Path, export: tuple[str, Path] | None = None
) -> list[Job]:
    """Every video under the folders, in order; `export`: the format and the folder above all of its
    files. Raises UserError where there is none, and where two
    would have the same label file."""
    jobs: dict[str, Job] = {}
    for place in places:
        if not place.exists():
            raise UserError(f"{place}: no such folder or video")
        for video in [place] if place.is_file() else _videos(place):
            name = video.name if place.is_file() else video.relative_to(place).as_posix()
            if name in jobs:
                raise UserError(
                    f"{jobs[name].video} and {video} would share one label file; "
                    "give the folder above them"
                )
            labels, target = out.resolve() / f"{name}.jsonl", None
            if export:
                kind, folder = export
                target = kind, f"{folder.resolve() / name}{FORMATS[kind].suffix}"
            jobs[name] = Job(name, str(video.absolute()), str(labels), target)
    if not jobs:
        raise UserError(f"no video in {' '.join(map(str, places))}; names must match {VIDEOS}")
    return [jobs[name] for name in sorted(jobs)]


def _videos(folder: Path) -> Iterator[Path]:
    """Video files at any depth. Links to folders are not followed, because they may be cyclic."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if re.search(VIDEOS, name.lower()) and not name.startswith("."):
                yield Path(root, name)


def is_done(job: Job) -> bool:
    """Whether its label file exists and is no older than the video; it is never partial."""
    try:
        if job.export and not os.path.exists(job.export[1]):
            return False
        return os.stat(job.labels).st_mtime_ns >= os.stat(job.video).st_mtime_ns
    except OSError:
        return False
