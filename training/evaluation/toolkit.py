"""Adapter of the official BDD100K toolkit (bdd100k 1.0.1, scalabel 0.3.1).

Both packages are unmaintained and expect pydantic 1 and an older matplotlib. During their import,
pydantic is replaced by its own v1 copy; functions that newer matplotlib and scikit-image removed
are added. Only their Python functions are used: their command lines are broken.
"""

import importlib
import io
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from perception.errors import require_extra

MODULES: Final = {
    "det": "scalabel.eval.detect",
    "tagging": "scalabel.eval.tagging",
    "seg": "bdd100k.eval.seg",
    "lane": "bdd100k.eval.lane",
    "to_scalabel": "bdd100k.label.to_scalabel",
    "to_coco": "scalabel.label.to_coco",
    "typing": "scalabel.label.typing",
    "config": "bdd100k.common.utils",
}


@cache
def load() -> Mapping[str, ModuleType]:
    """The toolkit's modules by short name. Raises UserError naming the extra if it is missing."""
    require_extra("bdd", "bdd100k", "scalabel", "pydantic", "matplotlib", "skimage")
    _restore_tostring_rgb()
    _restore_binary_dilation()
    with _pydantic_1():
        return {name: importlib.import_module(path) for name, path in MODULES.items()}


def config(task: str) -> Any:
    """The toolkit's BDD100KConfig of a task: det, drivable, lane_mark, sem_seg."""
    return load()["config"].load_bdd100k_config(task)


def frames(entries: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Scalabel Frame objects from the dictionaries of a label file."""
    return [load()["typing"].Frame(**entry) for entry in entries]


def named(entries: Iterable[Mapping[str, Any]], task: str = "det") -> list[Any]:
    """Frames whose categories are the official ones: `bike` is bicycle, `other vehicle` an
    ignored car, as the toolkit maps them."""
    return load()["to_scalabel"].bdd100k_to_scalabel(frames(entries), config(task))


def evaluate_detection(
    truth: Iterable[Mapping[str, Any]], found: Iterable[Mapping[str, Any]]
) -> dict[str, list[dict[str, float]]]:
    """COCO scores of Scalabel frames, official names: {"AP": [{class: score}, {"OVERALL": …}]}."""
    evaluate = load()["det"].evaluate_det
    with quiet():
        return evaluate(named(truth), named(found), config("det").scalabel, nproc=1).dict()


def evaluate_masks(
    task: str, truth: Sequence[Path], found: Sequence[Path]
) -> dict[str, list[dict[str, float]]]:
    """Scores of PNG masks matched by stem; task is drivable, sem_seg or lane_mark."""
    evaluate = {
        "drivable": load()["seg"].evaluate_drivable,
        "sem_seg": load()["seg"].evaluate_sem_seg,
        "lane_mark": load()["lane"].evaluate_lane_marking,
    }[task]
    paths = [str(path) for path in truth], [str(path) for path in found]
    with quiet():
        return evaluate(*paths, nproc=1, with_logs=False).dict()


def evaluate_tagging(
    groups: Mapping[str, Sequence[str]],
    truth: Sequence[Mapping[str, str]],
    found: Sequence[Mapping[str, str]],
) -> dict[str, list[dict[str, float]]]:
    """Tagging scores of frame attributes (one dictionary per frame, with every group)."""
    kinds = load()["typing"]
    categories = [
        kinds.Category(name=group, subcategories=[kinds.Category(name=name) for name in classes])
        for group, classes in groups.items()
    ]
    lists = [
        frames({"name": f"{i}", "attributes": dict(one)} for i, one in enumerate(side))
        for side in (truth, found)
    ]
    evaluate = load()["tagging"].evaluate_tagging
    with quiet():
        return evaluate(*lists, kinds.Config(categories=categories)).dict()


@contextmanager
def _pydantic_1() -> Iterator[None]:
    """`import pydantic` gives its v1 API inside, the real package again afterwards."""
    current = importlib.import_module("pydantic")
    if int(str(current.VERSION).split(".")[0]) < 2:
        yield
        return
    sys.modules["pydantic"] = importlib.import_module("pydantic.v1")
    try:
        yield
    finally:
        sys.modules["pydantic"] = current


@contextmanager
def quiet() -> Iterator[None]:
    """Without the toolkit's progress bars, log lines and deprecations, and COCO's prints."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _restore_tostring_rgb() -> None:
    """FigureCanvasAgg.tostring_rgb left matplotlib in 3.10; the mask drawing calls it."""
    canvas = importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg
    if not hasattr(canvas, "tostring_rgb"):

        def tostring_rgb(self: Any) -> bytes:
            return np.ascontiguousarray(np.asarray(self.buffer_rgba())[..., :3]).tobytes()

        canvas.tostring_rgb = tostring_rgb


def _restore_binary_dilation() -> None:
    """skimage.morphology.binary_dilation leaves in scikit-image 0.28; the lane F1 imports it."""
    morphology: Any = importlib.import_module("skimage.morphology")
    if not hasattr(morphology, "binary_dilation"):
        dilation = importlib.import_module("scipy.ndimage").binary_dilation
        morphology.binary_dilation = lambda mask, footprint: dilation(mask, footprint)
