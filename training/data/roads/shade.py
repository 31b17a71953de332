"""Colours the face buffer: textures, sun, lamps, sky, fog. Images are float32 BGR, 1 = white."""

import cv2
import numpy as np

from training.data.roads import textures
from training.data.roads.atmosphere import Atmosphere
from training.data.roads.gbuffer import Painted
from training.data.roads.ground import GROUND_FACES, LOT, ROAD, SKY, TERRAIN, View
from training.data.roads.mesh import CLASS


def ground_rows(
    beyond: str, air: Atmosphere, tone: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours, tiles and classes of the ground faces; `tone` brightens the asphalt."""
    asphalt = np.array([0.34, 0.335, 0.33]) * tone * (1 - 0.4 * air.wet)
    walk = np.array([0.52, 0.54, 0.56]) * (1 - 0.3 * air.wet)
    grass = np.array([0.16, 0.33, 0.27])
    outer = grass if beyond == "grass" else walk * 0.9
    snow = np.array([0.86, 0.84, 0.82])
    white = air.snow
    colours = np.stack([
        np.zeros(3),
        outer * (1 - white) + snow * white,
        asphalt * (1 - 0.35 * white) + snow * 0.35 * white,
        walk * (1 - 0.7 * white) + snow * 0.7 * white,
        asphalt * 0.95,
        grass * (1 - white) + snow * white,
    ])  # fmt: skip
    tile = textures.TILES
    green = tile["grass"] if beyond == "grass" else tile["paving"]
    tiles = np.array(
        [tile["flat"], green, tile["asphalt"], tile["paving"], tile["asphalt"], tile["grass"]]
    )
    terrain = CLASS["terrain"] if beyond == "grass" else CLASS["sidewalk"]
    classes = [
        CLASS["sky"],
        terrain,
        CLASS["road"],
        CLASS["sidewalk"],
        CLASS["road"],
        CLASS["terrain"],
    ]
    return colours, tiles, np.array(classes, np.uint8)


def _texture(
    painted: Painted, view: View, depth: np.ndarray, place: np.ndarray, ground: np.ndarray
) -> np.ndarray:
    """(H, W, 2) brightness and lit windows, 1 = neutral."""
    faces, face = painted.faces, painted.face
    density = np.array(textures.DENSITY, np.float32)[faces.tiles]
    n = faces.normals
    level = np.abs(n[:, 1]) > 0.75
    length = np.maximum(np.hypot(n[:, 0], n[:, 2]), 1e-6)
    ux = np.where(level, 1, n[:, 2] / length) * density
    uz = np.where(level, 0, -n[:, 0] / length) * density
    vy = np.where(level, 0, -1) * density
    vz = np.where(level, 1, 0) * density
    u0 = -(ux * faces.origins[:, 0] + uz * faces.origins[:, 2])
    v0 = -(vy * faces.origins[:, 1] + vz * faces.origins[:, 2])
    u0[:GROUND_FACES] += view.t * density[:GROUND_FACES]
    v0[:GROUND_FACES] += (view.s % 64) * density[:GROUND_FACES]
    table = np.stack([ux, uz, u0, vy, vz, v0], 0).astype(np.float32)
    x, y, z = place
    x = np.where(ground, x - view.curve.shift(z), x)
    u = table[0].take(face) * x + table[1].take(face) * z + table[2].take(face)
    v = table[3].take(face) * y + table[4].take(face) * z + table[5].take(face)
    foot = depth * (1 / view.camera.focal)
    foot = np.where(ground, foot * np.maximum(1, 0.35 * depth), foot)
    texels = foot * density.take(face)
    mip = np.clip(np.log2(np.maximum(texels, 1e-3)) + 0.3, 0, textures.LEVELS - 1).astype(np.int32)
    shrink = (1.0 / (1 << np.arange(textures.LEVELS))).astype(np.float32).take(mip)
    rows = np.array([textures.level_row(l) for l in range(textures.LEVELS)], np.float32).take(mip)
    size = textures.TILE
    tile = faces.tiles.astype(np.float32).take(face)
    map_x = ((u - np.floor(u * (1 / size)) * size) * (1 - 1 / size) + tile * size) * shrink
    map_y = (v - np.floor(v * (1 / size)) * size) * (1 - 1 / size) * shrink + rows
    return cv2.remap(textures.atlas(), map_x, map_y, cv2.INTER_LINEAR)


def sky(view: View, air: Atmosphere) -> np.ndarray:
    """(H, W, 3) the whole sky, also behind things."""
    rx, ry, rz = view.camera.rays
    up = np.maximum(ry / np.maximum(rz, 0.1), 0)
    mix = np.clip(up * 2.2, 0, 1) ** 0.6
    out = air.horizon + (air.zenith - air.horizon) * mix[..., None]
    if air.clouds > 0.02:
        plane = 90 / (up + 0.12)
        map_x = np.mod(rx * plane + air.cloud_shift[0] + 40 * view.curve.yaw, 511)
        map_y = np.mod(plane * 1.4 + air.cloud_shift[1], 511)
        density = cv2.remap(textures.noise(51), map_x, map_y, cv2.INTER_LINEAR)
        cover = (
            np.clip((density - (1 - air.clouds)) * 3.2, 0, 1)
            if air.clouds < 0.99
            else 0.55 * density
        )
        shade = air.cloud_colour * (1 if air.clouds < 0.99 else 0.8)
        out += (shade * (1.12 - 0.3 * density[..., None]) - out) * (0.85 * cover)[..., None]
    if air.sun_colour.max() > 0.15:
        toward = np.tensordot(air.sun, view.camera.rays, 1) / np.sqrt(rx * rx + ry * ry + rz * rz)
        halo = np.clip(toward, 0, 1)
        out += air.sun_colour * (0.35 * halo**24 + 1.5 * halo**900)[..., None]
    return out.astype(np.float32)


def _night_light(
    view: View, air: Atmosphere, lamps: np.ndarray, place: np.ndarray, indoor: bool
) -> np.ndarray:
    """(H, W, 3) light of the own head lamps and of street lamps, worked out at quarter size."""
    h, w = view.camera.size_hw
    x, y, z = (np.ascontiguousarray(c[::4, ::4]) for c in place)
    z = np.clip(z, 0, 400)
    out = np.zeros((*x.shape, 3), np.float32)
    if air.lamps:
        across = x - view.curve.shift(z) * 0.5
        beam = np.exp(-((across / (1.6 + 0.17 * z)) ** 2)) / (1 + (z / 17) ** 2)
        beam *= np.where(y > 0.9 + 0.006 * z, 0.35, 1.0) * np.clip(z / 4 - 0.4, 0, 1)
        out += (
            beam[..., None]
            * np.array([0.62, 0.72, 0.78], np.float32)
            * (1.1 if air.night else 0.25)
        )
        for lx, lz, reach in lamps:
            pool = np.exp(-(((x - lx) ** 2 + (z - lz) ** 2) / (2 * reach * reach)))
            out += (
                pool[..., None]
                * np.array([0.2, 0.33, 0.42], np.float32)
                * (1.0 if air.night else 0.3)
            )
    if indoor:
        out += (0.5 + 0.12 * np.cos(z * 0.628))[..., None] * np.array(
            [0.42, 0.55, 0.62], np.float32
        )
    return cv2.resize(out, (w, h), interpolation=cv2.INTER_LINEAR)


def shade(painted: Painted, view: View, air: Atmosphere, depth: np.ndarray, marks: np.ndarray,
          shadow: np.ndarray, lamps: np.ndarray, indoor: bool) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The lit image and the light that things give off, both (H, W, 3)."""
    faces, face = painted.faces, painted.face
    ground = (face > SKY) & (face < GROUND_FACES)
    finite = np.minimum(depth, 1000.0)
    rays = view.camera.rays
    place = finite * rays
    place[1] += view.camera.height
    tex = _texture(painted, view, finite, place, ground)
    up = faces.normals[:, 1:2]
    direct = np.maximum(faces.normals @ air.sun, 0)[:, None] * air.sun_colour
    light = air.ambient * (0.78 + 0.22 * up)
    lit = (faces.colours * (light + direct)).astype(np.float32)
    image = lit.take(face, axis=0)
    # The ground once more: markings, wear, shadows.
    image = _ground(
        image, painted, view, air, place, marks, shadow, ground, light[ROAD], direct[ROAD], tex
    )
    image *= (tex[..., :1].astype(np.float32)) * (1 / 128)
    if air.lamps or indoor:
        extra = _night_light(view, air, lamps, place, indoor)
        albedo = image / (air.ambient + 0.02)
        image += np.minimum(albedo, 1.0) * extra
    glow = (faces.glow * (1.0 if air.lamps else 0.6)).astype(np.float32).take(face, axis=0)
    if air.lamps:
        window = tex[..., 1:].astype(np.float32) * (1 / 255)
        glow += window * np.array([0.4, 0.66, 0.85], np.float32) * (0.75 if air.night else 0.45)
    return image, glow


def _ground(image: np.ndarray, painted: Painted, view: View, air: Atmosphere, place: np.ndarray, marks: np.ndarray,
            shadow: np.ndarray, ground: np.ndarray, ambient: np.ndarray, direct: np.ndarray, tex: np.ndarray) -> np.ndarray:  # fmt: skip
    top = int(np.argmax(ground.any(1)))
    rows = slice(top, None)
    x, z = place[0, rows], place[2, rows]
    t = x - view.curve.shift(z)
    patch = cv2.remap(
        textures.noise(52),
        np.mod((t + view.t) * 9, 511),
        np.mod((z + view.s % 512) * 3.5, 511),
        cv2.INTER_LINEAR,
    )
    tracks = 1 - 0.06 * np.cos(np.clip(t + view.t, -3, 3) * 4.2)
    cover = marks[rows, :, 3:].astype(np.float32) * (1 / 255)
    worn = np.clip(1.25 - 0.6 * patch, 0, 1)[..., None] * (1 - 0.55 * air.snow)
    light = ambient + direct
    paint = marks[rows, :, :3].astype(np.float32) * (1 / 255) * light * (1 - 0.25 * air.wet)
    part = image[rows]
    flat = ground[rows]
    mixed = part * ((0.78 + 0.44 * patch) * tracks)[..., None]
    if air.snow:
        drift = np.clip((patch - 0.55 + 0.35 * air.snow) * 4, 0, 1) * air.snow
        mixed += (0.82 * light - mixed) * (drift * 0.8)[..., None]
    mixed = mixed * (1 - cover * worn) + paint * worn
    dark = ambient / np.maximum(light, 1e-3)
    sun_gone = 1 - (shadow[rows].astype(np.float32) * (1 / 255))[..., None] * np.where(
        direct.max() > 0.05, 1 - dark * 0.9, 0.75
    )
    image[rows] = np.where(flat[..., None], mixed * sun_gone, part)
    return image


def compose(
    image: np.ndarray,
    glow: np.ndarray,
    painted: Painted,
    view: View,
    air: Atmosphere,
    depth: np.ndarray,
) -> np.ndarray:
    """Sky, fog, reflections on wet ground and the bloom of lights."""
    behind = sky(view, air)
    clear = np.exp(-air.fog * np.minimum(depth, 1e4))[..., None]
    image = image * clear + air.fog_colour * (1 - clear)
    open_sky = (painted.face == SKY)[..., None]
    image = np.where(open_sky, behind, image)
    glow = glow * np.maximum(clear, 0.25)
    if air.wet:
        _reflect(image, glow, painted, view, air)
    h, w = image.shape[:2]
    small = cv2.resize(glow, (w // 4, h // 4), interpolation=cv2.INTER_AREA)
    strength = 1.0 if air.night else 0.5
    wide = cv2.GaussianBlur(small, (0, 0), 1.6) * 0.9 + cv2.GaussianBlur(small, (0, 0), 9) * (
        0.8 + 6 * air.fog
    )
    image += glow + cv2.resize(wide, (w, h), interpolation=cv2.INTER_LINEAR) * strength
    return image


def _reflect(
    image: np.ndarray, glow: np.ndarray, painted: Painted, view: View, air: Atmosphere
) -> None:
    """Adds the mirrored upper half, smeared downwards, to wet asphalt."""
    h = image.shape[0]
    line = int(np.clip(view.camera.horizon(), 8, h - 8))
    below = h - line
    mirror = (image + 0.7 * glow)[max(0, line - below) : line][::-1]
    mirror = cv2.blur(mirror, (3, 25))
    rows = slice(line, line + len(mirror))
    road = painted.face[rows]
    wet = ((road == ROAD) | (road == LOT) | (road == TERRAIN)).astype(np.float32)[..., None]
    fade = np.linspace(0.42, 0.12, len(mirror), dtype=np.float32)[:, None, None]
    image[rows] += (mirror - image[rows]) * (wet * fade * air.wet)
