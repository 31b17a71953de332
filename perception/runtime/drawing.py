"""Draws a Scene by kind of output: areas, lane lines, boxes, labels, maps."""

from collections.abc import Collection, Sequence
from functools import lru_cache

import cv2
import numpy as np

from perception.classes import LANE_BACKGROUND_BIT, LANE_CATEGORY_BITS
from perception.runtime.colours import BACKGROUND, BGR, colour, lookup
from perception.runtime.lanes import ACROSS, CROSSWALK, LINE_ALONG, Lane, directions
from perception.runtime.road import RoadGeometry
from perception.runtime.scene import Boxes, Mask, Scene

AREA_OPACITY = 0.36
# Width of a marking over the height of the camera, both in metres: what a marking spans in a row,
# in pixels per row below the horizon.
WIDTH_PER_ROW = 0.14 / 1.4
USUAL_HORIZON = 0.48  # share of the frame's height, for markings without a curve
DASHED = "dashed"
RIM: BGR = (62, 62, 62)
# Classes of BDD100K in people's words.
LEGEND = {"direct": "own lane", "alternative": "other lanes"}
MAX_BOXES = 300
FONT = cv2.FONT_HERSHEY_SIMPLEX
INK: BGR = (245, 245, 245)
PAPER: BGR = (30, 26, 24)


def draw(
    frame: np.ndarray,
    scene: Scene,
    hidden: Collection[str] = (),
    lanes: Sequence[Lane] | None = None,
) -> np.ndarray:
    """A copy of the uint8 (H, W, 3) BGR frame with all outputs drawn on it but the `hidden` ones.

    Boxes that do not count are left out. Maps, and all but the first of masks without a background
    class, are drawn as small pictures in the corner.
    `lanes`: those of `RoadGeometry`; None: found in this frame by itself.
    """
    canvas = frame.copy()
    shown = {name: output for name, output in scene.outputs.items() if name not in hidden}
    masks = {name: output for name, output in shown.items() if isinstance(output, Mask)}
    covering = [  # those that give every pixel a class, none of them background
        name
        for name, mask in masks.items()
        if not mask.is_lane_byte and BACKGROUND not in mask.view.classes
    ]
    if len(covering) == len(masks):
        covering = covering[1:]
    for mask in sorted(
        (masks[n] for n in masks if n not in covering), key=lambda m: m.is_lane_byte
    ):
        if mask.is_lane_byte:
            found = RoadGeometry().update(scene, 0.0).lanes if lanes is None else lanes
            draw_lanes(canvas, mask, found)
        else:
            draw_areas(canvas, mask)
    for output in shown.values():
        if isinstance(output, Boxes):
            draw_boxes(canvas, output.take(output.counted))
    colours = {name: lookup(masks[name].view)[0] for name in covering}
    pictures = {name: cv2.applyColorMap(masks[name].small, colours[name]) for name in covering}
    made = {name: output.picture() for name, output in shown.items()}
    pictures |= {name: picture for name, picture in made.items() if picture is not None}
    draw_insets(canvas, pictures)
    captions = filter(None, (output.caption(name) for name, output in shown.items()))
    if text := "   ".join(captions):
        height = text_height(canvas.shape[:2])
        chip(canvas, text, (height, height), height, opacity=0.65)
    return canvas


def draw_areas(canvas: np.ndarray, mask: Mask) -> None:
    """Translucent areas with a thin rim, edges smoothed to the frame's resolution. Lines along the
    road are left out."""
    colours, opacity = lookup(mask.view)
    drawn = opacity * (mask.counts > 0)
    if mask.is_lane_byte:
        drawn[directions(mask.view) == LINE_ALONG] = 0
    for value in np.flatnonzero(drawn).tolist():
        area = cv2.inRange(mask.small, value, value)  # cv2.compare refuses a single pixel
        blue, green, red = colours[value, 0].tolist()
        _tint(canvas, area, (blue, green, red), AREA_OPACITY * float(opacity[value]))


