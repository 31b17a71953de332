"""The report's pictures as inline SVG: no script, no network, readable in any browser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

COLOURS: Final = (
    "#1f6f8b", "#c8553d", "#588157", "#8e5ea2", "#d1a02a", "#3a7ca5", "#a44a3f", "#6d6875",
    "#2a9d8f", "#e07a5f", "#457b9d", "#7f5539",
)  # fmt: skip
FONT: Final = 'font-family="system-ui, sans-serif" font-size="12"'


@dataclass(frozen=True)
class Dot:
    """A network on the Pareto plot; `half` is the half width of its interval."""

    name: str
    x: float
    y: float
    half: float | None = None


def picture(width: int, height: int, parts: Sequence[str]) -> str:
    """The whole element, white behind."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" {FONT}><rect width="100%" height="100%" fill="white"/>'
        + "".join(parts)
        + "</svg>"
    )


def text(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(words)}</text>'


def segment(
    x1: float, y1: float, x2: float, y2: float, colour: str = "#999", more: str = ""
) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {more}/>'
    )


@dataclass(frozen=True)
class Axis:
    """Values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        span = (self.high - self.low) or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)

    def ticks(self, count: int = 4) -> list[float]:
        return [self.low + (self.high - self.low) * n / count for n in range(count + 1)]


def spread(values: Sequence[float], share: float = 0.1) -> tuple[float, float]:
    """A range around the values."""
    low, high = min(values), max(values)
    room = (high - low) * share or abs(high) * share or 1.0
    return low - room, high + room


def frame(x: Axis, y: Axis, x_name: str, y_name: str) -> list[str]:
    """Axes with ticks and names."""
    parts = [segment(x.start, y.start, x.end, y.start), segment(x.start, y.start, x.start, y.end)]
    for value in x.ticks():
        parts.append(text(x.at(value), y.start + 16, f"{value:.3g}", "middle"))
    for value in y.ticks():
        parts.append(text(x.start - 6, y.at(value) + 4, f"{value:.3g}", "end"))
        parts.append(segment(x.start, y.at(value), x.end, y.at(value), "#eee"))
    middle = (y.start + y.end) / 2
    parts.append(text((x.start + x.end) / 2, y.start + 34, x_name, "middle"))
    parts.append(text(14, middle, y_name, "middle", f'transform="rotate(-90 14 {middle:.0f})"'))
    return parts


def pareto(dots: Sequence[Dot], x_name: str, y_name: str) -> str:
    """Gain against size, with intervals; nothing better in both is joined by a line.

    Dots of one size stand side by side, best first; names stand at the right, in the order of
    the gains.
    """
    height = max(360, 80 + 17 * len(dots))
    ends = [v for d in dots for v in (d.y - (d.half or 0), d.y + (d.half or 0))]
    low, high = spread([dot.x for dot in dots], 0.2)
    x = Axis(max(low, 0.0), high, 70, 500)
    y = Axis(*spread([*ends, 0.0]), height - 50, 16)
    dots = sorted(dots, key=lambda dot: -dot.y)
    across = side_by_side([x.at(dot.x) for dot in dots], 5.0)
    names = apart([y.at(dot.y) for dot in dots], 16.0, 24.0, height - 50.0)
    parts = frame(x, y, x_name, y_name)
    parts.append(segment(x.start, y.at(0), x.end, y.at(0), "#666", 'stroke-dasharray="4 3"'))
    front = [d for d in dots if not any(o.x <= d.x and o.y >= d.y and o != d for o in dots)]
    corners = sorted((across[dots.index(dot)], y.at(dot.y)) for dot in front)
    parts += [segment(*one, *two, "#bbb") for one, two in pairwise(corners)]
    for number, (dot, at, label) in enumerate(zip(dots, across, names, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        if dot.half is not None:
            parts.append(segment(at, y.at(dot.y - dot.half), at, y.at(dot.y + dot.half), colour))
        leader = 'stroke-width="0.5" stroke-opacity="0.6"'
        parts.append(segment(at, y.at(dot.y), x.end + 8, label, colour, leader))
        parts.append(f'<circle cx="{at:.1f}" cy="{y.at(dot.y):.1f}" r="4" fill="{colour}">'
                     f"<title>{escape(dot.name)}</title></circle>")  # fmt: skip
        parts.append(text(x.end + 12, label + 4, dot.name, more=f'fill="{colour}"'))
    width = 530 + 7 * max(len(dot.name) for dot in dots)
    return picture(width, height, parts)


def side_by_side(values: Sequence[float], gap: float) -> list[float]:
    """Values that share a slot `gap` wide are fanned out around where they are."""
    placed = list(values)
    slots = [round(value / gap) for value in values]
    for slot in set(slots):
        same = [n for n, other in enumerate(slots) if other == slot]
        for place, n in enumerate(same):
            placed[n] += (place - (len(same) - 1) / 2) * gap
    return placed


def apart(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Rising values moved so that neighbours are `gap` apart, inside [low, high] if they fit."""
    placed: list[float] = []
    for value in values:
        placed.append(max(value, placed[-1] + gap if placed else low))
    for n in range(len(placed) - 1, -1, -1):
        placed[n] = min(placed[n], high if n == len(placed) - 1 else placed[n + 1] - gap)
    return placed


def heat_map(
    names: Sequence[str], values: Mapping[str, Mapping[str, float]], digits: int = 2
) -> str:
    """Row on column: blue helps, red hurts, scaled to the largest value off the diagonal."""
    cell, left, top = 92, 120, 60
    largest = max(
        [abs(values.get(a, {}).get(b, 0.0)) for a in names for b in names if a != b], default=0.0
    )
    parts = []
    for row, a in enumerate(names):
        parts.append(text(left - 8, top + row * cell + cell / 2 + 4, a, "end"))
        parts.append(text(left + row * cell + cell / 2, top - 10, a, "middle"))
        for column, b in enumerate(names):
            value = values.get(a, {}).get(b)
            fill = "#f2f2f2" if value is None or a == b else _shade(value, largest)
            place = f'x="{left + column * cell}" y="{top + row * cell}"'
            parts.append(
                f'<rect {place} width="{cell}" height="{cell}" fill="{fill}" stroke="white"/>'
            )
            if value is not None and a != b:
                middle = (left + column * cell + cell / 2, top + row * cell + cell / 2 + 4)
                parts.append(text(*middle, f"{value:+.{digits}f}", "middle"))
    return picture(left + cell * len(names) + 20, top + cell * len(names) + 10, parts)


def _shade(value: float, largest: float) -> str:
    share = min(abs(value) / largest, 1.0) if largest else 0.0
    fade = round(255 - 150 * share)
    return f"rgb({fade},{(fade + 255) // 2},255)" if value >= 0 else f"rgb(255,{fade},{fade})"


def curves(series: Mapping[str, Sequence[tuple[float, float]]], y_name: str) -> str:
    """One line a run over its steps, named at the right."""
    width, height = 460, 260
    points = [point for line in series.values() for point in line]
    x = Axis(0.0, max([point[0] for point in points], default=1.0) or 1.0, 60, width - 150)
    y = Axis(*spread([point[1] for point in points] or [0.0]), height - 46, 12)
    parts = frame(x, y, "steps", y_name)
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x.at(step):.1f},{y.at(value):.1f}" for step, value in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = 20 + 16 * number
        parts.append(segment(x.end + 8, at - 4, x.end + 22, at - 4, colour, 'stroke-width="3"'))
        parts.append(text(x.end + 26, at, name[:18], more='font-size="11"'))
    return picture(width, max(height, 30 + 16 * len(series)), parts)
