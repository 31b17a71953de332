"""CVAT XML 1.1, "CVAT for images": boxes, polygons (areas), polylines (lines), image tags.

`annotations.xml`, or any XML files of that format, in the folder of the images or above it.
"""

from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

from perception.errors import NoFramesError, UserError
from training.data.formats.annotated import Annotated
from training.data.formats.images import Images
from training.data.formats.table import OCCLUDED_FLAG, Builder
from training.data.formats.yolo import SPLITS

VERSION: Final = "1.1"
SHAPES: Final = ("box", "polygon", "polyline", "attribute")


class CVAT(Annotated):
    """Boxes, areas and lines of an export from CVAT."""

    format = "CVAT XML"

    @classmethod
    def recognises(cls, root: Path) -> bool:
        return bool(cls.sources(root))

    @classmethod
    def sources(cls, root: Path) -> list[Path]:
        files = [root] if root.is_file() else sorted(root.glob("*.xml"))
        return [path for path in files if _begins(path)]

    def read(self, builder: Builder, images: Images) -> None:
        files = self.sources(self.label_root)
        if not files:
            raise NoFramesError(f"{self.label_root}: no annotations.xml of CVAT in it")
        for path in files:
            split = next((split for split in SPLITS if split in path.stem), "")
            try:
                _read(path, builder, images, split)
            except ElementTree.ParseError as error:
                raise UserError(f"{path}: not XML ({error}); restore it") from None


def _begins(path: Path) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        return "<annotations>" in file.read(512)


def _read(path: Path, builder: Builder, images: Images, split: str) -> None:
    checked = False
    for _, item in ElementTree.iterparse(path):
        if item.tag in SHAPES:  # read with their image
            continue
        if item.tag == "version":
            checked = True
            if item.text != VERSION:
                raise UserError(
                    f"{path}: CVAT version {item.text!s:.20}; export as CVAT for images {VERSION}"
                )
        elif item.tag == "track":
            raise UserError(f"{path}: CVAT for video; export it as CVAT for images {VERSION}")
        elif item.tag == "label" and item.find("name") is not None:
            builder.name((item.findtext("name") or "").strip())
        elif item.tag == "image":
            if not checked:
                raise UserError(f"{path}: no version; export it as CVAT for images {VERSION}")
            where = f"{path} image {item.get('id', '?')} ({item.get('name', '?'):.60})"
            try:
                _annotate(builder, item, where, images, split)
            except (ValueError, KeyError) as error:
                raise UserError(
                    f"{where}: unreadable ({error!r:.100}); export it as CVAT for images {VERSION}"
                ) from None
            item.clear()


def _annotate(
    builder: Builder, item: ElementTree.Element, where: str, images: Images, split: str
) -> None:
    name = item.attrib["name"]
    image = images.find(name, where)
    if image is None:
        raise UserError(f"{where}: no image of this name below {images.root}; add it")
    inside = next((part for part in image.split("/")[:-1] if part in SPLITS), "")
    subset = item.attrib.get("subset", "").lower()
    size_hw = (int(item.attrib["height"]), int(item.attrib["width"]))
    frame = builder.frame(image, split or (subset if subset in SPLITS else "") or inside, size_hw)
    builder.annotated(frame, boxes=True, shapes=True)
    for child in item:
        attrib = child.attrib
        label = attrib.get("label", "")
        if child.tag == "box":
            sides = attrib["xtl"], attrib["ytl"], attrib["xbr"], attrib["ybr"]
            xyxy = tuple(map(float, sides))
            flags = OCCLUDED_FLAG if attrib.get("occluded") == "1" else 0
            builder.box(frame, label, xyxy, where, flags)
        elif child.tag in ("polygon", "polyline"):
            points = [tuple(map(float, p.split(","))) for p in child.attrib["points"].split(";")]
            attributes: dict[str, Any] = {
                entry.attrib["name"]: entry.text for entry in child.findall("attribute")
            }
            builder.shape(frame, label, points, where, closed=child.tag == "polygon",
                          attributes=attributes)  # fmt: skip
        elif child.tag == "tag":
            for entry in child.findall("attribute"):
                builder.attribute(frame, entry.attrib["name"], (entry.text or "").strip())
