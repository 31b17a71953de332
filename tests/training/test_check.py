"""check-bdd names every damage, never stops at the first, and is silent on a clean folder."""

import json
import shutil
import sys

import cv2
import numpy as np
import pytest

from training import check as check_bdd
from training.data.examine import examine

SECOND = "0b00bbbb-00000002"
IMAGES, LABELS = "images/100k/train", "labels/det_20/det_train.json"


@pytest.fixture
def folder(tmp_path, bdd_frames, bdd_write):
    """Train and val of different drives; enough frames that one missing label stands out."""
    root = bdd_write(tmp_path / "data", "masks", bdd_frames)
    for number, frame in enumerate(bdd_frames):
        frame.stem = f"0d0{number}dddd-0000000{number}"
    return bdd_write(root, "masks", bdd_frames, "val")


def edit(root, change):
    path = root / LABELS
    frames = json.loads(path.read_text())
    change(frames)
    path.write_text(json.dumps(frames))


def cut_image(root):
    path = root / IMAGES / f"{SECOND}.jpg"
    path.write_bytes(path.read_bytes()[:300])


def spoil_image(root):
    path = root / IMAGES / f"{SECOND}.jpg"
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    path.write_bytes(bytes(data))


def remove_image(root):
    (root / IMAGES / f"{SECOND}.jpg").unlink()


def remove_mask(root):
    (root / f"labels/drivable/masks/train/{SECOND}.png").unlink()


def shrink_mask(root):
    path = str(root / f"labels/drivable/masks/train/{SECOND}.png")
    cv2.imwrite(path, cv2.imread(path, 0)[::2])


def invent_value(root):
    cv2.imwrite(
        str(root / f"labels/drivable/masks/train/{SECOND}.png"), np.full((180, 320), 9, np.uint8)
    )


def spoil_lane(root):
    (root / f"labels/lane/masks/train/{SECOND}.png").write_bytes(b"\x89PNG")


def box_outside(root):
    edit(root, lambda frames: frames[1]["labels"][0]["box2d"].update(x2=999))


def box_inverted(root):
    edit(root, lambda frames: frames[1]["labels"][0]["box2d"].update(x2=0))


def unknown_category(root):
    edit(root, lambda frames: frames[1]["labels"][0].update(category="submarine"))


def unknown_weather(root):
    edit(root, lambda frames: frames[1]["attributes"].update(weather="sunny"))


def repeat_frame(root):
    edit(root, lambda frames: frames.append(frames[1]))


def drop_frame(root):
    edit(root, lambda frames: frames.pop(1))


def tear_json(root):
    path = root / LABELS
    path.write_text(path.read_text()[:-30])


def leak(root):
    shutil.copy(root / IMAGES / f"{SECOND}.jpg", root / f"images/100k/val/{SECOND}.jpg")


def leak_renamed(root):
    shutil.copy(root / IMAGES / f"{SECOND}.jpg", root / "images/100k/val/0e00eeee-00000009.jpg")


def leak_drive(root):
    frame = np.random.default_rng(1).integers(0, 255, (180, 320, 3)).astype(np.uint8)
    cv2.imwrite(str(root / "images/100k/val/0b00bbbb-00000077.jpg"), frame)


def two_suffixes(root):
    frame = np.random.default_rng(1).integers(0, 255, (180, 320, 3)).astype(np.uint8)
    cv2.imwrite(str(root / IMAGES / f"{SECOND}.png"), frame)


def stray_file(root):
    (root / IMAGES / "notes.txt").write_text("hello")


DAMAGES = [
    (cut_image, "broken frame", f"{SECOND}.jpg"),
    (spoil_image, "broken frame", f"{SECOND}.jpg"),
    (remove_image, "label without frame", f"lane/masks/train/{SECOND}.png"),
    (remove_mask, "missing label", f"{SECOND}.jpg"),
    (shrink_mask, "broken frame", f"drivable/masks/train/{SECOND}.png"),
    (invent_value, "broken frame", f"drivable/masks/train/{SECOND}.png"),
    (spoil_lane, "broken frame", f"lane/masks/train/{SECOND}.png"),
    (box_outside, "broken frame", f"{SECOND}.jpg"),
    (box_inverted, "label", "det_train.json"),
    (unknown_category, "label", "det_train.json"),
    (unknown_weather, "label", "det_train.json"),
    (repeat_frame, "label", "det_train.json"),
    (drop_frame, "missing label", f"{SECOND}.jpg"),
    (tear_json, "label", "det_train.json"),
    (leak, "leak", SECOND),
    (leak_renamed, "leak", "0e00eeee-00000009.jpg"),
    (leak_drive, "leak", "0b00bbbb-00000077"),
    (two_suffixes, "duplicate name", f"{SECOND}.png"),
    (stray_file, "stray file", "notes.txt"),
]


