"""Renders one frame of a drive: geometry, colours, labels."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from training.data.labels import Label
from training.data.roads import effects, gbuffer, ground, shade, structures
from training.data.roads.camera import Viewpoint
from training.data.roads.mesh import Thing
from training.data.roads.truth import LabelledObject, Truth
from training.data.roads.world import Drive


@dataclass
class RenderedFrame:
    """An image, its labels by task, and its objects with track ids (-1 for fixtures).

    The things of its drive move on with the next frame.
    """

    image: np.ndarray
    labels: dict[str, Label]
    found: list[LabelledObject]
    drive: Drive
    view: Viewpoint


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
    view, road, air = drive.view(s), drive.road, drive.air
    indoor = road.scene == "tunnel"
    flat = view.camera.ground_depth(view.curve)
    marker = ground.MarkingPainter(view, road)
    marker.everything()
    hedge = Thing(structures.hedge(), s + view.sight - 1.0, view.t, None)  # where sight ends
    things = gbuffer.visible([hedge, *drive.things], view)
    painted = gbuffer.paint(
        ground.surfaces(view, road, flat),
        shade.ground_faces(air, drive.tone),
        ground.curbs(view, road) + things,
        view,
    )
    depth = gbuffer.depth(painted, view, flat, road.kerb)
    sunny = air.sun_colour.max() > 0.05 and not indoor
    shadow = ground.shadows(view, things, air.sun if sunny else None)
    lamps = _lamps(things, view)
    scene = shade.Shader(painted, view, air, indoor, depth, marker.marks, shadow, lamps).scene()
    image, hidden = effects.develop(scene, painted.face, drive.device, air, rng)
    truth = Truth(drive, view, things, painted, depth, marker.lane, hidden)
    labels: dict[str, Label] = {task: getattr(truth, task)() for task in tasks}
    return RenderedFrame(image, labels, truth.objects, drive, view)
