"""Camera files: YAML with our own fields, or ROS camera_info with the mounting added.

    width: 1280            height_m: 1.4     # of the camera over the road
    height: 720            pitch_deg: 1.0    # positive looks down; left out: from the lanes
    focal: [1080, 1080]    roll_deg: 0
    centre: [640, 360]     yaw_deg: 0
    distortion: [0, 0, 0, 0, 0]

(`width` and `height` are the picture's, in pixels.) In a ROS file (as camera_calibration writes it,
or a CameraInfo message printed as YAML) the intrinsics keep their ROS names.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perception.errors import UserError, first_line, require_extra
from perception.files import read_bounded
from perception.runtime.camera import FISHEYE, Camera

MAX_BYTES = 1 << 20
MODELS = {"plumb_bob": (0, 4, 5), "rational_polynomial": (0, 8), FISHEYE: (0, 4)}
OWN = {"width", "height", "focal", "centre", "distortion", "distortion_model"}
MOUNTING = {"height_m", "pitch_deg", "roll_deg", "yaw_deg"}
ROS = {
    "image_width", "image_height", "camera_name", "camera_matrix", "distortion_model",
    "distortion_coefficients", "rectification_matrix", "projection_matrix", "header", "width",
    "height", "k", "d", "r", "p", "K", "D", "R", "P", "binning_x", "binning_y", "roi",
}  # fmt: skip


@dataclass(frozen=True)
class CameraFile:
    """A camera and whether the file gives its pitch."""

    camera: Camera
    has_pitch: bool
    path: Path

    def check_size(self, size_hw: tuple[int, int]) -> None:
        """Raises UserError where the frames have another size than the calibration."""
        if self.camera.size_hw != size_hw:
            (h, w), (height, width) = self.camera.size_hw, size_hw
            raise UserError(
                f"{self.path}: is for pictures of {w}x{h}, the frames are {width}x{height}; "
                "write the values for the frames' size"
            )


def read_camera(path: Path, height_m: float | None = None) -> CameraFile:
    """Reads a camera file; `height_m` stands in for a file without `height_m`.

    Raises UserError that names the field for missing, unknown and impossible values.
    """
    require_extra("demo", "yaml")
    import yaml

    try:
        found = yaml.safe_load(read_bounded(path, MAX_BYTES))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UserError(f"{path}: not a YAML file ({first_line(error):.80})") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: give fields such as 'focal: [1080, 1080]', one per line")
    ros = any(key in found for key in ("camera_matrix", "k", "K"))
    known = (ROS if ros else OWN) | MOUNTING
    for key in found:
        if key not in known:
            raise UserError(f"{path}: unknown field {key!r:.40}; known: {', '.join(sorted(known))}")
    fields = _Fields(path, _from_ros(path, found) if ros else found)
    return CameraFile(_camera(fields, height_m), "pitch_deg" in found, path)


class _Fields:
    """The values of a camera file, checked one by one."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path, self.values = path, values

    def error(self, name: str, problem: str) -> UserError:
        return UserError(f"{self.path}: {name}: {problem}")

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number from low to high. Raises UserError."""
        value = self.values.get(name, default)
        if value is None:
            raise self.error(name, "missing; give a number")
        return self.checked(name, value, low, high)

    def angle(self, name: str) -> float:
        """Radians; 0 where it is left out."""
        return math.radians(self.number(name, -45, 45, 0.0))

    def checked(self, name: str, value: Any, low: float, high: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(name, f"{value!r:.40} is not a number")
        if not (math.isfinite(value) and low <= value <= high):
            raise self.error(name, f"{value:g} is not from {low:g} to {high:g}")
        return float(value)

    def several(self, name: str, counts: tuple[int, ...], bounds: Any) -> tuple[float, ...]:
        """A list of numbers; `bounds` holds (low, high) per entry, or one pair for all."""
        value = self.values.get(name)
        if value is None and 0 in counts:
            return ()
        if not isinstance(value, list) or len(value) not in counts:
            wanted = " or ".join(str(count) for count in counts if count)
            raise self.error(name, f"give a list of {wanted} numbers")
        pairs = bounds if isinstance(bounds, list) else [bounds] * len(value)
        return tuple(
            self.checked(name, one, *pair) for one, pair in zip(value, pairs, strict=False)
        )


def _camera(fields: _Fields, height_m: float | None) -> Camera:
    width, height = (int(fields.number(name, 16, 20000)) for name in ("width", "height"))
    fx, fy = fields.several("focal", (2,), (0.15 * width, 20.0 * width))
    if not 0.5 < fx / fy < 2:
        raise fields.error("focal", f"{fx:g} and {fy:g} differ by more than a factor of 2")
    cx, cy = fields.several("centre", (2,), [(0.0, float(width)), (0.0, float(height))])
    model = fields.values.get("distortion_model") or "plumb_bob"
    if model not in MODELS:
        raise fields.error("distortion_model", f"{model!r:.40} is not one of {', '.join(MODELS)}")
    camera = Camera(
        (height, width),
        (fx, fy),
        (cx, cy),
        fields.number("height_m", 0.2, 6.0, height_m),
        fields.angle("pitch_deg"),
        fields.angle("roll_deg"),
        fields.angle("yaw_deg"),
        fields.several("distortion", MODELS[model], (-100.0, 100.0)),
        model,
    )
    if not 0 <= camera.horizon < height:
        raise fields.error("pitch_deg", f"puts the horizon at row {camera.horizon:.0f}, outside "
                           f"the picture of {height} rows")  # fmt: skip
    return camera


def _from_ros(path: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """Our own fields from those of camera_info."""

    def data(*names: str) -> list[Any]:
        value: Any = next((found[name] for name in names if name in found), [])
        value = value.get("data", []) if isinstance(value, dict) else value
        return value if isinstance(value, list) else []

    matrix, distortion = data("camera_matrix", "k", "K"), data("distortion_coefficients", "d", "D")
    if len(matrix) != 9:
        raise UserError(f"{path}: camera_matrix: give 9 numbers")
    numbers = all(isinstance(one, int | float) for one in matrix)
    if not numbers or np.abs(np.delete(np.asarray(matrix, float), [0, 2, 4, 5, 8])).max() > 1e-6:
        raise UserError(f"{path}: camera_matrix: give fx 0 cx, 0 fy cy, 0 0 1 as numbers")
    out: dict[str, Any] = {
        "width": found.get("image_width", found.get("width")),
        "height": found.get("image_height", found.get("height")),
        "focal": [matrix[0], matrix[4]],
        "centre": [matrix[2], matrix[5]],
        "distortion_model": found.get("distortion_model"),
        "distortion": distortion or None,
    }
    return out | {key: found[key] for key in MOUNTING if key in found}
