"""Draws the ground into image buffers: surfaces, markings, lane byte, drivable area, shadows."""

from functools import lru_cache

import cv2
import numpy as np

from perception.classes import LANE_BACKGROUND
from training.data.roads.camera import START, Viewpoint, band
from training.data.roads.layout import WHITE, Crossing, LaneStrip, Road, RoadLine, lane_byte
from training.data.roads.mesh import Builder, Colour, Thing

# The first faces of every frame; things come after them. Terrain is as high as the sidewalk.
SKY, TERRAIN, ROAD, WALK = range(4)
GROUND_FACES = 4
KERB: Colour = (0.5, 0.51, 0.52)
SHIFT = 4
FAR_PIXELS = 1e4
# Shadows: a unit footprint (along, across), their strength, and how far ahead they are drawn.
SQUARE = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]], np.float32) / 2
DARK = 235
SHADOWS_END = 90.0


def fixed(pixels: np.ndarray) -> np.ndarray:
    """Pixels as fixed-point integers for OpenCV."""
    # np.clip is slow on small arrays.
    inside = np.minimum(np.maximum(pixels, -FAR_PIXELS), FAR_PIXELS)
    return np.rint(inside * (1 << SHIFT)).astype(np.int32)


def fill(
    buffer: np.ndarray, pixels: np.ndarray, value: float | tuple[float, ...], smooth: bool = False
) -> None:
    line = cv2.LINE_AA if smooth else cv2.LINE_8
    cv2.fillPoly(buffer, [fixed(pixels)], value, line, SHIFT)


def surfaces(view: Viewpoint, road: Road, depth: np.ndarray) -> np.ndarray:
    """(H, W) int32 ground faces; `depth` is that of the ground at level 0."""
    face = np.full(view.camera.size_hw, SKY, np.int32)
    beyond = {"grass": TERRAIN, "paving": WALK, "lot": ROAD}[road.beyond]
    face[depth * view.camera.rays[2] < view.sight] = beyond
    far = view.s + view.sight
    for sign, edge in road.sides if road.walk else ():
        left, right = sorted((edge, edge + sign * road.walk))
        fill(face, view.strip(left, right, view.s, far, road.kerb), WALK)
    fill(face, view.strip(road.left, road.right, view.s, far), ROAD)
    for crossing in road.crossings:
        if crossing.width and view.ahead(crossing.s, crossing.s + crossing.width):
            fill(face, view.strip(-90, 90, crossing.s, crossing.s + crossing.width), ROAD)
    return face


def curbs(view: Viewpoint, road: Road) -> list[Thing]:
    """The faces of the kerbs, left and right, as one thing that stands under the camera."""
    b = Builder(kind="sidewalk", tile="paving")
    for start, end in road.spans(view.s + START, view.s + 70, True) if road.walk else ():
        s = view.steps(start, end, 14) - view.s
        for sign, t in road.sides:
            foot = view.curve.place(s, np.full_like(s, t - view.t))
            top = foot + np.array([0, road.kerb, 0], np.float32)
            for quad in np.stack([foot[:-1], foot[1:], top[1:], top[:-1]], axis=1):
                b.face(quad, KERB, (-sign, 0, 0))
    yaw = -float(view.curve.heading(np.zeros(())))
    return [Thing(b.build(), view.s, view.t, yaw)] if b.faces else []


def _widened(left: np.ndarray, right: np.ndarray, least: float) -> np.ndarray:
    """Outline between two edges, at least `least` pixels wide everywhere."""
    across, middle = right - left, (left + right) / 2
    out = across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-6)
    thin = np.abs(across).max(-1, keepdims=True) < least
    half = out * np.float32(least / 2)
    return band(np.where(thin, middle - half, left), np.where(thin, middle + half, right))


