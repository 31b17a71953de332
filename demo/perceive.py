"""perceive: run the model on a video, images, a camera or a stream, and show or save the result."""

import argparse
import math
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from demo.log import ExportSink, ScalabelSink
from demo.options import VIEWER, check, parser
from demo.overlay import KEYS, Controls, Overlay
from demo.pipeline import Packet, Pipeline, Source, Stage
from demo.progress import Statistics
from demo.road import RoadStage
from demo.save import default_target, open_sink, same_place, saved_as
from demo.sinks import Sink
from demo.sources import open_source
from demo.temporal import BoxTracker, Smoother, tracking_available
from perception.errors import UserError, cli
from perception.hub import ONNX, local_file
from perception.runtime.annotations import Export, parse_export
from perception.runtime.providers import faster_extra
from perception.runtime.runner import Runner
from perception.runtime.view import BOXES, View


def main(argv: Sequence[str] | None = None) -> int:
    """The command. A user's mistake is one line and exit code 2."""
    args = parser().parse_args(argv)
    return cli(lambda: perceive(args))


def perceive(args: argparse.Namespace) -> int:
    """Opens source, model and sinks, runs the loop and prints the summary."""
    check(args)
    model = local_file(args.model, ONNX)
    if args.web:
        from demo.web_site import serve

        serve(model, args.web)
        return 0
    source = open_source(args.video, args.loop, args.topic)
    choose_output(args, source)
    runner = Runner(model, args.provider, args.threads)
    runner(np.zeros((*runner.description.size_hw, 3), np.uint8))  # warm up
    say(f"{runner.description.name} on {runner.provider}: {runner.chosen_because}")
    if args.provider == "auto" and (extra := faster_extra()):
        say(f"hint: faster on this CPU with bfloat16: pip install 'pvt-hydranet[{extra}]'")
    titles = {name: view.title(name) for name, view in runner.description.views.items()}
    controls = Controls(titles, args.score, args.ego, args.smooth)
    if args.score is None:
        args.score = runner.description.box_score  # of logs and tracks
    statistics = Statistics(source.count)
    cv2.setNumThreads(1)  # the stages are threads; more would compete with the model for cores
    with ExitStack() as stack:
        before = signal.signal(signal.SIGINT, lambda *_: stop(controls))
        stack.callback(signal.signal, signal.SIGINT, before)
        sinks = open_sinks(args, source, runner.description.views, controls, statistics, stack)
        ended = Ended(controls, args.seconds)
        work = stages(args, runner, source, controls)
        pipeline = stack.enter_context(Pipeline(source, work, ended))
        run(pipeline, sinks, controls, statistics, args, ended)
    print(("\n" if sys.stderr.isatty() else "") + statistics.summary())
    for path in outputs(args, source):
        print(f"wrote {path}")
    if source.reconnects:
        print(f"reconnected {source.reconnects} times")
    for problem in source.problems:
        say(f"error: {problem}")
    return 2 if source.problems else 130 if controls.interrupted else 0


class Ended:
    """Whether the user or --seconds has ended the run; called also while no frame comes."""

    def __init__(self, controls: Controls, seconds: float) -> None:
        self.controls, self.end = controls, time.monotonic() + (seconds or math.inf)

    def __call__(self) -> bool:
        return self.controls.quit or time.monotonic() >= self.end


def run(
    pipeline: Pipeline,
    sinks: Sequence[Sink],
    controls: Controls,
    statistics: Statistics,
    args: argparse.Namespace,
    ended: Ended,
) -> None:
    """Passes every packet to every sink until the source ends or `ended()` is true.

    Files that are watched play at their own rate, all others as fast as possible.
    """
    watched = (args.show or args.serve) and not pipeline.source.live
    start, stills = time.monotonic(), 0
    statistics.begin()
    for packet in pipeline:
        if watched:
            time.sleep(max(0.0, min(packet.frame.seconds - (time.monotonic() - start), 5.0)))
        for sink in sinks:
            sink.write(packet)
        statistics.add(packet)
        if controls.save:
            controls.save, stills = False, stills + 1
            save_still(packet, stills)
        paused = time.monotonic()
        while controls.paused and not (controls.step or ended()):
            time.sleep(0.02)
        start += time.monotonic() - paused
        controls.step = False


