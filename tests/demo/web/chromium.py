"""A headless Chromium, driven over its DevTools pipe: no driver and no WebSocket library needed."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """Path of an installed Chromium or Chrome."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _as_3_and_4(reads: int, writes: int) -> None:
    """In the child: file descriptors `reads` and `writes` become 3 and 4."""
    aside = fcntl.fcntl(reads, fcntl.F_DUPFD, 10), fcntl.fcntl(writes, fcntl.F_DUPFD, 10)
    os.dup2(aside[0], 3)
    os.dup2(aside[1], 4)


class Chromium:
    """One browser with one tab. `flags` are added to the command line."""

    def __init__(self, profile: Path, *flags: str) -> None:
        to_browser, self.write_fd = os.pipe()
        self.read_fd, from_browser = os.pipe()
        command = [
            find_chromium() or "chromium", "--headless", "--no-sandbox", "--no-first-run",
            "--remote-debugging-pipe", "--disable-dev-shm-usage", "--window-size=1320,1180",
            f"--user-data-dir={profile}", *flags, "about:blank",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command,
            pass_fds=(3, 4),  # where --remote-debugging-pipe reads and writes
            preexec_fn=partial(_as_3_and_4, to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.number, self.session = b"", 0, ""
        self.console: list[str] = []

    def __enter__(self) -> "Chromium":
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
        os.close(self.write_fd)
        os.close(self.read_fd)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One DevTools command and its result."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_fd, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive(timeout=60)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.console.append(json.dumps(answer["params"])[:600])

    def _receive(self, timeout: float) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            if not select.select([self.read_fd], [], [], timeout)[0]:
                raise TimeoutError("Chromium does not answer")
            data = os.read(self.read_fd, 1 << 16)
            if not data:
                raise RuntimeError("Chromium ended")
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression (awaited) in the page."""
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:2000])
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> Any:
        """The expression's value as soon as it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.evaluate(expression):
                return value
            time.sleep(0.1)
        page = self.evaluate("document.body.innerText")
        raise TimeoutError(f"{expression}; page: {page!r:.800}; console: {self.console[-5:]}")

    def choose_file(self, selector: str, path: Path) -> None:
        """Puts a file into a file input, as a person would."""
        document = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, path: Path) -> None:
        """PNG of the visible page."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