class MarkingPainter:
    """Draws markings and, from the same geometry, the lane byte."""

    def __init__(self, view: Viewpoint, road: Road) -> None:
        self.view, self.road = view, road
        size = view.camera.size_hw
        self.marks = np.zeros((*size, 4), np.uint8)  # premultiplied BGR, alpha
        self.lane = np.full(size, LANE_BACKGROUND, np.uint8)
        self.least = 1.7 * size[0] / 384

    def paint(self, pixels: np.ndarray, colour: Colour, cover: float = 1.0) -> None:
        b, g, r = (255 * cover * c for c in colour)
        fill(self.marks, pixels, (b, g, r, 255 * cover), smooth=True)

    def label(self, left: np.ndarray, right: np.ndarray, value: int) -> None:
        fill(self.lane, _widened(left, right, self.least), value)

    def everything(self) -> None:
        view, road = self.view, self.road
        far = view.s + view.sight
        for stain in road.stains:
            s, t = stain.outline.T
            if view.ahead(float(s.min()), float(s.min())):
                self.paint(view.project(s, t), stain.colour, stain.cover)
        spans = [span for span in road.spans(view.s, far) if view.ahead(*span)]
        for line in road.lines:
            for start, end in spans:
                self.line(line, start, end)
        solid = [span for span in road.spans(view.s, far, True) if view.ahead(*span)]
        for (sign, t), curb in zip(road.sides, road.curbs, strict=True):
            for start, end in solid if curb else ():
                self.curb(sign, t, start, end)
        bay = lane_byte("single white", vertical=True)
        for s, near, end in road.bays:
            if view.ahead(s, s + 0.1):
                self.across(s, 0.1, near, end, bay)
        for crossing in road.crossings:
            self.crossing(crossing)

    def line(self, line: RoadLine, start: float, end: float) -> None:
        s, w, half = self.view.steps(start, end)[None], line.width, line.half
        left, right = self.view.project(s, line.t + np.array([[-half], [half]]))
        self.label(left, right, lane_byte(line.category, line.dashed))
        pieces = self._dashes(line, start, end) if line.dashed else s
        double = ((-1.5 * w, -0.5 * w), (0.5 * w, 1.5 * w))
        for stripe in double if line.double else ((-half, half),):
            sides = self.view.project(pieces, line.t + np.reshape(stripe, (2, 1, 1)))
            for edges in zip(*sides, strict=True):
                self.paint(band(*edges), line.colour)

    def _dashes(self, line: RoadLine, start: float, end: float) -> np.ndarray:
        """(N, 3) start, middle and end of each dash."""
        view, (paint, gap) = self.view, line.period
        first = np.floor(max(start, view.s) / (paint + gap)) * (paint + gap)
        begin = np.arange(first, min(end, view.s + min(view.sight, 160)), paint + gap)
        dashes = np.clip(begin[:, None] + np.array([0, paint / 2, paint]), start, end)
        return dashes[(dashes[:, 2] - view.s > START) & (dashes[:, 2] > dashes[:, 0])]

    def curb(self, sign: int, t: float, start: float, end: float) -> None:
        s, raised = self.view.steps(start, end), self.road.kerb
        foot = self.view.project(s, np.float32(t - sign * 0.06))
        top = self.view.project(s, np.float32(t + sign * 0.12), raised)
        if raised:
            self.paint(band(self.view.project(s, np.float32(t), raised), top), KERB)
        self.label(foot, top, lane_byte("road curb"))

    def across(
        self, s: float, depth: float, left: float, right: float, value: int, show: bool = True
    ) -> None:
        """A white band across the road, s .. s + depth."""
        if s - self.view.s < START:
            return
        t = np.linspace(left, right, 6, dtype=np.float32)
        near, end = self.view.project(np.float32(s), t), self.view.project(np.float32(s + depth), t)
        if show:
            self.paint(band(near, end), WHITE)
        self.label(near, end, value)

    def crossing(self, crossing: Crossing) -> None:
        places = [crossing.s - 3.6]
        if crossing.far_zebra:
            places.append(crossing.s + crossing.width + 0.6)
        for s in places if crossing.zebra else ():
            if self.view.ahead(s, s + 3):
                self._zebra(s, crossing.zebra)
        if crossing.stop and self.view.ahead(crossing.s, crossing.s):
            own = [lane for lane in self.road.lanes if lane.kind in ("direct", "alternative")]
            left, right = own[0].left + 0.2, own[-1].right - 0.2
            s = crossing.s - (5.2 if crossing.zebra else 1.2)
            self.across(s, 0.45, left, right, lane_byte("single white", vertical=True))

    def _zebra(self, s: float, style: str) -> None:
        left, right = self.road.left + 0.3, self.road.right - 0.3
        if style == "bars" and s - self.view.s > START:
            t = np.arange(left, right - 0.5, 1.2, dtype=np.float32)
            corners = np.array([[s, s, s + 3, s + 3]], np.float32)
            for outline in self.view.project(corners, np.stack([t, t + 0.6, t + 0.6, t], axis=1)):
                self.paint(outline, WHITE)
        value = lane_byte("crosswalk", vertical=True)
        for at in (s - 0.1, s + 2.9):
            self.across(at, 0.25, left, right, value, show=style == "lines")


