"""perceive: run the model on a video, images, a camera or a stream, and show or save the result."""

import argparse
import math
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from demo.ego import ego_lane
from demo.log import ScalabelSink
from demo.overlay import Overlay
from demo.pipeline import Packet, Pipeline, Stage
from demo.save import VIDEO_SUFFIXES, VideoSink
from demo.sinks import Sink
from demo.source import Source
from demo.status import KEYS, Controls, Statistics
from demo.temporal import BoxTracker, Smoother, tracking_available
from demo.video import open_source
from perception.errors import UserError, cli, require_extra
from perception.hub import ONNX, local_file
from perception.runtime.runner import Runner, default_model

VIEWER = "viewer"
EPILOG = """\
examples:
  perceive drive.mp4 --show                   watch it in a window
  perceive drive.mp4 --save overlay.mp4       write the overlay
  perceive 0 --serve                          the first camera, on a page in the browser
  perceive rtsp://host/front --json log.jsonl log a stream
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command. A user's mistake is one line and exit code 2."""
    args = parser().parse_args(argv)
    return cli(lambda: perceive(args))


def perceive(args: argparse.Namespace) -> int:
    """Opens source, model and sinks, runs the loop and prints the summary."""
    check(args)
    model = local_file(args.model, ONNX) if args.model else default_model()
    if args.web:
        from demo.web_site import serve

        serve(model, args.web)
        return 0
    source = open_source(args.video, args.loop)
    runner = Runner(model, args.provider, args.threads)
    if args.score is None:
        args.score = runner.description.box_score
    runner(np.zeros((*runner.description.size_hw, 3), np.uint8))  # warm up
    say(f"{runner.description.name} on {runner.provider}: {runner.chosen_because}")
    controls = Controls(list(runner.description.views))
    statistics = Statistics(source.count)
    cv2.setNumThreads(1)  # the stages are threads; more would compete with the model for cores
    with ExitStack() as stack:
        before = signal.signal(signal.SIGINT, lambda *_: stop(controls))
        stack.callback(signal.signal, signal.SIGINT, before)
        sinks = open_sinks(args, source, controls, statistics, stack)
        ended = Ended(controls, args.seconds)
        work = stages(args, runner, source, controls)
        pipeline = stack.enter_context(Pipeline(source, work, ended))
        run(pipeline, sinks, controls, statistics, args, ended)
    print(("\n" if sys.stderr.isatty() else "") + statistics.summary())
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
    tracker = BoxTracker(source.fps, args.score) if args.track and tracking_available() else None
    smoother = Smoother() if args.smooth else None
    drawn = any((args.show, args.save, args.serve))
    overlay = Overlay(controls, runner.provider, args.score) if drawn else None

    def infer(packet: Packet) -> None:
        packet.scene = runner(packet.frame.image)
        packet.timings_ms |= packet.scene.timings_ms

    def finish(packet: Packet) -> None:
        assert packet.scene is not None
        if tracker is not None:
            tracker.update(packet.scene)
        if smoother is not None:
            smoother.update(packet.scene)
        if args.ego:
            packet.ego = ego_lane(packet.scene)
        if overlay is not None:
            overlay.draw(packet, time.monotonic())

    return [("infer", infer), ("finish", finish)]


def open_sinks(
    args: argparse.Namespace,
    source: Source,
    controls: Controls,
    statistics: Statistics,
    stack: ExitStack,
) -> list[Sink]:
    """Opens the requested outputs; libraries of optional ones are imported only here."""
    sinks: list[Sink] = []
    if args.save:
        sinks.append(stack.enter_context(VideoSink(args.save, source.fps)))
    if args.json:
        sinks.append(stack.enter_context(ScalabelSink(args.json, source.name, args.score)))
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


def check(args: argparse.Namespace) -> None:
    """Raises UserError for invalid arguments, before anything is opened."""
    if not args.video and not args.web:
        raise UserError("give a video, a folder of images, a camera number or a stream address")
    if args.score is not None and not 0 <= args.score <= 1:
        raise UserError(f"--score {args.score}: give a number from 0 to 1")
    if args.save and args.save.suffix.lower() not in VIDEO_SUFFIXES:
        raise UserError(f"--save {args.save}: end the name in {' or '.join(VIDEO_SUFFIXES)}")
    rerun = Path(args.rerun) if args.rerun and args.rerun != VIEWER else None
    if rerun and rerun.suffix.lower() != ".rrd":
        raise UserError(f"--rerun {rerun}: end the name in .rrd, or give none for the viewer")
    given = [path for path in (args.save, args.json, args.mcap, rerun) if path]
    plain = [path for path in given if not path.exists() or path.is_file()]  # /dev/null may repeat
    if len(set(plain)) < len(plain) or Path(args.video) in plain:
        raise UserError("two of VIDEO, --save, --json, --mcap and --rerun name the same file")
    for path in given:
        if path.is_dir():
            raise UserError(f"{path}: a folder; give a file name")
    if args.mcap:
        require_extra("car", "foxglove")
    if args.rerun:
        require_extra("viz", "rerun")
    if args.serve:
        require_extra("demo", "fastapi", "uvicorn")


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


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        "perceive",
        description="Runs the perception model on a video, a folder of images, a camera or a "
        "network stream, and shows, saves or logs the result.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "video",
        nargs="?",
        default="",
        help="video file, folder of images, camera number or stream address",
    )
    group = made.add_argument_group("output")
    group.add_argument("--show", action="store_true", help=f"in a window ({KEYS})")
    group.add_argument("--save", type=Path, metavar="FILE", help="overlay video (.mp4, .mov, .mkv)")
    group.add_argument(
        "--json", type=Path, metavar="FILE", help="Scalabel frames, one per line (.jsonl)"
    )
    group.add_argument("--mcap", type=Path, metavar="FILE", help="log for Foxglove (.mcap)")
    group.add_argument(
        "--serve", nargs="?", const="127.0.0.1:8000", metavar="HOST:PORT", help="on a web page"
    )
    group.add_argument(
        "--web",
        nargs="?",
        const="127.0.0.1:8000",
        metavar="HOST:PORT",
        help="serve a page that runs the model inside the browser, on your photos and clips",
    )
    group.add_argument(
        "--rerun", nargs="?", const=VIEWER, metavar="FILE.rrd", help="the Rerun viewer, or a file"
    )
    group = made.add_argument_group("model")
    group.add_argument(
        "--model",
        metavar="FILE",
        help="an .onnx made by export-onnx, or hf://OWNER/NAME[@REVISION]",
    )
    group.add_argument(
        "--provider",
        default="auto",
        help="auto, cpu, cuda, tensorrt, openvino or openvino-bf16 (default: %(default)s)",
    )
    group.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all")
    group.add_argument(
        "--score", type=float, help="lowest score of a box (default: from the model file)"
    )
    group = made.add_argument_group("processing")
    group.add_argument(
        "--track",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="track ids for boxes (extra demo)",
    )
    group.add_argument("--smooth", action="store_true", help="filter masks and labels over time")
    group.add_argument("--ego", action="store_true", help="borders of the ego lane")
    group.add_argument("--loop", action="store_true", help="repeat a file without end")
    group.add_argument("--seconds", type=float, default=0, help="stop after this time")
    return made


if __name__ == "__main__":
    sys.exit(main())
