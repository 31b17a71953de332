"""Damage done to good files, the same for the same seed: bytes, JSON trees, PNG chunks, headers.

`mutate(data, rng)` picks what fits the content; a mended checksum or length lets the damage reach
the code behind the check.
"""

import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

PNG: Final = b"\x89PNG\r\n\x1a\n"
NUMBERS: Final = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 100_000, 0x7FFFFFFF, 0xFFFFFFFF)
VALUES: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 0.5, 1e39, 1e308, float("nan"), float("inf"), -0.0, 10**30, 10**400, 2**63,
    "", "x", "..", "../../etc/passwd", "/etc/passwd", "\ud800", "\x00", "C" * 300, "LC",
    [], [[]], {}, {"": None}, [0], [None], [[1, 2]], [{}], [[[[[[[[]]]]]]]], [0] * 300,
)  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A damaged copy."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(fitting(data))(data, rng)
    return data


def fitting(data: bytes) -> list[Callable[[bytes, random.Random], bytes]]:
    """The mutators for this content; structured ones count double."""
    found = list(BYTES.values())
    if data.startswith(PNG):
        found += [png] * len(found)
    elif data[:1] in (b"{", b"["):
        found += [tree] * len(found)
    elif data[8:9] == b"{":
        found += [header] * len(found)
    return found


def flip(data: bytes, rng: random.Random) -> bytes:
    """One to eight bytes changed."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def number(data: bytes, rng: random.Random) -> bytes:
    """A telling number written somewhere, in one of the widths and orders."""
    kind = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    word = struct.pack(kind, rng.choice(NUMBERS) & (256 ** struct.calcsize(kind) - 1))
    at = rng.randrange(max(len(data) - len(word), 1))
    return data[:at] + word + data[at + len(word) :]


def cut(data: bytes, rng: random.Random) -> bytes:
    """The beginning only."""
    return data[: rng.randrange(len(data) + 1)]


def splice(data: bytes, rng: random.Random) -> bytes:
    """A piece copied to another place, or taken out."""
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    at = rng.randrange(len(data) + 1)
    piece = data[a : min(b, a + 4096)]
    return data[:at] + piece + data[at:] if rng.random() < 0.6 else data[:a] + data[b:]


def zeros(data: bytes, rng: random.Random) -> bytes:
    """A run of zeros over what was there."""
    at = rng.randrange(len(data) + 1)
    length = min(rng.choice((1, 4, 16, 64, 512)), len(data) - at)
    return data[:at] + bytes(length) + data[at + length :]


BYTES: Final[dict[str, Callable[[bytes, random.Random], bytes]]] = {
    "flip": flip,
    "number": number,
    "cut": cut,
    "splice": splice,
    "zeros": zeros,
}


def tree(data: bytes, rng: random.Random) -> bytes:
    """One value of a JSON document replaced, removed, doubled or buried."""
    try:
        root = json.loads(data)
    except (ValueError, RecursionError):
        return flip(data, rng)
    places: list[tuple[Any, Any]] = []
    _walk(root, places, 0)
    if not places:
        return json.dumps(rng.choice(VALUES)).encode()
    holder, key = rng.choice(places)
    how = rng.random()
    if how < 0.6:
        holder[key] = rng.choice(VALUES)
    elif how < 0.75:
        del holder[key]
    elif how < 0.85 and isinstance(holder, list):
        holder.insert(key, holder[key])
    else:
        text, deep = json.dumps(root), rng.choice((10, 2000, 100_000))
        return text.replace(json.dumps(holder[key]), "[" * deep + "]" * deep, 1).encode()
    return json.dumps(root).encode()


def _walk(value: Any, places: list[tuple[Any, Any]], depth: int) -> None:
    if depth > 100 or len(places) > 5000:
        return
    keys: Any = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        places.append((value, key))
        if isinstance(value[key], dict | list):
            _walk(value[key], places, depth + 1)


def png(data: bytes, rng: random.Random) -> bytes:
    """A chunk changed, removed or doubled; checksums are right again afterwards."""
    chunks, at = [], len(PNG)
    while at + 12 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return flip(data, rng)
    which = rng.randrange(len(chunks))
    kind, body = chunks[which]
    how = rng.random()
    if how < 0.7:
        change = rng.choice((flip, number, cut, zeros))
        chunks[which] = kind, change(body, rng)
    elif how < 0.85:
        chunks.insert(which, chunks[which])
    else:
        del chunks[which]
    return PNG + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(data: bytes, rng: random.Random) -> bytes:
    """The JSON header of a safetensors file changed, its length right again; half the time the
    description inside it, which is JSON in JSON."""
    length = struct.unpack("<Q", data[:8])[0]
    text, rest = data[8 : 8 + length], data[8 + length :]
    if rng.random() < 0.5:
        try:
            head = json.loads(text)
            told = head["__metadata__"]
            key = rng.choice(list(told))
            told[key] = tree(told[key].encode(), rng).decode("utf-8", "replace")
            text = json.dumps(head).encode()
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return flip(data, rng)
    else:
        text = tree(text, rng)
    return struct.pack("<Q", len(text)) + text + rest
