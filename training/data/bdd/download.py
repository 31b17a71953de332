"""Archives over HTTP: resumed by range, checked by MD5, unpacked once and never outside."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from perception.errors import UserError
from perception.files import write_atomic

CHUNK: Final = 1 << 20
TRIES: Final = 5  # in a row without a byte of progress, for each mirror
TIMEOUT: Final = 30.0
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Archive:
    """A file of the official list; `size` is about what it has there."""

    name: str
    md5: str
    size: int


def part_path(folder: Path, archive: Archive) -> Path:
    """Where the bytes fetched so far are."""
    return folder / "archives" / f"{archive.name}.part"


def part_size(folder: Path, archive: Archive) -> int:
    """Bytes that need not be fetched again."""
    for path in (folder / "archives" / archive.name, part_path(folder, archive)):
        if path.is_file():
            return path.stat().st_size
    return 0


def fetch(
    archive: Archive,
    folder: Path,
    mirrors: Sequence[str],
    progress: Progress,
    pause: float = 1.0,
) -> Path:
    """The whole, checked archive. Raises UserError naming what each mirror answered.

    Bytes of an earlier, broken attempt are kept and continued. Bytes that turn out wrong are
    thrown away, and the next mirror starts afresh.
    """
    target, part = folder / "archives" / archive.name, part_path(folder, archive)
    if target.is_file() and md5(target) == archive.md5:
        return target
    part.parent.mkdir(parents=True, exist_ok=True)
    answers: list[str] = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{archive.name}"
        try:
            _download(url, part, progress, pause)
        except _RefusedError as error:
            answers.append(f"{url}: {error}")
            continue
        found = md5(part)
        if found == archive.md5:
            part.replace(target)
            return target
        part.unlink()
        answers.append(f"{url}: MD5 is {found}, official {archive.md5}; thrown away")
    raise UserError(
        f"{archive.name} could not be fetched; "
        + "; ".join(answers)
        + "; give another --mirrors, or put the file into "
        + str(target.parent)
    )


class _RefusedError(Exception):
    """A mirror does not give the file; says why."""


def _download(url: str, part: Path, progress: Progress, pause: float) -> None:
    """Appends to `part` until the server's stated length is reached."""
    tries = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _continue(url, part, before, progress):
                return
            reason = "connection ended early"
        except urllib.error.HTTPError as error:
            if error.code == 416 and before:  # nothing is left to send, or the part is no part
                if _total_of(error.headers.get("Content-Range")) == before:
                    return
                part.unlink()
                before = 0
            elif error.code < 500 and error.code != 429:
                raise _RefusedError(f"answers {error.code} {error.reason}") from None
            reason = f"answers {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        after = part.stat().st_size if part.exists() else 0
        tries = 0 if after > before else tries + 1
        if tries >= TRIES:
            raise _RefusedError(f"{reason} ({TRIES} times without a byte)")
        time.sleep(pause * (2**tries - 1))


def _continue(url: str, part: Path, start: int, progress: Progress) -> bool:
    """One request; True where the file is whole by what the server says."""
    headers = {"User-Agent": "get-bdd100k"} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        if start and answer.status != 206:
            start = 0  # the server does not know ranges: begin again
        length = answer.headers.get("Content-Length")
        total = _total_of(answer.headers.get("Content-Range")) if start else None
        if total is None:
            total = start + int(length) if length else 0
        done = start
        with open(part, "ab" if start else "wb") as file:
            while chunk := answer.read1(CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
    if not total:
        return True  # no length given: the MD5 decides
    return done >= total


def _total_of(content_range: str | None) -> int | None:
    """1234 of `bytes 10-99/1234`."""
    total = (content_range or "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def md5(path: Path) -> str:
    """The file's MD5 sum."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def unpacked(folder: Path, archive: Archive) -> bool:
    """Whether this very archive has been unpacked here."""
    marker = _marker(folder, archive)
    return marker.is_file() and marker.read_text().strip() == archive.md5


def unpack(path: Path, archive: Archive, folder: Path) -> None:
    """Unpacks once; a file that is there with the right size is left alone.

    Raises UserError for a zip that is broken or would write outside the folder.
    """
    try:
        with zipfile.ZipFile(path) as bundle:
            members = [member for member in bundle.infolist() if not member.is_dir()]
            for member in members:
                _check_inside(path, member.filename)
            for member in members:
                target = folder / member.filename
                if target.is_file() and target.stat().st_size == member.file_size:
                    continue
                bundle.extract(member, folder)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{path}: not a whole zip ({error}); delete it and try again") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot unpack {path.name}: {error}") from None
    write_atomic(_marker(folder, archive), archive.md5 + "\n")


def _check_inside(path: Path, name: str) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
        raise UserError(f"{path}: holds {name!r}, which lies outside; do not use this archive")


def _marker(folder: Path, archive: Archive) -> Path:
    return folder / "archives" / f"{archive.name}.unpacked"
