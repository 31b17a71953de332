"""Draws a Scene by kind of output: areas, lane marks, boxes, labels, maps. Knows no task."""

from collections.abc import Collection

import cv2
import numpy as np

from perception.runtime.colours import BACKGROUND, BGR, colour, lookup
from perception.runtime.scene import Boxes, Labels, Map, Mask, Scene

AREA_OPACITY = 0.36
MAX_BOXES = 300
FONT = cv2.FONT_HERSHEY_SIMPLEX
INK: BGR = (245, 245, 245)
PAPER: BGR = (30, 26, 24)


def draw(
    frame: np.ndarray, scene: Scene, hidden: Collection[str] = (), score: float = 0.3
) -> np.ndarray:
    """A copy of the uint8 (H, W, 3) BGR frame with everything on it but the `hidden` outputs.

    Boxes under `score` are left out. Masks that cover the whole frame, and maps, are shown as
    small pictures in the corner where something else is already drawn on the frame.
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
        (draw_lane_marks if mask.is_lane_byte else draw_areas)(canvas, mask)
    for output in shown.values():
        if isinstance(output, Boxes):
            draw_boxes(canvas, output.above(score))
    pictures = {name: picture(masks[name]) for name in covering}
    pictures |= {name: picture(value) for name, value in shown.items() if isinstance(value, Map)}
    draw_insets(canvas, pictures)
    for output in shown.values():
        if isinstance(output, Labels):
            draw_labels(canvas, output)
    return canvas


def covers_frame(mask: Mask) -> bool:
    """Whether a mask gives every pixel a class, none of them background."""
    return not mask.is_lane_byte and BACKGROUND not in mask.view.classes


def draw_areas(canvas: np.ndarray, mask: Mask) -> None:
    """Translucent areas with a brighter rim, edges smoothed to the frame's resolution."""
    colours, opacity = lookup(mask.view)
    body = cv2.LUT(mask.small, opacity)
    inside = (body > 0).astype(np.uint8)
    rim = cv2.subtract(inside, cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1))
    alpha = np.clip(255 * (body * AREA_OPACITY + 0.45 * rim), 0, 255).astype(np.uint8)
    _blend(
        canvas,
        _spread(cv2.applyColorMap(mask.small, colours), inside == 0),
        cv2.GaussianBlur(alpha, (3, 3), 0),
    )


def draw_lane_marks(canvas: np.ndarray, mask: Mask) -> None:
    """Crisp lines in the colour of their category over a thin dark halo; dashed ones lighter."""
    colours, opacity = lookup(mask.view)
    alpha = (255 * cv2.LUT(mask.small, opacity)).astype(np.uint8)
    if not alpha.any():
        return
    halo = cv2.GaussianBlur(cv2.dilate(alpha, np.ones((3, 3), np.uint8)), (3, 3), 0) // 3
    _blend(canvas, np.zeros((*alpha.shape, 3), np.uint8), halo)
    # Blurred before it is enlarged, so that pixel stairs become slopes; the steep ramp then
    # gives the line its edge back.
    ramp = np.clip((np.arange(256.0) - 45) * 2.8, 0, 240).astype(np.uint8)
    ink = _spread(_spread(cv2.applyColorMap(mask.small, colours), alpha == 0), alpha == 0)
    _blend(canvas, ink, cv2.GaussianBlur(alpha, (5, 5), 0.9), ramp)


