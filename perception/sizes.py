"""Picture sizes as text: HEIGHTxWIDTH, e.g. 384x640."""

import re

from perception.errors import UserError


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """384x640 -> (384, 640). Raises UserError naming the option for anything else."""
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text.strip().lower())
    if not match:
        raise UserError(f"{option} {text}: write HEIGHTxWIDTH, e.g. 384x640")
    return int(match[1]), int(match[2])


def format_size(size_hw: tuple[int, int]) -> str:
    """(384, 640) -> 384x640."""
    return f"{size_hw[0]}x{size_hw[1]}"