def _tint(canvas: np.ndarray, area: np.ndarray, ink: BGR, opacity: float) -> None:
    """Tints the pixels of a model-size area (0 or 255) and draws its outline, in place."""
    left, top, wide, tall = cv2.boundingRect(area)
    scale_y, scale_x = canvas.shape[0] / area.shape[0], canvas.shape[1] / area.shape[1]
    y, x = round(top * scale_y), round(left * scale_x)
    part = canvas[y : round((top + tall) * scale_y), x : round((left + wide) * scale_x)]
    if not part.size:
        return
    small = area[top : top + tall, left : left + wide]
    inside = cv2.resize(small, part.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    inside = cv2.threshold(inside, 127, 255, cv2.THRESH_BINARY)[1]
    cv2.copyTo(_mixed(part, ink, opacity), inside, part)
    rings = cv2.findContours(area, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_L1)[0]
    scale = np.array([scale_x, scale_y]) * 16
    paths = [np.round((ring + 0.5) * scale).astype(np.int32) for ring in rings]
    rim = tuple(int(0.55 * one + 25) for one in ink)
    cv2.polylines(canvas, paths, True, rim, 1, cv2.LINE_AA, shift=4)


def draw_lanes(canvas: np.ndarray, mask: Mask, lanes: Sequence[Lane]) -> None:
    """Lines as wide as the marking, over a dark rim, dashed ones lighter; crosswalks and other
    markings across the road as areas."""
    draw_areas(canvas, mask)
    lines = [lane for lane in lanes if lane.side not in (CROSSWALK, ACROSS)]
    rim = max(1.0, min(canvas.shape[:2]) / 600)
    for lane in lines:
        line, wider = _outlines(lane, mask.frame_hw[0], rim)
        cv2.fillPoly(canvas, [wider], RIM, cv2.LINE_AA, shift=4)
        ink = colour(lane.category)
        if lane.style == DASHED:
            blue, green, red = (round(0.7 * one + 0.3 * 90) for one in ink)
            ink = (blue, green, red)
        cv2.fillPoly(canvas, [line], ink, cv2.LINE_AA, shift=4)


def _outlines(lane: Lane, height: int, rim: float) -> np.ndarray:
    """int32 (2, M, 1, 2): the outlines of the marking and of its rim, with 4 fractional bits for
    cv2.fillPoly."""
    horizon = lane.curve.horizon if lane.curve is not None else USUAL_HORIZON * height
    below = np.maximum(lane.points[:, 1] - horizon, 0.01 * height)
    half = np.maximum(WIDTH_PER_ROW * below / 2, 0.6) + np.array([[0.0], [rim]])
    outlines = np.tile(np.concatenate([lane.points, lane.points[::-1]]), (2, 1, 1))
    outlines[..., 0] += np.concatenate([-half, half[:, ::-1]], axis=1)
    return np.round(16 * outlines).astype(np.int32)[:, :, None]


def draw_boxes(canvas: np.ndarray, boxes: Boxes) -> None:
    """Rectangles with thicker corners, far ones first, each with a chip "class score #track"."""
    height = text_height(canvas.shape[:2])
    line = max(1, round(height / 9))
    order = np.argsort(boxes.xyxy[:, 3])[-MAX_BOXES:]
    places = boxes.xyxy.round().astype(int).tolist()
    for i in order.tolist():
        x1, y1, x2, y2 = places[i]
        ink = colour(boxes.name(i))
        dark = (ink[0] // 4, ink[1] // 4, ink[2] // 4)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), dark, line + 2)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), ink, line)
        _corners(canvas, (x1, y1, x2, y2), ink, 2 * line)
    taken: list[tuple[int, int, int, int]] = []
    # Names after all rectangles, near ones first, unless a nearer box's name covers the place.
    for i in order[::-1].tolist():
        x1, y1, x2, _ = places[i]
        small = max(8, round(height * 0.8)) if x2 - x1 < 4 * height else height
        text = boxes.text(i)
        wide, tall = text_size(text, small)
        x, y = max(0, min(x1, canvas.shape[1] - wide)), max(0, y1 - tall - 1)
        if all(x >= c or a >= x + wide or y >= d or b >= y + tall for a, b, c, d in taken):
            taken.append((x, y, x + wide, y + tall))
            chip(canvas, text, (x, y), small, colour(boxes.name(i)), 0.85)


def _corners(canvas: np.ndarray, box: tuple[int, int, int, int], ink: BGR, line: int) -> None:
    x1, y1, x2, y2 = box
    length = min(x2 - x1, y2 - y1) // 4
    if length < 4:
        return
    for x, toward_x in ((x1, length), (x2, -length)):
        for y, toward_y in ((y1, length), (y2, -length)):
            cv2.line(canvas, (x, y), (x + toward_x, y), ink, line)
            cv2.line(canvas, (x, y), (x, y + toward_y), ink, line)


def shown_classes(mask: Mask) -> list[str]:
    """Classes of a mask that cover a visible part of the frame, in the order of the classes."""
    counts = mask.counts
    if mask.is_lane_byte:
        marked = np.where(np.arange(256) & LANE_BACKGROUND_BIT, 0, counts)
        counts = np.bincount(np.arange(256) & LANE_CATEGORY_BITS, marked)
        least, names = 0.05 * counts.sum(), mask.view.categories
    else:
        least, names = 0.002 * mask.small.size, mask.view.classes
    return [
        name
        for name, count in zip(names, counts, strict=False)
        if count > least and name != BACKGROUND
    ]


def draw_legend(canvas: np.ndarray, names: Sequence[str]) -> None:
    """A row at the lower left: for each class a square of its colour, and its name."""
    height = max(8, text_height(canvas.shape[:2]) * 4 // 5)
    x, y = height, canvas.shape[0] - text_size("", height)[1] - height
    for name in names:
        words = LEGEND.get(name, name)
        wide, tall = text_size(words, height)
        if x + wide + tall > canvas.shape[1]:
            return
        chip(canvas, words, (x + tall - height // 2, y), height, opacity=0.6)
        blend_rectangle(canvas, (x, y, x + tall - height // 2, y + tall), PAPER, 0.6)
        square = (x + tall // 4, y + tall // 4, x + 3 * tall // 4, y + 3 * tall // 4)
        blend_rectangle(canvas, square, colour(name), 1.0)
        x += wide + tall


def draw_insets(canvas: np.ndarray, pictures: dict[str, np.ndarray]) -> None:
    """Small pictures with their names, in a row at the upper right corner."""
    frame_h, frame_w = canvas.shape[:2]
    margin = text_height((frame_h, frame_w))
    wide = min(frame_w // 5, (frame_w - margin) // max(len(pictures), 1) - margin)
    x = frame_w - margin
    for name, small in pictures.items():
        tall = round(wide * frame_h / frame_w)
        x, y = x - wide, margin
        if wide < 16 or tall < 9 or y + tall > frame_h:
            return  # no space on a frame this small
        blend_rectangle(canvas, (x - 2, y - 2, x + wide + 2, y + tall + 2), (240, 240, 240), 0.9)
        canvas[y : y + tall, x : x + wide] = cv2.resize(
            small, (wide, tall), interpolation=cv2.INTER_AREA
        )
        chip(canvas, name, (x, y), max(8, margin * 3 // 4), opacity=0.6)
        x -= margin


def text_height(frame_hw: tuple[int, int]) -> int:
    """Letter height in pixels for a frame of this size."""
    return int(np.clip(min(frame_hw) / 52, 8, 40))


@lru_cache(4096)
def text_size(text: str, height: int) -> tuple[int, int]:
    """(width, height) of a chip: the text with its margins, in pixels."""
    (width, _), _ = cv2.getTextSize(text, FONT, height / 22, _weight(height))
    return width + height, round(height * 1.75)


def chip(
    image: np.ndarray,
    text: str,
    top_left: tuple[int, int],
    height: int,
    paper: BGR = PAPER,
    opacity: float = 0.8,
) -> None:
    """Draws text at (x, y) on a translucent background, moved inside the image where it fits.

    Dark letters on a light background and light ones on a dark background.
    """
    width, tall = text_size(text, height)
    x = max(0, min(top_left[0], image.shape[1] - width))
    y = max(0, min(top_left[1], image.shape[0] - tall))
    blend_rectangle(image, (x, y, x + width, y + tall), paper, opacity)
    light = 0.114 * paper[0] + 0.587 * paper[1] + 0.299 * paper[2] > 120
    at = (x + height // 2, y + round(height * 1.3))
    ink = (20, 16, 14) if light else INK
    cv2.putText(image, text, at, FONT, height / 22, ink, _weight(height), cv2.LINE_AA)


def blend_rectangle(
    image: np.ndarray, box_xyxy: tuple[int, int, int, int], paper: BGR, opacity: float
) -> None:
    """Tints a part of the image in place; the part outside the image is ignored."""
    x1, y1, x2, y2 = box_xyxy
    part = image[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    if part.size:
        part[:] = _mixed(part, paper, opacity)


def _mixed(part: np.ndarray, ink: BGR, opacity: float) -> np.ndarray:
    """A copy of a picture mixed with a colour."""
    flat = np.empty(part.shape, np.uint8)
    cv2.rectangle(flat, (0, 0), part.shape[1::-1], ink, cv2.FILLED)  # much faster than np.full
    return cv2.addWeighted(part, 1 - opacity, flat, opacity, 0, dst=flat)


def _weight(height: int) -> int:
    return max(1, round(height / 14))
