"""Renders one frame of a drive: geometry, colours, labels."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np

from training.data.labels import Label
from training.data.roads import effects, gbuffer, shade, truth
from training.data.roads.atmosphere import Atmosphere
from training.data.roads.effects import DashCam
from training.data.roads.ground import (
    GROUND_FACES,
    WALK,
    YARD,
    MarkingPainter,
    Viewpoint,
    curbs,
    drivable,
    surfaces,
)
from training.data.roads.layout import CURB_HEIGHT, LaneStrip, Road
from training.data.roads.mesh import Thing
from training.data.roads.shadows import shadows


@dataclass
class Moment:
    """Everything that one frame is rendered from."""

    road: Road
    things: list[Thing]
    air: Atmosphere
    device: DashCam
    view: Viewpoint
    attributes: dict[str, str]
    tone: float = 1.0
    indoor: bool = False


@dataclass
class RenderedFrame:
    """An image, its labels by task, and its objects with track ids."""

    image: np.ndarray
    labels: dict[str, Label]
    found: list[truth.LabelledObject] = field(default_factory=list)


def _stops(lanes: list[LaneStrip], things: list[Thing], view: Viewpoint) -> list[float]:
    """Per lane the position s at which an object blocks it, or the end of sight."""
    out = []
    for lane in lanes:
        stop = view.s + view.sight
        for thing in things:
            if not thing.blocks or thing.shadow is None or thing.s < view.s + 1:
                continue
            length, width, _ = thing.shadow
            if abs(np.sin(thing.yaw or 0)) > 0.7:
                length, width = width, length
            if thing.t + width / 2 > lane.left + 0.3 and thing.t - width / 2 < lane.right - 0.3:
                stop = min(stop, thing.s - length / 2)
        out.append(stop)
    return out


def _depth(painted: gbuffer.GBuffer, view: Viewpoint, flat: np.ndarray) -> np.ndarray:
    """(H, W) metres along the optical axis, inf in the sky."""
    face = painted.face
    inverse = gbuffer.inverse_depth(painted, view.camera)
    depth = 1 / np.maximum(inverse, 1e-6)
    ground = face < GROUND_FACES
    depth = np.where(ground, flat, depth)
    raised = np.flatnonzero((face == WALK) | (face == YARD))
    if len(raised):
        depth.ravel()[raised] = view.camera.ground_depth(view.curve, CURB_HEIGHT, raised)
    return np.where(face == 0, np.inf, depth).astype(np.float32)


def _lamps(things: list[Thing], view: Viewpoint) -> np.ndarray:
    lit = [t for t in things if t.lamp and -5 < t.s - view.s < 120]
    s = np.array([t.s for t in lit], np.float32) - view.s
    t = np.array([t.t for t in lit], np.float32) - view.t
    return (
        np.stack([t + view.curve.shift(s), s, [x.lamp for x in lit]], 1)
        if lit
        else np.zeros((0, 3))
    )


def render(moment: Moment, tasks: Collection[str], rng: np.random.Generator) -> RenderedFrame:
    """Renders the frame, with labels for `tasks` only."""
    view, road, air = moment.view, moment.road, moment.air
    camera = view.camera
    flat = camera.ground_depth(view.curve)
    marker = MarkingPainter(view, road)
    marker.everything()
    things = gbuffer.visible(moment.things, view)
    kerbs = curbs(view, road)
    ground = shade.ground_faces(road.beyond, air, moment.tone)
    faces, vertices = gbuffer.assemble(ground, kerbs, things, view)
    painted = gbuffer.paint(surfaces(view, road, flat), things, faces, vertices, camera)
    depth = _depth(painted, view, flat)
    sunny = air.sun_colour.max() > 0.05 and not moment.indoor
    shadow = shadows(view, things, air.sun if sunny else None)
    lamps = _lamps(things, view)
    lit, glow = shade.shade(painted, view, air, depth, marker.marks, shadow, lamps, moment.indoor)
    scene = shade.compose(lit, glow, painted, view, air, depth)
    hidden = effects.bonnet_mask(moment.device, camera.size_hw)
    hidden |= effects.clutter_mask(moment.device, camera.size_hw)
    image = effects.develop(scene, painted.face, moment.device, air, rng)
    found = truth.objects(painted, hidden)
    make: dict[str, Callable[[], Label]] = {
        "det": lambda: truth.boxes(found, camera.size_hw),
        "drivable": lambda: truth.drivable(
            drivable(view, road.lanes, _stops(road.lanes, things, view)), painted, hidden
        ),
        "lane": lambda: truth.lane(marker.lane, painted, len(kerbs), hidden),
        "scene": lambda: truth.scene(moment.attributes),
        "semantic": lambda: truth.semantic(painted, hidden),
        "depth": lambda: truth.depth(depth, painted, hidden),
        "normals": lambda: truth.normals(
            painted, camera, view.curve, depth * camera.rays[2], hidden
        ),
    }
    return RenderedFrame(image, {task: make[task]() for task in tasks}, found)
