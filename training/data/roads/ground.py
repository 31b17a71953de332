"""Draws the ground into image buffers: surfaces, markings, lane byte, drivable area."""

from dataclasses import dataclass

import cv2
import numpy as np

from perception.classes import LANE_BACKGROUND
from training.data.roads.camera import NEAR, Camera, Curve
from training.data.roads.layout import (
    CURB_HEIGHT,
    WHITE,
    Crossing,
    LaneStrip,
    Road,
    RoadLine,
    Stain,
    lane_byte,
)

# Faces 0..5 of every frame; things come after them.
SKY, TERRAIN, ROAD, WALK, LOT, YARD = range(6)
GROUND_FACES = 6
SHIFT = 4
START = 1.0  # metres ahead where strips begin: below the lower edge of every frame
FAR_PIXELS = 1e4


def fixed(pixels: np.ndarray) -> np.ndarray:
    """Pixels as fixed-point integers for OpenCV."""
    inside = np.minimum(
        np.maximum(pixels, -FAR_PIXELS), FAR_PIXELS
    )  # np.clip is slow on small arrays
    return np.rint(inside * (1 << SHIFT)).astype(np.int32)


def fill(
    buffer: np.ndarray, pixels: np.ndarray, value: float | tuple[float, ...], smooth: bool = False
) -> None:
    line = cv2.LINE_AA if smooth else cv2.LINE_8
    cv2.fillPoly(buffer, [fixed(pixels)], value, line, SHIFT)


@dataclass
class Viewpoint:
    """The camera of one frame, at road position (s, t) of the drive."""

    camera: Camera
    curve: Curve
    s: float
    t: float

    @property
    def sight(self) -> float:
        return self.curve.sight(self.camera.height)

    def project(
        self, s: np.ndarray | np.floating, t: np.ndarray | np.floating, above: float = 0.0
    ) -> np.ndarray:
        """Pixels (..., 2) of road coordinates of the drive; s is clipped to the visible range."""
        z = np.clip(np.asarray(s, np.float32) - np.float32(self.s), START, self.sight)
        x = np.asarray(t, np.float32) - np.float32(self.t) + self.curve.shift(z)
        y = 0.5 * self.curve.lift * z * z + (above - self.camera.height)
        r, focal = self.camera.rotation.tolist(), self.camera.focal
        scale = focal / np.maximum(x * r[0][2] + y * r[1][2] + z * r[2][2], NEAR * 0.5)
        out = np.empty((*x.shape, 2), np.float32)
        out[..., 0] = (x * r[0][0] + y * r[1][0] + z * r[2][0]) * scale + self.camera.centre_xy[0]
        out[..., 1] = (x * r[0][1] + y * r[1][1] + z * r[2][1]) * scale + self.camera.centre_xy[1]
        return out

    def steps(self, start: float, end: float, count: int = 26) -> np.ndarray:
        """Positions along s that are evenly spaced in the image."""
        first = max(start - self.s, START)
        last = min(end - self.s, self.sight)
        share = np.arange(count, dtype=np.float32) / (count - 1)
        return np.float32(self.s) + np.float32(first) * (max(last, first + 0.01) / first) ** share

    def ahead(self, start: float, end: float) -> bool:
        return end - self.s > START and start - self.s < self.sight

    def strip(
        self, left: float, right: float, start: float, end: float, above: float = 0.0
    ) -> np.ndarray:
        """Outline of a strip of the ground."""
        s = self.steps(start, end)
        edges = self.project(s[None], np.array([[left], [right]]), above)
        return np.concatenate([edges[0], edges[1][::-1]])


def surfaces(view: Viewpoint, road: Road, depth: np.ndarray) -> np.ndarray:
    """(H, W) int32 ground faces; `depth` is that of the ground at level 0."""
    face = np.full(view.camera.size_hw, SKY, np.int32)
    face[depth * view.camera.rays[2] < view.sight] = {
        "grass": TERRAIN,
        "paving": TERRAIN,
        "lot": LOT,
    }[road.beyond]
    far = view.s + view.sight
    if road.walk:
        outer = YARD if road.beyond == "grass" else WALK
        for sign, edge in ((-1, road.left), (1, road.right)):
            a, b = edge + sign * road.walk, edge + sign * 90
            fill(face, view.strip(min(a, b), max(a, b), view.s, far, CURB_HEIGHT), outer)
            a, b = edge, edge + sign * road.walk
            fill(face, view.strip(min(a, b), max(a, b), view.s, far, CURB_HEIGHT), WALK)
    fill(face, view.strip(road.left, road.right, view.s, far), ROAD)
    for crossing in road.crossings:
        if crossing.width and view.ahead(crossing.s, crossing.s + crossing.width):
            fill(face, view.strip(-90, 90, crossing.s, crossing.s + crossing.width), ROAD)
    return face


