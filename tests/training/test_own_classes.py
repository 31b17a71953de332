"""Own classes from the folder to every output: train, score, export, run."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console

from demo import archive, perceive
from demo.archive_worker import Labeller
from export import export_onnx
from perception import checkpoint
from perception.errors import UserError
from perception.model import build
from perception.runtime.annotations import FORMATS, Export
from perception.runtime.description import LANE_BYTE, Group, View
from perception.runtime.letterbox import Letterbox
from perception.runtime.providers import read_description
from perception.runtime.scene import read_scene
from perception.tasks.lane import Lane
from training.command_line import parse_command_line
from training.data.labels import Boxes
from training.data.sources import open_dataset
from training.evaluate import parse_arguments, score
from training.evaluation.predictor import open_predictor
from training.init import initialise
from training.run import Run

NAMES = ("cone", "forklift")
HW = (64, 96)


def views() -> dict[str, View]:
    return {
        "det": View("boxes", classes=("cone", "bus", "car")),
        "lane": View("mask", encoding=LANE_BYTE, categories=("kerb", "single white"),
                     styles=("solid", "dashed"), directions=("parallel", "vertical")),
        "scene": View("label", groups=(Group("road", ("a",)), Group("weather", ("fog", "snowy")))),
    }  # fmt: skip


def test_init_carries_over_the_rows_of_classes_with_the_same_name(tmp_path: Path) -> None:
    tasks = ["det", "lane", "scene", "drivable"]
    torch.manual_seed(1)
    old = build("pvt-hydranet-b0", tasks)
    meta = checkpoint.Meta("pvt-hydranet-b0", tasks, HW)
    checkpoint.save(tmp_path / "old.safetensors", old.state_dict(), meta)
    torch.manual_seed(2)
    new = build("pvt-hydranet-b0", tasks, views=views())
    start = {key: value.clone() for key, value in new.state_dict().items()}
    said = initialise(new, tmp_path / "old.safetensors")
    was, now = old.state_dict(), new.state_dict()
    for head in ("det", "lane", "scene"):
        old_rows = old.tasks[head].class_rows(old.tasks[head].view)
        new_rows = new.tasks[head].class_rows(new.tasks[head].view)
        for key in was:
            if key.startswith(f"tasks.{head}.") and key.split(".", 2)[2] not in new_rows:
                assert torch.equal(now[key], was[key]), key
        for key, rows in new_rows.items():
            full = f"tasks.{head}.{key}"
            for row, name in enumerate(rows):
                before = old_rows[key]
                expected = was[full][before.index(name)] if name in before else start[full][row]
                assert torch.equal(now[full][row], expected), (full, name)
    assert "det: classes carried over: bus, car; untrained: cone; dropped: pedestrian" in said
    assert "drivable:" not in said


def test_init_reorders_rows_of_equal_lists_in_another_order(tmp_path: Path) -> None:
    turned = {"drivable": View("mask", classes=("background", "direct", "alternative"))}
    old, new = (
        build("pvt-hydranet-b0", ["drivable"]),
        build("pvt-hydranet-b0", ["drivable"], views=turned),
    )
    checkpoint.save(tmp_path / "a.safetensors", old.state_dict(),
                    checkpoint.Meta("pvt-hydranet-b0", ["drivable"], HW))  # fmt: skip
    initialise(new, tmp_path / "a.safetensors")
    weight = "tasks.drivable.classify.weight"
    assert torch.equal(new.state_dict()[weight], old.state_dict()[weight][[2, 0, 1]])


def test_lane_scores_have_the_names_of_the_view() -> None:
    metric = Lane.metric(views()["lane"])
    byte = np.full((20, 20), 255, np.uint8)
    byte[:, 5] = 1
    metric.update(byte, {"lane": byte})
    scores = metric.compute()
    assert scores["F1@5/category/single white"] == 100
    assert "F1@5/category/crosswalk" not in scores


def yolo_folder(root: Path) -> Path:
    """Orange cones and yellow forklifts on grey: six frames to train on, two to validate."""
    rng = np.random.default_rng(0)
    for number in range(8):
        split = "train" if number < 6 else "val"
        image, lines = np.full((*HW, 3), 110, np.uint8), []
        for kind in (0, 1):
            x, y = int(rng.integers(5, 35)) + 45 * kind, int(rng.integers(20, 44))
            corners = [[x, y + 16], [x + 16, y + 16], [x + 8, y]]
            if kind:
                corners = [[x, y], [x + 16, y], [x + 16, y + 16], [x, y + 16]]
            cv2.fillPoly(image, [np.array(corners)], ((0, 120, 255), (0, 220, 255))[kind])
            centre = ((x + 8) / HW[1], (y + 8) / HW[0])
            lines.append(f"{kind} {centre[0]} {centre[1]} {16 / HW[1]} {16 / HW[0]}")
        for place in ("images", "labels"):
            (root / place / split).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / f"images/{split}/f{number}.png"), image)
        (root / f"labels/{split}/f{number}.txt").write_text("\n".join(lines))
    names = "train: images/train\nval: images/val\nnames: [cone, forklift]\n"
    (root / "data.yaml").write_text(names)
    return root


def train(data: Path, out: Path, *words: str) -> str:
    small = ["--size", "64x96", "--batch", "2", "--epochs", "1", "--workers", "0", "--ema", "0"]
    console = Console(record=True, width=300, quiet=False, file=(out.parent / "log.txt").open("w"))
    given = ["--data", str(data), "--tasks", "det", "--out", str(out), *words]
    Run(parse_command_line([*small, *given]), console).go()
    return console.export_text()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: data/, run/ from the pretrained model, and that model exported as m.onnx."""
    root = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PVT_HYDRANET_CACHE", str(root / "cache"))
        said = train(yolo_folder(root / "data"), root / "run", "--init", "default")
        best, onnx = root / "run/best.safetensors", root / "m.onnx"
        patch.setattr("sys.argv", ["export-onnx", str(best), "-o", str(onnx)])
        assert export_onnx.main() == 0
    assert "untrained: cone, forklift" in said
    return root


