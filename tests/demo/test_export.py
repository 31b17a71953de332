"""--export of perceive and perceive-archive, and --pick."""

import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from demo import archive as archive_command
from demo import perceive as command
from demo.archive_worker import Labeller
from demo.pick import Seen, disagreement, distinct, rate


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b"):
        image = np.full((120, 200, 3), 90, np.uint8)
        image[60:, :100] = (250, 60, 60)
        cv2.imwrite(str(folder / f"{name}.png"), image)
    return folder


def perceive(photos: Path, model: Path, *words: str) -> int:
    return command.main([str(photos), "--model", str(model), "--provider", "cpu", *words])


def test_every_format_holds_the_same_boxes(photos: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for target in ("scalabel:s.json", "coco:c.json", "yolo:y", "cvat:v.xml"):
        kind, name = target.split(":")
        assert (
            perceive(photos, tiny_onnx, "--score", "0.5", "--export", f"{kind}:{out / name}") == 0
        )
    frame = json.loads((out / "s.json").read_text())[0]
    (box,) = [label for label in frame["labels"] if label["box2d"]]
    coco = json.loads((out / "c.json").read_text())
    (item,) = [i for i in coco["annotations"] if "bbox" in i and i["image_id"] == 1]
    names = {entry["id"]: entry["name"] for entry in coco["categories"]}
    lines = (out / "y" / "labels" / "a.txt").read_text().splitlines()
    root = ElementTree.parse(out / "v.xml").getroot()
    (element,) = root.find("image").findall("box")  # type: ignore[union-attr]
    assert names[item["category_id"]] == box["category"] == element.get("label") == "car"
    assert frame["name"] == coco["images"][0]["file_name"] == "a.png"
    x1, y1, x2, y2 = (box["box2d"][side] for side in ("x1", "y1", "x2", "y2"))
    assert item["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.02)
    number, *numbers = map(float, lines[0].split())
    expected = [(x1 + x2) / 400, (y1 + y2) / 240, (x2 - x1) / 200, (y2 - y1) / 120]
    assert (len(lines), number, numbers) == (1, 0, pytest.approx(expected, abs=1e-3))
    sides = [float(element.get(side, "")) for side in ("xtl", "ytl", "xbr", "ybr")]
    assert sides == pytest.approx([x1, y1, x2, y2], abs=0.02)
    lines_and_areas = {tuple(p["closed"] for p in e["poly2d"]) for e in frame["labels"][1:]}
    assert lines_and_areas == {(True,), (False,)}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("x.json", "write FORMAT:PATH"),
        ("cocoo:x.json", "did you mean 'coco'"),
        ("coco:.", "a folder; name a .json file"),
    ],
)
def test_a_wrong_target_is_one_line(
    photos: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str], target: str, said: str
) -> None:
    assert perceive(photos, tiny_onnx, "--export", target) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("error")]
    assert said in line


def drive(path: Path) -> Path:
    """50 frames: grey, with four different pictures in the second half."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (160, 120))
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (3, 4, 3)).astype(np.uint8) for _ in range(4)]
    for index in range(50):
        frame = np.full((120, 160, 3), 90, np.uint8)
        if index >= 26:
            frame = cv2.resize(pictures[(index - 26) // 6], (160, 120))
        writer.write(frame)
    writer.release()
    return path


def test_pick_writes_different_frames_with_their_labels(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(
        archive_command, "label_all", lambda jobs, settings, *rest: map(Labeller(settings), jobs)
    )
    monkeypatch.setattr(archive_command, "require_extra", lambda *names: None)
    drive(tmp_path / "drive.mp4")
    words = [str(tmp_path / "drive.mp4"), "--out", str(tmp_path / "labels"), "--model"]
    words += [str(tiny_onnx), "--provider", "cpu", "--every", "3"]
    picked = tmp_path / "picked"
    assert archive_command.main([*words, "--pick", "3", "--export", f"coco:{picked}"]) == 0
    assert "picked 3 of 17 frames" in capsys.readouterr().out
    images = sorted(path.name for path in (picked / "images" / "train").iterdir())
    coco = json.loads((picked / "annotations" / "train.json").read_text())
    assert sorted(entry["file_name"] for entry in coco["images"]) == images
    small = [
        cv2.resize(cv2.imread(str(picked / "images/train" / name)), (16, 9)) for name in images
    ]
    for one in range(3):
        for other in range(one):
            assert np.abs(small[one].astype(int) - small[other]).mean() > 6
    assert archive_command.main([*words, "--pick", "3", "--export", f"coco:{picked}"]) == 2
    assert "not empty" in capsys.readouterr().err
    assert archive_command.main([*words, "--pick", "3"]) == 2
    assert "add --export" in capsys.readouterr().err


def seen(index: int, scores: list[float], classes: list[str], x: float = 0) -> Seen:
    boxes = np.array([[x, 0, x + 10, 10]] * len(scores), float).reshape(-1, 4)
    return Seen(0, index, (100, 100), boxes, np.array(scores), classes)


def test_uncertain_unconfirmed_and_rare_frames_have_the_highest_value() -> None:
    sure = [seen(n, [0.99], ["car"]) for n in range(8)]
    frames = [*sure, seen(8, [0.5], ["car"]), *[seen(n, [0.99], ["car"]) for n in range(9, 16)]]
    rate(frames)
    assert max(frames, key=lambda frame: frame.value).index == 8
    frames = [*sure, seen(8, [0.99], ["train"], x=50), *frames[9:]]
    rate(frames)
    assert max(frames, key=lambda frame: frame.value).index == 8
    assert disagreement(sure[0], sure[1]) == 0
    assert disagreement(sure[0], frames[8]) == 1
    empty = [seen(0, [], [])]
    rate(empty)
    assert empty[0].value == 0


def test_near_duplicate_frames_are_picked_once() -> None:
    frames = [seen(n, [], []) for n in range(4)]
    grey = np.zeros((9, 16, 3), np.float32)
    pictures = {
        (0, 0): grey,
        (0, 1): grey + 1,
        (0, 2): grey + np.arange(16)[:, None] * 3,
        (0, 3): grey,
    }
    assert [frame.index for frame in distinct(frames, pictures, 3)] == [0, 2]
