"""The displayed frame: the scene drawn by kind, the ego lane, distances, warnings, the view from
above and a colour legend, and the switches for them."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from demo.pipeline import Packet
from perception.runtime import birds_eye
from perception.runtime.drawing import (
    blend_rectangle,
    chip,
    draw,
    draw_legend,
    shown_classes,
    text_height,
    text_size,
)
from perception.runtime.road import Road
from perception.runtime.scene import Boxes, Mask, Scene

EGO_COLOUR = (120, 255, 120)
LEAD_COLOUR, WARN_COLOUR = (120, 255, 120), (60, 60, 235)
LEGEND_FRAMES = 50  # a class stays in the legend for so long after it was last seen

KEYS = "space pause, n step, 1-9 hide or show an output, s save the frame, q quit"


@dataclass
class Controls:
    """Shared by the window, the page and the loop. Fields are only ever replaced whole, so one
    thread may read while another writes. They change the picture, never a log."""

    titles: Mapping[str, str]  # of the outputs, by name
    score: float | None = None  # lowest of a drawn box; None: that of the run
    ego: bool = False
    smooth: bool = True
    figures: bool = False  # frame rate and model time
    side_by_side: bool = False  # the input on the left
    birds_eye: bool = False  # the road from above
    hidden: frozenset[str] = frozenset()
    paused: bool = False
    step: bool = False
    save: bool = False
    quit: bool = False

    @property
    def outputs(self) -> tuple[str, ...]:
        """Their names, in the model's order."""
        return tuple(self.titles)

    def toggle(self, name: str) -> None:
        """Hides an output, or shows it again; an unknown name does nothing."""
        if name in self.outputs:
            self.hidden ^= {name}

    def key(self, key: str) -> None:
        """Acts on a key of the window."""
        if key == " ":
            self.paused = not self.paused
        elif key == "n":
            self.paused = self.step = True
        elif key == "s":
            self.save = True
        elif key in ("q", "\x1b"):
            self.quit = True
        elif key.isdigit() and 1 <= int(key) <= len(self.outputs):
            self.toggle(self.outputs[int(key) - 1])


class Overlay:
    """Draws packets. `controls` are read per frame, so switches act at once. `still`: photos, whose
    legends are their own."""

    def __init__(self, controls: Controls, provider: str, still: bool = False) -> None:
        self.controls, self.provider = controls, provider
        self.kept = 1 if still else LEGEND_FRAMES
        self.times: deque[float] = deque(maxlen=30)
        self.frames, self.seen = 0, dict[str, int]()

    def draw(self, packet: Packet, now: float) -> None:
        """Sets packet.canvas; `now` is a monotonic clock in seconds."""
        given, controls = packet.scene, self.controls
        self.times.append(now)
        scene = packet.shown or given
        if controls.score is not None:
            given, scene = (one.from_score(controls.score) for one in (given, scene))
        lanes = packet.road.lanes if packet.road is not None else None
        canvas = draw(packet.frame.image, scene, controls.hidden, lanes)
        if controls.ego and packet.road is not None:
            for lane in packet.road.borders.values():
                draw_ego(canvas, lane.points)
        if packet.road is not None:
            draw_road(canvas, given, packet.road, controls.birds_eye)
        draw_legend(canvas, self.legend(scene))
        if controls.figures:
            self._figures(canvas, packet)
        packet.canvas = np.hstack([packet.frame.image, canvas]) if controls.side_by_side else canvas

    def legend(self, scene: Scene) -> list[str]:
        """Class names of the visible masks, seen in this frame or a moment ago."""
        self.frames += 1
        names: list[str] = []
        for name, mask in scene.of(Mask):
            if name not in self.controls.hidden:
                self.seen |= dict.fromkeys(shown_classes(mask), self.frames)
                names += mask.view.categories if mask.is_lane_byte else mask.view.classes
        oldest = self.frames - self.kept
        return [name for name in names if self.seen.get(name, oldest) > oldest]

    def fps(self) -> float:
        """Frames per second over the last 30 frames; 0 at the first frame."""
        if len(self.times) < 2 or self.times[-1] <= self.times[0]:
            return 0.0
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])

    def _figures(self, canvas: np.ndarray, packet: Packet) -> None:
        model_ms = packet.timings_ms.get("model", 0.0)
        parts = [f"{self.fps():.1f} fps", f"model {model_ms:.1f} ms", self.provider]
        if packet.dropped:
            parts.append(f"dropped {packet.dropped}")
        text, height = "   ".join(parts), max(8, text_height(canvas.shape[:2]) * 4 // 5)
        wide, tall = text_size(text, height)
        at = (canvas.shape[1] - wide - height, canvas.shape[0] - tall - height)
        chip(canvas, text, at, height, opacity=0.6)


def draw_ego(canvas: np.ndarray, points: np.ndarray) -> None:
    """An anti-aliased line with a dark rim; `points` (N, 2) xy."""
    line = max(2, round(min(canvas.shape[:2]) / 240))
    path = [np.round(points * 16).astype(np.int32)]  # 4 fractional bits
    cv2.polylines(canvas, path, False, (40, 60, 40), line + 2, cv2.LINE_AA, shift=4)
    cv2.polylines(canvas, path, False, EGO_COLOUR, line, cv2.LINE_AA, shift=4)


def draw_road(canvas: np.ndarray, scene: Scene, road: Road, inset: bool) -> None:
    """Distances under the boxes, warnings at the top, and the view from above."""
    height = max(8, text_height(canvas.shape[:2]) * 4 // 5)
    for name, boxes in scene.of(Boxes):
        ranges = road.ranges[name]
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
            if lead and road.headway_s is not None:
                text += f"  gap {road.headway_s:.1f} s"
            if lead and np.isfinite(ranges.ttc_s[i]):
                text += f"  TTC {ranges.ttc_s[i]:.1f} s"
            wide, _ = text_size(text, height)
            chip(canvas, text, ((x1 + x2 - wide) // 2, y2 + 1), height, opacity=0.6)
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