@pytest.mark.slow
def test_a_yolo_folder_with_own_classes_from_training_to_the_car(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("PVT_HYDRANET_CACHE", str(tmp_path / "cache"))
    best, onnx = trained / "run/best.safetensors", trained / "m.onnx"
    assert checkpoint.read(best)[1].classes == {"det": list(NAMES)}
    # eval: scores by class, and predictions that are read back as data.
    words = [str(best), "--data", str(trained / "data"), "--json", str(tmp_path / "s.json")]
    words += ["--export", f"yolo:{tmp_path / 'again'}", "--export-score", "0"]
    score(parse_arguments(words), open_predictor(best))
    scores = json.loads((tmp_path / "s.json").read_text())["bdd"]["det"]
    assert {f"AP50/{name}" for name in NAMES} <= set(scores)
    assert 'names: ["cone", "forklift"]' in (tmp_path / "again/data.yaml").read_text()
    # export: the description has the names.
    assert read_description(onnx).views["det"].classes == NAMES
    # perceive: log and picture have them.
    words = [str(trained / "data/images/val"), "--model", str(onnx), "--provider", "cpu"]
    words += ["--score", "0", "--json", str(tmp_path / "l.jsonl"), "--save", f"{tmp_path}/p/"]
    assert perceive.main(words) == 0
    lines = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]
    found = {label["category"] for line in lines for label in line["labels"]}
    assert len(lines) == 2
    assert found
    assert found <= set(NAMES)
    drawn = cv2.imread(str(next((tmp_path / "p").iterdir())))
    assert (drawn != cv2.imread(str(trained / "data/images/val/f6.png"))).any()
    # eval of the exported file, with the same data.
    score(parse_arguments([str(onnx), "--data", str(trained / "data")]), open_predictor(onnx))
    assert "AP50" in capsys.readouterr().out or scores


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


def scene_of(views: dict[str, View]):
    height, width = HW
    boxes = np.zeros((100, 6), np.float32)
    boxes[0], boxes[1] = (8, 10, 24, 30, 0.9, 1), (40, 12, 72, 44, 0.6, 0)
    area = np.full(HW, 1, np.uint8)
    cv2.fillPoly(area, [np.array([[0, 60], [30, 25], [60, 25], [90, 60]])], 0)
    lane = np.full(HW, 255, np.uint8)
    cv2.line(lane, (10, 60), (40, 25), 0, 2)
    arrays = {"det": boxes, "drivable": area, "lane": lane, "scene": np.array([[0.2, 0.8]])}
    return read_scene(arrays, views, Letterbox((height, width), HW))


OWN = {
    "det": View("boxes", classes=NAMES),
    "drivable": View("mask", classes=("yard", "background")),
    "lane": View("mask", encoding=LANE_BYTE, categories=("kerb",), styles=("solid", "dashed"),
                 directions=("parallel", "vertical")),
    "scene": View("label", groups=(Group("floor", ("wet", "dry")),)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_exported_reads_back(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PVT_HYDRANET_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "set"
    (root / "images/train").mkdir(parents=True)
    scene = scene_of(OWN)
    with Export(name, root / FORMATS[name].place, OWN, 0.3, subset="train") as export:
        for stem in ("a", "b"):
            cv2.imwrite(str(root / f"images/train/{stem}.png"), np.full((*HW, 3), 50, np.uint8))
            export.add(f"{stem}.png", scene)
    dataset = open_dataset(f"{name}:{root}", "train")
    assert [dataset.name(index) for index in range(len(dataset))] == ["a", "b"]
    labels = dataset[0].labels
    boxes = labels["det"]
    assert isinstance(boxes, Boxes)
    listed = dataset.classes["det"][""]
    assert [listed[index] for index in boxes.classes] == ["forklift", "cone"]
    np.testing.assert_allclose(boxes.xyxy, [[8, 10, 24, 30], [40, 12, 72, 44]], atol=0.02)
    if FORMATS[name].areas:
        truth, area = scene.outputs["drivable"].array() == 0, labels["drivable"].mask == 0
        assert (truth & area).sum() / (truth | area).sum() > 0.9
    if FORMATS[name].lines:
        assert dataset.classes["lane"]["categories"] == ("kerb",)
        drawn = labels["lane"].lane != 255
        assert drawn[58:60, 8:18].any()
        assert drawn[30:34, 30:40].any()
        assert dataset.classes["scene"] == {"floor": ("dry",)}
    if name == "scalabel":
        loaded = pytest.importorskip("scalabel.label.io").load(str(root / "labels/train.json"), 1)
        assert [label.category for label in loaded.frames[0].labels][:2] == ["forklift", "cone"]


@pytest.mark.parametrize(
    ("target", "said"),
    [("yolo", "write FORMAT:PATH"), ("yolo:", "write FORMAT:PATH"), ("yollo:x", "did you mean")],
)
def test_a_wrong_target_of_export_is_one_line(target: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_arguments(["m.onnx", "--export", target])
