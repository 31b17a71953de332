"""One video of an archive: read, looked at, written as one Scalabel file. Knows nothing of Ray.

`python -m demo.archive_video SETTINGS` is the process that does it (see archive_child.py): a job
a line comes in as JSON; {"beat": frames} now and then and an outcome a job go out.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import cv2

from demo.log import ScalabelSink
from demo.pipeline import Packet
from demo.tracks import Tracks
from demo.video import VideoFile
from perception.errors import UserError
from perception.runtime.runner import Runner

BEAT_S = 1.0


@dataclass(frozen=True)
class Settings:
    """What is done to every video. All but `provider` and `threads` decides the labels."""

    model: str
    provider: str = "auto"
    threads: int = 1
    score: float = 0.3
    every: int = 1  # one frame in so many
    frames: int = 0  # at most so many of them; 0: all
    track: bool = False


@dataclass(frozen=True)
class Job:
    """One video to label."""

    name: str  # relative to the folder that was given
    video: str
    labels: str  # the file to write


@dataclass(frozen=True)
class Outcome:
    """What became of one video. `problem` is one line, empty where all went well; `labelled` says
    whether its labels are there, which those of a video that ends early are."""

    name: str
    labelled: bool = False
    frames: int = 0
    seconds: float = 0.0
    problem: str = ""

    def row(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class Labeller:
    """Labels one video after another with one model, loaded when the first one comes."""

    def __init__(self, settings: Settings, beat: Callable[[int], None] = lambda frames: None):
        self.settings, self.beat = settings, beat
        self.runner: Runner | None = None
        self.frames = 0

    def __call__(self, job: Job) -> Outcome:
        """Writes the labels, whole or not at all. Never raises: the other videos must go on."""
        start, self.frames, labelled = time.monotonic(), 0, False
        try:
            problem = self._label(job)
            labelled = True
        except UserError as error:
            problem = str(error)
        except Exception as error:  # whatever a library makes of a stranger's file
            problem = f"{job.video}: {type(error).__name__} ({str(error).strip()[:200]})"
        seconds = round(time.monotonic() - start, 3)
        return Outcome(job.name, labelled, self.frames, seconds, " ".join(problem.split()))

    def _label(self, job: Job) -> str:
        """The problem of a video that could be read in part; empty for a good one."""
        settings, labels = self.settings, Path(job.labels)
        remove_parts(labels)
        source = VideoFile(Path(job.video))
        if self.runner is None:
            cv2.setNumThreads(settings.threads)
            self.runner = Runner(settings.model, settings.provider, settings.threads)
        tracks = Tracks(source.fps / settings.every, settings.score) if settings.track else None
        with ScalabelSink(labels, job.name, settings.score) as sink:
            for frame in source:
                if frame.index % settings.every:
                    continue
                scene = self.runner(frame.image)
                if tracks is not None:
                    tracks.update(scene)
                sink.write(Packet(frame, scene))
                self.frames += 1
                self.beat(self.frames)
                if self.frames == settings.frames:
                    break
        return source.problems[0] if source.problems else ""


def remove_parts(labels: Path) -> None:
    """Removes what processes that were killed left beside a label file."""
    start = f".{labels.stem}."
    if labels.parent.is_dir():
        for path in labels.parent.iterdir():
            if path.name.startswith(start) and ".part" in path.suffixes:
                path.unlink(missing_ok=True)


def serve(settings: Settings) -> None:
    """The process: jobs in, outcomes out, until nobody is left who would read them."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not stand between the answers
    jobs: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()
    last = 0.0

    def beat(frames: int) -> None:
        nonlocal last
        if time.monotonic() - last >= BEAT_S:
            last = time.monotonic()
            print(json.dumps({"beat": frames}), file=out)

    label = Labeller(settings, beat)
    while True:
        print(json.dumps(label(Job(**json.loads(jobs.get()))).row()), file=out)


def _read(jobs: "SimpleQueue[str]") -> None:
    """Ends the process the moment its parent is gone, in the middle of a video too."""
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)


if __name__ == "__main__":
    serve(Settings(**json.loads(sys.argv[1])))
