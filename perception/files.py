"""Files that are whole or absent: written beside, synced, renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is synced and renamed onto it.

    On any error the temporary file is removed and `path` stays as it was. The suffix is kept so
    that writers which look at it (OpenCV, ONNX) still work. A device or a pipe (/dev/null) is
    yielded as it is: renaming onto it would put a plain file in its place.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield beside
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes the whole file or nothing."""
    with replacing(path) as beside:
        beside.write_bytes(data.encode() if isinstance(data, str) else data)
