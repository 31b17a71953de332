"""Cached noise and one mip-mapped atlas of surface tiles; made from fixed seeds, once per process.

The atlas has two channels: brightness relative to the face colour (128 = unchanged), and emission
at night (lit windows, shop fronts).
"""

from functools import lru_cache

import cv2
import numpy as np

TILE = 256
LEVELS = 7
# Texels per metre of each tile.
DENSITY = {
    "flat": 8, "asphalt": 40, "grass": 24, "paving": 64, "flats": 11, "offices": 11, "glass": 12,
    "shops": 16, "leaves": 60, "brick": 60, "text": 90, "metal": 40, "sheen": 110,
}  # fmt: skip
TILES = {name: index for index, name in enumerate(DENSITY)}


@lru_cache
def noise(seed: int, size: int = 512, slope: float = 1.9) -> np.ndarray:
    """(size, size) float32 in 0..1, tileable noise with amplitudes of 1/frequency**slope."""
    white = np.random.default_rng(seed).standard_normal((size, size))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    shaped = np.fft.rfft2(white) / np.maximum(frequency, 4 / size) ** slope
    total = np.fft.irfft2(shaped)
    low, high = np.percentile(total, (1, 99))
    return np.clip((total - low) / (high - low), 0, 1).astype(np.float32)


def sample(noise: np.ndarray, map_x: np.ndarray, map_y: np.ndarray) -> np.ndarray:
    """Tileable noise at the given places."""
    return cv2.remap(noise, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


@lru_cache
def grain(rows: int = 1024) -> np.ndarray:
    """(3, rows, 1.6 rows) float32 sensor noise: standard normal, channels correlated."""
    rng = np.random.default_rng(99)
    shape = (rows, rows * 8 // 5)
    shared = 0.8 * rng.standard_normal(shape, np.float32)
    return np.stack([shared + 0.6 * rng.standard_normal(shape, np.float32) for _ in range(3)])


def _windows(seed: int, bays: int, floors: int, fill_xy: tuple[float, float]) -> np.ndarray:
    """(256, 256, 2) rows of windows, each slightly different, some lit."""
    rng = np.random.default_rng(seed)
    (wide, tall), (w, h) = fill_xy, (TILE // bays, TILE // floors)
    x = np.abs(np.arange(TILE) % w + 0.5 - w / 2)
    y = (np.arange(TILE)[:, None] % h + 0.5) / h - 0.5
    glass, lit, glow = np.kron(rng.random((3, floors, bays)), np.ones((h, w)))
    pane = (x < wide * w / 2) & (np.abs(y) < tall / 2)
    wall = np.where(y < 2 / h - 0.5, 0.85, 1) * (118 + 22 * noise(seed, TILE))
    bright = np.where(x < 1, 120, 28 + 52 * glass + 40 * (0.5 - y / tall))
    light = np.where(pane & (lit < 0.28), 70 + 160 * glow, 0)
    return np.stack([np.where(pane, bright, wall), light], axis=-1)


def _joints(values: np.ndarray, dx: int, dy: int, depth: float) -> np.ndarray:
    values[::dy] *= depth
    values[:, ::dx] *= depth
    return values


def _shops() -> np.ndarray:
    rng = np.random.default_rng(5)
    out = np.zeros((TILE, TILE, 2), np.float32)
    out[..., 0] = 100 + 30 * noise(12, TILE)
    for x in range(0, TILE, 64):
        out[20:60, x : x + 64, 0] = rng.uniform(90, 220)  # sign board, with strokes as letters
        for _ in range(9):
            at = x + 4 + int(rng.integers(0, 52))
            out[30:50, at : at + 3, 0] = rng.uniform(20, 230)
        out[20:60, x : x + 64, 1] = rng.choice([0, 120, 220])
        out[70:230, x + 4 : x + 60, 0] = 40 + 50 * noise(13, TILE)[70:230, x + 4 : x + 60]
        out[70:230, x + 4 : x + 60, 1] = rng.choice([0, 90, 200])
        out[70:256, x + 26 : x + 28, 0] = 130
    return out


def _leaves() -> np.ndarray:
    white = np.random.default_rng(3).random((TILE, TILE), np.float32)
    spots = cv2.GaussianBlur(white, (0, 0), 1.6, borderType=cv2.BORDER_REFLECT)
    return np.clip(110 + 34 * (spots - 0.5) / spots.std() + 70 * (noise(4, TILE) - 0.5), 25, 230)


def _text() -> np.ndarray:
    rng = np.random.default_rng(7)
    out = np.full((TILE, TILE), 128, np.float32)
    for y in range(14, TILE - 20, 30):
        x = 8
        while x < TILE - 16:
            w = int(rng.integers(4, 12))
            if rng.random() < 0.82:
                out[y : y + 16, x : x + 3] = 255
                out[y + int(rng.integers(0, 13)) :, x : x + w][:3] = 255
            x += w + 4
    return out


def _sheen() -> np.ndarray:
    """Car paint: dark sills below, the sky's reflection above."""
    rise = np.linspace(1, 0, TILE, dtype=np.float32)[:, None]
    return 88 + 62 * rise + 18 * np.sin(9 * rise) + 26 * (noise(14, TILE, 3.0) - 0.5)


def _tiles() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    fine = rng.standard_normal((TILE, TILE)).astype(np.float32)
    return [
        np.full((TILE, TILE), 128, np.float32),
        128 + 44 * (noise(1, TILE, 1.3) - 0.5) + 9 * fine,
        128 + 90 * (noise(2, TILE, 1.2) - 0.5) + 12 * fine,
        _joints(128 + 34 * (noise(6, TILE, 1.5) - 0.5) + 4 * fine, 128, 128, 0.72),
        _windows(21, 8, 8, (0.42, 0.52)),
        _windows(22, 8, 8, (0.8, 0.5)),
        _windows(23, 16, 8, (0.84, 0.86)),
        _shops(),
        _leaves(),
        _joints(105 + 45 * noise(8, TILE), 16, 8, 0.78),
        _text(),
        _joints(122 + 20 * noise(9, TILE), 16, 256, 0.85),
        _sheen(),
    ]


@lru_cache
def atlas() -> np.ndarray:
    """(rows, TILE * tiles, 2) uint8: mip level l starts at row 2·TILE·(1 - 1/2^l)."""
    tiles = _tiles()
    out = np.full((2 * TILE, TILE * len(tiles), 2), 128, np.float32)
    for index, tile in enumerate(tiles):
        if tile.ndim == 2:  # it emits nothing
            tile = np.stack([tile, np.zeros_like(tile)], axis=-1)
        for level in range(LEVELS):
            size = TILE >> level
            small = cv2.resize(tile, (size, size), interpolation=cv2.INTER_AREA)
            row = 2 * TILE - (2 * TILE >> level)
            out[row : row + size, index * size : (index + 1) * size] = small
    return np.clip(out, 0, 255).astype(np.uint8)
