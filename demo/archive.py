"""perceive-archive FOLDER... --out DIR [--address auto]: labels for every video, one file each."""

import argparse
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from demo.archive_child import PATIENCE_S
from demo.archive_ray import LOCAL, label_all
from demo.archive_video import Job, Outcome, Settings
from demo.perceive import default_model, say
from demo.tracks import tracking_available
from perception.errors import UserError, cli, require_extra
from perception.files import write_atomic
from perception.runtime.choose import choose
from perception.runtime.runner import read_description

VIDEOS = r"\.(mp4|m4v|mov|mkv|webm|avi|ts|mts|m2ts|mpg|mpeg|mjpeg|wmv|flv|3gp)$"
SUMMARY = "summary.json"
SAVE_EVERY_S = 5.0
FAILED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit code 0: every video is labelled; 1: some have a problem; 2: a mistake in
    the call, one line says which."""
    args = parser().parse_args(argv)
    return cli(lambda: archive(args))


def archive(args: argparse.Namespace) -> int:
    """Finds the videos, labels those that are not, tells what became of each."""
    settings = check(args)
    jobs = find_jobs(args.videos, args.out)
    summary = Summary(args.out, settings, {job.name for job in jobs})
    todo = [job for job in jobs if args.redo or not is_done(job)]
    say(f"{len(jobs)} videos, {len(jobs) - len(todo)} of them done before")
    progress = Progress(len(todo))
    if todo:
        where = (args.address, args.workers, args.gpus)
        for outcome in label_all(todo, settings, args.patience, *where):
            summary.add(outcome)
            say(progress.line(outcome))
    summary.save()
    problems = summary.problems()
    print(progress.total(len(jobs), problems))
    print(f"summary: {summary.path}")
    return FAILED if problems else 0


def check(args: argparse.Namespace) -> Settings:
    """Raises UserError for arguments that cannot be right, before anything is started."""
    require_extra("ray", "ray", "pyarrow", "pandas")
    if args.score is not None and not 0 <= args.score <= 1:
        raise UserError(f"--score {args.score}: give a number from 0 to 1")
    for name, least in (
        ("every", 1),
        ("frames", 0),
        ("workers", 0),
        ("threads", 1),
        ("gpus", 0),
        ("patience", 1),
    ):
        if getattr(args, name) < least:
            raise UserError(f"--{name} {getattr(args, name)}: give {least} or more")
    if args.track and not tracking_available():
        require_extra("demo", "trackers", "supervision")
    model = (args.model or default_model()).resolve()
    said = read_description(model)
    provider = args.provider
    if args.address == LOCAL and provider == "auto":
        # Tried once here rather than by every worker at the same time.
        provider, _ = choose(model, args.threads)
    say(f"{said.name} on {provider}")
    score = said.box_score if args.score is None else args.score
    return Settings(str(model), provider, args.threads, score, args.every, args.frames, args.track)


def find_jobs(places: Iterable[Path], out: Path) -> list[Job]:
    """Every video under the folders, in order. Raises UserError where there is none, and where
    two would be written to the same file."""
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
            labels = out.resolve() / f"{name}.jsonl"
            jobs[name] = Job(name, str(video.absolute()), str(labels))
    if not jobs:
        raise UserError(f"no video in {' '.join(map(str, places))}; a name must end in {VIDEOS}")
    return [jobs[name] for name in sorted(jobs)]


def _videos(folder: Path) -> Iterator[Path]:
    """Video files at any depth; links to folders are not followed, so none leads in a circle."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if re.search(VIDEOS, name.lower()) and not name.startswith("."):
                yield Path(root, name)


def is_done(job: Job) -> bool:
    """Whether its labels are there and no older than the video. They appear only when whole."""
    try:
        return os.stat(job.labels).st_mtime_ns >= os.stat(job.video).st_mtime_ns
    except OSError:
        return False


