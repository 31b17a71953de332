"""Prepare the page that runs a model in the browser. `perceive --web` serves it on this machine.

examples:
  perceive-web fetch         download onnxruntime-web into the cache, once
  perceive-web build site/   write page, runtime and model into a folder for a static host
"""

import argparse
import json
import socket
import sys
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

from demo.command_line import add_model
from demo.options import LOCAL, listening
from demo.web_runtime import fetch, runtime_files
from perception.errors import cli
from perception.files import write_atomic
from perception.hub import ONNX, PACKAGED, local_file, packaged_name
from perception.runtime.colours import COLOURS
from perception.runtime.providers import read_description

PAGE: Final = Path(__file__).parent / "web"
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
}
# The first two are what browsers ask for before they allow WebAssembly threads.
HEADERS: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
IDLE_S: Final = 30
Site = dict[str, Path | bytes]  # path below the root -> file, or its bytes


def site(model: Path) -> Site:
    """Everything the page needs. Raises UserError where `model` is not ours or the runtime is not
    fetched yet."""
    read_description(model)
    pages: Site = {path.name: path for path in sorted(PAGE.iterdir()) if path.is_file()}
    colours = {name: [red, green, blue] for name, (blue, green, red) in COLOURS.items()}
    runtime = {f"ort/{name}": path for name, path in runtime_files().items()}
    models = offered(model)
    listed = [{"name": name, "file": file} for file, (name, _) in models.items()]
    made: Site = {"colours.json": json.dumps(colours).encode()}
    made |= {"models.json": json.dumps(listed).encode()}
    return pages | runtime | made | {file: path for file, (_, path) in models.items()}


def offered(model: Path) -> dict[str, tuple[str, Path]]:
    """{file on the page: (name, path)}: the model, and with a packaged one the other ones too."""
    packaged: dict[Path, str] = {}
    if packaged_name(model):
        packaged = {local_file(name, ONNX): name for name, has in PACKAGED.items() if ONNX in has}
    others = {f"{name}.onnx": (name, path) for path, name in packaged.items() if path != model}
    return {"model.onnx": (packaged.get(model, model.stem), model)} | others


def build(model: Path, out: Path) -> None:
    """Writes the site into a folder that any static host can serve."""
    for name, content in site(model).items():
        write_atomic(out / name, content if isinstance(content, bytes) else content.read_bytes())


def serve(model: Path, address: tuple[str, int]) -> None:
    """Serves the page until Ctrl-C."""
    server = make_server(model, address)
    host = f"[{server.host}]" if ":" in server.host else server.host
    print(f"open http://{host}:{server.server_port} in a browser; Ctrl-C ends it", flush=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()


class Server(ThreadingHTTPServer):
    """Serves a fixed set of files; the disk is not searched for names that clients send."""

    daemon_threads = True

    def __init__(self, host: str, port: int, content: Site) -> None:
        self.host = host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), partial(Handler, content, host in LOCAL))

    def handle_error(self, request: object, client_address: object) -> None:
        """Disconnects of clients are not reported."""


class Handler(SimpleHTTPRequestHandler):
    """GET and HEAD of the site's files."""

    timeout = IDLE_S  # drops idle connections
    protocol_version = "HTTP/1.1"

    def __init__(self, content: Site, local: bool, *args: Any) -> None:
        self.content, self.local = content, local
        super().__init__(*args)

    def send_head(self) -> BinaryIO | None:
        """One file, with the headers; 404 for any other name, 421 for a foreign host name."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        name = self.path.partition("?")[0].lstrip("/") or "index.html"
        foreign = self.local and host.strip("[]") not in LOCAL  # against DNS rebinding
        content = self.content.get(name)
        if foreign or content is None:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST if foreign else HTTPStatus.NOT_FOUND)
            return None
        file = BytesIO(content) if isinstance(content, bytes) else content.open("rb")
        self.send_response(HTTPStatus.OK)
        kind = TYPES.get(Path(name).suffix, "application/octet-stream")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(file.seek(0, SEEK_END)))
        self.end_headers()
        file.seek(0)
        return file

    def end_headers(self) -> None:
        """Adds those of every answer."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


def make_server(model: Path, address: tuple[str, int]) -> Server:
    """A server bound to (host, port); port 0 takes a free one. Raises UserError for a busy one."""
    content = site(model)
    with listening("--web", *address):  # it may have become busy since the start
        return Server(*address, content)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line for a user's mistake."""
    args = parser().parse_args(argv)
    return cli(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Either command."""
    if "folder" not in args:
        print(f"onnxruntime-web is in {fetch(args.tarball)}")
        return
    build(local_file(args.model, ONNX), args.folder)
    print(f"wrote {args.folder}; put it on any static host, its start page is index.html")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "perceive-web", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = made.add_subparsers(required=True)
    one = commands.add_parser("fetch", help="download onnxruntime-web (npm) into the cache")
    one.add_argument(
        "--tarball", type=Path, metavar="FILE", help="the npm package, where npm is not installed"
    )
    two = commands.add_parser("build", help="write the page into a folder")
    two.add_argument("folder", type=Path)
    add_model(two)
    return made


if __name__ == "__main__":
    sys.exit(main())