def curbs(view: Viewpoint, road: Road) -> np.ndarray:
    """(F, 4, 3) world quads of the kerb faces, left and right."""
    if not road.walk:
        return np.zeros((0, 4, 3), np.float32)
    quads = []
    solid = [c for c in road.crossings if c.width]
    for start, end in Road(road.scene, [], [], (True, True), 0, "grass", solid).spans(
        view.s + START, view.s + 70
    ):
        s = view.steps(start, end, 14) - view.s
        for t in (road.left, road.right):
            foot = view.curve.place(s, np.full_like(s, t - view.t))
            top = foot + np.array([0, CURB_HEIGHT, 0], np.float32)
            quads.append(np.stack([foot[:-1], foot[1:], top[1:], top[:-1]], axis=1))
    return np.concatenate(quads) if quads else np.zeros((0, 4, 3), np.float32)


def _widened(left: np.ndarray, right: np.ndarray, least: float) -> np.ndarray:
    """Outline between two edges, at least `least` pixels wide everywhere."""
    middle = (left + right) / 2
    half = np.maximum(np.abs(right - left).max(-1), least)[:, None] / 2
    out = (right - left) / np.maximum(np.linalg.norm(right - left, axis=-1, keepdims=True), 1e-6)
    a = np.where(half * 2 > np.abs(right - left).max(-1, keepdims=True), middle - out * half, left)
    b = np.where(half * 2 > np.abs(right - left).max(-1, keepdims=True), middle + out * half, right)
    return np.concatenate([a, b[::-1]])


