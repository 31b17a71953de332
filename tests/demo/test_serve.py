"""perceive --serve: the page and its controls, what it exposes, and limits on clients."""

import asyncio
import http.client
import json
import os
import resource
import socket
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.command_line import parser
from demo.options import parse_address
from demo.overlay import Controls
from demo.pipeline import Packet, SourceFrame
from demo.progress import Statistics
from perception.errors import UserError

IMAGE = np.full((48, 80, 3), 60, np.uint8)


@pytest.fixture
def serve():
    pytest.importorskip("fastapi", reason="fastapi is not installed (extra demo)")
    pytest.importorskip("uvicorn", reason="uvicorn is not installed (extra demo)")
    from demo import serve

    return serve


@pytest.fixture
def controls():
    return Controls({"things": "Objects", "area": "Area"})


@pytest.fixture
def sink(serve, controls, monkeypatch):
    monkeypatch.setattr(serve, "STALLED_S", 0.3)
    monkeypatch.setattr(serve, "MAX_CONNECTIONS", 12)
    statistics = Statistics()
    with serve.ServeSink(("127.0.0.1", free_port()), controls, statistics) as sink:
        sink.statistics = statistics
        yield sink
    assert not sink.thread.is_alive()


def free_port(host: str = "127.0.0.1") -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as taken:
        taken.bind((host, 0))
        return taken.getsockname()[1]


def connect(sink) -> socket.socket:
    return socket.create_connection((sink.host, sink.port), timeout=20)


def ask(sink, path: str = "/status", method: str = "GET", **headers: str) -> int:
    """The status code of an answer."""
    url = f"http://{sink.host}:{sink.port}{path}"
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def next_part(live) -> bytes:
    """The next JPEG of the multipart stream."""
    head = [live.readline() for _ in range(4)]
    return live.read(int(head[2].split(b":")[1]) + 2)


