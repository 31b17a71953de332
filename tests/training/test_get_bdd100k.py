"""get-bdd100k against a server on the loopback that cuts, lies and serves rubbish."""

import hashlib
import io
import re
import sys
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from perception.errors import UserError
from training import get_bdd100k
from training.data.bdd import download
from training.data.bdd.download import Archive


def quiet(done: int, total: int) -> None:
    pass


def bundle(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, data in files.items():
            out.writestr(name, data)
    return buffer.getvalue()


DATA = bundle({"bdd100k/labels/det_20/det_train.json": b"[]" + bytes(200_000)})
ARCHIVE = Archive("labels.zip", hashlib.md5(DATA).hexdigest(), len(DATA))


@dataclass
class Behaviour:
    """What the server does wrong; `ranges` is what it was asked for."""

    data: bytes = DATA
    cut_after: int = 0
    cuts: int = 0
    extra_length: int = 0
    knows_ranges: bool = True
    status: int = 0
    no_length: bool = False
    ranges: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self):
        how = self.behaviour
        asked = self.headers.get("Range", "")
        how.ranges.append(asked)
        if how.status:
            self.send_error(how.status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and how.knows_ranges else 0
        if start >= len(how.data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(how.data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = how.data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(how.data) - 1}/{len(how.data)}")
        if not how.no_length:
            self.send_header("Content-Length", str(len(body) + how.extra_length))
        self.end_headers()
        if how.cuts:
            how.cuts -= 1
            body = body[: how.cut_after]
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def serve():
    """A function that starts a server of a behaviour and gives its address."""
    servers = []

    def start(behaviour: Behaviour) -> str:
        handler = type("Bound", (Handler,), {"behaviour": behaviour})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def fetch(folder, *mirrors):
    return download.fetch(ARCHIVE, folder, mirrors, quiet, pause=0)


def test_whole_file_arrives(tmp_path, serve):
    seen = []
    path = download.fetch(
        ARCHIVE, tmp_path, [serve(Behaviour())], lambda *numbers: seen.append(numbers)
    )
    assert path.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))


def test_a_cut_connection_is_resumed_where_it_stopped(tmp_path, serve):
    how = Behaviour(cuts=3, cut_after=50_000)
    assert fetch(tmp_path, serve(how)).read_bytes() == DATA
    assert how.ranges == ["", "bytes=50000-", "bytes=100000-", "bytes=150000-"]


def test_an_earlier_attempt_is_continued(tmp_path, serve):
    part = download.part_path(tmp_path, ARCHIVE)
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA[:120_000])
    how = Behaviour()
    assert fetch(tmp_path, serve(how)).read_bytes() == DATA
    assert how.ranges == ["bytes=120000-"]
    assert not part.exists()


def test_a_whole_earlier_attempt_is_only_checked(tmp_path, serve):
    part = download.part_path(tmp_path, ARCHIVE)
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA)
    assert fetch(tmp_path, serve(Behaviour())).read_bytes() == DATA


def test_a_server_without_ranges_starts_again(tmp_path, serve):
    how = Behaviour(cuts=1, cut_after=50_000, knows_ranges=False)
    assert fetch(tmp_path, serve(how)).read_bytes() == DATA


def test_a_server_that_states_no_length_is_believed_only_by_the_sum(tmp_path, serve):
    assert fetch(tmp_path, serve(Behaviour(no_length=True))).read_bytes() == DATA


def test_a_too_long_length_is_seen_through(tmp_path, serve):
    """It promises more than it has; asked for the rest it has to admit it."""
    how = Behaviour(extra_length=1000)
    assert fetch(tmp_path, serve(how)).read_bytes() == DATA
    assert how.ranges == ["", f"bytes={len(DATA)}-"]


def test_a_too_short_length_is_seen_through(tmp_path, serve):
    """The file ends early and looks whole; only its sum tells."""
    liar, good = serve(Behaviour(extra_length=-1000)), serve(Behaviour())
    assert fetch(tmp_path, liar, good).read_bytes() == DATA
    with pytest.raises(UserError, match="MD5 is"):
        fetch(tmp_path / "other", liar)


