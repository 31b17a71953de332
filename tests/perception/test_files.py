import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from perception.errors import UserError, cli
from perception.files import WriteError, cache_folder, leftovers, replacing, write_atomic


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


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "a.jsonl"
    with replacing(path) as one, replacing(path) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # the last to end
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["y.part.mp4", ".y.0123abcd.part.mp4", ".y.PID.part.mp4"])
def test_a_file_with_the_name_of_a_temporary_one_is_left_alone(name, tmp_path):
    name = name.replace("PID", str(os.getpid()))
    (tmp_path / name).write_text("of the user")
    write_atomic(tmp_path / "y.mp4", "new")
    assert (tmp_path / name).read_text() == "of the user"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["x" * 245 + ".mp4", "ü" * 120 + ".json", "a." + "x" * 245])
def test_any_name_that_the_disk_takes_can_be_written(name, tmp_path):
    write_atomic(tmp_path / name, "text")
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOENT, errno.ELOOP])
def test_a_place_that_refuses_new_files_is_one_line(number, tmp_path, monkeypatch):
    def refuse(path, *_):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(WriteError, match=rf"^{tmp_path}/a: cannot be written .*choose another"):
        write_atomic(tmp_path / "a", "text")


def test_a_file_that_cannot_be_removed_does_not_hide_the_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(RuntimeError, match="the reason"):
        failing(tmp_path / "a", RuntimeError("the reason"))


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_written_through(there, tmp_path):
    real, link = tmp_path / "real" / "a.json", tmp_path / "a.json"
    real.parent.mkdir()
    if there:
        real.write_text("old")
    link.symlink_to(Path("real") / "a.json")
    write_atomic(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert len(list(real.parent.iterdir())) == 1


def test_what_a_killed_run_leaves_is_found_by_its_target(tmp_path):
    path = tmp_path / "a.mp4.jsonl"
    with replacing(path) as temporary, replacing(tmp_path / "a.jsonl"):
        assert list(leftovers(path)) == [temporary]
    assert list(leftovers(tmp_path / "gone" / "a")) == []


UMLAUTS = "import sys; from perception.errors import cli, UserError\n"


@pytest.mark.parametrize("coding", ["cp1252", "ascii", "latin-1"])
def test_characters_that_the_terminal_lacks_are_escaped(coding):
    code = UMLAUTS + "sys.exit(cli(lambda: print('日本.mp4 \\udcff', file=sys.stdout)))"
    environment = os.environ | {"PYTHONIOENCODING": coding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.split() == [rb"\u65e5\u672c.mp4", rb"\udcff"]


def test_a_reader_that_goes_away_ends_the_command_quietly():
    code = UMLAUTS + "sys.exit(cli(lambda: [print('x' * 99) for _ in range(99999)] and 0))"
    command = f'{sys.executable} -c "{code}"; echo $? >&2'
    shell = ["bash", "-c", f"set -o pipefail; ({command}) | head -1"]
    done = subprocess.run(shell, capture_output=True, text=True)
    assert done.stderr.strip() == "141"


def test_another_pipe_that_breaks_is_an_error():
    code = UMLAUTS + "def f(): raise BrokenPipeError('of a child process')\ncli(f)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "of a child process" in done.stderr


def test_cache_folder(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("PVT_HYDRANET_CACHE", raising=False)
    assert cache_folder() == Path("/x/pvt-hydranet")
    monkeypatch.setenv("PVT_HYDRANET_CACHE", "/y")
    assert cache_folder() == Path("/y")
