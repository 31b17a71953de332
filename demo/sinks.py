"""What every output of `perceive` has in common: takes packets, and writes whole files. And the
log."""

import errno
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from demo.pipeline import Packet
from perception.files import WriteError, replacing
from perception.runtime.annotations import scalabel_frame
from perception.runtime.shapes import annotate

# Writing stops while this much is free, so that all files can still be completed: an MP4's index
# takes about 16 bytes per frame, an MCAP's last chunk and index a few megabytes.
RESERVED_BYTES = 8 << 20


class FileSink(ABC):
    """A context manager that writes one file. Subclasses implement `open` and `append`, and name
    with `on_close` what completes the file.

    The file appears at `path` when the sink is closed without an error and, with `keep`, as far
    as it goes when the disk is full. Until then it is `self.part`, which a killed run leaves.
    """

    def __init__(self, path: Path, keep: bool = True) -> None:
        self.path, self.keep = path, keep

    def __enter__(self) -> "FileSink":
        with ExitStack() as stack:
            self.part = stack.enter_context(output_file(self.path, self.keep))
            self.stack = stack
            self.open()
            self.stack = stack.pop_all()
        return self

    def write(self, packet: Packet) -> None:
        """Appends one frame. Raises WriteError when the disk is full."""
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


class ScalabelSink(FileSink):
    """perceive --json: Scalabel frames, as BDD100K's labels are, one per line (.jsonl) or all as a
    list (.json).

    Boxes are box2d, areas and markings closed poly2d. With `geometry` (a camera is given), lanes
    are open poly2d, and boxes, lanes and frame carry its numbers (docs/geometry.md).
    """

    def __init__(self, path: Path, video: str, keep: bool = True, geometry: bool = False) -> None:
        super().__init__(path, keep)
        self.video, self.geometry, self.frames = video, geometry, 0
        self.is_list = path.suffix.lower() == ".json"

    def open(self) -> None:
        """Unbuffered: a killed run leaves every line written so far."""
        # Opening /dev/stdout anew would empty a file that the shell appends to.
        number = descriptor(self.part)
        opened = self.part if number is None else os.dup(number)
        self.file = open(opened, "wb", buffering=0)  # noqa: SIM115 - see on_close
        self.on_close(self.file.close)
        if self.is_list:
            self.on_close(lambda: self.file.write(b"\n]\n" if self.frames else b"[]\n"))

    def append(self, packet: Packet) -> None:
        """Writes a frame; one that the disk has no room for is removed again."""
        at = packet.frame
        road = packet.road if self.geometry else None
        frame = annotate(at.name, packet.scene, road, outlined=road is None)
        timestamp = round(1000 * at.seconds)
        entry = scalabel_frame(
            frame, at.index, videoName=self.video, frameIndex=at.index, timestamp=timestamp
        )
        text = json.dumps(entry, allow_nan=False, separators=(",", ":"))
        before, after = ("[\n", "") if self.is_list else ("", "\n")
        if self.is_list and self.frames:
            before = ",\n"
        start = self.file.tell() if self.part.is_file() else 0
        try:
            self.file.write((before + text + after).encode())
        except OSError:
            if self.part.is_file():
                self.file.truncate(start)
                self.file.seek(start)
            raise
        self.frames += 1


@contextmanager
def output_file(path: Path, keep: bool = True) -> Iterator[Path]:
    """Yields the path to write to: a new file in the same folder, renamed to `path` on leaving
    without an error, and with `keep` also where the disk is full.

    On any other error it is removed, and an older file at `path` stays. A device or a pipe is
    yielded as it is. Raises UserError where the file cannot be written at all.
    """
    full: WriteError | None = None
    if descriptor(path) is not None:
        yield path
        return
    with replacing(path) as part:
        check_space(path)
        try:
            yield part
        except WriteError as error:
            if not error.full or not keep or not part.is_file() or not part.stat().st_size:
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
    """Raises WriteError when the disk of a regular file is nearly full."""
    if path.exists() and not path.is_file():
        return
    if shutil.disk_usage(os.path.dirname(os.path.realpath(path))).free < RESERVED_BYTES:
        raise disk_error(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def disk_error(path: Path, error: OSError) -> WriteError:
    """The error for a failed write, which is taken for a full disk."""
    return WriteError(f"{path}: {error.strerror or error}; free space or write elsewhere", True)
