"""perceive-archive: labels for every video of an archive, one Scalabel file per video."""

import argparse
import fcntl
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from demo.archive_jobs import Settings, VideoOutcome, find_jobs, is_done
from demo.archive_ray import label_all
from demo.archive_worker import TIMEOUT_S, label_here
from demo.command_line import add_model
from demo.progress import say
from demo.temporal import tracking_available
from perception.errors import MALFORMED, UserError, cli, require_extra
from perception.files import write_atomic
from perception.hub import ONNX, local_file
from perception.runtime.annotations import FORMATS, parse_export
from perception.runtime.choose import choose
from perception.runtime.providers import read_description

SUMMARY = "summary.json"
SAVE_EVERY_S = 5.0
FAILED = 1
LEAST = {"every": 1, "frames": 0, "pick": 0, "workers": 0, "threads": 1, "gpus": 0, "timeout": 1}
DESCRIPTION = """\
Runs the perception model on every video of an archive and writes one Scalabel file per video.
Run it again to continue.

examples:
  perceive-archive /archive/2024 --out /labels/2024
  perceive-archive /archive/2024 --out /labels/2024 --every 10 --workers 8 --threads 2
  perceive-archive /archive/2024 --out /labels/2024 --address auto   on a Ray cluster
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit code 0: every video is labelled; 1: some have a problem; 2: a user's
    mistake, as one line."""
    return cli(lambda: archive(parser().parse_args(argv)))


def archive(args: argparse.Namespace) -> int:
    """Finds the videos, labels those without labels, reports each outcome."""
    settings = check(args)
    with only_run(args.out):
        jobs = find_jobs(args.videos, args.out, None if args.pick else args.export)
        todo = [job for job in jobs if args.redo or not is_done(job)]
        summary = ArchiveSummary(args.out, settings, {job.name for job in jobs}, len(todo))
        say(f"{len(jobs)} videos, {len(jobs) - len(todo)} of them done before")
        if todo:
            if args.address:
                where = (args.address, args.workers, args.gpus)
                outcomes = label_all(todo, settings, args.timeout, *where)
            else:
                outcomes = label_here(todo, settings, args.timeout, args.workers)
            for outcome in outcomes:
                say(summary.add(outcome))
        summary.save()
        problems = sum(bool(one["problem"]) for one in summary.videos.values())
        print(f"{len(jobs)} videos: {summary.total(len(jobs) - len(todo), problems)}")
        print(f"summary: {summary.path}")
        if args.pick:
            from demo.pick import pick

            kind, folder = args.export
            print(pick(jobs, args.pick, kind, folder, settings))
        return FAILED if problems else 0


