"""perceive VIDEO [--show] [--save out.mp4] [--json out.jsonl] [--model FILE]: see what it sees."""

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

from demo.controls import HELP, Controls
from demo.ego import ego_lane
from demo.figures import Figures
from demo.log import ScalabelSink
from demo.overlay import Overlay
from demo.pipeline import Packet, Pipeline, Stage
from demo.sinks import VIDEO_SUFFIXES, Mp4Sink, Sink
from demo.smooth import Smooth
from demo.tracks import Tracks, tracking_available
from demo.video import Source, open_source
from perception.errors import UserError, cli, require_extra
from perception.runtime.runner import Runner

DEFAULT_MODEL = "pvt-hydranet-b0.onnx"
VIEWER = "viewer"


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line for anything the user can mend."""
    args = parser().parse_args(argv)
    return cli(lambda: perceive(args))


def perceive(args: argparse.Namespace) -> int:
    """Runs the whole: source, model, sinks, loop, summary."""
    check(args)
    if args.web:
        from demo.web_site import serve

        serve(args.model or default_model(), args.web)
        return 0
    source = open_source(args.video, args.loop)
    runner = Runner(args.model or default_model(), args.provider, args.threads)
    if args.score is None:
        args.score = runner.description.box_score
    runner(np.zeros((*runner.description.size_hw, 3), np.uint8))  # warm up
    say(f"{runner.description.name} on {runner.provider}: {runner.chosen_because}")
    controls = Controls(list(runner.description.views))
    figures = Figures(source.count)
    cv2.setNumThreads(1)  # the stages are threads already; more would fight the model for cores
    with ExitStack() as stack:
        before = signal.signal(signal.SIGINT, lambda *_: stop(controls))
        stack.callback(signal.signal, signal.SIGINT, before)
        sinks = open_sinks(args, source, controls, figures, stack)
        over = Over(controls, args.seconds)
        work = stages(args, runner, source, controls)
        pipeline = stack.enter_context(Pipeline(source, work, over))
        run(pipeline, sinks, controls, figures, args, over)
    print(("\n" if sys.stderr.isatty() else "") + figures.summary())
    if source.reconnects:
        print(f"connected again {source.reconnects} times")
    for problem in source.problems:
        say(f"error: {problem}")
    return 2 if source.problems else 130 if controls.interrupted else 0


class Over:
    """Whether the person or the clock has ended the run; asked also while no frame comes."""

    def __init__(self, controls: Controls, seconds: float) -> None:
        self.controls, self.end = controls, time.monotonic() + (seconds or math.inf)

    def __call__(self) -> bool:
        return self.controls.quit or time.monotonic() >= self.end


def run(
    pipeline: Pipeline,
    sinks: Sequence[Sink],
    controls: Controls,
    figures: Figures,
    args: argparse.Namespace,
    over: Over,
) -> None:
    """Hands every packet to every sink until the source, the time or the person ends it.

    Watched files play at their own pace, everything else as fast as it goes.
    """
    watched = (args.show or args.serve) and not pipeline.source.live
    start, stills = time.monotonic(), 0
    figures.begin()
    for packet in pipeline:
        if watched:
            time.sleep(max(0.0, min(packet.frame.seconds - (time.monotonic() - start), 5.0)))
        for sink in sinks:
            sink.write(packet)
        figures.add(packet)
        if controls.save:
            controls.save, stills = False, stills + 1
            save_still(packet, stills)
        paused = time.monotonic()
        while controls.paused and not (controls.step or over()):
            time.sleep(0.02)
        start += time.monotonic() - paused
        controls.step = False


def stages(
    args: argparse.Namespace, runner: Runner, source: Source, controls: Controls
) -> list[tuple[str, Stage]]:
    """The work on a packet, by thread: infer, then everything that is cheap."""
    tracks = Tracks(source.fps, args.score) if args.track and tracking_available() else None
    smooth = Smooth() if args.smooth else None
    seen = any((args.show, args.save, args.serve))
    overlay = Overlay(controls, runner.provider, args.score) if seen else None

    def infer(packet: Packet) -> None:
        packet.scene = runner(packet.frame.image)
        packet.timings_ms |= packet.scene.timings_ms

    def finish(packet: Packet) -> None:
        assert packet.scene is not None
        if tracks is not None:
            tracks.update(packet.scene)
        if smooth is not None:
            smooth.update(packet.scene)
        if args.ego:
            packet.ego = ego_lane(packet.scene)
        if overlay is not None:
            overlay.draw(packet, time.monotonic())

    return [("infer", infer), ("finish", finish)]


def open_sinks(
    args: argparse.Namespace,
    source: Source,
    controls: Controls,
    figures: Figures,
    stack: ExitStack,
) -> list[Sink]:
    """Opens what was asked for; libraries of the optional ones are imported only here."""
    sinks: list[Sink] = []
    if args.save:
        sinks.append(stack.enter_context(Mp4Sink(args.save, source.fps)))
    if args.json:
        sinks.append(stack.enter_context(ScalabelSink(args.json, source.name, args.score, True)))
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

        sinks.append(stack.enter_context(ServeSink(args.serve, controls, figures)))
    if args.show:
        from demo.show import ShowSink

        sinks.append(stack.enter_context(ShowSink(source.name, controls)))
        say(HELP)
    return sinks


def check(args: argparse.Namespace) -> None:
    """Raises UserError for arguments that cannot be right, before anything is opened."""
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


def default_model() -> Path:
    """The model that ships with the package. Raises UserError where it does not."""
    import perception

    path = Path(perception.__path__[0]) / "models" / DEFAULT_MODEL
    if not path.is_file():
        raise UserError("no model ships with this install: pass --model FILE.onnx (export-onnx)")
    return path


def stop(controls: Controls) -> None:
    """First Ctrl-C: end after this frame, with whole files. Second: at once."""
    if controls.interrupted:
        raise KeyboardInterrupt
    controls.interrupted = controls.quit = True


def save_still(packet: Packet, number: int) -> None:
    """Writes the frame as seen beside the current folder's other stills."""
    path = Path(f"{Path(packet.frame.name).stem}-still-{number}.png")
    if packet.canvas is not None and cv2.imwrite(str(path), packet.canvas):
        say(f"saved {path}")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("perceive", description=__doc__)
    made.add_argument(
        "video",
        nargs="?",
        default="",
        help="video file, folder of images, camera number or stream address",
    )
    made.add_argument("--model", type=Path, help="an .onnx made by export-onnx")
    made.add_argument("--show", action="store_true", help=f"a window ({HELP})")
    made.add_argument("--save", type=Path, help="overlay video (.mp4)")
    made.add_argument("--json", type=Path, help="Scalabel frames, one a line (.jsonl)")
    made.add_argument("--mcap", type=Path, help="log for Foxglove (.mcap)")
    made.add_argument(
        "--serve", nargs="?", const="127.0.0.1:8000", metavar="HOST:PORT", help="page in a browser"
    )
    made.add_argument(
        "--web",
        nargs="?",
        const="127.0.0.1:8000",
        metavar="HOST:PORT",
        help="serve a page that runs the model inside the browser, on your photos and clips",
    )
    made.add_argument(
        "--rerun", nargs="?", const=VIEWER, metavar="FILE.rrd", help="the Rerun viewer, or a file"
    )
    made.add_argument(
        "--provider",
        default="auto",
        help="auto, cpu, cuda, tensorrt, openvino or openvino-bf16 (default: %(default)s)",
    )
    made.add_argument("--threads", type=int, default=0, help="for the model; 0: as it likes")
    made.add_argument(
        "--score", type=float, help="boxes from this score (default: what the model file says)"
    )
    made.add_argument(
        "--track",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="identities for boxes, where the library is installed",
    )
    made.add_argument("--smooth", action="store_true", help="steadier masks and labels over time")
    made.add_argument("--ego", action="store_true", help="borders of the own lane")
    made.add_argument("--loop", action="store_true", help="start a file over at its end")
    made.add_argument("--seconds", type=float, default=0, help="stop after so long")
    return made


if __name__ == "__main__":
    sys.exit(main())
