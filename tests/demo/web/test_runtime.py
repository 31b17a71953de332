"""Fetching onnxruntime-web: whole and with the right hashes, or nothing."""

import io
import tarfile

import pytest

from demo import web_runtime
from demo.web_command import main


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PVT_HYDRANET_CACHE", str(tmp_path / "cache"))


def tarball(path, contents: dict[str, bytes]):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({}, "ort.wasm.min.mjs is missing"),
        ({f"package/dist/{name}": b"other" for name in web_runtime.FILES}, "is not that of"),
        ({f"../../{name}": b"x" for name in web_runtime.FILES}, "is missing"),
    ],
    ids=["empty", "other bytes", "outside"],
)
def test_a_tarball_with_other_contents_leaves_no_file(tmp_path, capsys, contents, message):
    path = tarball(tmp_path / "ort.tgz", contents)
    assert main(["fetch", "--tarball", str(path)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("data", [b"", b"no tarball", b"\x1f\x8b\x08\x00broken"])
def test_an_invalid_tarball_is_one_line(tmp_path, capsys, data):
    path = tmp_path / "ort.tgz"
    path.write_bytes(data)
    assert main(["fetch", "--tarball", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_npm_the_tarball_option_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["fetch"]) == 2
    assert "--tarball" in capsys.readouterr().err


def test_npm_without_a_network_is_one_line(monkeypatch, tmp_path, capsys):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network request failed' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert main(["fetch"]) == 2
    assert "network request failed" in capsys.readouterr().err
