"""Labels chosen by `perceive-archive --pick` against labels of random frames.

    python benchmarks/pick.py OUT [--seeds 3] [--epochs 2]

Rendered roads: 200 labelled frames and an archive of 100 short drives, nine tenths of both common
(by day, dry, highway), the rest rare (night, rain, snow, fog, towns with pedestrians); a test set
of half each. Per seed a model is trained on the 200 frames, applied to the archive, and trained
again from the same start for the same number of steps with 50 more frames: at random, or picked.
The renderer's truth replaces the model's labels of those frames, as a person's correction would.
Everything already in OUT is kept, so that a stopped run continues.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch

from demo.archive import find_jobs
from demo.archive_worker import Labeller, Settings
from demo.pick import pick
from export.to_onnx import describe, save, to_onnx
from perception import checkpoint
from perception.errors import UserError, cli
from perception.files import write_atomic
from perception.runtime.annotations import Export
from perception.runtime.scene import Boxes, Labels, Mask, Output, Scene
from perception.runtime.view import BOX_SCORE
from perception.tasks import TASKS
from training.command_line import parse_command_line
from training.data import labels
from training.data.rendered import DRIVE, drive, render_frame, write_drive_video
from training.data.roads.frame import RenderedFrame
from training.data.roads.world import build
from training.data.sources import open_dataset
from training.evaluation.predictor import open_predictor
from training.evaluation.scores import evaluate
from training.run import Run

FRAME_HW: Final = (256, 448)
MODEL_HW: Final = (128, 224)
SCORES: Final = "scores.json"
TRAINED: Final = ("det", "drivable")
VIEWS: Final = {task: TASKS[task].view for task in TRAINED}
LABELLED, PICKED, DRIVES, DRIVE_FRAMES, FPS = 200, 50, 100, 10, 2.0
EVERY: Final = 2  # frames of a drive that are labelled
TEST: Final = 300
STEPS: Final = 25  # per epoch, of any number of frames
RARE_SHARE: Final = 0.1
SEEDS: Final = {"labelled": 11, "val": 12, "test": 13}


def is_rare(attributes: dict[str, str]) -> bool:
    """Whether a road is not a highway on a dry day."""
    return (
        attributes["timeofday"] != "daytime"
        or attributes["weather"] not in ("clear", "partly cloudy", "overcast")
        or attributes["scene"] != "highway"
    )


def roads(seed: int | None, wanted: int, rare_share: float) -> list[int]:
    """Numbers of `wanted` roads, every n-th of them rare: frames of `seed`, or seeds of drives."""
    found: dict[bool, list[int]] = {True: [], False: []}
    rare = round(wanted * rare_share)
    for number in count():
        place = (number, DRIVE) if seed is None else (seed, number)
        found[is_rare(build(*place, FRAME_HW).attributes)].append(number)
        if len(found[True]) >= rare and len(found[False]) >= wanted - rare:
            return sorted(found[True][:rare] + found[False][: wanted - rare])
    raise AssertionError


def truth(frame: RenderedFrame, conditions: str) -> Scene:
    """The labels of a rendered frame, in the form in which a model's outputs are exported."""
    outputs: dict[str, Output] = {}
    for task, label in frame.labels.items():
        if isinstance(label, labels.Boxes):
            scores = np.ones(len(label.classes), np.float32)
            outputs[task] = Boxes(label.xyxy, scores, label.classes, VIEWS[task].classes)
        elif isinstance(label, labels.Mask):
            outputs[task] = Mask(label.mask, FRAME_HW, VIEWS[task])
    outputs["conditions"] = Labels({"conditions": {conditions: 1.0}})
    return Scene(FRAME_HW, outputs)


