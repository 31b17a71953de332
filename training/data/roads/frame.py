"""Renders one frame of a drive: geometry, colours, labels."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from training.data.labels import Label
from training.data.roads import effects, gbuffer, ground, shade, truth
from training.data.roads.ground import MarkingPainter, Viewpoint
from training.data.roads.layout import LaneStrip
from training.data.roads.mesh import Thing
from training.data.roads.shadows import shadows
from training.data.roads.world import Drive


@dataclass
class RenderedFrame:
    """An image, its labels by task, and its objects with track ids (-1 for fixtures).

    The things of its drive move on with the next frame.
    """

    image: np.ndarray
    labels: dict[str, Label]
    found: list[truth.LabelledObject]
    drive: Drive
    view: Viewpoint


def _stops(lanes: list[LaneStrip], things: list[Thing], view: Viewpoint) -> list[float]:
    """Per lane the position s at which an object blocks it, or the end of sight."""
    blocked = []  # left, right, s of objects ahead
    for thing in things:
        if thing.blocks and thing.s >= view.s + 1:
            along, across = thing.half
            blocked.append((thing.t - across, thing.t + across, thing.s - along))
    far = view.s + view.sight
    return [
        min([s for a, b, s in blocked if b > lane.left + 0.3 and a < lane.right - 0.3] + [far])
        for lane in lanes
    ]


def _depth(painted: gbuffer.GBuffer, view: Viewpoint, flat: np.ndarray, kerb: float) -> np.ndarray:
    """(H, W) metres along the optical axis, inf in the sky; `flat` is the depth of the ground."""
    face = painted.face
    depth = 1 / np.maximum(gbuffer.inverse_depth(painted, view.camera), 1e-6)
    depth = np.where(face < ground.GROUND_FACES, flat, depth)
    raised = np.flatnonzero((face == ground.WALK) | (face == ground.YARD))
    if len(raised):
        depth.ravel()[raised] = view.camera.ground_depth(view.curve, kerb, raised)
    return np.where(face == ground.SKY, np.inf, depth).astype(np.float32)


def _lamps(things: list[Thing], view: Viewpoint) -> np.ndarray:
    """(N, 3) lit lamps: x and z in the world frame, and the radius of their light."""
    lit = [(t.s, t.t, t.lamp) for t in things if t.lamp and -5 < t.s - view.s < 120]
    s, t, reach = np.array(lit, np.float32).reshape(-1, 3).T
    s, t = s - view.s, t - view.t
    return np.stack([t + view.curve.shift(s), s, reach], 1)


def render(
    drive: Drive, s: float, tasks: Collection[str], rng: np.random.Generator
) -> RenderedFrame:
    """Renders the frame `s` metres along the drive, with labels for `tasks` only."""
    road, air, device, camera = drive.road, drive.air, drive.device, drive.camera
    view = drive.view(s)
    indoor = road.scene == "tunnel"
    flat = camera.ground_depth(view.curve)
    marker = MarkingPainter(view, road)
    marker.everything()
    for hedge in drive.backdrop:
        hedge.s = s + view.sight - 1.0
    things = gbuffer.visible(drive.backdrop + drive.things, view)
    kerbs = ground.curbs(view, road)
    rows = shade.ground_faces(road.beyond, air, drive.tone)
    faces, vertices = gbuffer.assemble(rows, kerbs + things, view)
    surfaces = ground.surfaces(view, road, flat)
    painted = gbuffer.paint(surfaces, kerbs + things, faces, vertices, camera)
    depth = _depth(painted, view, flat, road.kerb)
    sunny = air.sun_colour.max() > 0.05 and not indoor
    shadow = shadows(view, things, air.sun if sunny else None)
    shader = shade.Shader(painted, view, air, depth, indoor)
    scene = shader.scene(marker.marks, shadow, _lamps(things, view))
    covers = (
        effects.bonnet_mask(device, camera.size_hw),
        effects.clutter_mask(device, camera.size_hw),
    )
    hidden = covers[0] | covers[1]
    image = effects.develop(scene, painted.face, covers, device, air, rng)
    found = truth.objects(painted, hidden)
    make: dict[str, Callable[[], Label]] = {
        "det": lambda: truth.boxes(found, camera.size_hw),
        "drivable": lambda: truth.drivable(
            ground.drivable(view, road.lanes, _stops(road.lanes, things, view)), painted, hidden
        ),
        "lane": lambda: truth.lane(marker.lane, painted, hidden),
        "scene": lambda: truth.scene(drive.attributes),
        "semantic": lambda: truth.semantic(painted, hidden),
        "depth": lambda: truth.depth(depth, hidden),
        "normals": lambda: truth.normals(painted, view, depth * camera.rays[2], hidden),
    }
    return RenderedFrame(image, {task: make[task]() for task in tasks}, found, drive, view)
