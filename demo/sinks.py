"""What every output of `perceive` has in common: takes packets, and writes whole files."""

import errno
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.pipeline import Packet
from perception.errors import UserError
from perception.files import replacing

if TYPE_CHECKING:  # in typing from Python 3.11
    from typing_extensions import Self

# Writing stops while this much is free, so that all files can still be completed: an MP4's index
# takes about 16 bytes per frame, an MCAP's last chunk and index a few megabytes.
RESERVED_BYTES = 8 << 20


class DiskFullError(UserError):
    """The disk is full; what was written so far is completed and kept."""


class FileSink(ABC):
    """A context manager that writes one file. Subclasses implement `open` and `append`, and name
    with `on_close` what completes the file.

    The file appears at `path` when the sink is closed without an error and, with `keep`, as far
    as it goes when the disk is full. Until then it is `self.part`, which a killed run leaves.
    """

    def __init__(self, path: Path, keep: bool = True) -> None:
        self.path, self.keep = path, keep

    def __enter__(self) -> "Self":
        with ExitStack() as stack:
            self.part = stack.enter_context(output_file(self.path, self.keep))
            self.stack = stack
            self.open()
            self.stack = stack.pop_all()
        return self

    def write(self, packet: Packet) -> None:
        """Appends one frame. Raises DiskFullError when the disk is full."""
        try:
            self.append(packet)
        except BrokenPipeError:
            raise  # nobody reads it any more
        except OSError as error:
            raise disk_error(self.path, error) from None
        check_space(self.path)

    @abstractmethod
    def open(self) -> None:
        """Opens `self.part` for writing."""

    @abstractmethod
    def append(self, packet: Packet) -> None:
        """Writes one frame."""

    def on_close(self, complete: Callable[[], object]) -> None:
        """Calls `complete` on closing, the last one first; a failed write in it is a full disk."""

        def run() -> None:
            try:
                complete()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise disk_error(self.path, error) from None

        self.stack.callback(run)

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)


@contextmanager
def output_file(path: Path, keep: bool = True) -> Iterator[Path]:
    """Yields the path to write to: a new file in the same folder, renamed to `path` on leaving
    without an error, and with `keep` also on leaving with DiskFullError.

    On any other error it is removed, and an older file at `path` stays. A device or a pipe is
    yielded as it is. Raises UserError where the file cannot be written at all.
    """
    full: DiskFullError | None = None
    if descriptor(path) is not None:
        yield path
        return
    with replacing(path) as part:
        check_space(path)
        try:
            yield part
        except DiskFullError as error:
            if not keep or not part.is_file() or not part.stat().st_size:
                raise
            full = error
    if full is not None:
        raise full


def descriptor(path: Path) -> int | None:
    """The file descriptor that a path names: 7 for /dev/fd/7, 1 for what `is_stdout`. What it goes
    to is written through it, so that a shell's `7>>log` appends."""
    if is_stdout(path):
        return 1
    named = path.parent == Path("/dev/fd") and path.name.isdecimal() and path.exists()
    return int(path.name) if named else None


def is_stdout(path: Path) -> bool:
    """Whether a path names standard output (/dev/stdout) or the file it goes to."""
    try:
        null = os.path.realpath(path) == os.devnull
        return not null and os.path.samestat(os.stat(path), os.fstat(1))
    except OSError:
        return False


def check_space(path: Path) -> None:
    """Raises DiskFullError when the disk of a regular file is nearly full."""
    if path.exists() and not path.is_file():
        return
    if shutil.disk_usage(os.path.dirname(os.path.realpath(path))).free < RESERVED_BYTES:
        raise disk_error(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def disk_error(path: Path, error: OSError) -> DiskFullError:
    """The error for a failed write."""
    return DiskFullError(f"{path}: {error.strerror or error}; free space or write elsewhere")
