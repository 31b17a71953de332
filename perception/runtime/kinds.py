"""The kinds of output by the name that a `View` gives them: the description, the runner, the
overlay, the logs and the checks of exports and providers look here. docs/extending.md adds one.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from perception.runtime.letterbox import Letterbox
from perception.runtime.scene import Boxes, Labels, Map, Mask, Normals, Output, Scene
from perception.runtime.view import BOXES, LABEL, MAP, MASK, NORMALS, View

KINDS: Final[dict[str, type[Output]]] = {
    BOXES: Boxes,
    MASK: Mask,
    LABEL: Labels,
    MAP: Map,
    NORMALS: Normals,
}


def read_scene(
    arrays: Mapping[str, np.ndarray], views: Mapping[str, View], box: Letterbox
) -> Scene:
    """All outputs of the model for one frame, in frame coordinates. Evaluation uses it too."""
    outputs = {name: read_output(arrays[name], view, box) for name, view in views.items()}
    return Scene(box.frame_hw, outputs)


def read_output(array: np.ndarray, view: View, box: Letterbox) -> Output:
    """One decoded output of the model, in frame coordinates."""
    return KINDS[view.kind].read(array, view, box)
