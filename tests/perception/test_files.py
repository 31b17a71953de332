import os
import threading

import pytest

from perception.files import replacing, write_atomic


def test_a_file_appears_whole_or_stays_as_it_was(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_atomic(path, "one")

    def fails() -> None:
        with replacing(path) as beside:
            beside.write_text("half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fails()
    assert path.read_text() == "one"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()), daemon=True)
    reader.start()
    write_atomic(pipe, "through")
    reader.join(20)
    assert got == ["through"]
    assert pipe.is_fifo()
