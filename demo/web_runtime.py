"""Fetches onnxruntime-web for the page of `perceive --web`: once, checked by hash, into a cache.

It is 41 MB of WebAssembly, so neither the repository nor the wheel contains it.
"""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Final

from perception.errors import UserError
from perception.files import cache_folder, write_atomic

PACKAGE: Final = "onnxruntime-web"
VERSION: Final = "1.30.0"
MAX_FILE: Final = 64 << 20
# SHA-256 of the files in dist/ of the npm package; all others in it are not used.
FILES: Final[dict[str, str]] = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": (
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
    "ort.webgpu.min.mjs": "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0",
    "ort-wasm-simd-threaded.asyncify.mjs": (
        "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28"
    ),
    "ort-wasm-simd-threaded.asyncify.wasm": (
        "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da"
    ),
}


def folder() -> Path:
    """Where the fetched files are kept, per version."""
    return cache_folder() / f"{PACKAGE}-{VERSION}"


def runtime_files() -> dict[str, Path]:
    """{name: path} of every file. Raises UserError with the command to run where one is missing."""
    paths = {name: folder() / name for name in FILES}
    if not all(path.is_file() for path in paths.values()):
        raise UserError(
            f"{PACKAGE} {VERSION} is not in {folder()}: run 'perceive-web fetch' once (needs npm; "
            f"without it: download the npm package {PACKAGE}-{VERSION}.tgz by other means and run "
            "'perceive-web fetch --tarball FILE')"
        )
    return paths


def fetch(tarball: Path | None) -> Path:
    """Puts the files into the cache, from `tarball` or through npm; returns the folder.

    Raises UserError where npm or the network is missing, or a file's hash differs; nothing is kept
    then.
    """
    with tempfile.TemporaryDirectory() as temporary:
        contents = unpack(tarball or npm_pack(Path(temporary)))
    for name, data in contents.items():
        write_atomic(folder() / name, data)
    return folder()


def npm_pack(into: Path) -> Path:
    """The package's tarball as npm downloads it."""
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            f"npm is not installed: install Node.js, or download {PACKAGE}-{VERSION}.tgz elsewhere "
            "and give it with --tarball FILE"
        )
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", str(into)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        raise UserError("npm did not finish within 10 minutes; run the command again") from None
    found = list(into.glob("*.tgz"))
    if done.returncode or not found:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"npm could not download {PACKAGE}@{VERSION}: {last[:200]}")
    return found[0]


def unpack(tarball: Path) -> dict[str, bytes]:
    """{name: bytes} of the files used. Raises UserError where one is missing or differs."""
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(tarball, "r:gz") as archive:
            for member in archive:
                name = member.name.removeprefix("package/dist/")
                if name in FILES and member.isfile() and member.size <= MAX_FILE:
                    file = archive.extractfile(member)
                    contents[name] = file.read() if file else b""
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"{tarball}: not a readable tarball ({error}); download it again") from None
    for name, expected in FILES.items():
        if hashlib.sha256(contents.get(name, b"")).hexdigest() != expected:
            raise UserError(
                f"{tarball}: {name} is missing or is not that of {PACKAGE} {VERSION}; "
                "download it again"
            )
    return contents
