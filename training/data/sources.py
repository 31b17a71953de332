"""The registry of datasets; from `--data` arguments to one split of one, or to the frames of a run.

A new dataset: one file in this folder and one line in DATASETS.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from typing_extensions import Unpack

from perception.errors import NoFramesError, UserError, unknown_name
from training.config import DataArgs
from training.data.ade20k import ADE20K
from training.data.cached import Cached
from training.data.cityscapes import Cityscapes
from training.data.class_lookup import joint_lists
from training.data.classes import ClassLists, read_classes
from training.data.coco import COCO
from training.data.dataset import Dataset, OpenOptions
from training.data.formats.bdd100k import BDD100K
from training.data.formats.cvat import CVAT
from training.data.formats.fiftyone import FiftyOne
from training.data.formats.labelme import LabelMe
from training.data.formats.palette_masks import PaletteMasks
from training.data.formats.scalabel import Scalabel
from training.data.formats.yolo import YOLO
from training.data.frames import Choice, Frames, first, select, weighed, whole
from training.data.imagenet import ImageNet
from training.data.nyuv2 import NYUv2
from training.data.rendered import COUNTS, RenderedRoads
from training.data.voc import VOC

# `--data KIND:DIR`. A folder without KIND is the first of these that recognises it.
DATASETS: Final[dict[str, type[Dataset]]] = {
    "bdd100k": BDD100K,  # 100K and 10K
    "nyuv2": NYUv2,
    "cityscapes": Cityscapes,
    "fiftyone": FiftyOne,
    "yolo": YOLO,
    "masks": PaletteMasks,
    "cvat": CVAT,
    "coco": COCO,  # COCO itself, and JSON files of its format
    "ade20k": ADE20K,
    "imagenet": ImageNet,
    "voc": VOC,  # VOC itself, and XML files of its format
    "labelme": LabelMe,
    "scalabel": Scalabel,
    "rendered": RenderedRoads,
}
# A folder that no dataset recognises is opened as this one; its error lists the expected folders.
FALLBACK: Final = "bdd100k"


def kind_and_root(word: str) -> tuple[str, Path]:
    """("coco", path) of "coco:path" or of a folder that COCO recognises.

    Raises UserError for an unknown kind; a path that contains a colon may exist.
    """
    kind, colon, rest = word.partition(":")
    if word in DATASETS and not Path(word).exists():
        return word, Path()
    if colon and kind in DATASETS:
        return kind, Path(rest)
    root = Path(word)
    if colon and not root.exists() and kind.isidentifier():
        raise unknown_name("dataset", kind, DATASETS)
    for name, dataset in DATASETS.items():
        if dataset.recognises(root):
            return name, root
    return FALLBACK, root


def open_dataset(
    word: str,
    split: str,
    tasks: Sequence[str] | None = None,
    size_hw: tuple[int, int] | None = None,
    **options: Unpack[OpenOptions],
) -> Dataset:
    """One split of a `--data` argument, with the labels that it has of `tasks` (None: of all).

    `size_hw` is the size that frames will be scaled to: images may be decoded at a reduced size
    that still covers it. Raises UserError naming the folder and what to do.
    """
    kind, root = kind_and_root(word)
    try:
        reader = DATASETS[kind].reader(root, options.get("labels"), options.get("classes"))
        return reader(root, split, tasks, size_hw, **options)
    except PermissionError as error:
        raise UserError(f"{root}: cannot be read ({error.strerror})") from None


def open_sources(args: DataArgs, tasks: Sequence[str], seed: int) -> tuple[Frames, Frames]:
    """Training and validation frames. Raises UserError where no data has a wanted task."""
    words = args.data or (
        f"rendered:{args.limit or COUNTS['train']}/{args.val_limit or COUNTS['val']}@{seed}",
    )
    classes = read_classes(Path(args.classes)) if args.classes else None
    train = [
        open_part(word, "train", args, tasks, place, classes) for place, word in enumerate(words)
    ]
    train = first(select(train, args.trait_weights, args.share, seed), args.limit)
    place, frames = ", ".join(args.data) or "rendered roads", sum(len(one.rows) for one in train)
    weights = list(args.data_weights)
    if args.data and args.rendered:
        train.append(open_part(f"rendered:{args.rendered}", "train", args, tasks))
        weights = [*(weights or [1.0] * len(args.data)), args.rendered_weight]
    train = weighed(train, weights) if weights else train
    val = first(open_validation(words, args, tasks, classes), args.val_limit)
    # Training and validation together, so that both have the same classes.
    lists = joint_lists([choice.dataset for choice in (*train, *val)], classes)
    joined = Frames(train, tasks, lists), Frames(val, tasks, lists)
    missing = [task for task in tasks if task not in joined[0].tasks]
    if missing:
        raise UserError(
            f"--tasks {','.join(missing)}: {place} has no labels for it"
            + near_names(missing, args.data)
        )
    if not frames:
        raise UserError(f"{place}: no training frames" + " are left" * bool(args.trait_weights))
    if not len(joined[1]):
        raise UserError(f"{place}: no validation frames with a label of {', '.join(tasks)}")
    return joined


def open_validation(
    words: Sequence[str], args: DataArgs, tasks: Sequence[str], classes: ClassLists | None
) -> list[Choice]:
    """The split `val` of every --data that has one. Raises NoFramesError where none has."""
    found: list[Choice] = []
    missing: list[NoFramesError] = []
    for place, word in enumerate(words):
        try:
            found.append(open_part(word, "val", args, tasks, place, classes))
        except NoFramesError as error:
            missing.append(error)
    if not found:
        raise missing[0]
    return found


def open_part(
    word: str,
    split: str,
    args: DataArgs,
    tasks: Sequence[str],
    place: int = 0,
    classes: ClassLists | None = None,
) -> Choice:
    """One split of the `--data` argument at a `place`, as a run reads it: cached with --cache.

    Its frames have the traits source/PLACE, counted from 1, and source/FOLDER.
    """
    training = split == "train"
    # Zoomed crops enlarge a frame decoded at reduced size: decode at a larger size for strong zoom.
    sharp = max(1.0, args.zoom[1] / 1.6) if training else 1.0
    size_hw = (round(args.size[0] * sharp), round(args.size[1] * sharp))
    kind, root = kind_and_root(word)
    # Validation frames are decoded at full size, as for the deployed model.
    dataset = open_dataset(
        f"{kind}:{root}", split, tasks, size_hw, exact=not training, strict=not args.skip_bad,
        labels=Path(args.labels[place]) if args.labels else None, classes=classes,
    )  # fmt: skip
    cached = Cached(dataset, Path(args.cache), size_hw) if args.cache else None
    traits = (f"source/{place + 1}", f"source/{root.name or kind}")
    return whole(dataset)._replace(cached=cached, traits=traits)


def near_names(tasks: Sequence[str], words: Sequence[str]) -> str:
    """A hint for tasks that the data has under another name: each label space is a task."""
    labelled = [name for word in words for name in DATASETS[kind_and_root(word)[0]].labels]
    near = [
        f"{name} instead of {task}"
        for task in tasks
        for name in dict.fromkeys(labelled)
        if name.startswith(f"{task}_") or task.startswith(f"{name}_")
    ]
    return f"; did you mean {', '.join(near)}?" if near else ""