def test_a_clean_folder_has_no_findings(folder):
    report = examine(str(folder))[0]
    assert report.findings == []
    assert report.splits["train"]["labelled"]["lane"] == 3
    assert report.splits["train"]["boxes"]["car"] == 1
    assert report.splits["train"]["attributes"]["weather"]["undefined"] == 1
    assert report.splits["val"]["sizes"] == {"320x180": 3}


@pytest.mark.parametrize(
    ("damage", "kind", "file"), DAMAGES, ids=lambda v: getattr(v, "__name__", "")
)
def test_each_damage_is_named(folder, damage, kind, file):
    damage(folder)
    found = examine(str(folder))[0].findings
    assert [f for f in found if f.kind == kind and f.file.endswith(file)], found


def test_ten_damages_at_once_are_all_named(tmp_path, bdd_frames, bdd_write):
    """Each on a frame of its own; none hides another."""
    many = []
    for number in range(24):
        frame = bdd_frames[1 + number % 2]
        many.append(
            type(frame)(f"0f{number:02d}ffff-000000{number:02d}", *list(vars(frame).values())[1:])
        )
    root = bdd_write(tmp_path / "data", "masks", many)
    names = [frame.stem for frame in many]
    (root / IMAGES / f"{names[0]}.jpg").write_bytes(b"")
    cut = root / IMAGES / f"{names[1]}.jpg"
    cut.write_bytes(cut.read_bytes()[:400])
    (root / IMAGES / f"{names[2]}.jpg").unlink()
    (root / f"labels/lane/masks/train/{names[3]}.png").unlink()
    wrong = np.full((180, 320), 77, np.uint8)
    cv2.imwrite(str(root / f"labels/drivable/masks/train/{names[4]}.png"), wrong)
    cv2.imwrite(str(root / f"labels/lane/masks/train/{names[5]}.png"), wrong[:90])
    edit(root, lambda frames: frames[6]["labels"][0]["box2d"].update(x1=-50))
    edit(root, lambda frames: frames[7]["labels"][0]["box2d"].update(y2=700))
    edit(root, lambda frames: frames[8]["labels"][0].update(category="cart"))
    edit(root, lambda frames: frames.append(frames[9]))
    found = examine(str(root))[0].findings
    for name in names[:10]:
        assert [f for f in found if name in f.file + f.message], name
    assert not [f for f in found for name in names[10:] if name in f.file + f.message]


def test_several_processes_find_the_same(folder):
    cut_image(folder)
    alone = examine(str(folder))[0]
    assert examine(str(folder), jobs=2)[0].to_json() == alone.to_json()


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["check-bdd", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        check_bdd.main()
    return stop.value.code


def test_command_writes_report_and_sheet(folder, tmp_path, monkeypatch, capsys):
    sheet, report = tmp_path / "sheet.png", tmp_path / "report.json"
    words = (folder, "--jobs", "1", "--sheet", sheet, "--json", report)
    assert command(monkeypatch, *words) == 0
    assert "clean" in capsys.readouterr().out
    assert json.loads(report.read_text())["clean"] is True
    picture = cv2.imread(str(sheet))
    assert picture.shape[1] == 4 * 480
    assert picture.std() > 10
    invent_value(folder)
    assert command(monkeypatch, *words) == 1
    assert "unknown value 9" in capsys.readouterr().out
    assert json.loads(report.read_text())["findings"][0]["kind"] == "broken frame"


def test_command_prints_json_alone(folder, monkeypatch, capsys):
    assert command(monkeypatch, folder, "--jobs", "1", "--sheet", "", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["frames"] == 3


def test_command_refuses_a_folder_without_frames(tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, tmp_path, "--sheet", "") == 2
    assert "no frames found" in capsys.readouterr().err