class Summary:
    """summary.json: the settings the labels were made with, and what became of every video.

    Labels of two models in one folder would be worthless, so other settings are refused.
    """

    def __init__(self, out: Path, settings: Settings, names: set[str]) -> None:
        self.path = out / SUMMARY
        self.settings = _identity(settings)
        before = self._read()
        self.videos = {name: entry for name, entry in before.items() if name in names}
        self.save()

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.exists():
            return {}
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            settings, videos = dict(kept["settings"]), {v["name"]: v for v in kept["videos"]}
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise UserError(f"{self.path}: not a summary of ours ({error}); move it away") from None
        for key, value in self.settings.items():
            if settings.get(key) != value:
                raise UserError(
                    f"{self.path.parent}: holds labels made with {key} {settings.get(key)}, not "
                    f"{value}; give another --out, or remove the folder"
                )
        return videos

    def add(self, outcome: Outcome) -> None:
        """Takes an outcome; the file is written every few seconds, because there may be many."""
        self.videos[outcome.name] = outcome.row()
        if time.monotonic() - self.saved > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Writes the file. Raises UserError where it cannot be."""
        videos = [self.videos[name] for name in sorted(self.videos)]
        try:
            write_atomic(
                self.path, json.dumps({"settings": self.settings, "videos": videos}, indent=1)
            )
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error})") from None
        self.saved = time.monotonic()

    def problems(self) -> list[str]:
        """One line for every video that has one, from this run or one before."""
        return [entry["problem"] for _, entry in sorted(self.videos.items()) if entry["problem"]]


def _identity(settings: Settings) -> dict[str, Any]:
    """What decides the labels, the model by its bytes."""
    with open(settings.model, "rb") as file:
        model = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    kept = {key: getattr(settings, key) for key in ("score", "every", "frames", "track")}
    return {"model": model} | kept


class Progress:
    """A line for every video that ends, with the time left for the others."""

    def __init__(self, total: int) -> None:
        self.count, self.labelled, self.frames, self.all = 0, 0, 0, total
        self.start = time.monotonic()

    def line(self, outcome: Outcome) -> str:
        """Where the run stands after this outcome."""
        self.count += 1
        self.labelled += outcome.labelled
        self.frames += outcome.frames
        spent = time.monotonic() - self.start
        left = spent / self.count * (self.all - self.count)
        head = f"[{self.count}/{self.all}, {left // 60:.0f}:{left % 60:02.0f} left]"
        if outcome.problem:
            return f"{head} error: {outcome.problem}"
        rate = outcome.frames / max(outcome.seconds, 1e-3)
        return f"{head} {outcome.name}: {outcome.frames} frames, {rate:.1f} fps"

    def total(self, videos: int, problems: Sequence[str]) -> str:
        """The whole run for people."""
        spent = time.monotonic() - self.start
        return (
            f"{videos} videos: {self.labelled} labelled now, {videos - self.all} done before, "
            f"{len(problems)} with a problem; {self.frames} frames in {spent:.0f} s, "
            f"{self.frames / max(spent, 1e-3):.1f} fps"
        )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("perceive-archive", description=__doc__)
    made.add_argument("videos", nargs="+", type=Path, help="folders of videos, or videos")
    made.add_argument("--out", type=Path, required=True, help="folder for the labels")
    made.add_argument("--model", type=Path, help="an .onnx made by export-onnx")
    made.add_argument(
        "--address",
        default=LOCAL,
        help="a Ray cluster, auto inside one (default: workers on this machine)",
    )
    made.add_argument("--workers", type=int, default=0, help="0: as many as there is room for")
    made.add_argument("--threads", type=int, default=1, help="CPUs for each worker (%(default)s)")
    made.add_argument("--gpus", type=float, default=0, help="GPUs for each worker, such as 0.25")
    made.add_argument("--provider", default="auto", help="as in perceive (default: %(default)s)")
    made.add_argument("--score", type=float, help="boxes from this; by default the model says")
    made.add_argument("--every", type=int, default=1, help="label one frame in so many")
    made.add_argument("--frames", type=int, default=0, help="at most so many a video; 0: all")
    made.add_argument("--track", action="store_true", help="identities for boxes (extra demo)")
    made.add_argument(
        "--patience", type=float, default=PATIENCE_S, help="give a video up after so long a frame"
    )
    made.add_argument("--redo", action="store_true", help="label again what is done")
    return made


if __name__ == "__main__":
    sys.exit(main())
