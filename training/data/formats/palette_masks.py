"""Masks as PNG files with a palette file: `images/NAME.jpg`, `masks/TASK/NAME.png`.

`masks/TASK/palette.yaml` (or .json) is described in masks.py. TASK is drivable, semantic or lane;
split folders may lie below images/ and masks/TASK/. Pixels of another colour are not annotated.
"""

from collections import defaultdict
from pathlib import Path
from typing import Final

from perception.errors import UserError
from training.data.annotated import Annotated
from training.data.builder import Builder
from training.data.files import files_below, split_folder, stem_of
from training.data.images import Images
from training.data.masks import read_palette
from training.data.table import MASK_TASKS

PALETTES: Final = ("palette.yaml", "palette.yml", "palette.json")


class PaletteMasks(Annotated):
    """Areas, classes of all pixels, or lanes, as PNG files."""

    format = "PNG masks with palette.yaml"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return any(palette_file(root, task) for task in MASK_TASKS)

    def read(self, builder: Builder, images: Images) -> None:
        found = {task: palette_file(self.label_root, task) for task in MASK_TASKS}
        palettes = {task: path for task, path in found.items() if path}
        if not palettes:
            raise UserError(
                f"{self.label_root}: no masks/drivable/palette.yaml (or semantic, or lane); write "
                "it with a line per class, e.g. road: [128, 64, 128]"
            )
        # By the path below images/, which is compared first, and by the name alone.
        exact, by_name = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
        for image in (*images.paths, *images.again):
            if not image.startswith("masks/"):
                frame = builder.frame(image, split_folder(image))
                inside = stem_of(image.removeprefix("images/"))
                exact[inside].append(frame)
                by_name[inside.rsplit("/", 1)[-1]].append(frame)
        for task, palette in palettes.items():
            code = builder.encoding(read_palette(palette) | {"task": task, "path": str(palette)})
            base = f"masks/{task}"
            masks = {stem_of(path): path for path in files_below(self.label_root / base, ".png")}
            for frames in (exact, by_name):
                for place, path in masks.items():
                    for frame in frames.get(place, ()):
                        builder.mask(frame, task, f"{base}/{path}", code)
            for place in sorted(masks.keys() - exact.keys() - by_name.keys()):
                text = f"{self.label_root / base / masks[place]}: no image of this name"
                builder.leave_out("label without frame", text)


def palette_file(root: Path, task: str) -> Path | None:
    """The palette of the masks of a task."""
    folder = root / "masks" / task
    return next((path for name in PALETTES if (path := folder / name).is_file()), None)
