"""Labelling one video at a time, in a process of its own: a file that crashes or hangs the decoder
costs that process and one line in the report. Independent of Ray.

To the process go jobs; from it come the number of finished frames, at intervals, and one outcome
per job.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from queue import SimpleQueue

import cv2

from demo.archive_jobs import Job, Settings, VideoOutcome
from demo.pipeline import Packet
from demo.sinks import ScalabelSink
from demo.temporal import BoxTracker
from demo.video import VideoFile
from perception.errors import UserError
from perception.files import leftovers
from perception.runtime.annotations import Export
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
            chosen = (settings.provider, settings.threads)
            self.runner = Runner(settings.model, *chosen, score=settings.score)
        tracker = BoxTracker(source.fps / settings.every) if settings.track else None
        for left in leftovers(labels):  # of a run that was killed
            left.unlink(missing_ok=True)
        geometry = RoadGeometry()
        with ExitStack() as stack:
            sink = stack.enter_context(ScalabelSink(labels, job.name, keep=False))
            export = None
            if job.export:
                views, (kind, path) = self.runner.description.views, job.export
                export = stack.enter_context(Export(kind, Path(path), views, replace=True))
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
        self.process: SpawnProcess | None = None
        self.lock, self.stopped = threading.Lock(), False

    def __call__(self, job: Job) -> VideoOutcome:
        """The outcome of one video. Never raises because of the video."""
        start, frames = time.monotonic(), 0
        process = self.process or self.start()
        try:
            self.pipe.send(job)
            while self.pipe.poll(self.timeout_s):
                answer = self.pipe.recv()  # finished frames, or the outcome
                if not isinstance(answer, int):
                    return answer
                frames = answer
            raise TimeoutError
        except (TimeoutError, OSError, EOFError) as error:
            problem = f"{job.video}: {self._lost(process, error)} at frame {frames}"
            for left in leftovers(Path(job.labels)):
                left.unlink(missing_ok=True)
            return VideoOutcome(
                job.name, False, frames, round(time.monotonic() - start, 3), problem
            )

    def start(self) -> SpawnProcess:
        """Starts the child. Raises InterruptedError after `stop`."""
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        process = spawn.Process(target=serve, args=(theirs, self.settings), daemon=True)
        with self.lock:
            if self.stopped:
                raise InterruptedError
            process.start()
            self.process = process
        theirs.close()  # the child's copy is the last one, so its end is seen here
        return process

    def stop(self) -> None:
        """Ends the child from another thread, and lets none start; the call that waits for it
        returns."""
        with self.lock:
            self.stopped = True
            if self.process is not None:
                self.process.kill()

    def _lost(self, process: SpawnProcess, error: Exception) -> str:
        """Ends a lost child; the reason it was lost."""
        if isinstance(error, TimeoutError):
            reason = f"no frame in {self.timeout_s:g} s, stopped"
        else:
            process.join()
            code = process.exitcode or 0
            name = signal.Signals(-code).name if code < 0 else f"code {code}"
            reason = f"its process died ({name}: a crash in the decoder, or out of memory)"
        self.close()
        return reason

    def close(self) -> None:
        """Ends the child."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None

    def __exit__(self, *_: object) -> None:
        self.close()


def label_here(
    jobs: Sequence[Job], settings: Settings, timeout_s: float, workers: int = 0
) -> Iterator[VideoOutcome]:
    """An outcome per job, in the order they finish, by child processes of this machine. `workers`
    0: as many as its cores hold."""
    fits = max(1, (os.cpu_count() or 1) // settings.threads)
    count, idle = min(workers or fits, len(jobs)), SimpleQueue[Worker]()

    def label(job: Job) -> VideoOutcome:
        worker = idle.get()
        outcome = worker(job)
        idle.put(worker)
        return outcome

    with ExitStack() as stack:
        pool = [stack.enter_context(Worker(settings, timeout_s)) for _ in range(count)]
        for worker in pool:
            idle.put(worker)
        threads = stack.enter_context(ThreadPoolExecutor(count))
        try:
            for future in as_completed([threads.submit(label, job) for job in jobs]):
                yield future.result()
        finally:  # also when the run is stopped
            threads.shutdown(wait=False, cancel_futures=True)
            for worker in pool:
                worker.stop()


def serve(pipe: Connection, settings: Settings) -> None:
    """The child; ends with its parent, also during a video."""
    os.setsid()  # Ctrl-C is for the parent
    os.dup2(2, 1)  # what libraries print must not mix with the report
    threading.Thread(target=_end_with_parent, daemon=True).start()
    last = 0.0

    def beat(frames: int) -> None:
        nonlocal last
        if time.monotonic() - last >= BEAT_S:
            last = time.monotonic()
            pipe.send(frames)

    label = Labeller(settings, beat)
    with suppress(EOFError):
        while True:
            pipe.send(label(pipe.recv()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)
