"""JSON files of many frames, read one frame at a time with bounded memory."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

from perception.errors import UserError
from training.data.files import encoding_of, head_of

CHUNK: Final = 1 << 22
# A frame of the releases is below 0.2 million characters; a longer value than this is an error.
MAX_VALUE: Final = 1 << 23


def frames(path: Path) -> Iterator[dict[str, Any]]:
    """Frames of a Scalabel file: a list, {"frames": [...]}, or one frame of the 2018 release.

    Raises UserError naming the file and the place of the error.
    """
    with _opened(path) as reader:
        for key, frame in reader.frames():
            if key in ("", "frames"):
                if not isinstance(frame, dict):
                    raise reader.broken(f"expected a frame, found {type(frame).__name__}")
                yield frame


def members(path: Path) -> Iterator[tuple[str, Any]]:
    """(key, value) of a large object; of a list, (key, item) for each of its items; ("", item) for
    those of a file that is a list.

    Raises UserError as `frames` does.
    """
    with _opened(path) as reader:
        yield from reader.members()


@contextmanager
def _opened(path: Path) -> Iterator["_Reader"]:
    try:
        with open(path, encoding=encoding_of(path)) as file:
            yield _Reader(file, path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore the file") from None


class _Reader:
    """A growing window over the text; `position` is where the next value begins."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self.file, self.path = file, path
        self.text, self.position, self.consumed = "", 0, 0
        self.decoder = json.JSONDecoder()

    def frames(self) -> Iterator[tuple[str, Any]]:
        """As `members`; a small object, which may be one frame, as ("", frame) for each in it."""
        if self._peek() == "{" and len(self.text) < CHUNK:
            try:
                return (("", frame) for frame in self._unwrapped(json.loads(self.text)))
            except (ValueError, RecursionError) as error:
                raise self.broken(str(error)) from None
        return self.members()

    def _unwrapped(self, data: dict[str, Any]) -> list[Any]:
        inner = data.get("frames")
        if not isinstance(inner, list):
            return [data]
        if "name" not in data:
            return inner
        # The 2018 release: one image with `frames[0].objects`.
        first = inner[0] if inner else {}
        if not isinstance(first, dict):
            raise self.broken(f"expected an object in frames, found {type(first).__name__}")
        found = {"name": data["name"], "attributes": data.get("attributes")}
        return [found | {"labels": first.get("objects", [])}]

    def members(self) -> Iterator[tuple[str, Any]]:
        opening = self._peek()
        if opening == "[":
            yield from (("", self._value()) for _ in self._parts("]"))
        elif opening != "{":
            raise self.broken("expected a list or an object")
        for _ in self._parts("}") if opening == "{" else ():
            key = self._value()
            if self._peek() != ":":
                raise self.broken("expected ':'")
            self.position += 1
            if self._peek() == "[":
                yield from ((key, self._value()) for _ in self._parts("]"))
            else:
                yield key, self._value()

    def _parts(self, end: str) -> Iterator[None]:
        """Stops before each part of a list or an object, to the end of which it moves."""
        self.position += 1
        if self._peek() == end:
            self.position += 1
            return
        while True:
            yield
            after = self._peek()
            self.position += 1
            if after == end:
                return
            if after != ",":
                raise self.broken(f"expected ',' or '{end}'")

    def _peek(self) -> str:
        while True:
            while self.position < len(self.text) and self.text[self.position].isspace():
                self.position += 1
            if self.position < len(self.text):
                return self.text[self.position]
            if not self._grow():
                raise self.broken("it ends too early")

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.position)
            except RecursionError:
                raise self.broken("it is nested too deep") from None
            except ValueError as error:
                if len(self.text) - self.position > MAX_VALUE:
                    what = f"no value ends within {MAX_VALUE >> 20} million characters"
                    raise self.broken(what) from None
                if not self._grow():
                    raise self.broken(str(error)) from None
            else:
                # A number could continue beyond the window, but only objects are read here.
                self.position = end
                return value

    def _grow(self) -> bool:
        """Reads more; the window doubles, so that a damaged value costs linear time."""
        rest = self.text[self.position :]
        more = self.file.read(max(CHUNK, len(rest)))
        self.consumed += self.position
        self.text, self.position = rest + more, 0
        return bool(more)

    def broken(self, what: str) -> UserError:
        place = self.consumed + self.position
        return UserError(f"{self.path}: not valid JSON near character {place}: {what}; restore it")


def looks_like_frames(path: Path) -> bool:
    """Whether a JSON file begins like a list of Scalabel frames (or {"frames": [...]}), or is
    empty: then reading it says so."""
    head = head_of(path, 65536)
    if not head:
        return True
    if head.startswith("{"):
        return '"frames"' in head
    start = head.find("{")
    if not head.startswith("[") or start < 0:
        return False
    try:
        frame, _ = json.JSONDecoder().raw_decode(head, start)
    except (ValueError, RecursionError):
        return '"name"' in head and '"labels"' in head
    return isinstance(frame, dict) and "name" in frame and "labels" in frame
