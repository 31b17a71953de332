"""Image effects of a dash-cam: rain, snow, windscreen, bonnet, lens, exposure, noise, JPEG."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from training.data.roads import textures
from training.data.roads.atmosphere import Atmosphere
from training.data.roads.chance import pick


@dataclass(frozen=True)
class DashCam:
    """The dash-cam and the own car; constant over a drive."""

    gain: float
    gamma: float
    balance: Sequence[float]  # gains of blue, green and red
    noise: float
    blur: float
    vignette: float
    bonnet: float  # height as a share of the frame height, 0 = not in view
    bonnet_shape: tuple[float, float]  # bulge, skew
    bonnet_colour: Sequence[float]
    # An object in the windscreen, as shares of the frame: centre x and y, half width and height.
    clutter: Sequence[float]
    jpeg: int  # quality, 0 = none


def sensor(rng: np.random.Generator, timeofday: str) -> DashCam:
    """A random camera; its gain follows the time of day, as automatic exposure does."""
    opened = {"night": 1.45, "dawn/dusk": 1.5}.get(timeofday, 1.16)
    return DashCam(
        gain=rng.uniform(0.8, 1.2) * opened,
        gamma=rng.uniform(0.85, 1.12),
        balance=rng.uniform(0.93, 1.07, 3).tolist(),
        noise=rng.uniform(0.004, 0.016) * (2.0 if timeofday == "night" else 1.0),
        blur=pick(rng, {0.0: 0.35, 0.5: 0.3, 0.7: 0.25, 1.0: 0.1}),
        vignette=rng.uniform(0, 0.3),
        bonnet=rng.uniform(0.03, 0.2) if rng.random() < 0.55 else 0.0,
        bonnet_shape=(rng.uniform(0.01, 0.08), rng.uniform(-0.02, 0.02)),
        bonnet_colour=(rng.uniform(0.02, 0.3) * rng.uniform(0.8, 1.2, 3)).tolist(),
        clutter=_clutter(rng) if rng.random() < 0.3 else (0, 0, 0, 0),
        jpeg=int(rng.integers(60, 96)) if rng.random() < 0.4 else 0,
    )


def _clutter(rng: np.random.Generator) -> Sequence[float]:
    """A mirror at the upper edge, or a phone holder at the lower one."""
    x, y = ((0.75, 0.0), (0.9, 0.0), (0.1, 1.0), (0.95, 1.0))[rng.integers(4)]
    return x, y, rng.uniform(0.04, 0.15), rng.uniform(0.06, 0.2)


def _masks(device: DashCam, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Two (H, W) bool: pixels covered by the own bonnet or dashboard, and by the clutter."""
    h, w = size_hw
    bonnet, clutter = np.zeros((2, h, w), np.uint8)
    if device.bonnet > 0:
        x = np.linspace(-1, 1, 41)
        bulge, skew = device.bonnet_shape
        y = 1 - device.bonnet + bulge * np.abs(x) ** 2.4 + skew * x
        outline = [*zip((x + 1) / 2 * w, y * h, strict=True), (w, h + 2), (0, h + 2)]
        cv2.fillPoly(bonnet, [np.round(outline).astype(np.int32)], 1)
    if any(device.clutter):
        x, y, *half = np.int32(np.multiply(device.clutter, (w, h, w, h))).tolist()
        cv2.ellipse(clutter, (x, y), half, 0, 0, 360, 1, -1)
    return bonnet.astype(bool), clutter.astype(bool)


def _bonnet(image: np.ndarray, mask: np.ndarray, device: DashCam, light: np.ndarray) -> None:
    """Draws the bonnet or dashboard, with a faint reflection of the scene."""
    if not mask.any():
        return
    top = int(np.argmax(mask.any(1)))
    ramp = np.linspace(1.25, 0.55, image.shape[1] - top, dtype=np.float32)[:, None]
    for c in range(3):
        above = np.ascontiguousarray(image[c, max(0, 2 * top - image.shape[1]) : top][::-1])
        paint = cv2.blur(above, (9, 5)) * 0.22
        paint += ramp[: len(paint)] * np.float32(device.bonnet_colour[c] * (light[c] + 0.02))
        rows = slice(top, top + len(paint))
        np.copyto(image[c, rows], paint, where=mask[rows])


