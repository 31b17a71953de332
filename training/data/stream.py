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
        for frame in reader.frames():
            if not isinstance(frame, dict):
                raise reader.broken(f"expected a frame, found {type(frame).__name__}")
            yield frame


def members(path: Path) -> Iterator[tuple[str, Any]]:
    """(key, value) of a large object; of a list, (key, item) for each of its items.

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

    def frames(self) -> Iterator[dict[str, Any]]:
        opening = self._peek()
        if opening == "{":
            yield from self._object()
            return
        if opening != "[":
            raise self.broken("expected a list of frames")
        yield from self._list()

    def _list(self) -> Iterator[Any]:
        self.position += 1
        if self._peek() == "]":
            self.position += 1
            return
        while True:
            yield self._value()
            after = self._peek()
            self.position += 1
            if after == "]":
                return
            if after != ",":
                raise self.broken("expected ',' or ']'")

    def _object(self) -> Iterator[dict[str, Any]]:
        """{"frames": [...]} streamed; a 2018 file (one image) is decoded whole."""
        whole = self._whole_small()
        if whole is not None:
            try:
                yield from _unwrapped(whole)
            except (KeyError, TypeError, AttributeError):
                raise UserError(f"{self.path}: no file of the 2018 release; fix it") from None
            return
        yield from (item for key, item in self.members() if key == "frames")

    def members(self) -> Iterator[tuple[str, Any]]:
        if self._peek() != "{":
            raise self.broken("expected an object")
        self.position += 1
        while True:
            key = self._value()
            if self._peek() != ":":
                raise self.broken("expected ':'")
            self.position += 1
            if self._peek() == "[":
                for item in self._list():
                    yield key, item
            else:
                yield key, self._value()
            after = self._peek()
            self.position += 1
            if after == "}":
                return
            if after != ",":
                raise self.broken("expected ',' or '}'")

    def _whole_small(self) -> dict[str, Any] | None:
        if len(self.text) >= CHUNK:
            return None
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise self.broken(str(error)) from None

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


def _unwrapped(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    inner = data.get("frames")
    if not isinstance(inner, list):
        yield data
    elif "name" in data:
        yield one_image(data)
    else:
        yield from inner


def one_image(data: dict[str, Any]) -> dict[str, Any]:
    """A file of the 2018 release (`frames[0].objects`) in the shape of the others.

    Raises KeyError, TypeError or AttributeError where it is none.
    """
    frames_ = data.get("frames") or [{}]
    return {
        "name": data["name"],
        "attributes": data.get("attributes"),
        "labels": frames_[0].get("objects", []),
    }


def as_object(value: Any, where: str) -> dict[str, Any]:
    """`value` where it is an object of a JSON file; else UserError."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected an object, found {type(value).__name__}; fix it")
    return value


def looks_like_frames(path: Path) -> bool:
    """Whether a JSON file begins like a list of Scalabel frames (or {"frames": [...]})."""
    head = head_of(path, 65536)
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
