"""The own speed for `perceive --speed`: one number, or a CSV file over the video's time."""

import csv
import math
from pathlib import Path

import numpy as np

from perception.errors import UserError
from perception.files import read_bounded

MAX_BYTES = 64 << 20
MAX_KM_H = 400.0
MAX_GAP_S = 5.0  # between two rows; nothing is known of a longer one
UNITS = {"speed_m_s": 1.0, "speed_km_h": 1 / 3.6}


class OwnSpeed:
    """Speed in m/s at times of the video, linear between them; one value without a time holds
    always."""

    def __init__(self, seconds: np.ndarray, speed_m_s: np.ndarray) -> None:
        self.seconds, self.speed_m_s = seconds, speed_m_s

    def at(self, seconds: float) -> float | None:
        """None before the first row, after the last one, and in gaps of more than MAX_GAP_S."""
        if not len(self.seconds):
            return float(self.speed_m_s[0])
        after = int(np.searchsorted(self.seconds, seconds))
        if after == len(self.seconds):
            return None
        if seconds < self.seconds[after] and (
            after == 0 or self.seconds[after] - self.seconds[after - 1] > MAX_GAP_S
        ):
            return None
        return float(np.interp(seconds, self.seconds, self.speed_m_s))


def read_speed(text: str) -> OwnSpeed:
    """From km/h, or the path of a CSV file with the columns `seconds` and `speed_m_s` or
    `speed_km_h`.

    Raises UserError that names the line for values that are missing, impossible or out of order.
    """
    try:
        value = float(text)
    except ValueError:
        return _from_csv(Path(text))
    if not 0 <= value <= MAX_KM_H:
        raise UserError(f"--speed {text}: give km/h from 0 to {MAX_KM_H:g}, or a CSV file")
    return OwnSpeed(np.zeros(0), np.array([value / 3.6]))


def _from_csv(path: Path) -> OwnSpeed:
    if not path.exists():
        raise UserError(f"--speed {path}: no such file; give km/h, or a CSV file")
    try:
        rows = list(csv.DictReader(read_bounded(path, MAX_BYTES).decode("utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file ({error})") from error
    unit = next((name for name in UNITS if rows and name in rows[0]), None)
    if unit is None or "seconds" not in rows[0]:
        raise UserError(f"{path}: give the columns seconds and {' or '.join(UNITS)}, and rows")
    found: list[tuple[float, float]] = []
    for line, row in enumerate(rows, 2):
        seconds, speed = (_number(row[name]) for name in ("seconds", unit))
        if math.isnan(seconds) or (found and seconds <= found[-1][0]):
            raise UserError(f"{path} line {line}: seconds: give numbers that increase")
        if not 0 <= speed * UNITS[unit] <= MAX_KM_H / 3.6:
            raise UserError(f"{path} line {line}: {unit}: {row[unit]!r:.40} is not a speed")
        found.append((seconds, speed * UNITS[unit]))
    return OwnSpeed(*np.array(found).T)


def _number(text: str | None) -> float:
    """NaN for anything that is not a finite number."""
    try:
        value = float(text or "nan")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
