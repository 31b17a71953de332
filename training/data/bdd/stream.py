"""JSON files of many frames, read one frame at a time: 1.5 million boxes never stand in memory."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

from perception.errors import UserError

CHUNK: Final = 1 << 22


def frames(path: Path) -> Iterator[dict[str, Any]]:
    """Frames of a Scalabel file: a list, {"frames": [...]}, or one frame of the 2018 release.

    Raises UserError naming the file and the place where it stops being JSON.
    """
    try:
        with open(path, encoding="utf-8") as file:
            yield from _Reader(file, path).frames()
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
            raise self._broken("expected a list of frames")
        yield from self._list()

    def _list(self) -> Iterator[dict[str, Any]]:
        self.position += 1
        if self._peek() == "]":
            return
        while True:
            frame = self._value()
            if not isinstance(frame, dict):
                raise self._broken(f"expected a frame, found {type(frame).__name__}")
            yield frame
            after = self._peek()
            self.position += 1
            if after == "]":
                return
            if after != ",":
                raise self._broken("expected ',' or ']'")

    def _object(self) -> Iterator[dict[str, Any]]:
        """{"frames": [...]} streamed; a 2018 file (one image) is decoded whole."""
        whole = self._whole_small()
        if whole is not None:
            yield from _unwrapped(whole)
            return
        self.position += 1
        while True:
            key = self._value()
            if self._peek() != ":":
                raise self._broken("expected ':'")
            self.position += 1
            if key == "frames" and self._peek() == "[":
                yield from self._list()
            else:
                self._value()
            after = self._peek()
            self.position += 1
            if after == "}":
                return
            if after != ",":
                raise self._broken("expected ',' or '}'")

    def _whole_small(self) -> dict[str, Any] | None:
        if len(self.text) >= CHUNK:
            return None
        try:
            return json.loads(self.text)
        except ValueError as error:
            raise self._broken(str(error)) from None

    def _peek(self) -> str:
        while True:
            while self.position < len(self.text) and self.text[self.position].isspace():
                self.position += 1
            if self.position < len(self.text):
                return self.text[self.position]
            if not self._grow():
                raise self._broken("it ends in the middle")

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.position)
            except (ValueError, RecursionError) as error:
                if not self._grow():
                    raise self._broken(str(error)) from None
            else:
                # A number at the window's edge may go on; none stands where frames are read.
                self.position = end
                return value

    def _grow(self) -> bool:
        """Reads on; the window doubles, so that one broken value costs no quadratic time."""
        rest = self.text[self.position :]
        more = self.file.read(max(CHUNK, len(rest)))
        self.consumed += self.position
        self.text, self.position = rest + more, 0
        return bool(more)

    def _broken(self, what: str) -> UserError:
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
    """A file of the 2018 release (`frames[0].objects`) in the shape of the others."""
    frames_ = data.get("frames") or [{}]
    return {
        "name": data["name"],
        "attributes": data.get("attributes"),
        "labels": frames_[0].get("objects", []),
    }
