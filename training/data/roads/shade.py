"""Shades the G-buffer: textures, sun, lamps, sky, fog.

Images are float32 (3, H, W) planes of blue, green and red; 1 is white. Planes, because numpy
multiplies a plane by a plane several times faster than a plane by interleaved pixels.
"""

import cv2
import numpy as np

from training.data.roads import textures
from training.data.roads.atmosphere import Atmosphere
from training.data.roads.gbuffer import GBuffer
from training.data.roads.ground import GROUND_FACES, LOT, ROAD, SKY, TERRAIN, Viewpoint
from training.data.roads.mesh import CLASS, FACE

HEADLIGHT = (0.62, 0.72, 0.78)
STREETLIGHT = (0.2, 0.33, 0.42)
TUNNEL = (0.42, 0.55, 0.62)
BAND = 48
WINDOW = (0.4, 0.66, 0.85)


def ground_faces(beyond: str, air: Atmosphere, tone: float) -> np.ndarray:
    """The FACE table of the ground; `tone` brightens the asphalt."""
    asphalt = np.array([0.34, 0.335, 0.33]) * tone * (1 - 0.4 * air.wet)
    walk = np.array([0.52, 0.54, 0.56]) * (1 - 0.3 * air.wet)
    grass = np.array([0.16, 0.33, 0.27])
    outer = (grass, "grass", "terrain") if beyond == "grass" else (walk * 0.9, "paving", "sidewalk")
    # colour, texture, class, share that snow covers
    rows = (
        ((0, 0, 0), "flat", "sky", 0),
        (*outer, 1),
        (asphalt, "asphalt", "road", 0.35),
        (walk, "paving", "sidewalk", 0.7),
        (asphalt * 0.95, "asphalt", "road", 0),
        (grass, "grass", "terrain", 1),
    )
    faces = np.zeros(GROUND_FACES, FACE)
    faces["normal"] = (0, 1, 0)
    for face, (colour, tile, kind, covered) in zip(faces, rows, strict=True):
        white = covered * air.snow
        face["colour"] = np.multiply(colour, 1 - white) + np.multiply((0.86, 0.84, 0.82), white)
        face["tile"], face["kind"] = textures.TILES[tile], CLASS[kind]
    return faces


def _hangings(painted: GBuffer, view: Viewpoint) -> tuple[np.ndarray, np.ndarray]:
    """(6, F) u = a·x + b·z + c and v = d·y + e·z + f in texels, and texels per metre."""
    faces = painted.faces
    density = np.array(textures.DENSITY, np.float32)[faces["tile"]]
    nx, ny, nz = faces["normal"].T
    x, y, z = faces["origin"].T
    level = np.abs(ny) > 0.75
    length = np.maximum(np.hypot(nx, nz), 1e-6)
    ux = np.where(level, 1, nz / length) * density
    uz = np.where(level, 0, -nx / length) * density
    vy = np.where(level, 0, -1) * density
    vz = np.where(level, 1, 0) * density
    u0 = -(ux * x + uz * z)
    v0 = -(vy * y + vz * z)
    u0[:GROUND_FACES] += view.t * density[:GROUND_FACES]
    v0[:GROUND_FACES] += (view.s % 64) * density[:GROUND_FACES]
    return np.stack([ux, uz, u0, vy, vz, v0]).astype(np.float32), density


def _bands(height: int) -> list[slice]:
    """Bands of rows, small enough for their planes to stay in the CPU cache."""
    return [slice(top, top + BAND) for top in range(0, height, BAND)]


