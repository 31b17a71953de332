"""Hundreds of damaged files of every kind, each through its true reader in a child process.

Every one ends in a result or one clear line: never another exception, a hang, a crash, or more
than 1 GB. The same files every time; `python benchmarks/fuzz.py` looks for new ones for as long
as one likes, and what it finds is a case here (test_findings.py).
"""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUZZ = ROOT / "benchmarks" / "fuzz.py"
# Files of each variant: many variants of one reader share its number.
COUNTS = {"labels": 9, "images": 8, "checkpoint": 60, "onnx": 25, "video": 15}
MEMORY_MB = 1024


@pytest.fixture(scope="module")
def tools():
    sys.path.insert(0, str(FUZZ.parent))
    try:
        import fuzz_readers
        import mutate

        yield fuzz_readers.READERS, mutate.mutate
    finally:
        sys.path.remove(str(FUZZ.parent))


def write_mutated(folder: Path, reader: str, tools) -> int:
    """READER/VARIANT--NUMBER files; each comes from a good one by a seed of its own."""
    readers, mutate = tools
    written = 0
    for variant, kind in readers[reader].items():
        seeds = kind.seeds()
        for number in range(COUNTS[reader] if seeds else 0):
            rng = random.Random(f"{reader} {variant} {number}")
            path = folder / reader / f"{variant}--{number:03d}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(mutate(seeds[number % len(seeds)], rng))
            written += 1
    return written


def replay(folder: Path) -> tuple[list[tuple[str, dict]], int, str]:
    """([(file, what became of it)], exit code, the end of stderr)."""
    command = [sys.executable, str(FUZZ), "--replay", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT)
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    results = [
        (start["file"], end)
        for start, end in zip(said[::2], [*said[1::2], {"result": "DIED"}], strict=False)
    ]
    return results, done.returncode, done.stderr[-2000:]


@pytest.mark.parametrize("reader", list(COUNTS))
def test_every_mutated_file_is_read_or_refused_in_one_line(reader, tools, tmp_path):
    written = write_mutated(tmp_path, reader, tools)
    results, code, stderr = replay(tmp_path)
    bad = [
        (file, told)
        for file, told in results
        if told["result"].startswith(("TRACEBACK", "DIED")) or told["mb"] > MEMORY_MB
    ]
    assert not bad, f"{bad[0][0]}: {bad[0][1]['result']}"
    assert code == 0, (results[-1:], stderr)
    assert len(results) == written
    refused = sum(told["result"] != "read" for _, told in results)
    assert refused > written / 5  # the damage was real


def test_there_are_at_least_300_of_them(tools):
    readers, _ = tools
    assert sum(COUNTS[reader] * len(readers[reader]) for reader in COUNTS) >= 300


def test_a_reader_that_raises_or_eats_memory_would_be_seen(tmp_path):
    """The judge itself: a child with a reader that misbehaves on purpose."""
    script = tmp_path / "child.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(FUZZ.parent)!r})\n"
        "import fuzz, fuzz_readers, numpy as np, pathlib\n"
        "def read(folder, data):\n"
        "    if data == b'raise': raise KeyError('no')\n"
        "    if data == b'eat': np.ones(1200 << 20, np.uint8)\n"
        "    if data == b'refuse': raise fuzz_readers.UserError('two\\nlines')\n"
        "fuzz_readers.READERS['x'] = {'y': fuzz_readers.Variant(lambda: [b'good'], read)}\n"
        "fuzz.replay(pathlib.Path(sys.argv[1]))\n"
    )
    (tmp_path / "in" / "x").mkdir(parents=True)
    for name in ("good", "raise", "eat", "refuse"):
        (tmp_path / "in" / "x" / f"y--{name}").write_bytes(name.encode())
    command = [sys.executable, str(script), str(tmp_path / "in")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    found = {start["file"][5:]: end for start, end in zip(said[::2], said[1::2], strict=True)}
    assert found["good"]["result"] == "read"
    assert "KeyError" in found["raise"]["result"]
    assert found["refuse"]["result"].startswith("TRACEBACK")
    assert found["eat"]["mb"] > MEMORY_MB > found["good"]["mb"]
