"""Draws a Scene by kind of output: areas, lane lines, boxes, labels, maps."""

from collections.abc import Collection, Sequence

import cv2
import numpy as np

from perception.classes import LANE_BACKGROUND_BIT, LANE_CATEGORY_BITS
from perception.runtime.colours import BACKGROUND, BGR, colour, lookup
from perception.runtime.lanes import lane_lines, marks_along, outline
from perception.runtime.scene import Boxes, Mask, Scene, Score, least_score
from perception.runtime.view import BOX_SCORE

AREA_OPACITY = 0.36
MAX_BOXES = 300
FONT = cv2.FONT_HERSHEY_SIMPLEX
INK: BGR = (245, 245, 245)
PAPER: BGR = (30, 26, 24)


def draw(
    frame: np.ndarray,
    scene: Scene,
    hidden: Collection[str] = (),
    score: Score = BOX_SCORE,
) -> np.ndarray:
    """A copy of the uint8 (H, W, 3) BGR frame with all outputs drawn on it but the `hidden` ones.

    Boxes below `score`, which may be {output: score per class}, are left out. Maps, and all but
    the first of masks without a background class, are drawn as small pictures in the corner.
    """
    canvas = frame.copy()
    shown = {name: output for name, output in scene.outputs.items() if name not in hidden}
    masks = {name: output for name, output in shown.items() if isinstance(output, Mask)}
    covering = [name for name, mask in masks.items() if covers_frame(mask)]
    if len(covering) == len(masks):
        covering = covering[1:]
    for mask in sorted(
        (masks[n] for n in masks if n not in covering), key=lambda m: m.is_lane_byte
    ):
        (draw_lanes if mask.is_lane_byte else draw_areas)(canvas, mask)
    for name, output in shown.items():
        if isinstance(output, Boxes):
            draw_boxes(canvas, output.above(least_score(score, name)))
    pictures = {name: class_picture(masks[name]) for name in covering}
    made = {name: output.picture() for name, output in shown.items()}
    pictures |= {name: picture for name, picture in made.items() if picture is not None}
    draw_insets(canvas, pictures)
    draw_captions(canvas, [output.caption(name) for name, output in shown.items()])
    return canvas


def covers_frame(mask: Mask) -> bool:
    """Whether a mask gives every pixel a class, none of them background."""
    return not mask.is_lane_byte and BACKGROUND not in mask.view.classes


def draw_areas(canvas: np.ndarray, mask: Mask) -> None:
    """Translucent areas with a stronger rim, edges smoothed to the frame's resolution."""
    colours, opacity = lookup(mask.view)
    body = cv2.LUT(mask.small, opacity)
    inside = (body > 0).astype(np.uint8)
    rim = cv2.subtract(inside, cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1))
    alpha = np.clip(255 * (body * AREA_OPACITY + 0.3 * rim), 0, 255).astype(np.uint8)
    _blend(
        canvas,
        _spread(cv2.applyColorMap(mask.small, colours), inside == 0),
        cv2.GaussianBlur(alpha, (3, 3), 0),
    )


def draw_lanes(canvas: np.ndarray, mask: Mask) -> None:
    """Lines along the road as wide as the marking, over a dark rim, dashed ones lighter;
    crosswalks and other markings across the road as areas."""
    across = np.where(marks_along(mask), np.uint8(255), mask.small)
    draw_areas(canvas, Mask(across, mask.frame_hw, mask.view))
    lines = lane_lines(mask)
    rim = max(1.0, min(canvas.shape[:2]) / 600)
    _fill(canvas, [(outline(line, rim), (30, 30, 30)) for line in lines], 0.35)
    for dashed, opacity in ((True, 0.6), (False, 0.95)):
        marks = [(outline(line), colour(line.category)) for line in lines if line.dashed == dashed]
        _fill(canvas, marks, opacity)


def _fill(canvas: np.ndarray, shapes: list[tuple[np.ndarray, BGR]], opacity: float) -> None:
    """Fills polygons (4 fractional bits) with anti-aliased edges, in place."""
    if not shapes:
        return
    points = np.concatenate([shape for shape, _ in shapes]).reshape(-1, 2) / 16
    height, width = canvas.shape[:2]
    x1, y1 = np.clip(points.min(0).astype(int) - 2, 0, (width, height))
    x2, y2 = np.clip(points.max(0).astype(int) + 3, 0, (width, height))
    part = canvas[y1:y2, x1:x2]
    if part.size:
        painted = part.copy()
        for shape, ink in shapes:
            corner = np.array([[[16 * x1, 16 * y1]]], np.int32)
            cv2.fillPoly(painted, [shape - corner], ink, cv2.LINE_AA, shift=4)
        part[:] = cv2.addWeighted(part, 1 - opacity, painted, opacity, 0)


