"""What an index shows and an install brings: metadata, files of the wheel, links of the README."""

import os
import runpy
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

tomllib = pytest.importorskip("tomllib", reason="in the standard library from Python 3.11")

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / ".ci" / "build_dist.py"
URL = "https://example.org/owner/name"
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.fixture(scope="module")
def absolute_links():
    return runpy.run_path(str(BUILD))["absolute_links"]


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("", ""),
        ("[a](docs/a.md)", f"[a]({URL}/blob/main/docs/a.md)"),
        ("![a](./docs/a.jpg)", f"![a]({URL}/raw/main/docs/a.jpg)"),
        (
            "[![a](docs/a.jpg)](docs/a.md)",
            f"[![a]({URL}/raw/main/docs/a.jpg)]({URL}/blob/main/docs/a.md)",
        ),
        ("[a](https://x.org/a) [b](#b)", "[a](https://x.org/a) [b](#b)"),
    ],
)
def test_relative_links_become_absolute(absolute_links, markdown, expected):
    assert absolute_links(markdown, URL, "main") == expected


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("build", "twine", "setuptools"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed (extra dev)")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, str(BUILD), "--url", URL, "--out", str(out), "--no-isolation"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert list(out.glob("*.tar.gz"))
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_wheel_passes_twine_and_declares_both_licences(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        text = archive.read(next(n for n in names if n.endswith("/METADATA"))).decode()
    metadata = Parser().parsestr(text)
    assert metadata["License-Expression"] == "MIT AND LicenseRef-BDD100K-Weights"
    assert metadata.get_all("License-File") == ["LICENSE", "LICENSE-WEIGHTS"]
    assert f"Repository, {URL}" in metadata.get_all("Project-URL")
    assert "](docs/" not in metadata.get_payload()
    for wanted in (
        "demo/web/app.js",
        "demo/page.html",
        "perception/models/hydranet-lite0-384x640.onnx",
    ):
        assert wanted in names
    assert {name.split("/")[0].split(".")[0] for name in names} == {
        *("perception", "training", "export", "demo"),
        wheel.name.rpartition("-py3")[0].split(".")[0],
    }


@pytest.fixture(scope="module")
def base_install(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH of what an install without any extra brings: the packages here and NumPy."""
    folder = tmp_path_factory.mktemp("base")
    site = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        if (site / name).exists():
            (folder / name).symlink_to(site / name)
    return f"{ROOT}{os.pathsep}{folder}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_without_extras_each_command_names_one_in_one_line(name, base_install):
    module, function = SCRIPTS[name].split(":")
    code = f"import sys; from {module} import {function} as run; sys.exit(run())"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, "model.onnx", "hf://owner/name"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": base_install},
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "pip install" in done.stderr
    assert done.stderr.count("\n") == 1
