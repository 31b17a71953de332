"""Fetching onnxruntime-web: whole and with the right hashes, or nothing."""

import hashlib
import io
import tarfile

import pytest

from demo import web_runtime
from demo.web_site import main


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


@pytest.mark.parametrize("data", [b"", b"no tarball", b"\x1f\x8b\x08\x00broken", None])
def test_another_tarball_is_one_line_and_leaves_no_file(tmp_path, capsys, data):
    path = tarball(
        tmp_path / "ort.tgz", {f"package/dist/{name}": b"x" for name in web_runtime.FILES}
    )
    if data is not None:
        path.write_bytes(data)
    assert main(["fetch", "--tarball", str(path)]) == 2
    error = capsys.readouterr().err
    assert "is not onnxruntime-web" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "cache").exists()


def test_the_files_of_the_right_tarball_are_kept(tmp_path, monkeypatch):
    contents = {f"package/dist/{name}": name.encode() for name in (*web_runtime.FILES, "other")}
    path = tarball(tmp_path / "ort.tgz", contents)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(web_runtime, "SHA256", digest)
    assert main(["fetch", "--tarball", str(path)]) == 0
    kept = {one.name: one.read_bytes() for one in web_runtime.folder().iterdir()}
    assert kept == {name: name.encode() for name in web_runtime.FILES}


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
