"""Own classes from the folder to every output: train, score, export, run."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from demo import archive, perceive
from demo.archive_worker import Labeller
from export import export_onnx
from perception import checkpoint
from perception.classes import DETECTION, DRIVABLE, LANE_CATEGORIES
from perception.errors import UserError
from perception.runtime.providers import read_description
from perception.runtime.view import View
from training.command_line import read_command_line
from training.data.sources import open_dataset
from training.evaluate import parse_arguments, score
from training.evaluation.predictor import open_predictor
from training.run import Run

NAMES = ("cone", "forklift")
PAINT = ("painted", "taped")
HW = (64, 96)
YARD = [(0, 63), (35, 24), (60, 24), (95, 63)]
LINES = [((30, 63), (44, 24)), ((70, 63), (52, 24))]


def drawn_frames() -> Iterator[tuple[int, str, np.ndarray, list[tuple[int, int, int]]]]:
    """(number, split, frame, boxes) of six frames to train on and two to validate: an orange cone
    and a yellow forklift of 16 pixels, as (class, left, top), on a grey yard with two lines."""
    rng = np.random.default_rng(0)
    for number in range(8):
        image, boxes = np.full((*HW, 3), 110, np.uint8), []
        cv2.fillPoly(image, [np.array(YARD)], (80, 80, 90))
        for line, colour in zip(LINES, ((255, 255, 255), (0, 200, 255)), strict=True):
            cv2.line(image, *line, colour, 2)
        for kind in (0, 1):
            x, y = int(rng.integers(2, 28)) + 45 * kind, int(rng.integers(20, 44))
            corners = [[x, y + 16], [x + 16, y + 16], [x + 8, y]]
            if kind:
                corners = [[x, y], [x + 16, y], [x + 16, y + 16], [x, y + 16]]
            cv2.fillPoly(image, [np.array(corners)], ((0, 120, 255), (0, 220, 255))[kind])
            boxes.append((kind, x, y))
        yield number, "train" if number < 6 else "val", image, boxes


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def yolo_folder(root: Path) -> Path:
    for number, split, image, boxes in drawn_frames():
        write_image(root / f"images/{split}/f{number}.png", image)
        lines = [
            f"{kind} {(x + 8) / HW[1]} {(y + 8) / HW[0]} {16 / HW[1]} {16 / HW[0]}"
            for kind, x, y in boxes
        ]
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        (root / f"labels/{split}/f{number}.txt").write_text("\n".join(lines))
    names = "train: images/train\nval: images/val\nnames: [cone, forklift]\n"
    (root / "data.yaml").write_text(names)
    return root


def coco_folder(root: Path) -> Path:
    """Boxes, and the yard as a category that has a polygon and no box."""
    (root / "annotations").mkdir(parents=True)
    names = dict(enumerate((*NAMES, "yard"), 5))
    for split in ("train", "val"):
        frames = [frame for frame in drawn_frames() if frame[1] == split]
        found: list[dict] = []
        for number, _, image, boxes in frames:
            write_image(root / f"images/{split}/f{number}.png", image)
            found += [{"image_id": number, "category_id": 5 + kind, "bbox": [x, y, 16, 16]}
                      for kind, x, y in boxes]  # fmt: skip
            flat = [value for point in YARD for value in point]
            found.append({"image_id": number, "category_id": 7, "segmentation": [flat]})
        data = {
            "images": [{"id": number, "file_name": f"f{number}.png"} for number, *_ in frames],
            "annotations": [{"id": place, **item} for place, item in enumerate(found)],
            "categories": [{"id": key, "name": name} for key, name in names.items()],
        }
        (root / f"annotations/instances_{split}.json").write_text(json.dumps(data))
    return root


def cvat_folder(root: Path) -> Path:
    """Polygons for the drivable area, polylines for lanes, tags for frame attributes."""

    def points(given: Sequence[Sequence[int]]) -> str:
        return ";".join(f"{x},{y}" for x, y in given)

    shapes = f'<polygon label="yard" points="{points(YARD)}"/>'
    for label, line in zip(PAINT, LINES, strict=True):
        shapes += f'<polyline label="{label}" points="{points(line)}"/>'
    entries = ""
    for number, split, image, _ in drawn_frames():
        write_image(root / f"images/f{number}.png", image)
        floor = ("dry", "wet")[number % 2]
        entries += (
            f'<image id="{number}" name="f{number}.png" subset="{split}" width="{HW[1]}" '
            f'height="{HW[0]}">{shapes}<tag label="frame"><attribute name="floor">{floor}'
            "</attribute></tag></image>"
        )
    text = f"<annotations><version>1.1</version>{entries}</annotations>"
    (root / "annotations.xml").write_text(text)
    return root


def bdd_folder(root: Path) -> Path:
    """A few real frames of BDD100K, in the official layout."""
    source = Path(__file__).resolve().parents[3] / "shared/data/bdd100k-real"
    if not source.is_dir():
        pytest.skip(f"no {source}")
    (root / "labels/det_20").mkdir(parents=True)
    for split, count in (("train", 4), ("val", 2)):
        name = f"labels/det_20/det_{split}.json"
        marked = {path.stem for path in (source / "labels/lane/marking" / split).iterdir()}
        frames = json.loads((source / name).read_text())
        frames = [frame for frame in frames if Path(frame["name"]).stem in marked][:count]
        (root / name).write_text(json.dumps(frames))
        for stem in (Path(frame["name"]).stem for frame in frames):
            for place in (
                f"images/100k/{split}/{stem}.jpg",
                f"labels/drivable/masks/{split}/{stem}.png",
                f"ll_seg_annotations/{split}/{stem}.png",
            ):
                given = source / place.replace("ll_seg_annotations", "labels/lane/marking")
                (root / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(given, root / place)
    return root


def train(data: Path, out: Path, *words: str, tasks: str = "det") -> str:
    small = ["--size", "64x96", "--batch", "2", "--epochs", "1", "--workers", "0", "--ema", "0"]
    console = Console(record=True, width=300, quiet=False, file=(out.parent / "log.txt").open("w"))
    given = ["--data", str(data), "--tasks", tasks, "--out", str(out), *words]
    Run(read_command_line([*small, *given]), console).go()
    return console.export_text()


YARD_CLASSES = ("yard", "background")
# What is trained on, and the class names by task that every output must have.
CASES: dict[str, tuple[tuple[Callable[[Path], Path], ...], dict[str, tuple[str, ...]]]] = {
    "yolo": ((yolo_folder,), {"det": NAMES}),
    "coco": ((coco_folder,), {"det": NAMES, "drivable": YARD_CLASSES}),
    "cvat": ((cvat_folder,), {"drivable": YARD_CLASSES, "lane": PAINT, "scene": ("dry", "wet")}),
    "bdd100k and yolo": (
        (bdd_folder, yolo_folder),
        {"det": (*DETECTION, *NAMES), "drivable": DRIVABLE, "lane": LANE_CATEGORIES},
    ),
}


def names_of(view: View) -> tuple[str, ...]:
    """Categories of lanes, the values of all groups of labels, else the classes."""
    return view.classes or view.categories or tuple(n for g in view.groups for n in g.classes)


def make(case: str, root: Path) -> str:
    """Trains a case from the pretrained model in root/run and exports it as root/m.onnx; returns
    what the training printed. The first dataset is in root/data."""
    writers, names = CASES[case]
    folders = [write(root / f"data{place or ''}") for place, write in enumerate(writers)]
    more = [word for folder in folders[1:] for word in ("--data", str(folder))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PVT_HYDRANET_CACHE", str(root / "cache"))
        tasks = ",".join(names)
        said = train(folders[0], root / "run", "--init", "default", *more, tasks=tasks)
        command = ["export-onnx", str(root / "run/best.safetensors"), "-o", str(root / "m.onnx")]
        patch.setattr("sys.argv", command)
        assert export_onnx.main() == 0
    return said


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The case of a YOLO folder; see `make`."""
    root = tmp_path_factory.mktemp("own")
    assert "untrained: cone, forklift" in make("yolo", root)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_own_classes_from_training_to_the_car(
    case: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.setenv("PVT_HYDRANET_CACHE", str(tmp_path / "cache"))
    root = trained if case == "yolo" else tmp_path
    if case != "yolo":
        make(case, root)
    names, best, onnx = CASES[case][1], root / "run/best.safetensors", root / "m.onnx"
    for views in (open_predictor(best).views, read_description(onnx).views):
        assert {task: names_of(view) for task, view in views.items()} == names
    # eval: scores by class.
    words = ["--data", str(root / "data"), "--threads", "1", "--json", str(tmp_path / "s.json")]
    score(parse_arguments([str(best), *words]), open_predictor(best))
    scores = json.loads((tmp_path / "s.json").read_text())["bdd"]
    assert scores.keys() == names.keys()
    for task, listed in names.items():
        scored = {key.rpartition("/")[2] for key in scores[task]}
        assert {name for name in listed if name != "background"} <= scored
    # perceive: log and picture.
    originals = next(root.rglob("f7.png")).parent
    words = [str(originals), "--model", str(onnx), "--provider", "cpu", "--score", "0"]
    words += ["--json", str(tmp_path / "l.jsonl"), "--save", f"{tmp_path}/p/"]
    assert perceive.main(words) == 0
    lines = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]
    found = {label["category"] for line in lines for label in line["labels"]}
    found |= {value for line in lines for value in line["attributes"].values()}
    assert found
    assert found <= {name for listed in names.values() for name in listed}
    drawn = sorted((tmp_path / "p").iterdir())
    assert len(drawn) == len(lines)
    for path in drawn:
        assert (cv2.imread(str(path)) != cv2.imread(str(originals / path.name))).any()
    assert "WARN" not in capfd.readouterr().err


