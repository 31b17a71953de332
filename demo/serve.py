"""perceive --serve: a page with the live picture, a switch for each output, and the figures.

Viewers pull; the pipeline only ever leaves its newest canvas behind, so that a slow viewer costs
it nothing. Bound to this machine unless told otherwise.
"""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from importlib.resources import files
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from demo.clients import MAX_HEADER, Client
from demo.controls import Controls
from demo.figures import Figures
from demo.pipeline import Packet
from perception.errors import UserError

MAX_VIEWERS = 8
MAX_WIDTH = 1280
POLL_S = 0.01
REPEAT_S = 0.3
BOUNDARY = "frame"
LOCAL = ("127.0.0.1", "localhost", "::1")


class Newest:
    """The newest canvas, and its JPEG made at most once however many look."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.canvas: np.ndarray | None = None
        self.number = self.encoded = 0
        self.data = b""

    def put(self, canvas: np.ndarray) -> None:
        """Leaves a canvas behind; no work is done for it unless someone looks."""
        self.canvas, self.number = canvas, self.number + 1

    def jpeg(self) -> bytes:
        """JPEG of the newest canvas, at most 1280 wide."""
        with self.lock:
            if self.encoded != self.number and self.canvas is not None:
                canvas, number = self.canvas, self.number
                scale = MAX_WIDTH / canvas.shape[1]
                if scale < 1:
                    canvas = cv2.resize(canvas, None, fx=scale, fy=scale)
                quality = [cv2.IMWRITE_JPEG_QUALITY, 80]
                self.data, self.encoded = cv2.imencode(".jpg", canvas, quality)[1].tobytes(), number
            return self.data


class ServeSink(AbstractContextManager["ServeSink"]):
    """The web server, in a thread of its own."""

    def __init__(self, address: str, controls: Controls, figures: Figures) -> None:
        host, _, port = address.rpartition(":")
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise UserError(f"--serve {address}: give HOST:PORT, such as 127.0.0.1:8000")
        self.host, self.port = host.strip("[]") or LOCAL[0], int(port)
        self.newest = Newest()
        app = make_app(self.newest, controls, figures, local=self.host in LOCAL)
        config = uvicorn.Config(
            app,
            host=self.host,
            port=self.port,
            log_level="critical",  # what strangers send is not this terminal's business
            http=Client,
            h11_max_incomplete_event_size=MAX_HEADER,
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        try:
            self.server.run()
        except SystemExit:  # uvicorn's way to say that the port is taken
            return

    def __enter__(self) -> "ServeSink":
        self.thread.start()
        while self.thread.is_alive() and not self.server.started:
            time.sleep(0.02)
        if not self.server.started:
            raise UserError(f"--serve: port {self.port} on {self.host} is taken; give another")
        host = f"[{self.host}]" if ":" in self.host else self.host
        print(f"live view at http://{host}:{self.port}", flush=True)
        return self

    def write(self, packet: Packet) -> None:
        """Leaves the canvas for whoever looks."""
        assert packet.canvas is not None
        self.newest.put(packet.canvas)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.should_exit = True
        self.thread.join(timeout=3)


def make_app(newest: Newest, controls: Controls, figures: Figures, local: bool) -> FastAPI:
    """The application; it reads no file but its own page. When `local`, other host names are
    refused, which keeps web pages of strangers from driving it by DNS rebinding."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if local:
        # The middleware cuts [::1]:8000 at its first colon.
        app.add_middleware(
            TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[", "[::1]", "testserver"]
        )
    viewers: set[object] = set()

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(files("demo").joinpath("page.html").read_text(encoding="utf-8"))

    @app.get("/status")
    def status() -> dict[str, Any]:
        return {
            "outputs": {name: name not in controls.hidden for name in controls.outputs},
            "paused": controls.paused,
            "viewers": len(viewers),
            **figures.snapshot(),
        }

    @app.post("/toggle/{name}")
    def toggle(name: str, request: Request) -> dict[str, Any]:
        from_our_page(request)
        if name not in controls.outputs:
            raise HTTPException(404, f"no output {name!r:.100}")
        controls.toggle(name)
        return status()

    @app.post("/pause")
    def pause(request: Request) -> dict[str, Any]:
        from_our_page(request)
        controls.key(" ")
        return status()

    @app.get("/live")
    async def live() -> StreamingResponse:
        if len(viewers) >= MAX_VIEWERS:
            raise HTTPException(503, f"{MAX_VIEWERS} viewers are the most at once")
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return StreamingResponse(parts(newest, viewers), media_type=kind)

    return app


def from_our_page(request: Request) -> None:
    """Raises 403 where a browser says that another site's page presses the button."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise HTTPException(403, "this is pressed on the page itself")


async def parts(newest: Newest, viewers: set[object]) -> AsyncIterator[bytes]:
    """The newest JPEG whenever there is a new one; frames a viewer is too slow for are skipped.

    The last one before a pause is sent twice: Chromium shows a picture when the next one begins.
    """
    me, shown, again = object(), 0, math.inf
    if len(viewers) >= MAX_VIEWERS:  # several may have been let in at once
        return
    viewers.add(me)
    try:
        while True:
            if newest.number == shown and time.monotonic() < again:
                await asyncio.sleep(POLL_S)
                continue
            again = math.inf if newest.number == shown else time.monotonic() + REPEAT_S
            shown = newest.number
            data = await asyncio.to_thread(newest.jpeg)
            head = (
                f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            )
            yield head.encode() + data + b"\r\n"
    finally:
        viewers.discard(me)
