"""The dataset of masks with a palette file; the format is described in masks.py."""

from pathlib import Path

from perception.errors import UserError
from training.data.files import files_below, split_folder, stem_of, walk
from training.data.formats.annotated import Annotated
from training.data.formats.images import Images
from training.data.formats.masks import TASKS, palette_file, read_palette
from training.data.formats.table import Builder


class PaletteMasks(Annotated):
    """Areas, classes of all pixels, or lanes, as PNG files."""

    format = "PNG masks with palette.yaml"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return any(palette_file(root / "masks" / task) for task in TASKS)

    @classmethod
    def sources(cls, root: Path) -> list[Path]:
        places = [root / "masks" / task for task in TASKS]
        return [place / folder for place in places for folder, _ in walk(place)]

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
        used: set[str] = set()
        for image in images.paths:
            if image.startswith("masks/"):
                continue
            inside = stem_of(image.removeprefix("images/"))
            builder.frame(image, split_folder(image))
            for task in palettes:
                found = files[task].get(inside) or files[task].get(Path(inside).name, "")
                builder.masks[task]["files"].append(found)
                used.add(found)
        for mask in (mask for task in palettes for mask in files[task].values()):
            if mask not in used:
                text = f"{self.label_root / mask}: no image of this name"
                builder.leave_out("label without frame", text)


def _masks(root: Path, task: str) -> dict[str, str]:
    """{path below masks/TASK without suffix: path below the root}."""
    base = f"masks/{task}"
    return {stem_of(path): f"{base}/{path}" for path in files_below(root / base, ".png")}
