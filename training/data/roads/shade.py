"""Shades the G-buffer: textures, sun, lamps, sky, fog.

Images are float32 (3, H, W) planes of blue, green and red; 1 is white. Planes, because numpy
multiplies a plane by a plane several times faster than a plane by interleaved pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from training.data.roads import textures
from training.data.roads.atmosphere import Atmosphere
from training.data.roads.camera import Viewpoint
from training.data.roads.gbuffer import GBuffer
from training.data.roads.ground import GROUND_FACES, ROAD, SKY, TERRAIN
from training.data.roads.mesh import CLASS, FACE

BAND = 48


def _planes(colour: Sequence[float] | np.ndarray) -> np.ndarray:
    """(3, 1, 1) a colour that multiplies images."""
    return np.asarray(colour, np.float32).reshape(3, 1, 1)


HEADLIGHT = _planes((0.62, 0.72, 0.78))
STREETLIGHT = _planes((0.2, 0.33, 0.42))
TUNNEL = _planes((0.42, 0.55, 0.62))
WINDOW = _planes((0.4, 0.66, 0.85))


def ground_faces(air: Atmosphere, tone: float) -> np.ndarray:
    """The FACE table of the ground; `tone` brightens the asphalt."""
    asphalt = np.array([0.34, 0.335, 0.33]) * tone * (1 - 0.4 * air.wet)
    walk = np.array([0.52, 0.54, 0.56]) * (1 - 0.3 * air.wet)
    # colour, texture, class, share that snow covers
    rows = (
        (np.zeros(3), "flat", "sky", 0),
        (np.array([0.16, 0.33, 0.27]), "grass", "terrain", 1),
        (asphalt, "asphalt", "road", 0.35),
        (walk, "paving", "sidewalk", 0.7),
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
    density = np.array(list(textures.DENSITY.values()), np.float32)[faces["tile"]]
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


def _resized(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    return np.stack([cv2.resize(c.astype(np.float32), size_hw[::-1]) for c in image])


@dataclass
class Shader:
    """Shades one frame."""

    painted: GBuffer
    view: Viewpoint
    air: Atmosphere
    indoor: bool
    depth: np.ndarray  # (H, W) metres, inf in the sky
    marks: np.ndarray  # (H, W, 4) uint8 premultiplied BGR, alpha
    shadow: np.ndarray  # (H, W) uint8
    lamps: np.ndarray  # (N, 3) x and z in the world frame, and the radius of the light

    def __post_init__(self) -> None:
        self.size_hw = self.view.camera.size_hw
        self.ground = (self.painted.face > SKY) & (self.painted.face < GROUND_FACES)
        self.clear = np.exp(np.float32(-self.air.fog) * np.minimum(self.depth, np.float32(1e4)))
        self.depth = np.minimum(self.depth, 1000.0)
        self.place = self.depth * self.view.camera.rays  # (3, H, W) in the world
        self.place[1] += self.view.camera.height

    def scene(self) -> np.ndarray:
        """(3, H, W) the light that reaches the camera."""
        air, faces, face = self.air, self.painted.faces, self.painted.face
        texture = self._texture()
        direct = np.maximum(faces["normal"] @ air.sun, 0)[:, None] * air.sun_colour
        light = air.ambient * (0.78 + 0.22 * faces["normal"][:, 1:2])
        image = self.painted.planes(faces["colour"] * (light + direct))
        first = int(np.argmax(self.ground.any(1))) if self.ground.any() else len(face)
        for rows in _bands(len(face)):
            if rows.stop > first:
                self._ground(rows, image[:, rows], light[ROAD], direct[ROAD])
        image *= texture[..., 0] * np.float32(1 / 128)
        if air.lamps or self.indoor:
            albedo = np.minimum(image * _planes(1 / (air.ambient + 0.02)), 1.0)
            image += albedo * self._night_light()
        glow = self._glow(texture)
        fog = _planes(0.96 * air.horizon)
        image -= fog
        image *= self.clear
        image += fog
        open_sky = face == SKY
        if open_sky.any():
            np.copyto(image, self._sky(), where=open_sky)
        glow *= np.maximum(self.clear, 0.25)
        if air.wet:
            self._reflect(image, glow)
        self._bloom(image, glow)
        if air.sun_colour.max() > 0.15 and air.sun[2] > 0.5 and air.sun[1] < 0.75:
            toward = self._toward_sun(8)
            veil = 0.5 * np.exp(7 * (toward - 1)) + 0.8 * np.exp(90 * (toward - 1))
            veil = cv2.resize(veil, self.size_hw[::-1])  # glare of a low sun ahead
            image += veil * _planes(0.7 * air.sun_colour)
        return image

    def _texture(self) -> np.ndarray:
        """(H, W, 2) uint8: brightness (128 = neutral) and emission of lit windows."""
        size, atlas, view = textures.TILE, textures.atlas(), self.view
        table, density = _hangings(self.painted, view)
        tiles = (self.painted.faces["tile"] * size).astype(np.float32)
        shrinks = (1.0 / (1 << np.arange(textures.LEVELS))).astype(np.float32)
        out = np.empty((*self.size_hw, 2), np.uint8)
        for rows in _bands(len(out)):
            face, flat, far = self.painted.index[rows], self.ground[rows], self.depth[rows]
            x, y, z = self.place[:, rows]
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
            map_y = (v - np.floor(v)) * wide + (1 - shrink) * (2 * size)
            out[rows] = cv2.remap(atlas, map_x, map_y, cv2.INTER_LINEAR)
        return out

    def _ground(
        self, rows: slice, image: np.ndarray, ambient: np.ndarray, direct: np.ndarray
    ) -> None:
        """Adds patches, wheel tracks, snow, markings and shadows to the ground, in place."""
        view, air, z = self.view, self.air, self.place[2, rows]
        t = self.place[0, rows] - view.curve.shift(z) + np.float32(view.t)
        along = (z + np.float32(view.s % 512)) * 3.5
        patch = textures.sample(textures.noise(52), t * 9 + 256, along)
        wear = (0.78 + 0.44 * patch) * (1 - 0.06 * np.cos(np.clip(t, -3, 3) * 4.2))
        fade = np.clip(1.25 - 0.6 * patch, 0, 1) * np.float32((1 - 0.55 * air.snow) / 255)
        marks = self.marks[rows]
        bare = 1 - marks[..., 3] * fade
        drift = np.clip((patch - 0.55 + 0.35 * air.snow) * 4, 0, 1) * np.float32(0.8 * air.snow)
        shadowed = self.shadow[rows] * np.float32(1 / 255)
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
            np.copyto(image[c], mixed, where=self.ground[rows])

    def _night_light(self) -> np.ndarray:
        """(3, H, W) light of head lamps, street lamps or the tunnel, computed at quarter size."""
        air = self.air
        x, y, z = np.ascontiguousarray(self.place[:, ::4, ::4])
        z = np.clip(z, 0, 400)
        out = np.zeros((3, *x.shape), np.float32)
        if air.lamps:
            across = x - self.view.curve.shift(z) * 0.5
            beam = np.exp(-((across / (1.6 + 0.17 * z)) ** 2)) / (1 + (z / 17) ** 2)
            beam *= np.where(y > 0.9 + 0.006 * z, 0.35, 1.0) * np.clip(z / 4 - 0.4, 0, 1)
            beam *= 1.1 if air.night else 0.25
            pools = np.zeros_like(x)
            for lx, lz, reach in self.lamps.tolist():
                pools += np.exp(((x - lx) ** 2 + (z - lz) ** 2) * (-0.5 / (reach * reach)))
            pools *= 1.0 if air.night else 0.3
            out += beam * HEADLIGHT + pools * STREETLIGHT
        if self.indoor:
            out += (0.5 + 0.12 * np.cos(z * 0.628)) * TUNNEL
        return _resized(out, self.size_hw)

    def _glow(self, texture: np.ndarray) -> np.ndarray:
        """(3, H, W) light emitted by lamps and lit windows."""
        table = self.painted.faces["glow"] * np.float32(1.0 if self.air.lamps else 0.6)
        glow = self.painted.planes(table)
        if self.air.lamps:
            glow += texture[..., 1] * np.float32((0.75 if self.air.night else 0.45) / 255) * WINDOW
        return glow

    def _toward_sun(self, step: int) -> np.ndarray:
        """Cosine of the angle between the sun and the ray of every `step`-th pixel."""
        x, y, z = np.ascontiguousarray(self.view.camera.rays[:, ::step, ::step])
        sun = self.air.sun
        toward = sun[0] * x + sun[1] * y + sun[2] * z
        return np.maximum(toward, 0) / np.sqrt(x * x + y * y + z * z)

    def _sky(self) -> np.ndarray:
        """(3, H, W) the sky at every pixel, also behind things; computed at half size."""
        air = self.air
        horizon, zenith = _planes(air.horizon), _planes(air.zenith)
        x, y, z = np.ascontiguousarray(self.view.camera.rays[:, ::2, ::2])
        up = np.maximum(y / np.maximum(z, 0.1), 0)
        out = horizon + (zenith - horizon) * np.sqrt(np.minimum(up * 1.8, 1))
        if air.clouds > 0.02:  # on a plane high above
            plane, broken = 90 / (up + 0.12), air.clouds < 0.99
            map_x = x * plane + np.float32(air.cloud_shift[0] + 40 * self.view.curve.yaw)
            map_y = plane * 1.4 + np.float32(air.cloud_shift[1])
            density = textures.sample(textures.noise(51), map_x, map_y)
            gaps = np.clip((density - (1 - air.clouds)) * 3.2, 0, 1)
            cover = gaps * 0.85 if broken else 0.47 * density
            shade = (1.12 - 0.3 * density) * (1 if broken else 0.8)
            out += (shade * _planes(air.cloud_colour) - out) * cover
        if air.sun_colour.max() > 0.15:
            toward = self._toward_sun(2)
            halo = 0.35 * np.exp(24 * (toward - 1)) + 1.5 * np.exp(900 * (toward - 1))
            out += _planes(air.sun_colour) * halo
        return _resized(out, self.size_hw)

    def _reflect(self, image: np.ndarray, glow: np.ndarray) -> None:
        """Adds the vertically blurred mirror image of the upper half to wet asphalt."""
        h = self.size_hw[0]
        line = int(np.clip(self.view.camera.horizon(), 8, h - 8))
        count = min(h - line, line)
        face = self.painted.face[line : line + count]
        wet = ((face == ROAD) | (face == TERRAIN)).astype(np.float32)
        wet *= np.linspace(0.42, 0.12, count, dtype=np.float32)[:, None] * np.float32(self.air.wet)
        for c in range(3):
            mirror = (image[c] + 0.7 * glow[c])[line - count : line][::-1]
            mirror = cv2.blur(np.ascontiguousarray(mirror), (3, 25))
            part = image[c, line : line + count]
            part += (mirror - part) * wet

    def _bloom(self, image: np.ndarray, glow: np.ndarray) -> None:
        """Adds the emitted light and its halo."""
        h, w = self.size_hw
        strength = 1.0 if self.air.night else 0.3
        for c in range(3):
            small = cv2.resize(glow[c], (w // 4, h // 4), interpolation=cv2.INTER_AREA)
            wide = cv2.GaussianBlur(small, (0, 0), 1.6) * 0.9
            wide += cv2.GaussianBlur(small, (0, 0), 9) * (0.8 + 6 * self.air.fog)
            image[c] += glow[c]
            image[c] += cv2.resize(wide * strength, (w, h))
