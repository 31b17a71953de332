"""Files that are whole or absent: written beside, synced, renamed; and read up to a bound."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perception.errors import UserError


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


def read_bounded(path: Path, limit: int) -> bytes:
    """The whole file. Raises UserError where it is none, cannot be read or is above `limit` bytes.

    A pipe or a device is refused too: it may never end.
    """
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: not a plain file; give one")
        with open(path, "rb") as file:
            if (size := os.fstat(file.fileno()).st_size) > limit:
                raise UserError(
                    f"{path}: {size >> 20} MB, at most {limit >> 20} are read; "
                    "it is not what it should be, restore it"
                )
            return file.read(limit)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({why}); restore the file") from None


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes the whole file or nothing."""
    with replacing(path) as beside:
        beside.write_bytes(data.encode() if isinstance(data, str) else data)
