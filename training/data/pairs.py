"""Datasets whose labels are a file per frame and task, called like the frame's image."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from perception.images import IMAGE_SUFFIXES
from training.data.annotated import Annotated
from training.data.builder import Builder
from training.data.classes import ClassLists
from training.data.files import SPLITS, files_below, nfc
from training.data.images import Images
from training.data.labels import Label, Mask
from training.data.masks import read_mask

Words = frozenset[tuple[str, str]]  # what stands for each word in braces of a place


class Pairs(Annotated):
    """Frames with a label file for some task. Images and labels without the other are noted.

    A place is a path below the root with {split}, {stem} and whatever other words an image and its
    labels have in common; ".*" at its end is any format of images. The classes are the tasks' own.
    """

    every_image = False  # `read` notes them
    frames_at: ClassVar[str]
    """Where images are: images/{split}/{stem}.*"""
    labels_at: ClassVar[Mapping[str, str]]
    """Where the label of each task is: masks/{split}/{stem}.png"""

    encodings: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """In masks.ENCODINGS, for tasks whose labels are masks of class numbers."""

    def pixels(self, task: str, path: Path, size_hw: tuple[int, int]) -> Label:
        """The label of a task in its file, for a frame of `size_hw`."""
        return Mask(read_mask(path, self.encodings[task], size_hw))

    def expected(self) -> str:
        places = (self.frames_at, *self.labels_at.values())
        text = ", ".join(places).replace("{split}", self.split).replace("{stem}", "NAME")
        return re.sub(r"\{(\w+)\}", lambda word: word[1].upper(), text)

    def own_lists(self) -> ClassLists:
        return ClassLists({})

    def read(self, builder: Builder, images: Images) -> None:
        code = builder.encoding("")
        labels = {task: dict(found(self.label_root, at)) for task, at in self.labels_at.items()}
        spare = {path for paths in labels.values() for path in paths.values()}
        for words, image in found(self.root, self.frames_at):
            files = {task: paths[words] for task, paths in labels.items() if words in paths}
            split = dict(words).get("split", "")
            if files:
                frame = builder.frame(image, split)
                spare.difference_update(files.values())
                for task, path in files.items():
                    builder.mask(frame, task, path, code)
            elif split != "test":
                builder.leave_out("image without label", f"{self.root / image}: no label")
        for path in sorted(spare):
            text = f"{self.label_root / path}: no image of this name"
            builder.leave_out("label without frame", text)

    def label(self, task: str, frame: int, size_hw: tuple[int, int]) -> Label:
        file = self.table.mask(frame, task)
        assert file is not None
        return self.pixels(task, self.label_root / file[0], size_hw)


def found(root: Path, place: str) -> Iterator[tuple[Words, str]]:
    """(words, path) of the files whose path reads like `place`."""
    suffixes = IMAGE_SUFFIXES if place.endswith(".*") else (Path(place).suffix,)
    words = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(place.rpartition(".")[0]))
    for path in files_below(root, suffixes):
        if match := re.fullmatch(words, path.rpartition(".")[0], re.IGNORECASE):
            texts = {word: nfc(text) for word, text in match.groupdict().items()}
            if split := texts.get("split"):
                texts["split"] = SPLITS.get(split.lower(), split)
            yield frozenset(texts.items()), path


def deeper(root: Path, *names: str) -> Path:
    """The first of the subfolders that exists, else the folder itself."""
    return next((root / name for name in names if (root / name).is_dir()), root)