def _texture(
    painted: GBuffer, view: Viewpoint, depth: np.ndarray, place: np.ndarray, ground: np.ndarray
) -> np.ndarray:
    """(H, W, 2) uint8: brightness (128 = neutral) and emission of lit windows."""
    size, atlas = textures.TILE, textures.atlas()
    table, density = _hangings(painted, view)
    tiles = (painted.faces["tile"] * size).astype(np.float32)
    shrinks = (1.0 / (1 << np.arange(textures.LEVELS))).astype(np.float32)
    out = np.empty((*painted.face.shape, 2), np.uint8)
    for rows in _bands(len(out)):
        face, flat, far = painted.index[rows], ground[rows], depth[rows]
        x, y, z = place[:, rows]
        x = x - flat * view.curve.shift(z)
        u = table[0].take(face) * x + table[1].take(face) * z + table[2].take(face)
        v = table[3].take(face) * y + table[4].take(face) * z + table[5].take(face)
        # The ground is seen at a grazing angle: one pixel covers more of it.
        texels = far * density.take(face) * np.float32(1.25 / view.camera.focal)
        texels *= np.where(flat, np.maximum(1, np.float32(0.35) * far), 1)
        mip = (texels.view(np.int32) >> 23) - 126  # the exponent, as of frexp
        shrink = shrinks.take(np.minimum(np.maximum(mip, 0), textures.LEVELS - 1))
        wide = shrink * size - 1  # stay inside the tile: the next one may be emissive
        u *= 1 / size
        v *= 1 / size
        map_x = (u - np.floor(u)) * wide + tiles.take(face) * shrink
        map_y = (v - np.floor(v)) * wide + (1 - shrink) * (2 * size)  # textures.level_row
        out[rows] = cv2.remap(atlas, map_x, map_y, cv2.INTER_LINEAR)
    return out


