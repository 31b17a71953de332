"""perceive --serve in a real browser: Chromium as QtWebEngine brings it, without a screen."""

import json
import os
import socket
import subprocess
import sys
from importlib.util import find_spec

import cv2
import numpy as np
import pytest

from demo.overlay import Controls
from demo.pipeline import Packet, SourceFrame
from demo.progress import Statistics

pytest.importorskip("fastapi", reason="fastapi is not installed (extra demo)")
pytest.importorskip("uvicorn", reason="uvicorn is not installed (extra demo)")

PINK = (200, 0, 255)
# Loads the page, waits for the live picture, presses the first switch, says what it saw.
VISIT = """
import json, sys
from PyQt6.QtCore import QTimer, QUrl
from PyQt6.QtWidgets import QApplication
from PyQt6.QtWebEngineWidgets import QWebEngineView

app, seen = QApplication(sys.argv), {}
view = QWebEngineView()
view.resize(900, 700)
view.setUrl(QUrl(sys.argv[1]))
view.show()
LOOK = '''JSON.stringify({
  title: document.title, rate: document.getElementById("rate").textContent,
  wide: document.querySelector("img").naturalWidth,
  switches: [...document.querySelectorAll("button")].map(b => [b.textContent, b.ariaPressed])})'''

def look():
    view.page().runJavaScript(LOOK, looked)

def looked(text):
    now = json.loads(text) if text else {}
    if not seen and now.get("wide") and now["switches"]:
        seen["before"] = now
        view.page().runJavaScript("document.querySelector('button').click()")
    elif seen and now["switches"][0][1] == "false" and "fps" in now["rate"]:
        seen["after"] = now
        view.grab().save(sys.argv[2])
        print(json.dumps(seen))
        return app.quit()
    QTimer.singleShot(200, look)

QTimer.singleShot(200, look)
QTimer.singleShot(60000, app.quit)
app.exec()
"""


@pytest.mark.skipif(
    find_spec("PyQt6") is None or find_spec("PyQt6.QtWebEngineWidgets") is None,
    reason="no browser here: pip install PyQt6-WebEngine",
)
def test_the_page_shows_the_picture_and_a_switch_acts(tmp_path):
    from demo.serve import ServeSink

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    controls, figures = Controls({"things": "Objects", "area": "Area"}), Statistics(None)
    canvas = np.full((300, 400, 3), PINK, np.uint8)
    packet = Packet(SourceFrame(canvas, 0, 0.0, ""), canvas=canvas, timings_ms={"model": 5.0})
    env = {key: value for key, value in os.environ.items() if not key.startswith("QT_")}
    env |= {"QT_QPA_PLATFORM": "offscreen"}
    env |= {"QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox --disable-gpu"}
    with ServeSink(address, controls, figures) as sink:
        figures.begin()
        figures.add(packet)
        sink.write(packet)
        done = subprocess.run(
            [sys.executable, "-c", VISIT, f"http://{address}", tmp_path / "page.png"],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )
    if "error while loading shared libraries" in done.stderr or "ImportError" in done.stderr:
        pytest.skip(f"the browser does not start here: {done.stderr.strip().splitlines()[-1]}")
    assert done.stdout, done.stderr[-2000:]
    seen = json.loads(done.stdout)
    assert seen["before"]["title"] == "perceive"
    assert seen["before"]["wide"] == 400
    names = ["Objects", "Area", "Own lane", "Smoothing", "Pause"]
    assert [name for name, _ in seen["before"]["switches"]] == names
    assert [on for _, on in seen["after"]["switches"]] == ["false", "true", *3 * ["false"]]
    assert controls.hidden == {"things"}
    page = cv2.imread(str(tmp_path / "page.png")).astype(int)
    pink = np.abs(page - PINK).max(axis=2) < 12  # JPEG
    assert 100_000 < pink.sum() < 0.9 * pink.size