def test_the_page_its_controls_and_the_live_picture(sink, controls):
    def get(path: str, method: str = "GET"):
        url = f"http://{sink.host}:{sink.port}{path}"
        return urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=20)

    frame = Packet(SourceFrame(IMAGE, 0, 0, ""), canvas=IMAGE, timings_ms={"model": 5.0})
    sink.statistics.add(frame)
    sink.write(frame)
    assert b"<title>perceive</title>" in get("/").read()
    status = json.load(get("/status"))
    assert status["outputs"] == {"things": True, "area": True}
    assert status["titles"] == {"things": "Objects", "area": "Area"}
    assert status["stages"]["model"]["median_ms"] == 5.0
    assert json.load(get("/toggle/things", "POST"))["outputs"]["things"] is False
    assert controls.hidden == {"things"}
    for path in ("/pause", "/score/40", "/ego", "/smooth"):
        get(path, "POST").read()
    state = (controls.paused, controls.score, controls.ego, controls.smooth)
    assert state == (True, 0.4, True, False)
    assert [ask(sink, path, "POST") for path in ("/score/101", "/toggle/none")] == [404, 404]
    with get("/live") as live:
        assert live.headers["Content-Type"].startswith("multipart/x-mixed-replace")
        image = cv2.imdecode(np.frombuffer(next_part(live), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == IMAGE.shape


def test_it_listens_on_localhost_by_default(serve, controls):
    args = parser().parse_args(["video.mp4", "--serve"])
    assert args.serve == "127.0.0.1:8000"
    for text, host in (
        (args.serve, "127.0.0.1"),
        (":9000", "127.0.0.1"),
        ("[::1]:9000", "::1"),
        ("0.0.0.0:9000", "0.0.0.0"),
    ):
        sink = serve.ServeSink(parse_address("--serve", text), controls, Statistics())
        assert sink.server.config.host == host


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no /proc/net/tcp to look at")
def test_the_default_listens_on_loopback_only(sink):
    table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listening = {line.split()[1] for line in table if line.split()[3] == "0A"}
    port = f"{sink.port:04X}"
    assert [place for place in listening if place.endswith(f":{port}")] == [f"0100007F:{port}"]


@pytest.mark.skipif(not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"), reason="IPv4")
def test_the_ipv6_loopback_works(serve, controls, capsys):
    try:
        port = free_port("::1")
    except OSError:
        pytest.skip("no ::1 on this machine")
    with serve.ServeSink(("::1", port), controls, Statistics()):
        assert f"http://[::1]:{port}" in capsys.readouterr().err
        with urllib.request.urlopen(f"http://[::1]:{port}/status", timeout=20) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    "path",
    ["/../../../../etc/passwd", "/..%2f..%2f..%2fetc%2fpasswd", "/static/../serve.py", "/page.html",
     "//etc/passwd", "/etc/passwd", "/%00", "/demo/serve.py", "/docs", "/openapi.json"],
)  # fmt: skip
def test_no_file_from_disk_is_served(path, sink):
    client = http.client.HTTPConnection(sink.host, sink.port, timeout=20)
    for method in ("GET", "POST", "PUT", "DELETE", "HEAD"):
        client.request(method, path)  # as it is: urllib would tidy the path
        answer = client.getresponse()
        body = answer.read()
        assert answer.status in (400, 404, 405)
        assert b"root:" not in body
        assert len(body) < 300


def test_a_file_in_the_working_directory_does_not_replace_the_page(sink, tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text("secret")
    monkeypatch.chdir(tmp_path)
    with urllib.request.urlopen(f"http://{sink.host}:{sink.port}/", timeout=20) as answer:
        assert b"secret" not in answer.read()


def test_requests_from_other_origins_are_refused(sink, controls):
    here = f"http://{sink.host}:{sink.port}"
    assert ask(sink, "/pause", "POST", Origin="http://evil.com") == 403
    assert ask(sink, "/toggle/things", "POST", Origin="null") == 403
    assert not controls.paused
    assert not controls.hidden
    assert ask(sink, "/pause", "POST", Origin=here) == 200
    assert controls.paused


def test_other_host_names_are_refused_on_localhost(sink):
    assert ask(sink, "/", Host="evil.com") == 400


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # SystemExit
def test_a_port_in_use_is_one_line(sink, serve, controls):
    second = serve.ServeSink((sink.host, sink.port), controls, Statistics())
    with pytest.raises(UserError, match="in use"), second:
        pass


def test_silent_connections_do_not_block_others(sink):
    silent, slow = connect(sink), connect(sink)
    slow.sendall(b"GET / HTTP/1.1\r\nHost: local")  # and never the rest
    assert ask(sink) == 200
    assert silent.fileno() != slow.fileno()


def test_connections_without_a_complete_request_are_closed(sink, serve, monkeypatch):
    monkeypatch.setattr(serve, "REQUEST_S", 0.2)
    silent, slow, again = connect(sink), connect(sink), connect(sink)
    again.sendall(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert again.recv(1000).startswith(b"HTTP/1.1 200")
    opened, end = {silent, slow, again}, time.monotonic() + 30
    while opened and time.monotonic() < end:
        for client in opened - {silent}:  # headers byte by byte, without an end
            with suppress(OSError):
                client.sendall(b"G")
        opened = {client for client in opened if not is_closed(client)}
        time.sleep(0.02)
    assert not opened


def is_closed(client: socket.socket) -> bool:
    """Whether the server has ended the connection."""
    client.setblocking(False)
    try:
        while client.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def test_idle_connections_are_bounded_and_leave_by_themselves(sink, serve, monkeypatch):
    monkeypatch.setattr(serve, "REQUEST_S", 0.5)
    monkeypatch.setattr(serve, "MAX_SOCKETS", 40)
    held = [connect(sink) for _ in range(300)]
    codes, end = set(), time.monotonic() + 30
    while 200 not in codes and time.monotonic() < end:
        with suppress(OSError):
            codes.add(ask(sink))
    assert 200 in codes  # although all clients still hold their side
    assert len(sink.server.server_state.connections) <= 40
    for client in held:
        client.close()


def test_the_number_of_connections_is_bounded(sink):
    held = [connect(sink) for _ in range(20)]
    assert ask(sink) == 503
    for client in held:
        client.close()
    end = time.monotonic() + 20
    while ask(sink) != 200 and time.monotonic() < end:
        time.sleep(0.05)
    assert ask(sink) == 200


def test_a_stalled_viewer_is_replaced(sink, serve):
    big = np.random.default_rng(0).integers(0, 256, (1080, 1280, 3), np.uint8)
    packet = Packet(SourceFrame(big, 0, 0, ""), canvas=big)
    stuck = []
    for _ in range(serve.MAX_VIEWERS):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((sink.host, sink.port))
        client.sendall(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        stuck.append(client)
    end, codes = time.monotonic() + 30, set()
    while time.monotonic() < end and not {503, 200} <= codes:
        sink.write(packet)
        client = http.client.HTTPConnection(sink.host, sink.port, timeout=20)
        client.request("GET", "/live")
        codes.add(client.getresponse().status)
        client.close()
        time.sleep(0.1)
    assert codes == {503, 200}  # no place while they held it, then one again


def test_an_active_viewer_is_kept(sink):
    client = http.client.HTTPConnection(sink.host, sink.port, timeout=20)
    client.request("GET", "/live")
    live = client.getresponse()
    for number in range(12):  # several times the patience
        sink.write(Packet(SourceFrame(IMAGE, number, 0, ""), canvas=IMAGE))
        assert live.read(100)
        time.sleep(0.1)


@pytest.mark.parametrize(
    "request_bytes",
    [b"\x00" * 100, b"GET " + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", b"\x16\x03\x01" * 50,
     b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 1_000_000,
     b"POST /pause HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n"],
)  # fmt: skip
def test_malformed_requests_are_refused_and_the_server_continues(request_bytes, sink, capfd):
    client = connect(sink)
    try:
        client.sendall(request_bytes)
        answer = client.recv(100)
    except OSError:
        answer = b""
    assert answer == b"" or b" 400 " in answer
    assert ask(sink) == 200
    assert "Traceback" not in capfd.readouterr().err


def test_a_huge_request_body_is_not_buffered(sink):
    client = connect(sink)
    head = b"POST /pause HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999999999\r\n\r\n"
    client.sendall(head)
    client.settimeout(2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sent, end = 0, time.monotonic() + 5
    while sent < 400 << 20 and time.monotonic() < end:
        try:
            sent += client.send(b"x" * 65536)
        except OSError:  # the server does not take any more
            break
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
    client.close()
    assert ask(sink) == 200


def test_viewers_share_one_encoding_and_skip_frames(serve, monkeypatch):
    encoded = []
    encode = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda *a: encoded.append(1) or encode(*a))
    newest, viewers = serve.Newest(), serve.Viewers()

    async def watch():
        many = [serve.parts(newest, viewers) for _ in range(serve.MAX_VIEWERS)]
        newest.put(IMAGE)
        assert len({await anext(one) for one in many}) == 1
        for _ in range(50):  # nobody looks meanwhile: no work is done
            newest.put(IMAGE)
        await anext(many[0])
        assert len(viewers) == serve.MAX_VIEWERS
        with pytest.raises(StopAsyncIteration):  # one more than are let in
            await anext(serve.parts(newest, viewers))
        for one in many:
            await one.aclose()

    asyncio.run(watch())
    assert len(encoded) == 2
    assert len(viewers) == 0


def test_a_viewer_that_never_reads_does_not_block_others(sink):
    """Its connection stays open with full buffers."""
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect((sink.host, sink.port))
        stalled.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stalled.recv(16)
        with urllib.request.urlopen(f"http://{sink.host}:{sink.port}/live", timeout=20) as live:
            for index in range(12):  # far more than the buffers between hold
                noise[:20] = index
                sink.write(Packet(SourceFrame(IMAGE, index, 0, ""), canvas=noise))
                assert len(next_part(live)) > 300_000