def write_frames(
    folder: Path, split: str, frames: Iterator[tuple[str, np.ndarray, RenderedFrame]]
) -> None:
    """images/SPLIT/ and labels/SPLIT.json of (name, image, rendered frame)."""
    target = folder / "labels" / f"{split}.json"
    if target.is_file():
        return
    with Export("scalabel", target, VIEWS, 0.0) as export:
        for name, image, frame in frames:
            _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
            write_atomic(folder / "images" / split / name, encoded.tobytes())
            export.add(name, truth(frame, name.partition("-")[0]))


def single_frames(
    seed: int, wanted: int, rare_share: float
) -> Iterator[tuple[str, np.ndarray, RenderedFrame]]:
    for number in roads(seed, wanted, rare_share):
        frame, attributes = render_frame(seed, number, FRAME_HW, TRAINED)
        kind = "rare" if is_rare(attributes) else "common"
        yield f"{kind}-{seed}-{number:06d}.jpg", frame.image, frame


def archive_frames(
    chosen: dict[int, set[int]], videos: Path
) -> Iterator[tuple[str, np.ndarray, RenderedFrame]]:
    """Frames of drives as they are in the videos, with their truth."""
    for seed, numbers in sorted(chosen.items()):
        video = cv2.VideoCapture(str(videos / f"{seed:06d}.mp4"))
        for number, frame in enumerate(drive(seed, DRIVE_FRAMES, FPS, FRAME_HW, TRAINED), 1):
            _, image = video.read()
            if number in numbers:
                yield f"{seed:06d}-{number:07d}.jpg", image, frame


def make_data(out: Path) -> list[int]:
    """Labelled frames, test frames and the archive; returns the seeds of the drives."""
    write_frames(out / "labelled", "train", single_frames(SEEDS["labelled"], LABELLED, RARE_SHARE))
    write_frames(out / "labelled", "val", single_frames(SEEDS["val"], 8, 0.5))
    write_frames(out / "test", "val", single_frames(SEEDS["test"], TEST, 0.5))
    listed = out / "drives.json"
    if not listed.is_file():
        write_atomic(listed, json.dumps(roads(None, DRIVES, RARE_SHARE)))
    seeds: list[int] = json.loads(listed.read_text())
    for seed in seeds:
        video = out / "drives" / f"{seed:06d}.mp4"
        if not video.is_file():
            video.parent.mkdir(exist_ok=True)
            write_drive_video(video, seed, DRIVE_FRAMES, FPS, FRAME_HW)
    return seeds


def train(out: Path, name: str, data: list[Path], seed: int, args: argparse.Namespace) -> Path:
    """Trains on `data` for the same number of steps whatever its size; returns the weights."""
    run = out / name
    weights = run / "last.safetensors"
    if not (run / SCORES).is_file():
        frames = sum(len(list((folder / "images/train").iterdir())) for folder in data)
        words = ["--tasks", ",".join(TRAINED), "--size", "x".join(map(str, MODEL_HW))]
        words += ["--epochs", args.epochs, "--lr", args.lr, "--ema", 0.98, "--init", "default"]
        words += [
            "--batch",
            round(frames / STEPS),
            "--workers",
            0,
            "--trackers",
            "none",
            "--device",
            "cpu",
        ]
        words += ["--seed", seed, "--out", run]
        for folder in data:
            words += ["--data", f"scalabel:{folder}"]
        Run(parse_command_line([str(word) for word in words])).go()
        score(weights, out / "test", run / SCORES)
    return weights


def score(weights: Path, test: Path, target: Path) -> None:
    """Writes the scores of a checkpoint on the test frames."""
    frames = open_dataset(f"scalabel:{test}", "val", TRAINED, MODEL_HW, exact=True)
    result = evaluate(open_predictor(weights), frames, protocols=("bdd",), threads=1)
    write_atomic(target, json.dumps(result))


