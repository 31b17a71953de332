"""Drivable areas and lanes drawn from their outlines, straight or Bezier, as the toolkit does.

The toolkit draws with matplotlib's Agg renderer, not antialiased. The same renderer is called here
without a figure; tests compare the masks pixel for pixel.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.path import Path as Outline
from matplotlib.transforms import Affine2D

# Widths of lines in pixels. Agg sets each pixel that a line touches, which adds 1 to 1.4 of them.
TOOLKIT_LINE: Final = 100 / 72  # becomes about 2.5: one point at the toolkit's 100 dpi
TRAINING_LINE: Final = 6.75  # becomes 8
MARGIN: Final = 8  # pixels around the frame in which wide lines are drawn too: Agg cuts them off
UNPAINTED: Final = 255  # red of a pixel that Agg has not touched

Shape = tuple[int, np.ndarray, np.ndarray]  # value, vertices (V, 2), curve flags (V,)


def paint(
    shapes: Sequence[Shape], size_hw: tuple[int, int], background: int, line: float = 0.0
) -> np.ndarray:
    """(H, W) uint8: shapes filled, or drawn as lines of a width, over `background`. Values are
    below 254.

    The toolkit's thin lines are snapped to pixels and end at the border of the frame; wider ones
    lie where their vertices are, and what they show of a line just outside is drawn too.
    """
    height, width = size_hw
    wide = line > TOOLKIT_LINE
    margin = MARGIN if wide else 0
    renderer = RendererAgg(width + 2 * margin, height + 2 * margin, 72.0)  # a point is a pixel
    context = renderer.new_gc()
    context.set_linewidth(line)
    context.set_antialiased(False)
    context.set_snap(not wide)
    context.set_joinstyle("round" if wide else "miter")
    context.set_capstyle("butt")
    # matplotlib counts rows from below.
    down = Affine2D().scale(1, -1).translate(margin, height + margin)
    for value, vertices, curve in shapes:
        colour = (value / 255, 0.0, 0.0, 1.0)
        context.set_foreground(colour, isRGBA=True)
        fill = None if line else colour
        renderer.draw_path(context, _path(vertices, curve, closed=not line), down, fill)
    table = np.arange(256, dtype=np.uint8)
    table[UNPAINTED] = background
    drawn = np.asarray(renderer.buffer_rgba())[margin : margin + height, margin : margin + width]
    return cv2.LUT(cv2.extractChannel(drawn, 0), table)


def _path(vertices: np.ndarray, curve: np.ndarray, closed: bool) -> Outline:
    """matplotlib's path; three vertices from a C on are one cubic Bezier.

    Only the type of the first of the three is used, as in the toolkit's rasteriser: the releases
    mark the last one C or L ("CCCL" is one curve over all four).
    """
    codes = [int(Outline.LINETO)] * len(curve)
    codes[0], at = int(Outline.MOVETO), 1
    while at < len(curve):
        if curve[at] and at + 2 < len(curve):
            codes[at : at + 3] = [int(Outline.CURVE4)] * 3
            at += 3
        else:
            at += 1
    if closed:
        return Outline(np.vstack([vertices, vertices[:1]]), [*codes, int(Outline.CLOSEPOLY)])
    return Outline(vertices, codes)
