"""Damaged files of every kind, each through its reader in a child process.

Each is read or refused in one line: no other exception, no crash, no hang, at most 1 GB.
"""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz_readers.py")
# Damaged files per variant of the reader.
COUNTS = {"labels": 9, "images": 8, "checkpoint": 60, "onnx": 25, "video": 15}


@pytest.mark.slow
@pytest.mark.parametrize("reader", COUNTS)
def test_damaged_files_are_read_or_refused_in_one_line(reader):
    command = [sys.executable, str(SCRIPT), reader, str(COUNTS[reader])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    read, refused, megabytes = map(int, done.stdout.split()[-3:])
    assert refused > (read + refused) / 5  # the damage was real
    assert megabytes < 1024
