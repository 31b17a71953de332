"""docs/quickstart.ipynb runs from top to bottom."""

import os
import sys
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="in the standard library from Python 3.11")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (extra dev)")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (extra dev)")
pytest.importorskip("ipykernel", reason="ipykernel is not installed (extra dev)")

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


def output_text(cell) -> str:
    return "".join(out.get("text", "") for out in cell.get("outputs", []))


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A folder with the console scripts of this checkout, installed or not."""
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name, target in scripts.items():
        module, function = target.split(":")
        (folder / name).write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            f"from {module} import {function}\nsys.exit({function}())\n"
        )
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.slow
def test_every_cell_runs(commands, tmp_path, monkeypatch):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    settings = notebook.cells[1]
    assert "minutes = 1" in settings.source
    settings.source = settings.source.replace("minutes = 1", "minutes = 0.1")
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    client = nbclient.NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        assert "error: " not in output_text(cell), output_text(cell)
    pictures = [
        out for cell in cells for out in cell.outputs if "image/jpeg" in out.get("data", {})
    ]
    assert len(pictures) == 2
    assert "mIoU" in "".join(map(output_text, cells))
    assert (tmp_path / "quickstart" / "tuned.onnx").stat().st_size > 1 << 20
