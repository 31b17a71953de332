"""The dataset of masks with a palette file; the format is described in masks.py."""

import os
from pathlib import Path

from perception.errors import UserError
from training.data.formats.annotated import Annotated
from training.data.formats.images import Images
from training.data.formats.masks import TASKS, palette_file, read_palette
from training.data.formats.table import Builder
from training.data.formats.yolo import SPLITS


class PaletteMasks(Annotated):
    """Areas, classes of all pixels, or lanes, as PNG files."""

    format = "PNG masks with palette.yaml"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return any(palette_file(root / "masks" / task) for task in TASKS)

    @classmethod
    def sources(cls, root: Path) -> list[Path]:
        return [
            Path(folder)
            for task in TASKS
            for folder, _, _ in os.walk(root / "masks" / task)
        ]  # fmt: skip

    def read(self, builder: Builder, images: Images) -> None:
        files = {task: _masks(self.label_root, task) for task in TASKS}
        palettes = {
            task: read_palette(path) | {"path": str(path)}
            for task in TASKS
            if (path := palette_file(self.label_root / "masks" / task)) is not None
        }
        if not palettes:
            raise UserError(
                f"{self.label_root}: no masks/drivable/palette.yaml (or semantic, or lane); write "
                "it with a line per class, e.g. road: [128, 64, 128]"
            )
        for task, palette in palettes.items():
            builder.masks[task] = palette | {"files": []}
        for image in images.paths:
            if image.startswith("masks/"):
                continue
            inside = image.removeprefix("images/").rpartition(".")[0]
            builder.frame(image, next((p for p in image.split("/")[:-1] if p in SPLITS), ""))
            for task in palettes:
                found = files[task].get(inside) or files[task].get(Path(inside).name, "")
                builder.masks[task]["files"].append(found)


def _masks(root: Path, task: str) -> dict[str, str]:
    """{path below masks/TASK without suffix: path below the root}."""
    found: dict[str, str] = {}
    base = root / "masks" / task
    for folder, folders, files in os.walk(base):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".png"):
                path = Path(folder) / name
                inside = path.relative_to(base).with_suffix("").as_posix()
                found[inside] = path.relative_to(root).as_posix()
    return found