def _spread(colours: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Extends colours by one pixel, so that soft edges do not mix with black."""
    outwards = cv2.dilate(colours, np.ones((3, 3), np.uint8))
    return cv2.copyTo(outwards, clear.astype(np.uint8), colours)


def _blend(canvas: np.ndarray, colours: np.ndarray, alpha: np.ndarray) -> None:
    """Blends model-size colours (h, w, 3) with alpha uint8 (h, w) into the canvas, enlarged.

    Only the window where alpha is not zero is touched.
    """
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not len(rows):
        return
    # One clear pixel around, so that the enlarged edge fades out inside the window.
    top, bottom = max(rows[0] - 1, 0), min(rows[-1] + 2, alpha.shape[0])
    left, right = max(columns[0] - 1, 0), min(columns[-1] + 2, alpha.shape[1])
    scale_y, scale_x = (big / small for big, small in zip(canvas.shape, alpha.shape, strict=False))
    y, x = round(top * scale_y), round(left * scale_x)
    part = canvas[y : max(round(bottom * scale_y), y + 1), x : max(round(right * scale_x), x + 1)]
    if not part.size:
        return
    colours, alpha = colours[top:bottom, left:right], alpha[top:bottom, left:right]
    size = part.shape[1::-1]
    big = cv2.resize(np.ascontiguousarray(alpha), size, interpolation=cv2.INTER_LINEAR)
    over = cv2.cvtColor(big, cv2.COLOR_GRAY2BGR)
    ink = cv2.resize(colours, size, interpolation=cv2.INTER_LINEAR)
    below = cv2.multiply(part, 255 - over, scale=1 / 255)
    cv2.add(below, cv2.multiply(ink, over, scale=1 / 255), dst=below)
    part[:] = below


def draw_boxes(canvas: np.ndarray, boxes: Boxes) -> None:
    """Rectangles with thicker corners, far ones first, each with a chip "class score #track"."""
    height = text_height(canvas.shape[:2])
    line = max(1, round(height / 9))
    order = np.argsort(boxes.xyxy[:, 3])[-MAX_BOXES:]
    for i in order:
        x1, y1, x2, y2 = (int(value) for value in boxes.xyxy[i].round())
        ink = colour(boxes.name(i))
        cv2.rectangle(canvas, (x1, y1), (x2, y2), _dark(ink), line + 2, cv2.LINE_AA)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), ink, line, cv2.LINE_AA)
        _corners(canvas, (x1, y1, x2, y2), ink, 2 * line)
    taken = np.zeros(canvas.shape[:2], bool)
    for i in order[::-1]:  # names after all rectangles, near ones first
        _box_chip(canvas, boxes, int(i), height, taken)


def _box_chip(canvas: np.ndarray, boxes: Boxes, i: int, height: int, taken: np.ndarray) -> None:
    """The name above the box, unless a nearer box's name covers the place."""
    x1, y1, x2, _ = (int(value) for value in boxes.xyxy[i].round())
    small = max(8, round(height * 0.8)) if x2 - x1 < 4 * height else height
    text = boxes.text(i)
    wide, tall = text_size(text, small)
    x, y = max(0, min(x1, canvas.shape[1] - wide)), max(0, y1 - tall - 1)
    place = taken[y : y + tall, x : x + wide]
    if not place.any():
        place[:] = True
        chip(canvas, text, (x, y), small, colour(boxes.name(i)), 0.85)


def _corners(canvas: np.ndarray, box: tuple[int, int, int, int], ink: BGR, line: int) -> None:
    x1, y1, x2, y2 = box
    length = min(x2 - x1, y2 - y1) // 4
    if length < 4:
        return
    for x, toward_x in ((x1, length), (x2, -length)):
        for y, toward_y in ((y1, length), (y2, -length)):
            cv2.line(canvas, (x, y), (x + toward_x, y), ink, line, cv2.LINE_AA)
            cv2.line(canvas, (x, y), (x, y + toward_y), ink, line, cv2.LINE_AA)


def _dark(ink: BGR) -> BGR:
    return ink[0] // 4, ink[1] // 4, ink[2] // 4


def draw_captions(canvas: np.ndarray, captions: Sequence[str]) -> None:
    """One line at the top left, such as the frame's attributes."""
    height = text_height(canvas.shape[:2])
    if text := "   ".join(filter(None, captions)):
        chip(canvas, text, (height, height), height, opacity=0.65)


def class_picture(mask: Mask) -> np.ndarray:
    """uint8 (h, w, 3): every pixel in the colour of its class."""
    return cv2.applyColorMap(mask.small, lookup(mask.view)[0])


def shown_classes(mask: Mask) -> list[str]:
    """Classes of a mask that cover a visible part of the frame, in the order of the classes."""
    counts = np.bincount(mask.small.ravel(), minlength=256)
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
        wide, tall = text_size(name, height)
        if x + wide + tall > canvas.shape[1]:
            return
        chip(canvas, name, (x + tall - height // 2, y), height, opacity=0.6)
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
        flat = np.full_like(part, paper)
        part[:] = cv2.addWeighted(part, 1 - opacity, flat, opacity, 0)


def _weight(height: int) -> int:
    return max(1, round(height / 14))
