"""Runner(path)(frame) -> Scene: an .onnx file applied to frames of any size."""

import time
from pathlib import Path

import numpy as np

from perception.errors import UserError
from perception.hub import DEFAULT, ONNX, local_file
from perception.runtime.adapters import AdaptedEngine, Adapter
from perception.runtime.choose import choose
from perception.runtime.letterbox import Letterbox, as_bgr
from perception.runtime.providers import Engine, check_outputs, load, memory_limit, read_description
from perception.runtime.scene import KINDS, Scene, read_scene
from perception.runtime.view import View


class Runner:
    """One model file, loaded once, on one provider.

    `provider`: auto, cpu, cuda, tensorrt, openvino or openvino-bf16; `threads` 0 leaves the
    number to the engine. `streams` threads may call it at once, which gives more frames per second
    than one call on all threads, and each frame later. Boxes count from `score` on, by default from
    the file's own scores per class. Raises UserError for a file without our description and for a
    provider this machine lacks.
    """

    def __init__(
        self,
        path: str | Path,
        provider: str = "auto",
        threads: int = 0,
        streams: int = 1,
        score: float | None = None,
    ) -> None:
        self.path = Path(path)
        self.description = read_description(self.path)
        self.least = self.description.box_scores(score)
        self.chosen_because = "requested"
        adapter = self.description if isinstance(self.description, Adapter) else None
        if adapter and provider == "auto":
            provider = "cpu"  # `auto` measures with the input of our own models
        if provider == "auto":
            provider, self.chosen_because = choose(self.path, threads)
        self.provider = provider
        memory = memory_limit(self.description.size_hw)
        engine = load(self.path, provider, threads, memory, streams)
        self.engine: Engine = AdaptedEngine(engine, adapter) if adapter else engine
        check_outputs(self.path, self.description, self.engine.names)

    def __call__(self, frame: np.ndarray) -> Scene:
        """All outputs for a uint8 (H, W, 3) BGR frame of any size; grey and BGRA are converted."""
        start = time.perf_counter()
        frame = as_bgr(frame)
        box = Letterbox(frame.shape[:2], self.description.size_hw, self.description.pad_value)
        image = box.apply(frame)
        prepared = time.perf_counter()
        raw = self.raw(image)
        ran = time.perf_counter()
        scene = read_scene(raw, self.description.views, box).from_score(self.least)
        done = time.perf_counter()
        moments = {"prepare": prepared - start, "model": ran - prepared, "read": done - ran}
        scene.timings_ms = {key: 1e3 * s for key, s in moments.items()}
        return scene

    def raw(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Decoded outputs at the model's size, for one letterboxed uint8 (H, W, 3) image."""
        arrays = dict(zip(self.engine.names, self.engine.run(image[None]), strict=True))
        views = self.description.views
        return {name: self._checked(name, view, arrays[name]) for name, view in views.items()}

    def _checked(self, name: str, view: View, array: np.ndarray) -> np.ndarray:
        """Without the batch axis. Raises UserError where type or shape do not fit the kind."""
        if array.ndim > 2 and array.shape[0] == 1:
            array = array[0]
        if not KINDS[view.kind].fits(array, view, self.description.size_hw):
            raise UserError(
                f"{self.path}: output {name!r:.100} of kind {view.kind} is {array.dtype} "
                f"{array.shape}; export the model again with export-onnx"
            )
        return array


def default_model() -> Path:
    """The model that ships with the package. Raises UserError where it does not."""
    return local_file(DEFAULT, ONNX)
