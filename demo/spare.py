"""Files that are still closed properly when the disk is full, keeping what was written so far."""

import errno
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from perception.errors import UserError
from perception.files import replacing

# Room for what closing writes: an MP4's index is about 16 bytes a frame, its encoder holds back
# some frames, an MCAP's last chunk and index are a few megabytes.
SPARE_BYTES = 8 << 20
LEAST_FREE_BYTES = 2 << 20


class DiskFullError(UserError):
    """The disk is full; files that can be completed are to be kept."""


class SparedFile(io.RawIOBase):
    """A new binary file, for writers that take a file in place of a path.

    A second file keeps some room on the disk. When a write fails, that room is given back, the
    write is done again, and the sink's next `check()` ends the run: closing then has the room.
    """

    def __init__(self, part: Path, path: Path) -> None:
        self.path, self.part, self.failed = path, part, ""
        self.reserve = part.with_name(part.name + ".spare")
        try:
            self.file = io.FileIO(part, "w+")
            if part.is_file():  # a device has no size to keep
                self.reserve.write_bytes(os.urandom(SPARE_BYTES))
        except OSError as error:
            self.close()
            raise full(path, error) from None

    def write(self, data: Any) -> int:
        """Writes all of any bytes-like object. Raises DiskFullError once the spare room is used
        up, too."""
        left = memoryview(data).cast("B")
        count = len(left)
        while left:
            try:
                left = left[self.file.write(left) :]
            except OSError as error:
                if self.failed:
                    raise full(self.path, error) from None
                self.failed = error.strerror or str(error)
                self.reserve.unlink(missing_ok=True)
        return count

    def look(self) -> None:
        """For writers that take only the path and say nothing of failed writes: looks whether the
        disk is about to be full."""
        if not self.failed and shutil.disk_usage(self.part.parent).free < LEAST_FREE_BYTES:
            self.failed = os.strerror(errno.ENOSPC)
            self.reserve.unlink(missing_ok=True)

    def check(self) -> None:
        """Raises DiskFullError where a write has needed the spare room."""
        if self.failed:
            raise DiskFullError(f"{self.path}: {self.failed}; free space or write elsewhere")

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file."""
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        """As of any file."""
        return self.file.tell()

    def readable(self) -> bool:
        """Only written."""
        return False

    def writable(self) -> bool:
        """Until closed."""
        return True

    def seekable(self) -> bool:
        """MP4 and MCAP go back to fill in lengths."""
        return True

    def close(self) -> None:
        """Closes the file and gives the spare room back."""
        if hasattr(self, "file"):
            self.file.close()
        self.reserve.unlink(missing_ok=True)
        super().close()


@contextmanager
def spared(path: Path, keep: bool = True) -> Iterator[SparedFile]:
    """A file that appears at `path`, whole, on leaving without an error.

    On leaving with DiskFullError it appears as far as it goes, unless `keep` is false.
    """
    stopped: DiskFullError | None = None
    try:
        with replacing(path) as part, SparedFile(part, path) as file:
            try:
                yield file
            except DiskFullError as error:
                if not keep:
                    raise
                stopped = error
    except OSError as error:  # the folder cannot be made, or the file not renamed
        raise full(path, error) from None
    if stopped is not None:
        raise stopped


def full(path: Path, error: OSError) -> UserError:
    """The one line for a file that cannot be written at all."""
    return UserError(
        f"{path}: cannot be written ({error.strerror or error}); free space or write elsewhere"
    )


class Stacked:
    """A context that closes what was entered on its `stack`, the last first."""

    def __init__(self) -> None:
        self.stack = ExitStack()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stack.__exit__(kind, error, trace)
