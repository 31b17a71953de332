"""Labelling one video at a time, in a process of its own: a file that crashes or hangs the decoder
costs that process and one line in the report. Independent of Ray.

`python -m demo.archive_worker SETTINGS` is that process: jobs come in as JSON lines; {"beat":
frames} at intervals and one outcome per job go out. `Worker` starts it and talks to it.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import cv2

from demo.archive_jobs import Job, Settings, VideoOutcome
from demo.log import ScalabelSink
from demo.pipeline import Packet
from demo.temporal import BoxTracker
from demo.video import VideoFile
from perception.errors import UserError
from perception.files import leftovers
from perception.runtime.annotations import Export, parse_export
from perception.runtime.road import RoadGeometry
from perception.runtime.runner import Runner

BEAT_S = 1.0
TIMEOUT_S = 600.0  # includes loading a model and trying its providers


class Labeller:
    """Labels one video after another with one model, loaded for the first one."""

    def __init__(self, settings: Settings, beat: Callable[[int], None] = lambda frames: None):
        self.settings, self.beat = settings, beat
        self.runner: Runner | None = None
        self.frames = 0

    def __call__(self, job: Job) -> VideoOutcome:
        """Writes the labels, complete or not at all. Never raises."""
        start, self.frames, labelled = time.monotonic(), 0, False
        try:
            problem = self._label(job)
            labelled = True
        except UserError as error:
            problem = str(error)
        except Exception as error:  # any library error on a damaged file
            problem = f"{job.video}: {type(error).__name__} ({str(error).strip()[:200]})"
        seconds = round(time.monotonic() - start, 3)
        return VideoOutcome(job.name, labelled, self.frames, seconds, " ".join(problem.split()))

    def _label(self, job: Job) -> str:
        """The problem of a video that was read in part; empty for a complete one."""
        settings, labels = self.settings, Path(job.labels)
        source = VideoFile(Path(job.video))
        if self.runner is None:
            cv2.setNumThreads(settings.threads)
            self.runner = Runner(settings.model, settings.provider, settings.threads)
        tracker = (
            BoxTracker(source.fps / settings.every, settings.score) if settings.track else None
        )
        for left in leftovers(labels):  # of a run that was killed
            left.unlink(missing_ok=True)
        geometry = RoadGeometry(score=settings.score)
        with ExitStack() as stack:
            sink = stack.enter_context(ScalabelSink(labels, job.name, settings.score, keep=False))
            export = None
            if job.export:
                views, target = self.runner.description.views, parse_export(job.export)
                export = stack.enter_context(Export(*target, views, settings.score, replace=True))
            for frame in source:
                if frame.index % settings.every:
                    continue
                scene = self.runner(frame.image)
                if tracker is not None:
                    tracker.update(scene, frame.image, frame.seconds)
                sink.write(Packet(frame, scene))
                if export is not None:
                    export.add(frame.name, scene, geometry.update(scene, frame.seconds))
                self.frames += 1
                self.beat(self.frames)
                if self.frames == settings.frames:
                    break
        return source.problems[0] if source.problems else ""


class Worker(AbstractContextManager["Worker"]):
    """Labels videos in a child process; starts another one when it is lost.

    `timeout_s`: a child that finishes no frame for so long is killed.
    """

    def __init__(self, settings: Settings, timeout_s: float = TIMEOUT_S) -> None:
        self.settings, self.timeout_s = settings, timeout_s
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, job: Job) -> VideoOutcome:
        """The outcome of one video. Never raises because of the video."""
        start, frames = time.monotonic(), 0
        process = self.process = self.process or self._start()
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
            while "name" not in (answer := self._receive(process)):
                frames = answer["beat"]
            return VideoOutcome(**answer)
        except (TimeoutError, OSError, EOFError) as error:
            problem = f"{job.video}: {self._lost(process, error)} at frame {frames}"
            for left in leftovers(Path(job.labels)):
                left.unlink(missing_ok=True)
            return VideoOutcome(
                job.name, False, frames, round(time.monotonic() - start, 3), problem
            )

    def _start(self) -> "subprocess.Popen[bytes]":
        """The child, with this process's module path. Unbuffered, so that select() on the pipe
        waits for the next line."""
        command = [sys.executable, "-m", "demo.archive_worker", json.dumps(asdict(self.settings))]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, bufsize=0, env=environment, start_new_session=True
        )

    def _receive(self, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
        """The next line. Raises TimeoutError after `timeout_s`, EOFError at the child's end."""
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], self.timeout_s)
        if not ready:
            raise TimeoutError
        line = process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return json.loads(line)

    def stop(self) -> None:
        """Ends the child from another thread; the call that waits for it returns."""
        if (process := self.process) is not None:
            process.kill()

    def _lost(self, process: "subprocess.Popen[bytes]", error: Exception) -> str:
        """Ends a lost child; the reason it was lost."""
        if isinstance(error, TimeoutError):
            reason = f"no frame in {self.timeout_s:g} s, stopped"
        else:
            code = process.wait()
            name = signal.Signals(-code).name if code < 0 else f"code {code}"
            reason = f"its process died ({name}: a crash in the decoder, or out of memory)"
        self.close()
        return reason

    def close(self) -> None:
        """Ends the child."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
            self.process = None

    def __exit__(self, *_: object) -> None:
        self.close()


def label_here(
    jobs: Sequence[Job], settings: Settings, timeout_s: float, workers: int = 0
) -> Iterator[VideoOutcome]:
    """An outcome per job, in the order they finish, by child processes of this machine. `workers`
    0: as many as its cores hold."""
    fits = max(1, (os.cpu_count() or 1) // settings.threads)
    todo, done = deque(jobs), SimpleQueue[VideoOutcome]()
    pool = [Worker(settings, timeout_s) for _ in range(min(workers or fits, len(jobs)))]

    def work(worker: Worker) -> None:
        with worker, suppress(IndexError):  # none left
            while True:
                done.put(worker(todo.popleft()))

    threads = [threading.Thread(target=work, args=(one,), daemon=True) for one in pool]
    for thread in threads:
        thread.start()
    try:
        for _ in jobs:
            yield done.get()
    finally:  # also when the run is stopped
        todo.clear()
        for worker in pool:
            worker.stop()
        for thread in threads:
            thread.join(TIMEOUT_S)


def serve(settings: Settings) -> None:
    """The child: jobs on stdin, outcomes on stdout; exits with its parent."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not mix with the answers
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
        print(json.dumps(asdict(label(Job(**json.loads(jobs.get()))))), file=out)


def _read(jobs: "SimpleQueue[str]") -> None:
    """Ends the process when its parent ends, also during a video."""
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)


if __name__ == "__main__":
    serve(Settings(**json.loads(sys.argv[1])))
