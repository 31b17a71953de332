"""Atomic writes, bounded reads, and the user's cache folder."""

import errno
import glob
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from perception.errors import UserError

CACHE_VARIABLE: Final = "PVT_HYDRANET_CACHE"
PARTIAL: Final = ".part"  # in the name of a file that is being written
# System errors of a write that the user can fix, with the messages for them.
_FULL: Final = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_REFUSED: Final = {
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.EISDIR, errno.ENOTDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.EFBIG, errno.EIO),
}


class WriteError(UserError, OSError):
    """A file could not be written; the message names it. `full`: for lack of space on the disk."""

    def __init__(self, message: str, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


def cache_folder() -> Path:
    """$PVT_HYDRANET_CACHE; else `pvt-hydranet` in $XDG_CACHE_HOME or ~/.cache."""
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "pvt-hydranet"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a new empty file in the folder of `path`; on success it is synced and renamed onto it.

    On any error the new file is removed and `path` stays as it was. Its name belongs to this call
    alone and keeps the suffix, so that writers which choose a format by it (OpenCV, ONNX) work. A
    link is written through. A device or a pipe (/dev/null) is yielded as it is: a rename would put
    a plain file in its place.
    Raises WriteError where the disk is full or the place cannot be written to.
    """
    target = Path(os.path.realpath(path)) if os.path.islink(path) else path
    with _write_errors(path, target.parent):
        if path.is_dir():
            raise WriteError(f"{path}: is a folder; name a file")
        if path.exists() and not path.is_file():
            yield path
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _new_file(target)
        mode = stat.S_IMODE(temporary.stat().st_mode)
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(mode)  # safetensors writes 0600
            os.replace(temporary, target)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _new_file(path: Path) -> Path:
    """An empty file next to `path` that did not exist before, of at most 120 characters."""
    suffix = path.suffix if len(path.suffix) <= 16 else ""
    while True:
        made = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}{PARTIAL}{suffix}")
        with suppress(FileExistsError):
            os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return made


def leftovers(path: Path) -> Iterator[Path]:
    """Temporary files of `path` that runs which were killed have left."""
    stem, suffix = glob.escape(path.stem[:40]), glob.escape(path.suffix)
    yield from path.parent.glob(f".{stem}.{'[0-9a-f]' * 8}{PARTIAL}{suffix}")


@contextmanager
def _write_errors(path: Path, folder: Path) -> Iterator[None]:
    """Turns errors of the file system at `path` and in `folder` into WriteError; others pass."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.filename is None:
            here = error.errno in _FULL.keys() | _REFUSED
        else:
            named = Path(os.fsdecode(error.filename))
            places = (path, folder, *path.parents, *folder.parents)
            here = named in places or (named.parent == folder and PARTIAL in named.name)
        if not here:
            raise
        raise _write_error(path, error.errno, error.strerror or "") from None
    except Exception as error:  # libraries in Rust put the system's error into their own
        number = next((code for code in _FULL if f"os error {code}" in str(error)), None)
        if number is None:
            raise
        raise _write_error(path, number, "") from None


def _write_error(path: Path, number: int | None, reason: str) -> WriteError:
    if number in _FULL:
        return WriteError(f"{path}: {_FULL[number]}; free some space and run this again", True)
    return WriteError(f"{path}: cannot be written ({reason}); choose another place")


def check_outputs(
    outputs: Iterable[tuple[str, Path | None]],
    inputs: Iterable[tuple[str, Path | None]],
    datasets: Iterable[Path] = (),
) -> None:
    """Raises UserError where a file to write would replace an input, a file of a dataset or another
    output, links resolved, or cannot be made at its place.

    `outputs` are (option, path), `inputs` (what it is, path); None: not given.
    """
    read = {place(path): (what, path) for what, path in inputs if path}
    roots = [Path(os.path.realpath(path)) for path in datasets]
    written: dict[object, str] = {}
    for option, path in outputs:
        if path is None:
            continue
        if path.is_dir():
            raise UserError(f"{option} {path}: a folder; give a file name")
        at = place(path)
        if at in read:
            what, source = read[at]
            raise UserError(
                f"{option} {path}: would replace the input ({what} {source}); choose another name"
            )
        if path.is_file() and any(root in Path(os.path.realpath(path)).parents for root in roots):
            raise UserError(f"{option} {path}: a file of the dataset; choose a place outside of it")
        if at in written and (not path.exists() or path.is_file()):  # /dev/null may repeat
            raise UserError(f"{option} {path}: the same file as {written[at]}; name another")
        written[at] = option
        check_place(option, path)


def dataset_folders(data: str, labels: Path | None) -> list[Path]:
    """The folders that DIR or KIND:DIR, and the place of its labels, name."""
    folder = Path(data) if os.path.exists(data) else Path(data.partition(":")[2] or data)
    return [path for path in (folder, labels) if path and data]


def place(path: Path) -> object:
    """The same for two names of one file: links, hard links, relative paths."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def check_place(option: str, path: Path) -> None:
    """Raises UserError where a new file cannot be made there."""
    parent = Path(os.path.realpath(path)).parent
    while not os.path.exists(parent) and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"{option} {path}: cannot be written in {parent}; choose another place")


def read_bounded(path: Path, limit: int) -> bytes:
    """The whole file. Raises UserError if it is no plain file, unreadable or above `limit` bytes.

    Pipes and devices are refused: they may never end.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path}: not a plain file; give one")
        if status.st_size > limit:
            raise UserError(
                f"{path}: {status.st_size >> 20} MB, at most {limit >> 20} are read; "
                "it is not what it should be, restore it"
            )
        with open(path, "rb") as file:
            return file.read(status.st_size)  # read(limit) would allocate `limit` bytes first
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({why}); restore the file") from None


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes the whole file or nothing; text as UTF-8. Raises WriteError as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