@contextmanager
def only_run(out: Path) -> Iterator[None]:
    """Raises UserError where another run writes to the folder."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{out}: another perceive-archive writes there; wait for it") from None
        try:
            yield
        finally:
            (out / ".lock").unlink(missing_ok=True)


def check(args: argparse.Namespace) -> Settings:
    """Raises UserError for invalid arguments, before anything is started."""
    require_extra("demo", "av")
    if args.address:
        require_extra("ray", "ray", "pyarrow", "pandas")
    elif args.gpus:
        raise UserError("--gpus is for a Ray cluster; add --address")
    if args.score is not None and not 0 <= args.score <= 1:
        raise UserError(f"--score {args.score}: give a number from 0 to 1")
    for name, least in LEAST.items():
        if getattr(args, name) < least:
            raise UserError(f"--{name} {getattr(args, name)}: give {least} or more")
    if args.track and not tracking_available():
        require_extra("demo", "trackers", "supervision")
    if args.pick and not args.export:
        raise UserError("--pick: add --export FORMAT:DIR for the picked frames and their labels")
    if args.export:
        args.export = kind, path = parse_export(args.export)
        if path.is_file():
            raise UserError(f"--export {kind}:{path}: a file; name a folder")
        if args.pick and path.is_dir() and any(path.iterdir()):
            raise UserError(f"--export {kind}:{path}: not empty; name a new folder")
    # Not resolve(): in the cache of the hub the name is a link to a file without .onnx.
    model = local_file(args.model, ONNX).absolute()
    description = read_description(model)
    provider = args.provider
    if not args.address and provider == "auto":
        # Chosen once here instead of by every worker at the same time.
        provider, _ = choose(model, args.threads)
    say(f"{description.name} on {provider}")
    score = description.box_score if args.score is None else args.score
    return Settings(str(model), provider, args.threads, score, args.every, args.frames, args.track)


class ArchiveSummary:
    """summary.json, with the settings of the labels and the outcome of every video, and the
    progress of a run with `todo` videos.

    A folder holds labels of one model and one set of settings; others are refused.
    """

    def __init__(self, out: Path, settings: Settings, names: set[str], todo: int) -> None:
        self.path = out / SUMMARY
        # Those that affect the labels; the model by its digest.
        kept = {key: getattr(settings, key) for key in ("score", "every", "frames", "track")}
        model = hashlib.sha256(Path(settings.model).read_bytes()).hexdigest()[:16]
        self.settings: dict[str, Any] = {"model": model} | kept
        before = self._read()
        self.videos = {name: entry for name, entry in before.items() if name in names}
        self.todo, self.now, self.start = todo, list[VideoOutcome](), time.monotonic()
        self.save()

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.exists():
            return {}
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            settings, videos = dict(kept["settings"]), {v["name"]: v for v in kept["videos"]}
        except (OSError, *MALFORMED) as error:
            raise UserError(
                f"{self.path}: not a summary of perceive-archive ({error}); move it away"
            ) from None
        for key, value in self.settings.items():
            if settings.get(key) != value:
                raise UserError(
                    f"{self.path.parent}: holds labels made with {key} {settings.get(key)}, not "
                    f"{value}; give another --out, or remove the folder"
                )
        return videos

    def add(self, outcome: VideoOutcome) -> str:
        """Records an outcome; the file is written at most every SAVE_EVERY_S seconds. Returns a
        line on it, with the time left for the other videos."""
        self.videos[outcome.name] = asdict(outcome)
        if time.monotonic() - self.saved > SAVE_EVERY_S:
            self.save()
        self.now.append(outcome)
        count, spent = len(self.now), time.monotonic() - self.start
        left = spent / count * (self.todo - count)
        head = f"[{count}/{self.todo}, {left // 60:.0f}:{left % 60:02.0f} left]"
        if outcome.problem:
            return f"{head} error: {outcome.problem}"
        rate = outcome.frames / max(outcome.seconds, 1e-3)
        return f"{head} {outcome.name}: {outcome.frames} frames, {rate:.1f} fps"

    def total(self, before: int, problems: int) -> str:
        """The run in one line; `before`: videos that were done before it."""
        spent, frames = time.monotonic() - self.start, sum(one.frames for one in self.now)
        return (
            f"{sum(one.labelled for one in self.now)} labelled now, {before} done before, "
            f"{problems} with a problem; {frames} frames in {spent:.0f} s, "
            f"{frames / max(spent, 1e-3):.1f} fps"
        )

    def save(self) -> None:
        """Writes the file. Raises UserError where that fails."""
        videos = [self.videos[name] for name in sorted(self.videos)]
        write_atomic(self.path, json.dumps({"settings": self.settings, "videos": videos}, indent=1))
        self.saved = time.monotonic()


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "perceive-archive",
        usage="perceive-archive FOLDER... --out DIR [options]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("videos", nargs="+", type=Path, help="folders of videos, or videos")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the labels")
    group = made.add_argument_group("model")
    add_model(group)
    group.add_argument("--provider", default="auto", help="as in perceive (default: %(default)s)")
    group.add_argument(
        "--score", type=float, help="lowest score of a box (default: from the model file)"
    )
    group = made.add_argument_group("labels")
    group.add_argument("--every", type=int, default=1, metavar="N", help="label every n-th frame")
    group.add_argument(
        "--frames", type=int, default=0, metavar="N", help="at most N per video; 0: all"
    )
    group.add_argument("--track", action="store_true", help="track ids for boxes (extra demo)")
    group.add_argument("--redo", action="store_true", help="label again what has labels")
    group.add_argument(
        "--export",
        default="",
        metavar="FORMAT:DIR",
        help=f"also as labels to correct and train on; FORMAT: {', '.join(FORMATS)}",
    )
    group.add_argument(
        "--pick",
        type=int,
        default=0,
        metavar="N",
        help="write to --export only the N frames most worth labelling, with their images",
    )
    group = made.add_argument_group("workers")
    group.add_argument(
        "--address",
        default="",
        help="of a Ray cluster, auto from inside one (extra ray; default: this machine)",
    )
    group.add_argument("--workers", type=int, default=0, metavar="N", help="0: as many as fit")
    group.add_argument("--threads", type=int, default=1, metavar="N", help="CPUs per worker")
    group.add_argument("--gpus", type=float, default=0, help="GPUs per worker, such as 0.25")
    group.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_S,
        metavar="S",
        help="stop a video when no frame is finished for so long (default: %(default)s)",
    )
    return made


if __name__ == "__main__":
    sys.exit(main())
