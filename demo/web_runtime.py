"""Fetches onnxruntime-web for the page of `perceive --web`: once, checked by hash, into a cache.

It is 41 MB of WebAssembly, so neither the repository nor the wheel contains it.
"""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import IO, Final, cast

from perception.errors import UserError
from perception.files import cache_folder, read_bounded, write_atomic

PACKAGE: Final = "onnxruntime-web"
VERSION: Final = "1.30.0"
MAX_BYTES: Final = 64 << 20
# Of the npm package as the registry serves it.
SHA256: Final = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
FILES: Final = (  # in its dist/; all others are not used
    *("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    *("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs"),
    "ort-wasm-simd-threaded.asyncify.wasm",
)


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

    Raises UserError where npm or the network is missing, or the hash differs; nothing is kept then.
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
    """{name: bytes} of the files used. Raises UserError where it is not the package."""
    data = read_bounded(tarball, MAX_BYTES)
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise UserError(f"{tarball}: is not {PACKAGE}-{VERSION}.tgz; download it again")
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        return {name: cast(IO[bytes], archive.extractfile(f"package/dist/{name}")).read()
                for name in FILES}  # fmt: skip
