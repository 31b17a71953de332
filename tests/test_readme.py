"""The README tells the truth; its commands exist."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

tomllib = pytest.importorskip("tomllib", reason="in the standard library from Python 3.11")

ROOT = Path(__file__).parents[1]


def readme():
    return (ROOT / "README.md").read_text()


def scripts():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def test_the_readme_lists_every_command_and_no_other():
    table = re.findall(r"^\| (`[^|]*`) \|", readme(), flags=re.MULTILINE)
    listed = {name for cell in table for name in re.findall(r"`([^`]+)`", cell)}
    assert listed == set(scripts())


def test_linked_files_and_named_tests_exist():
    missing, tests = [], {path: path.read_text() for path in ROOT.glob("tests/**/*.py")}
    names = set(re.findall(r"def (test_\w+)", "".join(tests.values())))
    for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        text = path.read_text()
        files = [path.parent / link for link in re.findall(r"\]\(((?!http)[^)#]+)\)", text)]
        files += [ROOT / name for name in re.findall(r"\btests/[\w/]+\.py", text)]
        missing += [f"{path.name}: {file}" for file in files if not file.exists()]
        missing += [
            f"{path.name}: {n}" for n in re.findall(r"::(test_\w+)", text) if n not in names
        ]
    assert missing == []


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    example = readme().split("```python\n")[1].split("```")[0]
    model = ROOT / "perception" / "models" / "hydranet-lite0-384x640.onnx"
    cv2.imwrite(str(tmp_path / "frame.jpg"), np.full((90, 160, 3), 80, np.uint8))
    monkeypatch.chdir(tmp_path)
    exec(example.replace('"model.onnx"', f'"{model}", provider="cpu"'), {})
    said = capsys.readouterr().out
    assert "drivable (90, 160)" in said
    assert "weather" in said
