"""NYUv2 as the multi-task literature preprocesses it: 288x384 arrays, one file per frame and label.

`{train,val}/{image,label,depth,normal}/N.npy`: image RGB in 0..1, 13 classes with -1 unlabelled,
depth in metres with 0 invalid, unit normals with zeros invalid. The download is linked from
https://github.com/lorenmt/mtan (Liu et al., 2019); data by Silberman et al., ECCV 2012.
"""

import re
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from perception.classes import IGNORE, NYUV2
from perception.errors import UserError
from training.data.labels import Distance, Label, Mask, Normals
from training.data.pairs import Pairs

MAX_NUMBERS: Final = 3 * 2048 * 2048


class NYUv2(Pairs):
    """Indoor frames with semantic classes, depth and normals."""

    format = "NYUv2"
    labels = ("semantic_nyuv2", "depth", "normals")
    frames_at = "{split}/image/{stem}.npy"
    labels_at: ClassVar = {
        "semantic_nyuv2": "{split}/label/{stem}.npy",
        "depth": "{split}/depth/{stem}.npy",
        "normals": "{split}/normal/{stem}.npy",
    }

    @classmethod
    def recognises(cls, root: Path) -> bool:
        splits = [root / split for split in ("train", "val")]
        return all(any((s / name).is_dir() for s in splits) for name in ("image", "normal"))

    def sort_key(self, image: str) -> list[int]:
        """2.npy comes before 10.npy."""
        return [int(number) for number in re.findall(r"\d+", Path(image).stem)]

    def name(self, index: int) -> str:
        return f"{self.split}-{super().name(index)}"

    def image(self, path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        """From RGB in 0..1, or 0..255."""
        image = read_array(path).astype(np.float32)
        if image.shape[2] != 3:
            raise UserError(f"{path}: {image.shape} is not a colour image; restore the file")
        if image.max(initial=0) <= 1.0:
            image = image * 255
        image = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(image[..., ::-1]), image.shape[:2]

    def pixels(self, task: str, path: Path, size_hw: tuple[int, int]) -> Label:
        array = read_array(path)
        if array.shape[:2] != size_hw:
            raise UserError(f"{path}: another size than its image; restore both")
        if task == "normals":
            if array.shape[2] < 3:
                raise UserError(f"{path}: lacks channels; restore the file")
            return Normals(to_unit(array.astype(np.float32)))
        if task == "depth":
            metres = array[..., 0].astype(np.float32)
            return Distance(np.where(metres > 0, metres, np.float32(np.nan)))
        classes = array[..., 0].astype(np.int64)
        known = (classes >= 0) & (classes < len(NYUV2))
        return Mask(np.where(known, classes, IGNORE).astype(np.uint8))


def read_array(path: Path) -> np.ndarray:
    """(H, W, C) from a .npy of numbers: (H, W), (H, W, C) or, as some copies have it, (C, H, W).

    It is mapped first: a header may claim any size, a map must fit the file. No objects are
    unpickled.
    """
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(mapped, np.ndarray) or mapped.dtype.kind not in "buif":
            raise ValueError("no array of numbers")
        if mapped.ndim not in (2, 3) or not 0 < mapped.size <= MAX_NUMBERS:
            raise ValueError(f"its shape is {mapped.shape}")
        array = np.array(mapped if mapped.ndim == 3 else mapped[..., None])
        channels_first = mapped.ndim == 3 and mapped.shape[0] in (1, 3)
        return array.transpose(1, 2, 0) if channels_first else array
    except Exception as error:  # whatever a damaged header, which is Python text, makes of it
        said = f"{error!s:.200}".replace("\n", " ")
        raise UserError(f"{path}: not a readable array ({said}); restore the file") from None


def to_unit(vectors: np.ndarray) -> np.ndarray:
    """(H, W, 3) vectors as (3, H, W) of length 1, NaN where they are 0."""
    length = np.linalg.norm(vectors, axis=2, keepdims=True)
    unit = vectors / np.where(length > 0.1, length, np.nan)
    return np.ascontiguousarray(unit.transpose(2, 0, 1))
