"""Fixtures of the tests of hostile files."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# fuzz_readers and fuzz_examples are scripts here, no package.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def same_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restores the cache's place, which readers here set, after the test."""
    monkeypatch.setenv("PVT_HYDRANET_CACHE", os.environ.get("PVT_HYDRANET_CACHE", ""))


@pytest.fixture
def write() -> Callable[[Path, bytes | str], Path]:
    """Writes a file, its folders too, and returns its path."""

    def written(path: Path, data: bytes | str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return written