def _streaks(size_hw: tuple[int, int], rng: np.random.Generator, air: Atmosphere) -> np.ndarray:
    """(H, W) brightness of falling rain or snow."""
    h, w = size_hw
    out = np.zeros(size_hw, np.uint8)
    scale = h / 384
    for _ in range(int(90 * air.wet)):
        x, y = rng.uniform(0, w), rng.uniform(-20, h)
        length, lean = rng.uniform(6, 22) * scale, rng.uniform(-0.12, 0.12)
        end = int(x + lean * length), int(y + length)
        cv2.line(out, (int(x), int(y)), end, int(rng.uniform(20, 60)), 1, cv2.LINE_AA)
    for _ in range(int(220 * air.snow)):
        x, y, r = rng.uniform(0, w), rng.uniform(0, h), (0.6 + rng.exponential(0.7)) * scale
        centre, grey = (int(x * 16), int(y * 16)), int(rng.uniform(40, 150))
        cv2.circle(out, centre, int(r * 16), grey, -1, cv2.LINE_AA, 4)
    return cv2.blur(out, (2, 3)) if air.snow else out


def _edges(face: np.ndarray) -> np.ndarray:
    """(H, W) uint8, 1 at pixels that border another face."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return (cv2.morphologyEx(face.astype(np.float32), cv2.MORPH_GRADIENT, cross) > 0).view(np.uint8)


def develop(
    image: np.ndarray,
    face: np.ndarray,
    device: DashCam,
    air: Atmosphere,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """float32 (3, H, W) scene -> uint8 (H, W, 3) BGR frame as a dash-cam stores it.

    And a (H, W) bool mask of the pixels that the own car hides.
    """
    h, w = image.shape[1:]
    bonnet, clutter = _masks(device, (h, w))
    edge = _edges(face)
    for c in range(3):
        cv2.copyTo(cv2.GaussianBlur(image[c], (3, 3), 0.75), edge, image[c])
    _bonnet(image, bonnet, device, air.ambient + 0.4 * air.sun_colour)
    if clutter.any():  # dark, and out of focus
        soft = cv2.GaussianBlur(clutter.astype(np.float32), (0, 0), 2.0 * h / 384)
        image *= 1 - np.float32(0.94) * soft
    if air.wet or air.snow:
        image += _streaks((h, w), rng, air) * np.float32((0.1 if air.night else 0.35) / 100)
    down = np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    across = np.linspace(-1, 1, w, dtype=np.float32)
    image *= 1 - np.float32(device.vignette) * (0.6 * across**2 + 0.4 * down**2)
    pad_y, pad_x = int(rng.integers(0, 256)), int(rng.integers(0, 256))
    grain = textures.grain(1024 if h <= 720 else 2 * h)
    out = []
    for c, balance in enumerate(device.balance):
        plane = image[c]
        if device.blur:
            plane = cv2.GaussianBlur(plane, (0, 0), device.blur * h / 384)
        plane = plane + grain[c, pad_y : pad_y + h, pad_x : pad_x + w] * np.float32(device.noise)
        out.append(_expose(plane, device.gain * balance, device.gamma))
    frame = cv2.merge(out)
    if device.jpeg:
        _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, device.jpeg])
        frame = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return frame, bonnet | clutter


def _expose(plane: np.ndarray, gain: float, gamma: float) -> np.ndarray:
    """Applies gain, highlight compression and gamma, and quantises to 8 bits."""
    value = np.arange(0, 1024, dtype=np.float32) * np.float32(gain / 255)
    soft = 0.75 + 0.25 * (1 - np.exp(-(np.maximum(value, 0.75) - 0.75) / 0.25))
    table = np.clip(255 * np.where(value > 0.75, soft, value) ** gamma + 0.5, 0, 255)
    coarse = np.clip(plane * 255 + 0.5, 0, 1023).astype(np.int16)
    return table.astype(np.uint8).take(coarse)
