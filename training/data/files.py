"""What a dataset folder holds: one walk, one way to read text, and stamps that a change changes."""

import codecs
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from perception.errors import MALFORMED, UserError
from perception.files import read_bounded

DEEPEST: Final = 8  # levels of folders below the root
MOST_FOLDERS: Final = 200_000  # links may multiply them
# What code that reads one kind of file raises for another; SyntaxError is that of XML too.
WRONG_CONTENT: Final = (*MALFORMED, ArithmeticError, SyntaxError)
SPLITS: Final = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """(folder relative to `root` with a trailing slash, "" for the root; its files), by name.

    Links to folders are followed, except back to a folder that they lie in. Names that begin with
    a dot are left out: they are no data (macOS writes `._NAME` next to every file).
    """
    for count, found in enumerate(_walk(os.fspath(root), "", ()) if root.is_dir() else ()):
        if count > MOST_FOLDERS:
            raise UserError(f"{root}: more than {MOST_FOLDERS} folders; do its links repeat?")
        yield found


def _walk(top: str, inside: str, above: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """`above`: the folders on the way from `top`, with links resolved."""
    folder = os.path.join(top, inside)
    real = os.path.join(os.path.realpath(folder), "")
    if any(other.startswith(real) for other in above):
        return  # a link led back
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:  # lost+found, at the top of a disk
        return
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    folders = {entry.name for entry in entries if entry.is_dir()}
    yield inside, [entry.name for entry in entries if entry.name not in folders]
    for name in sorted(folders) if inside.count("/") < DEEPEST else ():
        yield from _walk(top, f"{inside}{name}/", (*above, real))


def files_below(
    root: Path, suffixes: str | tuple[str, ...], distinct: bool = False
) -> Iterator[str]:
    """Paths relative to `root` of the files with a suffix, whatever its case.

    `distinct`: without those in a folder that a link leads to once more.
    """
    seen: set[str] = set()
    for folder, files in walk(root):
        place = os.path.realpath(root / folder) if distinct else ""
        if place not in seen:
            yield from (folder + name for name in files if name.lower().endswith(suffixes))
        seen |= {place} if distinct else set()


def names_in(folder: Path, suffixes: str | tuple[str, ...] = "") -> Iterator[str]:
    """Names of what is directly in a folder, if there is one, with a suffix, whatever its case;
    those that begin with a dot are no data."""
    names = os.listdir(folder) if folder.is_dir() else ()
    return (name for name in names if name[0] != "." and name.lower().endswith(suffixes))


def files_in(folder: Path, suffixes: str | tuple[str, ...] = "") -> list[Path]:
    """As `names_in`, as paths by name."""
    return [folder / name for name in sorted(names_in(folder, suffixes))]


def stem_of(path: str) -> str:
    """The path without suffix, in NFC: macOS stores names decomposed, label files composed."""
    stem, dot, suffix = path.rpartition(".")
    return nfc(stem if dot and "/" not in suffix else path)


def nfc(text: str) -> str:
    """Composed characters, by which names are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def encoding(head: bytes) -> str:
    """UTF-8, or what the byte-order mark at the head of a text says."""
    utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if utf16 else "utf-8-sig"


def text_of(data: bytes) -> str:
    """The text. Raises UnicodeDecodeError for anything else."""
    return data.decode(encoding(data))


def read_text(path: Path, limit: int) -> str:
    """A text file of at most `limit` bytes. Raises UserError where it cannot be read."""
    try:
        return text_of(read_bounded(path, limit))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: no text in UTF-8 ({error}); save it as UTF-8") from None


@contextmanager
def expecting(place: object, what: str, fix: str = "restore it") -> Iterator[None]:
    """Raises UserError for whatever error the content of another kind of file leads to."""
    try:
        yield
    except WRONG_CONTENT as error:
        raise UserError(f"{place}: not {what} ({error!r:.200}); {fix}") from None


def encoding_of(path: Path) -> str:
    """As `encoding`, of a file."""
    with open(path, "rb") as file:
        return encoding(file.read(2))


def head_of(path: Path, count: int = 4096) -> str:
    """The first characters of a text file, to recognise its format; "" where it is no file."""
    if not path.is_file():
        return ""
    with open(path, encoding=encoding_of(path), errors="replace") as file:
        return file.read(count).lstrip()


def first_has(root: Path, suffix: str, text: str) -> bool:
    """Whether a text is in the first characters of the first file with a suffix that is not
    empty."""
    heads = (head_of(root / path) for path in files_below(root, suffix))
    return text in next(filter(None, heads), "")


def split_word(text: str) -> str:
    """The split that is a word of a name: train of instances_train2017, "" of latest."""
    words = re.findall(r"[a-z]+", text.lower())
    return next((SPLITS[word] for word in words if word in SPLITS), "")


def split_folder(path: str) -> str:
    """The split that a folder on the path is called after: val of images/val2017/a.jpg."""
    folders = (part.rstrip("0123456789").lower() for part in path.split("/")[:-1])
    return next((SPLITS[name] for name in folders if name in SPLITS), "")


def stamp(path: str | Path) -> str:
    """Path, size, times and inode. The change time tells a rewritten file whose other time and
    size were set back."""
    try:
        status = os.stat(path)
    except OSError:  # a broken link
        return f"{path}\n"
    times = f"{status.st_mtime_ns}|{status.st_ctime_ns}"
    return f"{path}|{status.st_size}|{times}|{status.st_ino}\n"


def tree_digest(roots: Iterable[Path]) -> str:
    """A digest of the stamps of every file in folders (or of single files)."""
    digest = hashlib.sha256()
    for root in roots:
        if root.is_file():
            digest.update(os.fsencode(stamp(root)))
        for folder, files in walk(root):
            for name in files:
                digest.update(os.fsencode(stamp(f"{root}/{folder}{name}")))
    return digest.hexdigest()[:20]
