"""perceive: run the model on videos, images, a camera or a stream, and show or save the result."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from demo.options import Job, Options, read_options
from demo.overlay import KEYS, Controls, Overlay
from demo.pipeline import Packet, Pipeline, Source, Stage
from demo.progress import Statistics, say
from demo.save import ClipSink, check_save, save_picture
from demo.sinks import ScalabelSink, descriptor, is_stdout
from demo.sources import open_source
from demo.temporal import BoxTracker, Steady, tracking_available
from perception.errors import cli, some_of
from perception.hub import DEFAULT, FAST, packaged_name
from perception.runtime.annotations import Export
from perception.runtime.providers import faster_extra
from perception.runtime.road import RoadGeometry
from perception.runtime.runner import Runner
from perception.stop import StopSignals

Sink = Callable[[Packet], None]
AT_ONCE = 2  # frames of a recording that are inferred at the same time; a live one must not wait
GPU = ("cuda", "tensorrt")
FAST_SHARE = 0.6  # of the default model's time on a CPU (docs/latency.md)
FEWEST = 20  # frames that an estimate needs


def main(argv: Sequence[str] | None = None) -> int:
    """The command. A user's mistake is one line and exit code 2."""
    return cli(lambda: perceive(read_options(argv)))


def perceive(options: Options) -> int:
    """Runs the model on every input, one after the other."""
    with StopSignals() as stop:
        if options.web is not None:
            from demo.web_site import serve

            serve(options.model, options.web)
            return 0
        sources = [open_source(job.video, options.loop, options.topic) for job in options.jobs]
        for source in sources:
            for note in source.notes:
                say(note)
        streams = 1 if any(source.live for source in sources) else AT_ONCE
        chosen = (options.provider, options.threads, streams, options.score)
        runner = Runner(options.model, *chosen)
        runner(np.zeros((*runner.description.size_hw, 3), np.uint8))  # warm up
        say(f"{runner.description.name} on {runner.provider}: {runner.chosen_because}")
        if options.provider == "auto" and (extra := faster_extra()):
            say(f"hint: faster on this CPU with bfloat16: pip install 'pvt-hydranet[{extra}]'")
        cv2.setNumThreads(1)  # the stages are threads; more would compete with the model for cores
        stop.gently = True
        with ExitStack() as stack:
            return Run(options, runner, stop, stack, streams).all(sources)