def pick_frames(out: Path, seed: int, weights: Path) -> Path:
    """The folder of the frames that perceive-archive picked, with the truth for labels."""
    folder = out / f"picked-{seed}"
    if not (folder / "labels" / "train.json").is_file():
        model, chosen = out / f"model-{seed}.onnx", out / f"chosen-{seed}"
        network, meta = checkpoint.load(weights)
        description = describe(network, meta, MODEL_HW)
        save(to_onnx(network, description), model)
        # What the command perceive-archive does, without its processes.
        settings = Settings(str(model), "cpu", score=BOX_SCORE, every=EVERY)
        jobs = find_jobs([out / "drives"], out / f"found-{seed}")
        label = Labeller(settings)
        for job in jobs:
            if problem := label(job).problem:
                raise UserError(problem)
        print(pick(jobs, PICKED, "scalabel", chosen, settings))
        numbers: dict[int, set[int]] = {}
        for image in (chosen / "images/train").iterdir():
            drive_seed, number = image.stem.split("-")
            numbers.setdefault(int(drive_seed), set()).add(int(number))
        write_frames(folder, "train", archive_frames(numbers, out / "drives"))
    return folder


def draw(out: Path, seed: int, drives: list[int]) -> Path:
    """The folder of as many frames at random."""
    folder = out / f"random-{seed}"
    places = np.random.default_rng((seed, 50)).permutation(DRIVES * (DRIVE_FRAMES // EVERY))[
        :PICKED
    ]
    numbers: dict[int, set[int]] = {}
    for place in places.tolist():
        index, number = divmod(place, DRIVE_FRAMES // EVERY)
        numbers.setdefault(drives[index], set()).add(EVERY * number + 1)
    write_frames(folder, "train", archive_frames(numbers, out / "drives"))
    return folder


def headlines(run: Path) -> list[float]:
    """AP50 over classes, AP50 of pedestrians and drivable mIoU: all test frames, rare ones."""
    result = json.loads((run / SCORES).read_text())
    parts = result["scores"], result["slices"]["conditions=rare"]["scores"]
    return [
        value
        for scores in (part["bdd"] for part in parts)
        for value in (
            scores["det"]["mAP50"], scores["det"]["AP50/pedestrian"], scores["drivable"]["mIoU"]
        )
    ]  # fmt: skip


def table(out: Path, seeds: int) -> None:
    """Prints a line per run and the mean and standard deviation over seeds."""
    print(f"{'':18}{'all frames':^30}{'rare frames':^30}")
    print(f"{'':18}" + 2 * f"{'AP50':>8}{'AP50 ped.':>11}{'drivable':>11}")
    for name in ("before", "with-random", "with-picked"):
        rows = []
        for seed in range(seeds):
            if (out / f"{name}-{seed}" / SCORES).is_file():
                rows.append(headlines(out / f"{name}-{seed}"))
                print(f"{name:12}{seed:>5} " + line(rows[-1]))
        if rows:
            print(f"{name:12} mean " + line(np.mean(rows, 0)))
            print(f"{name:12}  std " + line(np.std(rows, 0, ddof=min(1, len(rows) - 1))))


def line(values: Sequence[float] | np.ndarray) -> str:
    return "".join(f"{v:>{w}.1f}" for v, w in zip(values, (8, 11, 11) * 2, strict=True))


def run(args: argparse.Namespace) -> int:
    """All runs that are not done, then the table."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    drives = make_data(args.out)
    labelled = args.out / "labelled"
    for seed in range(args.seeds):
        train(args.out, f"before-{seed}", [labelled], seed, args)
    for seed in range(args.seeds):
        extra = draw(args.out, seed, drives)
        train(args.out, f"with-random-{seed}", [labelled, extra], seed, args)
    for seed in range(args.seeds if not args.no_pick else 0):
        extra = pick_frames(args.out, seed, args.out / f"before-{seed}" / "last.safetensors")
        train(args.out, f"with-picked-{seed}", [labelled, extra], seed, args)
    table(args.out, args.seeds)
    return 0


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of data, runs and scores")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--lr", default="0.0005")
    parser.add_argument("--no-pick", action="store_true", help="only before and random")
    args = parser.parse_args()
    raise SystemExit(cli(lambda: run(args)))


if __name__ == "__main__":
    main()
