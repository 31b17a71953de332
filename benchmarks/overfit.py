"""Overfits the network to sixteen frames: python benchmarks/overfit.py DATA [--out DIR]

Copies sixteen fully labelled training frames of a BDD100K folder (painted lane area, all
attributes known, evenly drawn), trains all tasks on them at once from scratch, without
augmentation, and evaluates the weights on the same frames. This checks that heads, losses and
labels agree, not how good a model is. About twenty minutes on one core; `--resume` continues.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch

from perception import checkpoint
from perception.classes import LANE_IGNORE
from perception.errors import UserError, cli
from training.command_line import parse_command_line
from training.data.sample import collate
from training.data.sources import open_dataset
from training.evaluation.predictor import open_predictor
from training.evaluation.scores import evaluate
from training.run import Run

TASKS = ("det", "lane", "drivable", "scene")
SIZE_HW = (256, 448)
AIMS = {"det AP50": 90, "drivable mIoU": 97, "lane IoU at model size": 85, "scene accuracy": 100}


def copy_frames(data: Path, folder: Path, count: int) -> None:
    """The frames and their labels as a small BDD100K folder whose val is its train."""
    boxes = data / "labels/det_20/det_train.json"
    if not boxes.is_file():
        raise UserError(f"{boxes}: no such file; DATA is a folder in BDD100K's layout")
    records = json.loads(boxes.read_text())
    masks = data / "labels/lane/marking/train", data / "labels/drivable/masks/train"
    known = [
        record
        for record in records
        if record.get("labels")
        and all((kind / Path(record["name"]).with_suffix(".png")).is_file() for kind in masks)
        and "undefined" not in record["attributes"].values()
    ]
    if len(known) < count:
        raise UserError(f"{data}: {len(known)} frames have all labels, {count} are wanted")
    chosen = known[:: len(known) // count][:count]
    kinds = (
        ("images/100k", ".jpg"),
        ("labels/drivable/masks", ".png"),
        ("labels/lane/marking", ".png"),
    )
    for split in ("train", "val"):
        for kind, suffix in kinds:
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
            for record in chosen:
                name = Path(record["name"]).with_suffix(suffix).name
                shutil.copy(data / kind / "train" / name, folder / kind / split / name)
        (folder / "labels/det_20").mkdir(parents=True, exist_ok=True)
        (folder / f"labels/det_20/det_{split}.json").write_text(json.dumps(chosen))


def lane_iou(path: Path, folder: Path) -> float:
    """Foreground against the label as the loss sees it, at the model's size, in percent."""
    model = checkpoint.load(path)[0].eval()
    frames = open_dataset(str(folder), "train", TASKS)
    batch = collate([frames[index].letterbox(SIZE_HW) for index in range(len(frames))])
    with torch.no_grad():
        raw = model(batch.frames)["lane"]
        logits = model.tasks["lane"].full_size(raw["foreground"])  # (B, H, W)
    lane = batch.targets["lane"]["lane"]
    found, truth, known = logits > 0, lane < LANE_IGNORE, lane != LANE_IGNORE
    return 100.0 * float(((found & truth) & known).sum() / ((found | truth) & known).sum())


def measure(args: argparse.Namespace) -> None:
    """Trains, scores, prints a line per task."""
    folder, out = args.out / "frames", args.out / "run"
    if not folder.is_dir():
        copy_frames(args.data, folder, args.count)
    words = [
        "--data",
        str(folder),
        "--size",
        "x".join(map(str, SIZE_HW)),
        "--augment",
        "none",
        "--batch",
        "8",
    ]
    words += ["--tasks", ",".join(TASKS), "--epochs", str(args.epochs), "--lr", "0.002"]
    words += ["--ema", "0", "--val-limit", "1", "--workers", "1", "--out", str(out)]
    words += ["--checkpoint-every", "100", *(["--resume"] if args.resume else [])]
    run = Run(parse_command_line(words))
    run.go()
    last = out / "last.safetensors"
    predictor = open_predictor(last)
    dataset = open_dataset(str(folder), "val", TASKS, SIZE_HW, exact=True)
    scores = evaluate(predictor, dataset, console=run.console)["scores"]["bdd"]
    found = {
        "det AP50": scores["det"]["mAP50"],
        "drivable mIoU": scores["drivable"]["mIoU"],
        "lane IoU at model size": lane_iou(last, folder),
        "scene accuracy": scores["scene"]["accuracy"],
    }
    for name, value in found.items():
        print(f"{name:24} {value:6.2f}   aim {AIMS[name]}")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/overfit"))
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    return cli(lambda: measure(args))


if __name__ == "__main__":
    raise SystemExit(main())