class Run:
    """One call of the command: what all of its inputs share."""

    def __init__(
        self,
        options: Options,
        runner: Runner,
        stop: StopSignals,
        stack: ExitStack,
        streams: int = 1,
    ) -> None:
        self.options, self.runner, self.stop, self.streams = options, runner, stop, streams
        self.views = runner.description.views
        titles = {name: view.title(name) for name, view in self.views.items()}
        look = (options.fps, options.side_by_side, options.birds_eye)
        self.controls = Controls(titles, options.score, options.ego, not options.raw, *look)
        self.statistics = Statistics()
        self.watching = self._watching(stack)
        self.ends = 0.0

    def _watching(self, stack: ExitStack) -> list[Sink]:
        """Window and page, which stay open from one input to the next."""
        sinks: list[Sink] = []
        if self.options.serve is not None:
            from demo.serve import ServeSink

            served = ServeSink(self.options.serve, self.controls, self.statistics)
            sinks.append(stack.enter_context(served).write)
        if self.options.show:
            from demo.show import ShowSink

            name = self.options.jobs[0].video if len(self.options.jobs) == 1 else "perceive"
            sinks.append(stack.enter_context(ShowSink(Path(name).name, self.controls)).write)
            say(KEYS)
        return sinks

    def all(self, sources: Sequence[Source]) -> int:
        """The exit code: 2 where an input had a problem, 128 + number after a signal."""
        problems = 0
        for job, source in zip(self.options.jobs, sources, strict=True):
            if self.ended():
                break
            try:
                self.one(job, source)
            except BrokenPipeError:
                if not job.json or not is_stdout(job.json):
                    raise
                return 0  # the reader of --json /dev/stdout has seen enough
            problems += len(source.problems)
        return 2 if problems else 128 + self.stop.number if self.stop.number else 0

    def one(self, job: Job, source: Source) -> None:
        """Runs one input and prints its summary."""
        self.statistics.begin(source.count, source.still, self.streams)
        limited = self.options.seconds and source.live
        self.ends = time.monotonic() + self.options.seconds if limited else 0.0
        outputs = [path for _, _, path in job.outputs() if path.is_file()]
        if replaced := [str(path) for path in outputs if descriptor(path) is None]:
            say(f"replacing {some_of(replaced, 3)}")
        with ExitStack() as stack:
            sinks = [*self._sinks(job, source, stack), *self.watching]
            work = self._stages(job, source)
            pipeline = Pipeline(source, work, self.ended, self.streams)
            self._loop(stack.enter_context(pipeline), sinks)
        out = sys.stderr if job.json and is_stdout(job.json) else sys.stdout
        print(("\n" if sys.stderr.isatty() else "") + self.statistics.summary(), file=out)
        if line := self.other_model(source):
            print(line, file=out)
        for path in written(job):
            print(f"wrote {path}", file=out)
        if source.reconnects:
            print(f"reconnected {source.reconnects} times", file=out)
        for problem in source.problems:
            say(f"error: {problem}")

    def other_model(self, source: Source) -> str:
        """What the other packaged model would give; empty where the rate is not that of a CPU."""
        mine = packaged_name(self.options.model)
        paced = source.live or self.watching or self.runner.provider in GPU
        if not mine or paced or self.statistics.frames < FEWEST:
            return ""
        other, share = (FAST, FAST_SHARE) if mine == DEFAULT else (DEFAULT, 1 / FAST_SHARE)
        now, then = self.statistics.fps(), self.statistics.fps_with(share)
        digits = 0 if min(now, then) >= 10 else 1
        return f"{now:.{digits}f} frames/s; --model {other}: about {then:.{digits}f}"

    def ended(self) -> bool:
        """Whether the user, a signal or --seconds has ended the run; asked also while no frame
        comes."""
        late = bool(self.ends) and time.monotonic() >= self.ends
        return self.controls.quit or bool(self.stop.number) or late

    def _loop(self, pipeline: Pipeline, sinks: Sequence[Sink]) -> None:
        """Passes every packet to every sink until the source or the run ends.

        Files that are watched play at their own rate, all others as fast as possible.
        """
        controls, live = self.controls, pipeline.source.live
        start, seconds = time.monotonic(), self.options.seconds
        for packet in pipeline:
            at = packet.frame.seconds
            if seconds and not live and at >= seconds:
                return
            if self.watching and not live:
                time.sleep(max(0.0, min(at - (time.monotonic() - start), 5.0)))
            for write in sinks:
                write(packet)
            self.statistics.add(packet)
            if controls.save:
                controls.save = False
                save_still(packet)
            paused = time.monotonic()
            while controls.paused and not (controls.step or self.ended()):
                time.sleep(0.02)
            start += time.monotonic() - paused
            controls.step = False

    def _stages(self, job: Job, source: Source) -> list[tuple[str, Stage]]:
        """The stages, one thread each: inference, then everything that is cheap."""
        options, controls, still = self.options, self.controls, source.still
        track = (not still if options.track is None else options.track) and tracking_available()
        tracker = BoxTracker(source.fps) if track else None
        steady = None if still or options.raw else Steady()
        geometry = self._geometry()
        overlay = Overlay(controls, self.runner.provider, still)
        drawn = bool(job.save or self.watching)

        def infer(packet: Packet) -> None:
            packet.scene = self.runner(packet.frame.image)
            packet.timings_ms |= packet.scene.timings_ms

        def finish(packet: Packet) -> None:
            nonlocal geometry
            scene, frame = packet.scene, packet.frame
            if tracker is not None:
                tracker.update(scene, frame.image, frame.seconds)
            if still:  # photos are unrelated
                geometry = self._geometry()
            speed_m_s = options.speed.at(frame.seconds) if options.speed else None
            packet.road = geometry.update(scene, frame.seconds, speed_m_s)
            if steady is not None and (drawn or options.log_smoothed):
                smoothed = steady.update(scene, frame.seconds)
                packet.shown = smoothed if controls.smooth else None
                if options.log_smoothed:
                    packet.scene = smoothed
            if drawn:
                overlay.draw(packet, time.monotonic())

        return [("infer", infer), ("finish", finish)]

    def _geometry(self) -> RoadGeometry:
        given = self.options
        return RoadGeometry(given.camera, given.camera_height, given.camera_view)

    def _sinks(self, job: Job, source: Source, stack: ExitStack) -> list[Sink]:
        """Opens the files of an input; libraries of optional ones are imported only here."""
        sinks: list[Sink] = []
        if job.save and check_save(job.save, source.still):
            sinks.append(stack.enter_context(ClipSink(Path(job.save), source.fps)).write)
        elif job.save:
            alone = source.still and source.count == 1
            sinks.append(partial(save_picture, job.save, alone))
        if job.json:
            metric = bool(self.options.camera or self.options.camera_height)
            logged = ScalabelSink(job.json, source.name, geometry=metric)
            sinks.append(stack.enter_context(logged).write)
        if job.export:
            export = stack.enter_context(Export(*job.export, self.views))
            sinks.append(lambda at: export.add(at.frame.name, at.scene, at.road))
        if job.mcap:
            from demo.mcap_sink import McapSink

            sinks.append(stack.enter_context(McapSink(job.mcap, source)).write)
        if job.rerun or self.options.viewer:
            from demo.rerun_sink import RerunFile, RerunViewer

            if job.rerun:
                sinks.append(stack.enter_context(RerunFile(job.rerun, source.name)).write)
            else:
                sinks.append(stack.enter_context(RerunViewer(source.name)).write)
        return sinks


def written(job: Job) -> list[str]:
    """The files that a run has written, as the user named them."""
    files = (job.json, job.mcap, job.rerun, job.export and job.export[1])
    named = [str(path) for path in files if path and path.exists()]
    if not job.save or not any(path.exists() for _, path in job.saved()):
        return named
    several = len(job.saved()) > 1 and not job.save.endswith("/") and not Path(job.save).is_dir()
    save = Path(job.save)
    return [str(save.with_stem(f"{save.stem}-*")) if several else job.save, *named]


def save_still(packet: Packet) -> None:
    """Writes the displayed frame to the current folder, under a name that is free."""
    if packet.canvas is None:
        return
    stem, number = Path(packet.frame.name).stem, 1
    while (path := Path(f"{stem}-still-{number}.png")).exists():
        number += 1
    if cv2.imwrite(str(path), packet.canvas):
        say(f"saved {path}")


if __name__ == "__main__":
    sys.exit(main())