@pytest.mark.slow
def test_predictions_with_own_classes_are_exported_and_the_exported_file_is_scored(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PVT_HYDRANET_CACHE", str(tmp_path / "cache"))
    onnx = trained / "m.onnx"
    words = [str(onnx), "--data", str(trained / "data"), "--json", str(tmp_path / "s.json")]
    words += ["--export", f"yolo:{tmp_path / 'again'}", "--export-score", "0"]
    score(parse_arguments(words), open_predictor(onnx))
    assert "AP50/forklift" in json.loads((tmp_path / "s.json").read_text())["bdd"]["det"]
    assert 'names: ["cone", "forklift"]' in (tmp_path / "again/data.yaml").read_text()


@pytest.mark.slow
def test_the_loop_from_drives_to_labels_to_the_next_model(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PVT_HYDRANET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(archive, "require_extra", lambda *names: None)
    monkeypatch.setattr(
        archive, "label_all", lambda jobs, settings, *rest: map(Labeller(settings), jobs)
    )
    size_wh, drive, picked = (160, 112), tmp_path / "drive.mp4", tmp_path / "picked"
    writer = cv2.VideoWriter(str(drive), cv2.VideoWriter.fourcc(*"mp4v"), 5, size_wh)
    for image in sorted((trained / "data/images").rglob("*.png")):
        writer.write(cv2.resize(cv2.imread(str(image)), size_wh))
    writer.release()
    words = [str(drive), "--out", str(tmp_path / "labels"), "--model", str(trained / "m.onnx")]
    words += ["--provider", "cpu", "--score", "0", "--pick", "2", "--export", f"yolo:{picked}"]
    assert archive.main(words) == 0
    texts = sorted((picked / "labels/train").iterdir())
    assert len(texts) == 2
    for text in texts:  # corrected by a person
        text.write_text("1 0.5 0.5 0.25 0.25\n")
    data = open_dataset(str(picked), "train", ["det"])
    assert data.classes["det"][""] == NAMES
    out = tmp_path / "next"
    given = str(trained / "run/best.safetensors")
    said = train(trained / "data", out, "--data", str(picked), "--init", given)
    assert "untrained" not in said  # the same classes in the same order
    assert checkpoint.read(out / "last.safetensors")[1].classes == {"det": list(NAMES)}


@pytest.mark.parametrize(
    ("target", "said"),
    [("yolo", "write FORMAT:PATH"), ("yolo:", "write FORMAT:PATH"), ("yollo:x", "did you mean")],
)
def test_a_wrong_target_of_export_is_one_line(target: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_arguments(["m.onnx", "--export", target])
