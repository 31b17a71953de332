"""The page of perceive --serve in a headless Chromium."""

import socket

import numpy as np
import pytest

from demo.overlay import Controls
from demo.pipeline import Packet, SourceFrame
from demo.progress import Statistics

pytestmark = pytest.mark.slow

SWITCHES = "[...document.querySelectorAll('button')].map(b => [b.textContent, b.ariaPressed])"


def test_the_page_shows_the_picture_and_its_switches_work(browser):
    pytest.importorskip("uvicorn", reason="uvicorn is not installed (extra demo)")
    from demo.serve import ServeSink

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controls, statistics = Controls({"things": "Objects", "area": "Area"}), Statistics()
    canvas = np.full((300, 400, 3), (200, 0, 255), np.uint8)
    packet = Packet(SourceFrame(canvas, 0, 0.0, ""), canvas=canvas, timings_ms={"model": 5.0})
    with ServeSink(("127.0.0.1", port), controls, statistics) as sink:
        statistics.begin(None)
        statistics.add(packet)
        sink.write(packet)
        browser.call("Page.navigate", url=f"http://127.0.0.1:{port}/")
        assert browser.wait("document.querySelector('img')?.naturalWidth") == 400
        switches = browser.wait(f"document.querySelector('button') && {SWITCHES}")
        names = ["Objects", "Area", "Own lane", "Smoothing", "Pause"]
        assert switches == [
            [name, str(name in ("Objects", "Area", "Smoothing")).lower()] for name in names
        ]
        browser.evaluate("document.querySelector('button').click()")
        browser.wait("document.querySelector('button').ariaPressed === 'false'")
        assert controls.hidden == {"things"}
        assert "fps" in browser.evaluate("document.getElementById('rate').textContent")
        browser.call("Page.navigate", url="about:blank")  # closes the live stream
