"""Weather and time of day as numbers: light, sky, fog, wetness."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Atmosphere:
    """Light and air of one drive; colours are BGR in 0..1."""

    sun: np.ndarray  # unit vector towards the sun or moon, world frame
    sun_colour: np.ndarray
    ambient: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    clouds: float  # cover 0..1
    cloud_colour: np.ndarray
    fog: float  # extinction per metre
    fog_colour: np.ndarray
    wet: float
    snow: float
    night: bool
    lamps: bool  # street lamps, windows and head lamps are lit
    cloud_shift: tuple[float, float]


def _bgr(r: float, g: float, b: float) -> np.ndarray:
    return np.array([b, g, r], np.float32)


# How grey the sky is.
GREY = {
    "clear": 0.0,
    "partly cloudy": 0.15,
    "overcast": 0.85,
    "rainy": 0.95,
    "snowy": 0.9,
    "foggy": 1.0,
}


def _colours(rng: np.random.Generator, grey: float, timeofday: str) -> tuple[np.ndarray, ...]:
    """Zenith, horizon, pale sky, sun, ambient light, clouds."""
    if timeofday == "daytime":
        # With exposure set for the road, the sky is anything from deep blue to almost white.
        bleach = rng.beta(1.2, 1.6)
        return (
            _bgr(0.22, 0.45, 0.82) * (1 - bleach) + _bgr(0.8, 0.9, 1.0) * bleach,
            _bgr(0.68, 0.82, 0.95) * (1 - bleach) + _bgr(0.98, 1.0, 1.0) * bleach,
            _bgr(0.8, 0.82, 0.84) * rng.uniform(0.8, 1.12),
            _bgr(1.0, 0.95, 0.82) * 0.72,
            _bgr(0.52, 0.57, 0.64) * (1 + 0.35 * grey),
            _bgr(0.97, 0.97, 0.98) * (1 - 0.1 * grey),
        )
    if timeofday == "dawn/dusk":
        warm = rng.uniform(0, 1)
        return (
            _bgr(0.16, 0.26, 0.46) * rng.uniform(0.6, 1.1),
            _bgr(0.95, 0.55 + 0.2 * warm, 0.35 + 0.3 * warm) * rng.uniform(0.65, 1.0),
            _bgr(0.42, 0.43, 0.5) * rng.uniform(0.7, 1.1),
            _bgr(1.0, 0.6, 0.35) * 0.38,
            _bgr(0.27, 0.27, 0.33) * rng.uniform(0.75, 1.25),
            _bgr(0.62, 0.45, 0.45) * (1 - 0.2 * grey),
        )
    glow = rng.uniform(0.4, 1.2)
    return (
        _bgr(0.015, 0.02, 0.035),
        _bgr(0.07, 0.06, 0.06) * glow,
        _bgr(0.06, 0.055, 0.06) * glow,
        _bgr(0.02, 0.02, 0.03),
        _bgr(0.07, 0.065, 0.075) * rng.uniform(0.5, 1.5),
        _bgr(0.05, 0.045, 0.05),
    )


def atmosphere(rng: np.random.Generator, weather: str, timeofday: str) -> Atmosphere:
    """Draws the other values at random to match the two attributes."""
    bearing = rng.uniform(-np.pi, np.pi)
    heights = {"daytime": rng.uniform(0.5, 1.25), "dawn/dusk": rng.uniform(0.06, 0.2)}
    height = heights.get(timeofday, 0.7)
    flat = np.cos(height)
    sun = np.array([np.sin(bearing) * flat, np.sin(height), np.cos(bearing) * flat], np.float32)
    covers = {"clear": rng.uniform(0, 0.15), "partly cloudy": rng.uniform(0.4, 0.62)}
    grey, night = GREY[weather], timeofday == "night"
    zenith, horizon, pale, sunlight, ambient, cloud = _colours(rng, grey, timeofday)
    mix = grey if grey > 0.5 else 0.0
    zenith, horizon = zenith * (1 - mix) + pale * 0.85 * mix, horizon * (1 - mix) + pale * mix
    fog = {
        "foggy": rng.uniform(0.012, 0.035),
        "rainy": rng.uniform(0.002, 0.007),
        "snowy": rng.uniform(0.003, 0.012),
    }
    return Atmosphere(
        sun=sun,
        sun_colour=sunlight * (1 - grey),
        ambient=ambient,
        zenith=zenith,
        horizon=horizon,
        clouds=covers.get(weather, 1.0),
        cloud_colour=cloud,
        fog=fog.get(weather, rng.uniform(0.0003, 0.0016)),
        fog_colour=horizon * 0.96,
        wet=rng.uniform(0.5, 1.0) if weather == "rainy" else 0.0,
        snow=rng.uniform(0.3, 1.0) if weather == "snowy" else 0.0,
        night=night,
        lamps=night or (timeofday == "dawn/dusk" and rng.random() < 0.75),
        cloud_shift=(rng.uniform(0, 512), rng.uniform(0, 512)),
    )