def test_an_endless_cut_is_given_up(tmp_path, serve):
    with pytest.raises(UserError, match=r"labels\.zip could not be fetched.*without a byte"):
        fetch(tmp_path, serve(Behaviour(cuts=10**6, cut_after=0)))


def test_a_corrupt_file_is_thrown_away_and_the_next_mirror_asked(tmp_path, serve):
    corrupt = bytearray(DATA)
    corrupt[1000] ^= 1
    bad, good = Behaviour(data=bytes(corrupt)), Behaviour()
    assert fetch(tmp_path, serve(bad), serve(good)).read_bytes() == DATA
    assert good.ranges == [""]


def test_all_answers_are_named_when_none_helps(tmp_path, serve):
    refusing, corrupt = serve(Behaviour(status=403)), serve(Behaviour(data=b"<html>sorry</html>"))
    with pytest.raises(UserError) as error:
        fetch(tmp_path, refusing, corrupt, "http://127.0.0.1:9")
    text = str(error.value)
    assert f"{refusing}/labels.zip: answers 403" in text
    assert f"{corrupt}/labels.zip: MD5 is" in text
    assert "http://127.0.0.1:9/labels.zip" in text
    assert not list((tmp_path / "archives").iterdir())


def test_unpacks_once(tmp_path, serve):
    path = fetch(tmp_path, serve(Behaviour()))
    assert not download.unpacked(tmp_path, ARCHIVE)
    download.unpack(path, ARCHIVE, tmp_path)
    assert (tmp_path / "bdd100k/labels/det_20/det_train.json").read_bytes()[:2] == b"[]"
    assert download.unpacked(tmp_path, ARCHIVE)
    assert not download.unpacked(tmp_path, Archive("labels.zip", "other", 1))


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt"])
def test_an_archive_that_reaches_outside_is_refused_whole(tmp_path, name):
    path = tmp_path / "labels.zip"
    path.write_bytes(bundle({"good.txt": b"", name: b""}))
    with pytest.raises(UserError, match="lies outside"):
        download.unpack(path, ARCHIVE, tmp_path / "data")
    assert not (tmp_path / "data/good.txt").exists()


def test_a_broken_zip_is_named(tmp_path):
    path = tmp_path / "labels.zip"
    path.write_bytes(DATA[:-100])
    with pytest.raises(UserError, match=r"labels\.zip: not a whole zip"):
        download.unpack(path, ARCHIVE, tmp_path / "data")
    assert not download.unpacked(tmp_path / "data", ARCHIVE)


@pytest.fixture
def official(monkeypatch):
    """The official list, with this one archive in it."""
    monkeypatch.setattr(get_bdd100k, "ARCHIVES", {"det": ARCHIVE})


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["get-bdd100k", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        get_bdd100k.main()
    return stop.value.code


def test_command_fetches_unpacks_and_does_nothing_twice(
    tmp_path, serve, official, monkeypatch, capsys
):
    how = Behaviour()
    words = (tmp_path / "data", "--parts", "det", "--mirrors", serve(how))
    assert command(monkeypatch, *words) == 0
    assert (tmp_path / "data/bdd100k/labels/det_20/det_train.json").is_file()
    assert not (tmp_path / "data/archives/labels.zip").exists()
    assert command(monkeypatch, *words) == 0
    assert len(how.ranges) == 1
    assert "already there" in capsys.readouterr().out


def test_command_asks_for_disk_space_first(tmp_path, serve, monkeypatch, capsys):
    huge = Archive("labels.zip", ARCHIVE.md5, 10**18)
    monkeypatch.setattr(get_bdd100k, "ARCHIVES", {"det": huge})
    how = Behaviour()
    assert command(monkeypatch, tmp_path, "--parts", "det", "--mirrors", serve(how)) == 2
    assert "GB needed" in capsys.readouterr().err
    assert how.ranges == []


def test_command_names_an_unknown_part(tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, tmp_path, "--parts", "drivabel") == 2
    assert "did you mean 'drivable'" in capsys.readouterr().err


def test_official_sums_are_sums():
    for archive in get_bdd100k.ARCHIVES.values():
        assert re.fullmatch(r"[0-9a-f]{32}", archive.md5)
        assert archive.name.endswith(".zip")
