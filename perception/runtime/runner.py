"""Runner(path)(frame) -> Scene: all that a car, a demo or a stranger's script needs."""

import time
from pathlib import Path

import numpy as np

from perception.errors import UserError
from perception.runtime.choose import choose
from perception.runtime.description import (
    BOXES,
    KEY,
    LABEL,
    MAP,
    MASK,
    NORMALS,
    Description,
    View,
)
from perception.runtime.letterbox import Letterbox, as_bgr
from perception.runtime.providers import enough_memory, load, ort_session
from perception.runtime.scene import Scene, read_output


class Runner:
    """One model file, loaded once, on one provider.

    `provider`: auto, cpu, cuda, tensorrt, openvino or openvino-bf16; `threads` 0 leaves the
    number to the engine. Raises UserError for a file that is not ours and for a provider that is
    not here. Not safe to call from two threads at once.
    """

    def __init__(self, path: str | Path, provider: str = "auto", threads: int = 0) -> None:
        self.path = Path(path)
        self.description = read_description(self.path)
        self.chosen_because = "asked for"
        if provider == "auto":
            provider, self.chosen_because = choose(self.path, threads)
        self.provider = provider
        memory = enough_memory(self.description.size_hw)
        self.engine = load(self.path, provider, threads, memory)
        _check_outputs(self.path, self.description, self.engine.names)

    def __call__(self, frame: np.ndarray) -> Scene:
        """The scene in one uint8 (H, W, 3) BGR frame of any size; grey and BGRA are converted."""
        start = time.perf_counter()
        frame = as_bgr(frame)
        box = Letterbox(frame.shape[:2], self.description.size_hw, self.description.pad_value)
        image = box.apply(frame)
        prepared = time.perf_counter()
        raw = self.raw(image)
        ran = time.perf_counter()
        views = self.description.views
        outputs = {name: read_output(raw[name], view, box) for name, view in views.items()}
        done = time.perf_counter()
        moments = {"prepare": prepared - start, "model": ran - prepared, "read": done - ran}
        return Scene(frame.shape[:2], outputs, {key: 1e3 * s for key, s in moments.items()})

    def raw(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Decoded outputs at the model's size, for one letterboxed uint8 (H, W, 3) image."""
        arrays = dict(zip(self.engine.names, self.engine.run(image[None]), strict=True))
        views = self.description.views
        return {name: self._checked(name, view, arrays[name]) for name, view in views.items()}

    def _checked(self, name: str, view: View, array: np.ndarray) -> np.ndarray:
        """Drops the batch axis. Raises UserError where the shape is not what the kind says."""
        if array.ndim > 2 and array.shape[0] == 1:
            array = array[0]
        height_width = array.shape[-2:] == self.description.size_hw
        floats, bytes_ = array.dtype.kind == "f", array.dtype == np.uint8
        fits = {
            BOXES: floats and array.ndim == 2 and array.shape[1] == 6,
            LABEL: floats and array.ndim == 2 and len(array) == len(view.groups),
            MASK: bytes_ and array.ndim == 2 and height_width,
            MAP: floats and array.ndim == 2 and height_width,
            NORMALS: floats and array.ndim == 3 and len(array) == 3 and height_width,
        }[view.kind]
        if not fits:
            raise UserError(
                f"{self.path}: output {name!r:.100} of kind {view.kind} is {array.dtype} "
                f"{array.shape}; export the model again with export-onnx"
            )
        return array


def read_description(path: str | Path) -> Description:
    """What the file says about itself. Raises UserError where it says nothing."""
    path = Path(path)
    # Optimising the graph is the slow part of loading, and the text needs none of it.
    session = ort_session(path, 1, "CPUExecutionProvider", optimise=False)
    try:
        text = session.get_modelmeta().custom_metadata_map.get(KEY)
        inputs = [(one.name, one.type, one.shape) for one in session.get_inputs()]
        outputs = tuple(output.name for output in session.get_outputs())
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: names in it are no text ({error.reason}); make one with export-onnx"
        ) from None
    if text is None:
        raise UserError(
            f"{path}: an ONNX file, but without our {KEY!r} description; "
            "make one with export-onnx CHECKPOINT -o model.onnx"
        )
    description = Description.from_json(text, str(path))
    if len(inputs) != 1:
        raise UserError(f"{path}: has {len(inputs)} inputs, not one frame")
    _, kind, shape = inputs[0]
    sides = [side for side in shape[1:3] if isinstance(side, int)]
    if kind != "tensor(uint8)" or (sides and tuple(sides) != description.size_hw):
        raise UserError(f"{path}: its input is {kind} {shape!s:.100}, not a uint8 frame")
    _check_outputs(path, description, outputs)
    return description


def _check_outputs(path: Path, description: Description, names: tuple[str, ...]) -> None:
    absent = [name for name in description.views if name not in names]
    if absent or not description.views:
        raise UserError(f"{path}: the outputs its description names are missing: {absent}")
