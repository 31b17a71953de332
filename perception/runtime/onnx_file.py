"""Checks an ONNX file before an engine opens it: well-formed, complete and without external data.

An ONNX file may name other files, anywhere on the disk, as its weights; those are refused. The
check needs only the nesting of the messages (onnx.proto3), and no protobuf library.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from perception.errors import UserError

MAX_BYTES: Final = 1 << 29
MAX_DEPTH: Final = 64
# Fields of a message that are messages themselves and are checked; all others are skipped.
NESTED: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
    "external": {},
}
DATA_LOCATION: Final = 14  # of a tensor: 1 = in another file


def check(path: Path) -> None:
    """Raises UserError where the file cannot be passed to an engine."""
    if not path.is_file():
        raise UserError(f"{path}: no such model file")
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            if not size:
                raise UserError(f"{path}: an empty file; copy or export the model again")
            if size > MAX_BYTES:
                raise UserError(f"{path}: {size >> 20} MB; a model has up to {MAX_BYTES >> 20}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                external = _external(data, size)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); restore the file") from None
    except ValueError as error:
        raise UserError(
            f"{path}: not a complete ONNX file ({error}); make one with export-onnx"
        ) from None
    if external:
        raise UserError(
            f"{path}: keeps weights in another file ({external!r:.100}), and only models in one "
            "file are read; make one with export-onnx"
        )


def _external(data: mmap.mmap, size: int) -> str:
    """The first external file that a tensor names, "" where none does."""
    todo = [("model", 0, size, 0)]
    while todo:
        kind, start, end, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise ValueError("nested too deep")
        for field, value, stop in _fields(data, start, end):
            inner = NESTED[kind].get(field)
            if inner == "external":
                text = [data[a:b] for _, a, b in _fields(data, value, stop) if b >= 0]
                return b" ".join(text)[:100].decode(errors="replace") or "?"
            if kind == "tensor" and field == DATA_LOCATION and value:
                return "?"
            if inner is not None:
                if stop < 0:
                    raise ValueError(f"field {field} of {kind} is not a message")
                todo.append((inner, value, stop, depth + 1))
    return ""


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(field, start, stop) of fields with a length, (field, value, -1) of numbers."""
    while at < end:
        tag, at = _varint(data, at, end)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at, end)
            yield field, value, -1
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"wire type {wire} at byte {at}")
        length, at = _varint(data, at, end) if wire == 2 else (8 if wire == 1 else 4, at)
        if length > end - at:
            raise ValueError(f"it ends at byte {end} of {at + length}")
        yield (field, at, at + length) if wire == 2 else (field, 0, -1)
        at += length


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError(f"it ends within a number at byte {end}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"a number at byte {at} has no end")
