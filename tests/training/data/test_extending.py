"""The dataset of docs/extending.md, as a reader would add it."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

import training.data.sources
from training.data.examine import examine
from training.data.sources import kind_and_root, open_dataset

PAGE = Path(__file__).parents[3] / "docs/extending.md"


def test_the_documented_dataset_reads_and_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = PAGE.read_text()
    code = re.search(r"## A dataset.*?```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    space: dict = {}
    exec(code[1], space)
    monkeypatch.setitem(training.data.sources.DATASETS, "csv", space["CsvBoxes"])
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        image = np.random.default_rng(len(split)).integers(0, 256, (40, 60, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{split}/a{split}.jpg"), image)
        rows = f"name,class,x1,y1,x2,y2\na{split}.jpg,2,5,6,20,30\n"
        (tmp_path / f"{split}.csv").write_text(rows)
    assert kind_and_root(str(tmp_path))[0] == "csv"
    boxes = open_dataset(str(tmp_path), "val")[0].labels["det"]
    assert boxes.xyxy.tolist() == [[5, 6, 20, 30]]
    report, _ = examine(str(tmp_path))
    assert report.findings == []