class MarkingPainter:
    """Draws markings and, from the same geometry, the lane byte."""

    def __init__(self, view: Viewpoint, road: Road) -> None:
        self.view, self.road = view, road
        size = view.camera.size_hw
        self.marks = np.zeros((*size, 4), np.uint8)  # premultiplied BGR, alpha
        self.lane = np.full(size, LANE_BACKGROUND, np.uint8)
        self.least = 1.7 * size[0] / 384

    def paint(self, pixels: np.ndarray, colour: tuple[float, float, float]) -> None:
        b, g, r = (255 * c for c in colour)
        fill(self.marks, pixels, (b, g, r, 255), smooth=True)

    def stain(self, stain: Stain) -> None:
        b, g, r = (255 * stain.cover * c for c in stain.colour)
        outline = self.view.project(stain.s, stain.t)
        fill(self.marks, outline, (b, g, r, 255 * stain.cover), smooth=True)

    def label(self, left: np.ndarray, right: np.ndarray, value: int) -> None:
        fill(self.lane, _widened(left, right, self.least), value)

    def everything(self) -> None:
        view, road = self.view, self.road
        far = view.s + view.sight
        for stain in road.stains:
            if view.ahead(float(stain.s.min()), float(stain.s.min())):
                self.stain(stain)
        spans = road.spans(view.s, far)
        for line in road.lines:
            for start, end in spans:
                self.line(line, start, end)
        if road.walk or any(road.curbs):
            for t, curb in zip((road.left, road.right), road.curbs, strict=True):
                if curb:
                    self.curb(t, far)
        for s, near, end in road.bays:
            if view.ahead(s, s + 0.1):
                self.across(s, 0.1, near, end, WHITE, lane_byte("single white", vertical=True))
        for crossing in road.crossings:
            self.crossing(crossing)

    def line(self, line: RoadLine, start: float, end: float) -> None:
        view = self.view
        if not view.ahead(start, end):
            return
        s = view.steps(start, end)
        edges = view.project(s[None], np.array([[line.t - line.half], [line.t + line.half]]))
        self.label(edges[0], edges[1], lane_byte(line.category, line.dashed))
        stripes = [(-line.half, line.half)]
        if line.double:
            w = line.width
            stripes = [(-1.5 * w, -0.5 * w), (0.5 * w, 1.5 * w)]
        for a, b in stripes:
            if not line.dashed:
                edge = view.project(s[None], line.t + np.array([[a], [b]]))
                self.paint(np.concatenate([edge[0], edge[1][::-1]]), line.colour)
                continue
            self._dashes(line, a, b, start, end)

    def _dashes(self, line: RoadLine, a: float, b: float, start: float, end: float) -> None:
        view, (paint, gap) = self.view, line.period
        first = np.floor(max(start, view.s) / (paint + gap)) * (paint + gap)
        begin = np.arange(first, min(end, view.s + min(view.sight, 160)), paint + gap)
        ends = np.clip(np.stack([begin, begin + paint / 2, begin + paint]), start, end)
        ends = ends[:, (ends[2] - view.s > START) & (ends[2] > ends[0])]
        corners = view.project(
            ends[None], (line.t + np.array([a, b]))[:, None, None]
        )  # (2, 3, N, 2)
        for i in range(corners.shape[2]):
            outline = np.concatenate([corners[0, :, i], corners[1, ::-1, i]])
            self.paint(outline, line.colour)

    def curb(self, t: float, far: float) -> None:
        solid = [c for c in self.road.crossings if c.width]
        plain = Road(self.road.scene, [], [], (True, True), 0, "grass", solid)
        sign = 1 if t > 0 else -1
        for start, end in plain.spans(self.view.s, far):
            if not self.view.ahead(start, end):
                continue
            s = self.view.steps(start, end)
            raised = CURB_HEIGHT if self.road.walk else 0.0
            foot = self.view.project(s, np.float32(t - sign * 0.06))
            top = self.view.project(s, np.float32(t + sign * 0.12), raised)
            if self.road.walk:
                self.paint(np.concatenate([
                    self.view.project(s, np.float32(t), raised), top[::-1],
                ]), (0.5, 0.51, 0.52))  # fmt: skip
            self.label(foot, top, lane_byte("road curb"))

    def across(
        self,
        s: float,
        depth: float,
        left: float,
        right: float,
        colour: tuple[float, float, float],
        value: int,
        show: bool = True,
    ) -> None:
        """A band across the road, s .. s + depth."""
        t = np.linspace(left, right, 6, dtype=np.float32)
        if s - self.view.s < START:
            return
        near, end = self.view.project(np.float32(s), t), self.view.project(np.float32(s + depth), t)
        if show:
            self.paint(np.concatenate([near, end[::-1]]), colour)
        fill(self.lane, _widened(near, end, self.least), value)

    def crossing(self, crossing: Crossing) -> None:
        places = [(crossing.s - 3.6, crossing.zebra)]
        if crossing.far_zebra:
            places.append((crossing.s + crossing.width + 0.6, crossing.zebra))
        for s, zebra in places:
            if zebra and self.view.ahead(s, s + 3):
                self._zebra(s, 3.0, zebra)
        if crossing.stop and self.view.ahead(crossing.s, crossing.s):
            left = min(
                lane.left for lane in self.road.lanes if lane.kind in ("direct", "alternative")
            )
            right = max(
                lane.right for lane in self.road.lanes if lane.kind in ("direct", "alternative")
            )
            s = crossing.s - (5.2 if crossing.zebra else 1.2)
            self.across(
                s, 0.45, left + 0.2, right - 0.2, WHITE, lane_byte("single white", vertical=True)
            )

    def _zebra(self, s: float, depth: float, style: str) -> None:
        left, right = self.road.left + 0.3, self.road.right - 0.3
        if style == "bars":
            t = np.arange(left, right - 0.5, 1.2, dtype=np.float32)
            corners = np.array([[s, s, s + depth, s + depth]], np.float32)
            across = np.stack([t, t + 0.6, t + 0.6, t], axis=1)
            if s - self.view.s > START:
                for outline in self.view.project(corners, across):
                    self.paint(outline, WHITE)
        value = lane_byte("crosswalk", vertical=True)
        for at in (s - 0.1, s + depth - 0.1):
            self.across(at, 0.25, left, right, WHITE, value, show=style == "lines")


def drivable(view: Viewpoint, lanes: list[LaneStrip], stops: list[float]) -> np.ndarray:
    """(H, W) uint8 0 direct, 1 alternative, 2 background; `stops` are the ends of the lanes."""
    out = np.full(view.camera.size_hw, 2, np.uint8)
    for kind, value in (("alternative", 1), ("direct", 0)):
        for lane, stop in zip(lanes, stops, strict=True):
            if lane.kind == kind and view.ahead(view.s, stop):
                fill(out, view.strip(lane.left, lane.right, view.s, stop), value)
    return out