def _spread(colours: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Colour flows one pixel into the clear: a soft edge must not mix with another colour."""
    outwards = cv2.dilate(colours, np.ones((3, 3), np.uint8))
    return cv2.copyTo(outwards, clear.astype(np.uint8), colours)


def _blend(
    canvas: np.ndarray, colours: np.ndarray, alpha: np.ndarray, ramp: np.ndarray | None = None
) -> None:
    """Lays model-size colours (h, w, 3) with alpha uint8 (h, w) over the canvas, enlarged.

    `ramp` (256,) reshapes the enlarged alpha. Only the window where alpha is not zero is touched.
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
    if ramp is not None:
        big = cv2.LUT(big, ramp)
    over = cv2.cvtColor(big, cv2.COLOR_GRAY2BGR)
    ink = cv2.resize(colours, size, interpolation=cv2.INTER_LINEAR)
    below = cv2.multiply(part, 255 - over, scale=1 / 255)
    cv2.add(below, cv2.multiply(ink, over, scale=1 / 255), dst=below)
    part[:] = below


def draw_boxes(canvas: np.ndarray, boxes: Boxes) -> None:
    """Thin frames with strong corners, far ones first, each with a chip "class score #track"."""
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
    for i in order[::-1]:  # chips after all frames, so that no line crosses a name; near ones first
        _box_chip(canvas, boxes, int(i), height, taken)


def _box_chip(canvas: np.ndarray, boxes: Boxes, i: int, height: int, taken: np.ndarray) -> None:
    """The name above the box, where no nearer box's name has `taken` the place."""
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


def draw_labels(canvas: np.ndarray, labels: Labels) -> None:
    """One line at the top left: each group's likeliest class and its probability."""
    best = labels.best().values()
    text = "   ".join(f"{name} {100 * share:.0f}%" for name, share in best)
    height = text_height(canvas.shape[:2])
    if text:
        chip(canvas, text, (height, height), height, opacity=0.65)


def picture(output: Mask | Map) -> np.ndarray:
    """uint8 (h, w, 3) of a whole mask or map at the model's size."""
    if isinstance(output, Mask):
        return cv2.applyColorMap(output.small, lookup(output.view)[0])
    if output.small.ndim == 3:
        return vector_picture(output.small)
    return map_picture(output.small, output.view.range)


def map_picture(values: np.ndarray, low_high: tuple[float, ...]) -> np.ndarray:
    """float (h, w) by the turbo scale, near warm; logarithmic, as distance matters near.

    Without a stated range the 2nd and 98th percentile are its ends; NaN is black.
    """
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros((*values.shape, 3), np.uint8)
    low, high = low_high if len(low_high) == 2 else np.percentile(values[finite], (2, 98))
    shifted = np.clip(np.where(finite, values, high), low, high) - low
    share = np.log1p(shifted) / max(float(np.log1p(high - low)), 1e-6)
    painted = cv2.applyColorMap((255 * (1 - share)).astype(np.uint8), cv2.COLORMAP_TURBO)
    painted[~finite] = 0
    return painted


def vector_picture(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors (3, h, w) as colour: x, y, z from -1..1 to red, green, blue."""
    unit = np.nan_to_num(vectors.transpose(1, 2, 0)[..., ::-1])
    return np.clip(127.5 * (unit + 1), 0, 255).astype(np.uint8)


def draw_insets(canvas: np.ndarray, pictures: dict[str, np.ndarray]) -> None:
    """Small pictures with their names, side by side in the upper right corner: sky, mostly."""
    frame_h, frame_w = canvas.shape[:2]
    margin = text_height((frame_h, frame_w))
    wide = min(frame_w // 5, (frame_w - margin) // max(len(pictures), 1) - margin)
    x = frame_w - margin
    for name, small in pictures.items():
        tall = round(wide * frame_h / frame_w)
        x, y = x - wide, margin
        if wide < 16 or tall < 9 or y + tall > frame_h:
            return  # no room on a frame this small
        blend_rectangle(canvas, (x - 2, y - 2, x + wide + 2, y + tall + 2), (240, 240, 240), 0.9)
        canvas[y : y + tall, x : x + wide] = cv2.resize(
            small, (wide, tall), interpolation=cv2.INTER_AREA
        )
        chip(canvas, name, (x, y), max(8, margin * 3 // 4), opacity=0.6)
        x -= margin


def text_height(frame_hw: tuple[int, int]) -> int:
    """A letter height in pixels that reads well on a frame of this size."""
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
    """Draws text at (x, y) on a translucent backing, moved inside the image where it can be.

    The ink is dark on light paper and light on dark.
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
