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
    wet: float
    snow: float
    night: bool
    lamps: bool  # street lamps, windows and head lamps are lit
    cloud_shift: tuple[float, float]


# Zenith, horizon, sky without sun, sun, ambient light and clouds: the extremes of each in RGB.
# By day the sky is anything from deep blue to almost white, with exposure set for the road.
PALETTES = {
    "daytime": (
        ((0.22, 0.45, 0.82), (0.8, 0.9, 1.0)), ((0.68, 0.82, 0.95), (0.98, 1.0, 1.0)),
        ((0.64, 0.66, 0.67), (0.9, 0.92, 0.94)), ((0.72, 0.68, 0.59), (0.72, 0.68, 0.59)),
        ((0.52, 0.57, 0.64), (0.52, 0.57, 0.64)), ((0.92, 0.92, 0.93), (0.97, 0.97, 0.98)),
    ),
    "dawn/dusk": (
        ((0.1, 0.16, 0.28), (0.18, 0.29, 0.51)), ((0.62, 0.36, 0.23), (0.95, 0.75, 0.65)),
        ((0.29, 0.3, 0.35), (0.46, 0.47, 0.55)), ((0.38, 0.23, 0.13), (0.38, 0.23, 0.13)),
        ((0.2, 0.2, 0.25), (0.34, 0.34, 0.41)), ((0.54, 0.39, 0.39), (0.62, 0.45, 0.45)),
    ),
    "night": (
        ((0.01, 0.015, 0.03), (0.02, 0.025, 0.04)), ((0.03, 0.024, 0.024), (0.08, 0.07, 0.07)),
        ((0.024, 0.022, 0.024), (0.07, 0.065, 0.07)), ((0.02, 0.02, 0.03), (0.02, 0.02, 0.03)),
        ((0.035, 0.033, 0.038), (0.1, 0.1, 0.11)), ((0.05, 0.045, 0.05), (0.05, 0.045, 0.05)),
    ),
}  # fmt: skip
# How grey the sky is.
GREY = {
    "clear": 0.0,
    "partly cloudy": 0.15,
    "overcast": 0.85,
    "rainy": 0.95,
    "snowy": 0.9,
    "foggy": 1.0,
}


def atmosphere(rng: np.random.Generator, weather: str, timeofday: str) -> Atmosphere:
    """Draws the other values at random to match the two attributes."""
    bearing = rng.uniform(-np.pi, np.pi)
    heights = {"daytime": rng.uniform(0.5, 1.25), "dawn/dusk": rng.uniform(0.06, 0.2)}
    height = heights.get(timeofday, 0.7)
    flat = np.cos(height)
    sun = np.array([np.sin(bearing) * flat, np.sin(height), np.cos(bearing) * flat], np.float32)
    covers = {"clear": rng.uniform(0, 0.15), "partly cloudy": rng.uniform(0.4, 0.62)}
    grey, night = GREY[weather], timeofday == "night"
    low, high = np.moveaxis(np.array(PALETTES[timeofday], np.float32)[..., ::-1], 1, 0)
    mix = rng.random((6, 1), np.float32)
    mix[1] = mix[0]
    zenith, horizon, pale, sunlight, ambient, cloud = low + (high - low) * mix
    if grey > 0.5:
        zenith, horizon = zenith + (0.85 * pale - zenith) * grey, horizon + (pale - horizon) * grey
    fog = {
        "foggy": rng.uniform(0.012, 0.035),
        "rainy": rng.uniform(0.002, 0.007),
        "snowy": rng.uniform(0.003, 0.012),
    }
    return Atmosphere(
        sun=sun,
        sun_colour=sunlight * (1 - grey),
        ambient=ambient + 0.25 * grey * sunlight,
        zenith=zenith,
        horizon=horizon,
        clouds=covers.get(weather, 1.0),
        cloud_colour=cloud,
        fog=fog.get(weather, rng.uniform(0.0003, 0.0016)),
        wet=rng.uniform(0.5, 1.0) if weather == "rainy" else 0.0,
        snow=rng.uniform(0.3, 1.0) if weather == "snowy" else 0.0,
        night=night,
        lamps=night or (timeofday == "dawn/dusk" and rng.random() < 0.75),
        cloud_shift=(rng.uniform(0, 512), rng.uniform(0, 512)),
    )