def stages(
    args: argparse.Namespace, runner: Runner, source: Source, controls: Controls
) -> list[tuple[str, Stage]]:
    """The stages, one thread each: inference, then everything that is cheap."""
    track = not source.still if args.track is None else args.track
    tracker = BoxTracker(source.fps, args.score) if track and tracking_available() else None
    smoother = Smoother()
    boxes = [name for name, view in runner.description.views.items() if view.kind == BOXES]
    scores = {name: runner.description.shown_scores(name) for name in boxes}
    overlay = Overlay(
        controls, runner.provider, scores, args.fps, args.side_by_side, args.birds_eye
    )
    road = RoadStage(args, source.still, controls.score or scores)
    drawn = any((args.show, args.save, args.serve))

    def infer(packet: Packet) -> None:
        packet.scene = runner(packet.frame.image)
        packet.timings_ms |= packet.scene.timings_ms

    def finish(packet: Packet) -> None:
        assert packet.scene is not None
        if tracker is not None:
            tracker.update(packet.scene, packet.frame.image, packet.frame.seconds)
        if controls.smooth:
            smoother.update(packet.scene)
        if controls.ego or road.metric:
            road(packet)
        if controls.ego and packet.road is not None:
            packet.ego = {side: lane.points for side, lane in packet.road.borders.items()}
        if drawn:
            overlay.draw(packet, time.monotonic())

    return [("infer", infer), ("finish", finish)]


def choose_output(args: argparse.Namespace, source: Source) -> None:
    """Without any output option, saves the overlay next to a file. Raises UserError for a camera
    or stream, and where the pictures would replace the input."""
    files = (args.save, args.json, args.export, args.mcap, args.rerun)
    if not any((args.show, args.serve, *files)):
        if source.live:
            raise UserError("a camera or stream needs an output: --show, --serve or --save FILE")
        args.save = default_target(source, args.video)
    if args.save and source.still and same_place(args.save, args.video):
        raise UserError(f"--save {args.save}: would replace the input; choose another folder")


def outputs(args: argparse.Namespace, source: Source) -> list[str]:
    """What the run has written, as the user named it; photos with `*` for the name of each."""
    save = saved_as(args.save, source) if args.save else None
    rerun = None if args.rerun == VIEWER else args.rerun
    export = parse_export(args.export)[1] if args.export else None
    return [str(path) for path in (save, args.json, export, args.mcap, rerun) if path]


def open_sinks(
    args: argparse.Namespace,
    source: Source,
    views: Mapping[str, View],
    controls: Controls,
    statistics: Statistics,
    stack: ExitStack,
) -> list[Sink]:
    """Opens the requested outputs; libraries of optional ones are imported only here."""
    sinks: list[Sink] = []
    if args.save:
        saved: Any = open_sink(args.save, source)
        sinks.append(stack.enter_context(saved))
    if args.json:
        sinks.append(stack.enter_context(ScalabelSink(args.json, source.name, args.score)))
    if args.export:
        export = Export(*parse_export(args.export), views, args.score)
        sinks.append(ExportSink(stack.enter_context(export)))
    if args.mcap:
        from demo.mcap_sink import McapSink

        sinks.append(stack.enter_context(McapSink(args.mcap, source.live, args.score)))
    if args.rerun:
        from demo.rerun_sink import RerunFile, RerunViewer

        if args.rerun == VIEWER:
            sinks.append(stack.enter_context(RerunViewer(source.name, args.score)))
        else:
            file = RerunFile(Path(args.rerun), source.name, args.score)
            sinks.append(stack.enter_context(file))
    if args.serve:
        from demo.serve import ServeSink

        sinks.append(stack.enter_context(ServeSink(args.serve, controls, statistics)))
    if args.show:
        from demo.show import ShowSink

        sinks.append(stack.enter_context(ShowSink(source.name, controls)))
        say(KEYS)
    return sinks


def stop(controls: Controls) -> None:
    """First Ctrl-C: end after this frame and complete the files. Second: at once."""
    if controls.interrupted:
        raise KeyboardInterrupt
    controls.interrupted = controls.quit = True


def save_still(packet: Packet, number: int) -> None:
    """Writes the displayed frame to the current folder."""
    path = Path(f"{Path(packet.frame.name).stem}-still-{number}.png")
    if packet.canvas is not None and cv2.imwrite(str(path), packet.canvas):
        say(f"saved {path}")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