def _stop(lane: LaneStrip, things: list[Thing], view: Viewpoint) -> float:
    """The position s at which a thing blocks the lane, or the end of sight."""
    stop = view.s + view.sight
    for thing in things:
        if thing.blocks and thing.s >= view.s + 1:
            along, across = thing.half
            if lane.left + 0.3 - across < thing.t < lane.right - 0.3 + across:
                stop = min(stop, thing.s - along)
    return stop


def drivable(view: Viewpoint, lanes: list[LaneStrip], things: list[Thing]) -> np.ndarray:
    """(H, W) uint8 0 direct, 1 alternative, 2 background; lanes end where a thing blocks them."""
    out = np.full(view.camera.size_hw, 2, np.uint8)
    for kind, value in (("alternative", 1), ("direct", 0)):
        for lane in lanes:
            stop = _stop(lane, things, view) if lane.kind == kind else -np.inf
            if view.ahead(view.s, stop):
                fill(out, view.strip(lane.left, lane.right, view.s, stop), value)
    return out


def _circle(turn: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(turn), np.sin(turn)], axis=-1)


@lru_cache
def _dapple() -> np.ndarray:
    """(B, 8, 2) the spots (along, across) that make up the shadow of a tree crown of radius 1."""
    rng = np.random.default_rng(8)
    turn, away = rng.uniform(0, 6.28, 14), np.sqrt(rng.uniform(0, 0.8, 14))
    ring = rng.uniform(0.18, 0.42, (14, 1, 1)) * _circle(np.arange(8) * np.pi / 4)
    return ((away[:, None] * _circle(turn))[:, None] + ring).astype(np.float32)


def _outlines(thing: Thing, cast: np.ndarray) -> np.ndarray:
    """(N, 8, 2) outlines (along, across): the footprint and the roof's shadow, or a tree's spots.

    `cast` is the shadow (along, across) of a pole 1 m high.
    """
    length, width, height = thing.size
    middle, shift = (thing.s, thing.t), height * (thing.shadow or 0) * cast
    if thing.yaw is None and not thing.mesh.kinds:  # a tree, of which the crown casts a shadow
        crown = middle + shift + 0.3 * width * _dapple()
        return crown if cast.any() else np.empty((0, 8, 2))
    (cos, sin), corners = _circle(np.array(thing.yaw or 0.0)), SQUARE * (length, width)
    footprint = middle + corners @ np.array([[cos, sin], [-sin, cos]])
    return np.concatenate([footprint, footprint + shift])[None]


def shadows(view: Viewpoint, things: list[Thing], sun: np.ndarray | None) -> np.ndarray:
    """(H, W) uint8 shadow strength; `sun` points towards the sun, None without one."""
    h, w = view.camera.size_hw
    out = np.zeros((h // 2, w // 2), np.uint8)
    cast = np.zeros(2) if sun is None else -sun[[2, 0]] / max(float(sun[1]), 0.25)
    near = [
        _outlines(t, cast) for t in things
        if t.shadow is not None and t.s - view.s < SHADOWS_END and t.s + t.size[0] - view.s > 1.5
    ]  # fmt: skip
    along, across = np.moveaxis(np.concatenate([np.empty((0, 8, 2)), *near]), -1, 0)
    for outline in view.project(along, across):
        cv2.fillConvexPoly(out, fixed(cv2.convexHull(outline) / 2), DARK, cv2.LINE_8, SHIFT)
    return cv2.resize(cv2.blur(out, (5, 3)), (w, h))