def _cloud_cover(
    view: Viewpoint, air: Atmosphere, rx: np.ndarray, up: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cover and density of the clouds per ray, on a plane high above."""
    plane = 90 / (up + 0.12)
    map_x = rx * plane + np.float32(air.cloud_shift[0] + 40 * view.curve.yaw)
    map_y = plane * 1.4 + np.float32(air.cloud_shift[1])
    density = cv2.remap(
        textures.noise(51), map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    if air.clouds < 0.99:
        return np.clip((density - (1 - air.clouds)) * 3.2, 0, 1) * 0.85, density
    return 0.47 * density, density


def sky(view: Viewpoint, air: Atmosphere) -> np.ndarray:
    """(3, H, W) the sky at every pixel, also behind things; computed at half size."""
    h, w = view.camera.size_hw
    rx, ry, rz = (np.ascontiguousarray(r[::2, ::2]) for r in view.camera.rays)
    up = np.maximum(ry / np.maximum(rz, 0.1), 0)
    mix = np.sqrt(np.minimum(up * 1.8, 1))
    out = np.stack([a + (b - a) * mix for a, b in zip(air.horizon, air.zenith, strict=True)])
    if air.clouds > 0.02:
        cover, density = _cloud_cover(view, air, rx, up)
        shade = (1.12 - 0.3 * density) * (1 if air.clouds < 0.99 else 0.8)
        for c in range(3):
            out[c] += (shade * air.cloud_colour[c] - out[c]) * cover
    if air.sun_colour.max() > 0.15:
        sun = air.sun
        toward = sun[0] * rx + sun[1] * ry + sun[2] * rz
        toward = np.maximum(toward, 0) / np.sqrt(rx * rx + ry * ry + rz * rz)
        halo = 0.35 * np.exp(24 * (toward - 1)) + 1.5 * np.exp(900 * (toward - 1))
        for c in range(3):
            out[c] += air.sun_colour[c] * halo
    return np.stack([cv2.resize(c.astype(np.float32), (w, h)) for c in out])


def _night_light(
    view: Viewpoint, air: Atmosphere, lamps: np.ndarray, place: np.ndarray, indoor: bool
) -> np.ndarray:
    """(3, H, W) light of the own head lamps and of street lamps, computed at quarter size."""
    h, w = view.camera.size_hw
    x, y, z = (np.ascontiguousarray(c[::4, ::4]) for c in place)
    z = np.clip(z, 0, 400)
    out = np.zeros((3, *x.shape), np.float32)
    if air.lamps:
        across = x - view.curve.shift(z) * 0.5
        beam = np.exp(-((across / (1.6 + 0.17 * z)) ** 2)) / (1 + (z / 17) ** 2)
        beam *= np.where(y > 0.9 + 0.006 * z, 0.35, 1.0) * np.clip(z / 4 - 0.4, 0, 1)
        beam *= 1.1 if air.night else 0.25
        pools = np.zeros_like(x)
        for lx, lz, reach in lamps.tolist():
            pools += np.exp(((x - lx) ** 2 + (z - lz) ** 2) * (-0.5 / (reach * reach)))
        pools *= 1.0 if air.night else 0.3
        for c in range(3):
            out[c] = beam * HEADLIGHT[c] + pools * STREETLIGHT[c]
    if indoor:
        for c in range(3):
            out[c] += (0.5 + 0.12 * np.cos(z * 0.628)) * TUNNEL[c]
    return np.stack([cv2.resize(c, (w, h)) for c in out])


def shade(
    painted: GBuffer,
    view: Viewpoint,
    air: Atmosphere,
    depth: np.ndarray,
    marks: np.ndarray,
    shadow: np.ndarray,
    lamps: np.ndarray,
    indoor: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """The lit image and the emitted light, both (3, H, W)."""
    faces, face = painted.faces, painted.index
    ground = (face > SKY) & (face < GROUND_FACES)
    finite = np.minimum(depth, 1000.0)
    place = finite * view.camera.rays
    place[1] += view.camera.height
    texture = _texture(painted, view, finite, place, ground)
    direct = np.maximum(faces["normal"] @ air.sun, 0)[:, None] * air.sun_colour
    light = air.ambient * (0.78 + 0.22 * faces["normal"][:, 1:2])
    lit = np.ascontiguousarray((faces["colour"] * (light + direct)).T.astype(np.float32))
    image = np.stack([channel.take(face) for channel in lit])
    first = int(np.argmax(ground.any(1))) if ground.any() else len(ground)
    for rows in _bands(len(ground)):
        if rows.stop > first:
            parts = image[:, rows], place[:, rows], marks[rows], shadow[rows], ground[rows]
            _ground(*parts, view, air, light[ROAD], direct[ROAD])
    image *= texture[..., 0] * np.float32(1 / 128)
    if air.lamps or indoor:
        extra = _night_light(view, air, lamps, place, indoor)
        for c in range(3):
            albedo = np.minimum(image[c] * np.float32(1 / (air.ambient[c] + 0.02)), 1.0)
            image[c] += albedo * extra[c]
    return image, _glow(painted, air, texture)


def _glow(painted: GBuffer, air: Atmosphere, texture: np.ndarray) -> np.ndarray:
    """(3, H, W) light emitted by lamps and lit windows."""
    table = painted.faces["glow"] * np.float32(1.0 if air.lamps else 0.6)
    shining = np.flatnonzero(table.any(1).take(painted.index))
    glow = np.zeros((3, *painted.face.shape), np.float32)
    glow.reshape(3, -1)[:, shining] = table[painted.index.ravel()[shining]].T
    if air.lamps:
        window = texture[..., 1] * np.float32((0.75 if air.night else 0.45) / 255)
        for c in range(3):
            glow[c] += window * np.float32(WINDOW[c])
    return glow


def _ground(
    image: np.ndarray,
    place: np.ndarray,
    marks: np.ndarray,
    shadow: np.ndarray,
    ground: np.ndarray,
    view: Viewpoint,
    air: Atmosphere,
    ambient: np.ndarray,
    direct: np.ndarray,
) -> None:
    """Adds patches, wheel tracks, snow, markings and shadows to rows of the ground, in place."""
    z = place[2]
    t = place[0] - view.curve.shift(z) + np.float32(view.t)
    patch = cv2.remap(
        textures.noise(52), t * 9 + 256, (z + np.float32(view.s % 512)) * 3.5, cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )  # fmt: skip
    wear = (0.78 + 0.44 * patch) * (1 - 0.06 * np.cos(np.clip(t, -3, 3) * 4.2))
    fade = np.clip(1.25 - 0.6 * patch, 0, 1) * np.float32((1 - 0.55 * air.snow) / 255)
    bare = 1 - marks[..., 3] * fade
    drift = np.clip((patch - 0.55 + 0.35 * air.snow) * 4, 0, 1) * np.float32(0.8 * air.snow)
    shadowed = shadow * np.float32(1 / 255)
    sunny = direct.max() > 0.05
    for c in range(3):
        light = float(ambient[c] + direct[c])
        mixed = image[c] * wear
        if air.snow:
            mixed += (0.82 * light - mixed) * drift
        mixed *= bare
        mixed += marks[..., c] * (fade * np.float32(light * (1 - 0.25 * air.wet)))
        gone = 1 - 0.9 * float(ambient[c]) / max(light, 1e-3) if sunny else 0.75
        mixed *= 1 - shadowed * np.float32(gone)
        np.copyto(image[c], mixed, where=ground)


def compose(
    image: np.ndarray,
    glow: np.ndarray,
    painted: GBuffer,
    view: Viewpoint,
    air: Atmosphere,
    depth: np.ndarray,
) -> np.ndarray:
    """Adds sky, fog, reflections on wet ground and bloom; (3, H, W)."""
    clear = np.exp(np.float32(-air.fog) * np.minimum(depth, np.float32(1e4)))
    open_sky = painted.face == SKY
    for c in range(3):
        image[c] -= air.fog_colour[c]
        image[c] *= clear
        image[c] += air.fog_colour[c]
    if open_sky.any():
        np.copyto(image, sky(view, air), where=open_sky)
    glow *= np.maximum(clear, 0.25)
    if air.wet:
        _reflect(image, glow, painted, view, air)
    h, w = image.shape[1:]
    strength = 1.0 if air.night else 0.3
    for c in range(3):
        small = cv2.resize(glow[c], (w // 4, h // 4), interpolation=cv2.INTER_AREA)
        wide = cv2.GaussianBlur(small, (0, 0), 1.6) * 0.9
        wide += cv2.GaussianBlur(small, (0, 0), 9) * (0.8 + 6 * air.fog)
        image[c] += glow[c]
        image[c] += cv2.resize(wide * strength, (w, h))
    if air.sun_colour.max() > 0.15 and air.sun[2] > 0.5 and air.sun[1] < 0.75:
        _glare(image, view, air)
    return image


def _glare(image: np.ndarray, view: Viewpoint, air: Atmosphere) -> None:
    """Adds the veiling glare of a low sun ahead."""
    h, w = image.shape[1:]
    rays = np.ascontiguousarray(view.camera.rays[:, ::8, ::8])
    toward = np.tensordot(air.sun, rays, 1) / np.sqrt((rays * rays).sum(0))
    veil = 0.5 * np.exp(7 * (toward - 1)) + 0.8 * np.exp(90 * (toward - 1))
    veil = cv2.resize(veil.astype(np.float32), (w, h))
    for c in range(3):
        image[c] += veil * np.float32(0.7 * air.sun_colour[c])


def _reflect(
    image: np.ndarray, glow: np.ndarray, painted: GBuffer, view: Viewpoint, air: Atmosphere
) -> None:
    """Adds the vertically blurred mirror image of the upper half to wet asphalt."""
    h = image.shape[1]
    line = int(np.clip(view.camera.horizon(), 8, h - 8))
    count = min(h - line, line)
    face = painted.face[line : line + count]
    wet = ((face == ROAD) | (face == LOT) | (face == TERRAIN)).astype(np.float32)
    wet *= np.linspace(0.42, 0.12, count, dtype=np.float32)[:, None] * np.float32(air.wet)
    for c in range(3):
        mirror = (image[c] + 0.7 * glow[c])[line - count : line][::-1]
        mirror = cv2.blur(np.ascontiguousarray(mirror), (3, 25))
        part = image[c, line : line + count]
        part += (mirror - part) * wet
