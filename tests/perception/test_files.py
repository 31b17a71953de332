import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from perception.errors import UserError, cli
from perception.files import WriteError, cache_folder, replacing, write_atomic


def failing(path: Path, error: Exception) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise error


def test_a_file_is_replaced_completely_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_atomic(path, "one")
    with pytest.raises(RuntimeError, match="unrelated"):
        failing(path, RuntimeError("unrelated"))
    assert path.read_text() == "one"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),  # as safetensors raises
    ],
)
def test_a_full_disk_is_one_line_that_names_the_file(tmp_path, error):
    path = tmp_path / "a.onnx"
    with pytest.raises(WriteError, match=rf"^{path}: the disk .*; free some space") as caught:
        failing(path, error)
    assert caught.value.full
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_device_without_space_is_one_line(capsys):
    assert cli(lambda: write_atomic(Path("/dev/full"), "text")) == 2
    assert capsys.readouterr().err.startswith("error: /dev/full: the disk is full")


def test_a_full_disk_outside_of_replacing_is_one_line_too(capsys):
    def command() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/log.jsonl")

    assert cli(command) == 2
    assert capsys.readouterr().err == "error: runs/log.jsonl: the disk is full; free some space\n"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match=str(path)):
            write_atomic(path, "text")


def test_errors_at_other_paths_pass(tmp_path):
    for error in (OSError("no number"), OSError(errno.EACCES, "denied", "/other/input")):
        with pytest.raises(OSError) as caught:
            failing(tmp_path / "a", error)
        assert caught.value is error


def test_files_get_the_permissions_of_any_new_file(tmp_path):
    old = os.umask(0o022)
    try:
        with replacing(tmp_path / "a") as temporary:
            temporary.touch(mode=0o600)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()), daemon=True)
    reader.start()
    write_atomic(pipe, "through")
    reader.join(20)
    assert got == ["through"]
    assert pipe.is_fifo()


def test_cache_folder(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("PVT_HYDRANET_CACHE", raising=False)
    assert cache_folder() == Path("/x/pvt-hydranet")
    monkeypatch.setenv("PVT_HYDRANET_CACHE", "/y")
    assert cache_folder() == Path("/y")
