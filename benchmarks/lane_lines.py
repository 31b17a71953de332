"""Lane markings as lines against true markings of real frames, in the image.

    python benchmarks/lane_lines.py --data ../shared/data/bdd100k-real --split val

True lines are the row centres of the annotated markings (`labels/lane/marking`), one per connected
marking. Lines of both sides count if they cover MIN_ROWS of the frame's height and are steeper
than MIN_STEEP, which leaves out crosswalks and stop lines: the annotation has no types. Prints a
Markdown table.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from perception.classes import LANE_BACKGROUND, LANE_CATEGORIES, LANE_DIRECTIONS, LANE_STYLES
from perception.errors import UserError
from perception.metrics.lane_lines import LaneLineMetric
from perception.runtime.lanes import lane_lines
from perception.runtime.road import RoadGeometry
from perception.runtime.runner import Runner, default_model
from perception.runtime.scene import Mask
from perception.runtime.view import LANE_BYTE, View

VIEW = View("mask", encoding=LANE_BYTE, categories=LANE_CATEGORIES, styles=LANE_STYLES,
            directions=LANE_DIRECTIONS)  # fmt: skip
LINE = LANE_CATEGORIES.index("single white")
MIN_ROWS = 0.06  # of the frame's height
MIN_STEEP = 0.1  # rows per column
PAIR = 13  # pixels: the annotated edges of one narrow marking are not filled in between


def true_lines(marking: np.ndarray) -> list[np.ndarray]:
    """(N, 2) xy per marking of a binary mask (H, W)."""
    joined = cv2.morphologyEx(marking, cv2.MORPH_CLOSE, np.ones((1, PAIR), np.uint8))
    byte = np.where(joined > 0, LINE, LANE_BACKGROUND).astype(np.uint8)
    return [line.points for line in lane_lines(Mask(byte, marking.shape[:2], VIEW))]


def long_lines(lines: list[np.ndarray], height: int) -> list[np.ndarray]:
    """The lines that cover enough rows and run along the road."""
    spans = [np.ptp(line, axis=0) for line in lines]
    return [
        line for line, (wide, tall) in zip(lines, spans, strict=True)
        if tall >= MIN_ROWS * height and tall >= MIN_STEEP * wide
    ]  # fmt: skip


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--data", type=Path, required=True)
    made.add_argument("--split", default="val")
    made.add_argument("--every", type=int, default=1, help="use every n-th frame only")
    made.add_argument("--model", type=Path)
    args = made.parse_args()
    runner = Runner(args.model or default_model(), "cpu")
    boxes = json.loads((args.data / f"labels/det_20/det_{args.split}.json").read_text())
    times = {Path(one["name"]).stem: one["attributes"]["timeofday"] for one in boxes}
    metrics = {name: LaneLineMetric() for name in ("all", "day", "night")}
    paths = sorted((args.data / "labels/lane/marking" / args.split).glob("*.png"))
    for path in paths[:: args.every]:
        frame = cv2.imread(str(args.data / "images/100k" / args.split / f"{path.stem}.jpg"))
        marking = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if frame is None or marking is None:
            raise UserError(f"{path}: the mask or its frame cannot be read")
        size_hw = (frame.shape[0], frame.shape[1])
        road = RoadGeometry().update(runner(frame), 0.0)
        found = long_lines([lane.points for lane in road.lanes], size_hw[0])
        real = long_lines(true_lines(marking), size_hw[0])
        for name in ("all", "night" if times.get(path.stem) == "night" else "day"):
            metrics[name].update_pixels(found, real, size_hw)
    print("| frames | lines predicted | lines true | matched | F1@IoU0.5 | column distance px |")
    print("|---|---|---|---|---|---|")
    for name, metric in metrics.items():
        matched, found_count, true_count = metric.pixels.tolist()
        scores = metric.compute()
        print(f"| {name} | {found_count} | {true_count} | {matched} | {scores['F1@IoU0.5']:.1f} "
              f"| {scores['column distance']:.1f} |")  # fmt: skip


if __name__ == "__main__":
    main()
