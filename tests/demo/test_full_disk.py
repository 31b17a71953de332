"""A disk that fills up while an overlay, a Scalabel log and a car log are written."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from demo import sinks
from demo.pipeline import Packet, SourceFrame
from demo.save import ClipSink
from demo.sinks import ScalabelSink, output_file
from perception.errors import UserError
from perception.files import WriteError, leftovers
from perception.runtime.scene import Scene

ROOT = Path(__file__).resolve().parents[2]
ROOM = 6_000_000


@pytest.fixture
def small_disk(monkeypatch):
    """A disk of ROOM bytes that holds the folder of the file and nothing else."""

    def usage(folder):
        used = sum(path.stat().st_size for path in Path(folder).iterdir())
        return shutil._ntuple_diskusage(ROOM, used, ROOM - used)

    monkeypatch.setattr(sinks.shutil, "disk_usage", usage)
    monkeypatch.setattr(sinks, "RESERVED_BYTES", 2_000_000)


def packet(index: int) -> Packet:
    noise = np.random.default_rng(index).integers(0, 256, (120, 160, 3), np.uint8)
    frame = SourceFrame(noise, index, index / 25, f"frame-{index:07d}" + 3000 * "x")
    return Packet(frame, Scene((120, 160), {}), noise)


def read_jsonl(path) -> int:
    return len([json.loads(line) for line in path.read_text().splitlines()])


def read_video(path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    return count


def read_mcap(path) -> int:
    from mcap.reader import make_reader

    with open(path, "rb") as file:
        assert make_reader(file).get_summary() is not None  # closed properly
        return sum(1 for _ in make_reader(file).iter_messages("/camera/image"))


def open_mcap(path):
    pytest.importorskip("foxglove", reason="foxglove-sdk is not installed (extra car)")
    pytest.importorskip("mcap", reason="mcap is not installed (extra car)")
    from demo.mcap_sink import McapSink

    return McapSink(path, SimpleNamespace(epoch_ns=0))


def open_mp4(path):
    pytest.importorskip("av", reason="PyAV is not installed (extra demo)")
    return ClipSink(path, 25)


SINKS = {
    ".jsonl": (lambda path: ScalabelSink(path, "clip"), read_jsonl),
    ".mp4": (open_mp4, read_video),
    ".mcap": (open_mcap, read_mcap),
}


@pytest.mark.parametrize("suffix", SINKS)
def test_a_full_disk_is_one_line_and_the_written_part_is_readable(
    suffix, small_disk, tmp_path, capfd
):
    make, read = SINKS[suffix]
    path, given = tmp_path / f"o{suffix}", 0

    def fill():
        nonlocal given
        with make(path) as sink:
            for given in range(1, 2000):
                sink.write(packet(given - 1))

    with pytest.raises(WriteError, match=rf"o\{suffix}: No space left"):
        fill()
    assert 20 < given < 1999
    assert read(path) == given
    assert path.stat().st_size <= ROOM
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert capfd.readouterr().err == ""  # the libraries have nothing to complain of


def test_without_keep_a_full_disk_leaves_nothing(small_disk, tmp_path):
    def fill():
        with ScalabelSink(tmp_path / "o.jsonl", "clip", keep=False) as sink:
            for index in range(2000):
                sink.write(packet(index))

    with pytest.raises(WriteError):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_at_the_start_is_one_line(small_disk, tmp_path, monkeypatch):
    monkeypatch.setattr(sinks, "RESERVED_BYTES", ROOM + 1)
    path = tmp_path / "o.bin"
    with pytest.raises(UserError, match=r"o\.bin.*No space left"), output_file(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_created_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "o.bin"
    with pytest.raises(UserError, match="cannot be written"), output_file(path):
        pass


def test_a_write_that_fails_without_a_full_disk_keeps_whole_lines(tmp_path, monkeypatch):
    """As under a quota, which the free space does not show."""
    path, written = tmp_path / "o.jsonl", 0

    class Quota(io.FileIO):
        def write(self, data):
            if self.tell() + len(data) > 10_000:
                super().write(memoryview(data)[:100])
                raise OSError(errno.EDQUOT, "Disk quota exceeded")
            return super().write(data)

    def fill():
        nonlocal written
        with ScalabelSink(path, "clip") as sink:
            for written in range(100):
                sink.write(packet(written))

    with monkeypatch.context() as patch:
        patch.setattr(sinks, "open", lambda path, *a, **k: Quota(path, "w"), raising=False)
        with pytest.raises(WriteError, match="quota"):
            fill()
    assert 0 < written == read_jsonl(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_killed_run_leaves_a_playable_video(suffix, tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed (extra demo)")
    path = tmp_path / f"o{suffix}"
    pid = os.fork()
    if not pid:
        with ClipSink(path, 25) as sink:
            for index in range(120):
                sink.write(packet(index))
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    (left,) = tmp_path.iterdir()
    assert list(leftovers(path)) == [left]
    assert read_video(left) >= 50  # all but the last two seconds


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_device_that_is_always_full(tmp_path):
    def fill():
        with ScalabelSink(Path("/dev/full"), "clip") as sink:
            sink.write(packet(0))

    with pytest.raises(UserError, match="/dev/full"):
        fill()
    assert Path("/dev/full").is_char_device()


MOUNTED = """
mount -t tmpfs -o size=28m none "$1" && shift && cd "$1" || exit 77
shift; "$@"; code=$?
ls -A . >&2; cp -r . "$KEEP"; exit $code
"""


@pytest.mark.slow
def test_the_command_on_a_file_system_that_fills_up(tiny_onnx, video, tmp_path):
    """A file system of 28 MB in memory, mounted for this test alone."""
    pytest.importorskip("av", reason="PyAV is not installed (extra demo)")
    pytest.importorskip("foxglove", reason="foxglove-sdk is not installed (extra car)")
    if not shutil.which("unshare"):
        pytest.skip("no unshare here to mount a small disk with")
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    clip = tmp_path / "noise.mp4"
    with ClipSink(clip, 25) as sink:
        for index in range(10):
            sink.write(packet(index))
    outputs = ["--save", "o.mp4", "--json", "o.jsonl", "--mcap", "o.mcap"]
    command = [sys.executable, "-m", "demo.perceive", str(clip), "--loop", "--model", tiny_onnx]
    more = ["--provider", "cpu", "--threads", "1", "--no-track", "--seconds", "120"]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", MOUNTED, "sh", disk, disk, *command, *outputs, *more],
        env=os.environ | {"KEEP": str(kept), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode in (1, 77) and "perceive" not in done.stderr and not list(kept.iterdir()):
        pytest.skip(f"this system lets no user mount a small disk: {done.stderr.strip()[:100]}")
    errors = [line for line in done.stderr.splitlines() if "rror" in line]
    assert len(errors) == 1, done.stderr
    assert "No space left" in errors[0]
    assert done.returncode == 2
    counts = [
        read_video(kept / "o.mp4"),
        read_jsonl(kept / "o.jsonl"),
        read_mcap(kept / "o.mcap"),
    ]
    assert min(counts) > 20
    assert max(counts) - min(counts) <= 1
    assert sorted(entry.name for entry in kept.iterdir()) == ["o.jsonl", "o.mcap", "o.mp4"]
