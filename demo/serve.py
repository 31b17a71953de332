"""perceive --serve: a page with the live picture, a switch per output, and timings.

Viewers pull: the pipeline only replaces the newest canvas, so that a slow viewer does not block
it. Bound to the loopback interface by default. On a public address anyone who reaches it sees the
picture and the buttons: put a reverse proxy with a login in front.
"""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from demo.options import LOCAL
from demo.overlay import Controls
from demo.pipeline import Packet
from demo.progress import Statistics, say
from perception.errors import UserError

MAX_CONNECTIONS = 64  # more get the answer 503
MAX_SOCKETS = 256  # more are closed at once: the process has file descriptors for about 1000
REQUEST_S = 10.0  # time for one complete request head
MAX_HEADER_BYTES = 16 << 10
MAX_VIEWERS = 8
STALLED_S = 10.0  # a viewer that has not taken a picture for so long loses its place to another
MAX_WIDTH = 1280
POLL_S = 0.01
REPEAT_S = 0.3
BOUNDARY = "frame"
Viewers = dict[object, float]  # open live view: when it last took a picture (seconds, monotonic)
SWITCHES = {"ego": "ego", "smooth": "smooth", "pause": "paused"}  # address: field of Controls


class Newest:
    """The newest canvas; its JPEG is encoded at most once for all viewers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.canvas: np.ndarray | None = None
        self.number = self.encoded = 0
        self.data = b""

    def put(self, canvas: np.ndarray) -> None:
        """Replaces the canvas; it is encoded only when a viewer asks for it."""
        self.canvas, self.number = canvas, self.number + 1

    def jpeg(self) -> bytes:
        """JPEG of the newest canvas, at most MAX_WIDTH wide."""
        with self.lock:
            if self.encoded != self.number and self.canvas is not None:
                canvas, number = self.canvas, self.number
                scale = MAX_WIDTH / canvas.shape[1]
                if scale < 1:
                    canvas = cv2.resize(canvas, None, fx=scale, fy=scale)
                quality = [cv2.IMWRITE_JPEG_QUALITY, 80]
                self.data, self.encoded = cv2.imencode(".jpg", canvas, quality)[1].tobytes(), number
            return self.data


class BoundedProtocol(H11Protocol):
    """uvicorn's, with two bounds that its settings lack: the number of sockets, and the time until
    a request is complete (slow-client protection)."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        if len(self.connections) > MAX_SOCKETS:
            self.transport.abort()
        else:
            self.loop.call_later(REQUEST_S, self.close_if_idle, None)

    def close_if_idle(self, before: object) -> None:
        """Closes the connection unless a request is being answered or came since `before`."""
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is before:
            self.transport.abort()
        elif not self.transport.is_closing():
            self.loop.call_later(REQUEST_S, self.close_if_idle, self.cycle)


class ServeSink(AbstractContextManager["ServeSink"]):
    """The web server, in its own thread."""

    def __init__(
        self, address: tuple[str, int], controls: Controls, statistics: Statistics
    ) -> None:
        self.host, self.port = address
        self.newest = Newest()
        app = make_app(self.newest, controls, statistics, local=self.host in LOCAL)
        config = uvicorn.Config(
            app,
            host=self.host,
            port=self.port,
            log_level="critical",  # malformed requests are not reported on the terminal
            http=BoundedProtocol,
            limit_concurrency=MAX_CONNECTIONS,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        # A port in use ends the thread by SystemExit.
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> "ServeSink":
        self.thread.start()
        while self.thread.is_alive() and not self.server.started:
            time.sleep(0.02)
        if not self.server.started:
            raise UserError(f"--serve: port {self.port} on {self.host} is in use; choose another")
        host = f"[{self.host}]" if ":" in self.host else self.host
        say(f"live view at http://{host}:{self.port}")
        return self

    def write(self, packet: Packet) -> None:
        """Replaces the canvas the viewers get next."""
        assert packet.canvas is not None
        self.newest.put(packet.canvas)

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(timeout=3)


def make_app(newest: Newest, controls: Controls, statistics: Statistics, local: bool) -> FastAPI:
    """The application; the only file it reads is its page. With `local`, other host names are
    refused, which prevents control from foreign web pages by DNS rebinding."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if local:
        # The middleware cuts [::1]:8000 at its first colon.
        app.add_middleware(
            TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[", "[::1]", "testserver"]
        )
    viewers: Viewers = {}
    ours = [Depends(from_our_page)]

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(files("demo").joinpath("page.html").read_text(encoding="utf-8"))

    @app.get("/status")
    def status() -> dict[str, Any]:
        return {
            "outputs": {name: name not in controls.hidden for name in controls.outputs},
            "titles": controls.titles,
            "score": controls.score,
            "ego": controls.ego,
            "smooth": controls.smooth,
            "paused": controls.paused,
            "viewers": len(viewers),
            **statistics.snapshot(),
        }

    @app.post("/toggle/{name}", dependencies=ours)
    def toggle(name: str) -> dict[str, Any]:
        if name not in controls.outputs:
            raise HTTPException(404, f"no output {name!r:.100}")
        controls.toggle(name)
        return status()

    @app.post("/score/{percent}", dependencies=ours)
    def score(percent: int) -> dict[str, Any]:
        if not 0 <= percent <= 100:
            raise HTTPException(404, "a score is 0 to 100 %")
        controls.score = percent / 100
        return status()

    @app.post("/{switch}", dependencies=ours)
    def turn(switch: str) -> dict[str, Any]:
        if switch not in SWITCHES:
            raise HTTPException(404, f"no switch {switch!r:.100}")
        setattr(controls, SWITCHES[switch], not getattr(controls, SWITCHES[switch]))
        return status()

    @app.get("/live")
    async def live() -> StreamingResponse:
        if is_full(viewers):
            raise HTTPException(503, f"at most {MAX_VIEWERS} viewers at once")
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return StreamingResponse(parts(newest, viewers), media_type=kind)

    return app


def from_our_page(request: Request) -> None:
    """Raises 403 where the browser names another site as the origin of the request."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise HTTPException(403, "only the page itself may do this")


def is_full(viewers: Viewers) -> bool:
    """Whether no place is left, once stalled viewers have lost theirs."""
    oldest = time.monotonic() - STALLED_S
    for viewer in [one for one, taken in viewers.items() if taken <= oldest]:
        del viewers[viewer]
    return len(viewers) >= MAX_VIEWERS


async def parts(newest: Newest, viewers: Viewers) -> AsyncIterator[bytes]:
    """The newest JPEG whenever there is a new one; frames a viewer is too slow for are skipped.

    The last one before a pause is sent twice: Chromium shows a part when the next one begins.
    """
    me, shown, repeat_at = object(), 0, math.inf
    if is_full(viewers):  # several may have passed the first check at once
        return
    viewers[me] = time.monotonic()
    try:
        while me in viewers:
            viewers[me] = time.monotonic()
            if newest.number == shown and time.monotonic() < repeat_at:
                await asyncio.sleep(POLL_S)
                continue
            repeat_at = math.inf if newest.number == shown else time.monotonic() + REPEAT_S
            shown = newest.number
            data = await asyncio.to_thread(newest.jpeg)
            head = (
                f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            )
            yield head.encode() + data + b"\r\n"
    finally:
        viewers.pop(me, None)
