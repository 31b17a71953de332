"""The server of the page: its headers, what it refuses, and the folder for a static host."""

import http.client
import json
import resource
import socket

import pytest

from demo.perceive import main
from demo.web_site import build, make_server, site
from demo.web_site import main as web_main
from perception.errors import UserError
from perception.hub import DEFAULT, FAST, ONNX, local_file
from perception.runtime.colours import COLOURS


def get(server, path: str, host: str = "localhost:80", method: str = "GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.request(method, path, headers={"Host": host})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_every_file_has_the_headers_that_threads_need(serve, tiny_onnx):
    server = serve(tiny_onnx)
    for path in ("/", "/?engine=wasm", "/worker.js", "/ort/ort.wasm.min.mjs", "/model.onnx"):
        answer, body = get(server, path)
        assert answer.status == 200
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert len(body) == int(answer.headers["Content-Length"])
    assert get(server, "/model.onnx")[1] == tiny_onnx.read_bytes()
    assert get(server, "/worker.js")[0].headers["Content-Type"].startswith("text/javascript")
    assert get(server, "/", method="HEAD")[1] == b""


@pytest.mark.parametrize(
    "path", ["/nothing", "/../pyproject.toml", "/%2e%2e/x", "//etc/passwd", "/ort", "/ort/"]
)
def test_other_names_are_not_looked_up_on_the_disk(serve, tiny_onnx, path):
    assert get(serve(tiny_onnx), path)[0].status == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8000", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("evil.example:80", 421)],
)
def test_a_foreign_host_name_is_refused_on_this_machine(serve, tiny_onnx, host, status):
    assert get(serve(tiny_onnx), "/", host)[0].status == status


def test_build_writes_every_file_that_is_served(runtime, tiny_onnx, tmp_path):
    build(tiny_onnx, tmp_path)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == set(site(tiny_onnx))
    colours = json.loads((tmp_path / "colours.json").read_text())
    assert {name: tuple(rgb[::-1]) for name, rgb in colours.items()} == COLOURS


def test_a_file_that_cannot_be_written_is_named(runtime, tiny_onnx, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with pytest.raises(UserError, match=f"{tmp_path}/.*: cannot be written"):
            build(tiny_onnx, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_a_description_is_refused(runtime, make_tiny_onnx, tmp_path):
    other = make_tiny_onnx(tmp_path / "other.onnx", metadata="")
    with pytest.raises(UserError, match="without our"):
        make_server(other, ("127.0.0.1", 0))


def test_a_port_that_becomes_busy_is_one_line(runtime, tiny_onnx, capsys, monkeypatch):
    monkeypatch.setattr("demo.options.check_free", lambda option, host, port: None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert main(["--web", address, "--model", str(tiny_onnx)]) == 2
    assert capsys.readouterr().err.startswith(f"error: --web {address}: cannot listen there")


@pytest.mark.parametrize(
    "address", ["localhost", "localhost:x", "localhost:99999", "nowhere.invalid:1"]
)
def test_a_bad_address_is_one_line(runtime, capsys, address):
    assert main(["--web", address]) == 2
    assert capsys.readouterr().err.startswith(f"error: --web {address}: ")


def test_a_port_in_use_is_one_line(runtime, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--web", f"127.0.0.1:{taken.getsockname()[1]}"]) == 2
    assert "give another" in capsys.readouterr().err


def test_without_the_runtime_the_command_to_run_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PVT_HYDRANET_CACHE", str(tmp_path))
    assert main(["--web"]) == 2
    assert "perceive-web fetch" in capsys.readouterr().err
    assert web_main(["build", str(tmp_path / "site")]) == 2
    assert not (tmp_path / "site").exists()


def test_both_packaged_models_are_offered_and_one_of_ones_own_is_alone(runtime, tiny_onnx):
    for name, other in ((DEFAULT, FAST), (FAST, DEFAULT)):
        made = site(local_file(name, ONNX))
        listed = json.loads(made["models.json"])
        assert listed == [
            {"name": name, "file": "model.onnx"},
            {"name": other, "file": f"{other}.onnx"},
        ]
        assert made[f"{other}.onnx"] == local_file(other, ONNX)
    assert json.loads(site(tiny_onnx)["models.json"]) == [
        {"name": tiny_onnx.stem, "file": "model.onnx"}
    ]
