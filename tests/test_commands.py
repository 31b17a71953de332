"""Every command of pyproject.toml also runs with `python -m`; --help has an example."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="in the standard library from Python 3.11")

ROOT = Path(__file__).parents[1]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

# Modules of the console scripts in demo/start.py, which checks for OpenCV first.
MODULES = {
    "perceive": "demo.perceive",
    "perceive-archive": "demo.archive",
    "perceive-web": "demo.web_site",
}


def helped(name: str) -> subprocess.CompletedProcess[str]:
    module = MODULES.get(name, SCRIPTS[name].partition(":")[0])
    return subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "100"},
    )


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """The commands start in pairs: most of their time is that of imports."""
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(helped, name) for name in SCRIPTS}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_help_of_each_command_run_as_a_module(
    name: str, answers: dict[str, Future[subprocess.CompletedProcess[str]]]
) -> None:
    done = answers[name].result()
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout
    assert "xample" in done.stdout
