"""The geometry of the road in the picture: distances, warnings, the view from above."""

import cv2
import numpy as np

from perception.runtime import birds_eye
from perception.runtime.distance import Ranges
from perception.runtime.drawing import blend_rectangle, chip, text_height, text_size
from perception.runtime.road import Road
from perception.runtime.scene import Boxes, Scene

LEAD_COLOUR, WARN_COLOUR = (120, 255, 120), (60, 60, 235)


def draw_road(canvas: np.ndarray, scene: Scene, road: Road, inset: bool) -> None:
    """Distances under the boxes, warnings at the top, and the view from above."""
    height = max(8, text_height(canvas.shape[:2]) * 4 // 5)
    for name, boxes in scene.of(Boxes):
        _draw_ranges(canvas, boxes, road.ranges[name], road.headway_s, height)
    notes = [f"lane departure {road.departure}"] if road.departure else []
    notes += ["collision warning"] if road.collision else []
    y = canvas.shape[0] // 12
    for note in notes:
        wide, tall = text_size(note, 2 * height)
        chip(canvas, note, ((canvas.shape[1] - wide) // 2, y), 2 * height, WARN_COLOUR, 0.85)
        y += tall + height
    if inset:
        picture = birds_eye.picture(scene, road, round(0.46 * canvas.shape[0]))
        draw_inset(canvas, picture, scene)


def _draw_ranges(
    canvas: np.ndarray,
    boxes: Boxes,
    ranges: Ranges,
    headway_s: float | None,
    height: int,
) -> None:
    shown = np.flatnonzero(boxes.counted)
    for i in shown[np.argsort(-np.nan_to_num(ranges.distance_m[shown]))]:
        x1, _, x2, y2 = (round(float(value)) for value in boxes.xyxy[i])
        lead = i == ranges.lead
        if lead:
            cv2.line(canvas, (x1, y2), (x2, y2), LEAD_COLOUR, max(2, height // 4), cv2.LINE_AA)
        if not np.isfinite(ranges.distance_m[i]):
            continue
        if not lead and (x2 - x1) < 2 * height:
            continue  # the numbers of far vehicles would cover them
        text = f"{ranges.distance_m[i]:.0f} m"
        if lead and headway_s is not None:
            text += f"  gap {headway_s:.1f} s"
        if lead and np.isfinite(ranges.ttc_s[i]):
            text += f"  TTC {ranges.ttc_s[i]:.1f} s"
        wide, _ = text_size(text, height)
        chip(canvas, text, ((x1 + x2 - wide) // 2, y2 + 1), height, opacity=0.6)


def draw_inset(canvas: np.ndarray, picture: np.ndarray | None, scene: Scene) -> None:
    """The view from above, at the left or right edge: where it covers fewer boxes."""
    if picture is None or picture.shape[1] > canvas.shape[1] // 2:
        return
    tall, wide = picture.shape[:2]
    margin = text_height(canvas.shape[:2])
    y = canvas.shape[0] - tall - 3 * margin  # above the legend
    shown = [boxes.xyxy[boxes.counted] for _, boxes in scene.of(Boxes)]
    places = (canvas.shape[1] - wide - margin, margin)
    x = min(places, key=lambda left: sum(_covered(xyxy, left, y, wide, tall) for xyxy in shown))
    blend_rectangle(canvas, (x - 2, y - 2, x + wide + 2, y + tall + 2), (240, 240, 240), 0.9)
    canvas[y : y + tall, x : x + wide] = picture


def _covered(xyxy: np.ndarray, x: int, y: int, wide: int, tall: int) -> float:
    """Pixels of the boxes in a rectangle."""
    low = np.maximum(xyxy[:, :2], (x, y))
    high = np.minimum(xyxy[:, 2:], (x + wide, y + tall))
    return float((high - low).clip(0).prod(axis=1).sum())
