"""The page in a headless Chromium: its numbers against Runner's, and what it says of bad input."""

import base64
import functools
import http.server
import struct
import threading
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.web_site import build
from perception.hub import DEFAULT, ONNX, local_file
from perception.runtime.colours import colour
from perception.runtime.letterbox import Letterbox
from perception.runtime.providers import read_description
from perception.runtime.runner import Runner, default_model
from perception.runtime.scene import Boxes, Labels, Mask

pytestmark = pytest.mark.slow

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
CLIP = SHARED / "videos" / "traffic_day_1280x720.mp4"
# Both run the same float32 graph on the same pixels.
BOX_PX, SCORE, MASK_SHARE = 0.05, 0.001, 0.9999
# What page.state holds of the newest frame, as JSON.
OUTPUTS = """import("/app.js").then(({state}) => {
  const plain = ({values, ...rest}) => ({...rest, values: values && [...values]});
  return state.outputs && Object.fromEntries(
    Object.entries(state.outputs).map(([name, output]) => [name, plain(output)]));
})"""
PROBLEM = "document.getElementById('problem').textContent"
NOTE = "document.getElementById('note').textContent"
MODEL = "document.getElementById('model').textContent"


def visit(browser, url: str) -> None:
    browser.call("Page.navigate", url=url)
    browser.wait("document.getElementById('rate')?.textContent.startsWith('ready')", 180)


def address(server) -> str:
    return f"http://127.0.0.1:{server.server_port}/"


def seen(browser, picture: Path) -> dict:
    """The page's outputs for one photo."""
    browser.evaluate('import("/app.js").then(({state}) => { state.outputs = null; })')
    browser.choose_file("#file", picture)
    return browser.wait(OUTPUTS, 120)


@pytest.fixture(params=["landscape", "portrait", "model size"])
def frame(request: pytest.FixtureRequest) -> np.ndarray:
    """uint8 (H, W, 3) BGR: a real frame, also cut upright and at the model's size.

    The page scales them to the same pixels as Runner, so that the duplicate removal decides alike
    in both.
    """
    found = sorted((SHARED / "bdd100k-real" / "images" / "100k" / "val").glob("*.jpg"))
    if not found:
        pytest.skip("no real frames next to the checkout (shared/data/bdd100k-real)")
    image = cv2.imread(str(found[0]))
    if request.param == "portrait":
        return cv2.resize(image[:, 300:700], (400, 768))
    return cv2.resize(image, (640, 384)) if request.param == "model size" else image


def test_same_outputs_as_runner(browser, serve, frame, tmp_path):
    picture = tmp_path / "frame.png"  # PNG: no decoder may round differently
    cv2.imwrite(str(picture), frame)
    visit(browser, address(serve(default_model())))
    got = seen(browser, picture)
    scene = Runner(default_model(), "cpu")(frame)
    for name, boxes in scene.of(Boxes):
        compare_boxes(boxes.above(0.1), got[name]["boxes"])
    for name, mask in scene.of(Mask):
        values = np.array(got[name]["values"], np.uint8).reshape(got[name]["hw"])
        assert (values == mask.small).mean() >= MASK_SHARE
    for name, labels in scene.of(Labels):
        best = {entry["group"]: (entry["name"], entry["share"]) for entry in got[name]["best"]}
        for group, (label, share) in labels.best().items():
            assert best[group][0] == label
            assert best[group][1] == pytest.approx(share, abs=SCORE)


def compare_boxes(expected: Boxes, got: list[dict]) -> None:
    """Every expected box is among those of the page, with class, place and score."""
    assert len(expected)
    for i in range(len(expected)):
        same = [box for box in got if box["name"] == expected.name(i)]
        nearest = min(same, key=lambda box: np.abs(expected.xyxy[i] - box["xyxy"]).max())
        assert nearest["xyxy"] == pytest.approx(expected.xyxy[i].tolist(), abs=BOX_PX)
        assert nearest["score"] == pytest.approx(float(expected.scores[i]), abs=SCORE)


@pytest.mark.parametrize("frame_hw", [(97, 61), (200, 333), (48, 80), (20, 31), (1, 500), (500, 1)])
def test_same_pixels_as_the_letterbox_of_the_runtime(browser, serve, tiny_onnx, frame_hw):
    """At any scale the two resize alike, but for rounding where OpenCV has other instructions."""
    visit(browser, address(serve(tiny_onnx)))
    frame = np.random.default_rng(0).integers(0, 256, (*frame_hw, 3), np.uint8)
    rgba = cv2.cvtColor(frame, cv2.COLOR_BGR2RGBA)
    text = base64.b64encode(rgba).decode()
    got = browser.evaluate(
        f"""import("/letterbox.js").then(({{Letterbox}}) => {{
          const rgba = Uint8Array.from(atob("{text}"), character => character.charCodeAt(0));
          return [...new Letterbox({list(frame_hw)}, [48, 80], 114).apply(rgba)];
        }})"""
    )
    expected = Letterbox(frame_hw, (48, 80)).apply(frame)
    assert np.abs(np.array(got) - expected.ravel().astype(int)).max() <= 1


def test_every_kind_of_output_is_read_and_switched(browser, serve, tiny_onnx, tmp_path):
    """A model of other names and kinds: the page knows none by name."""
    picture = tmp_path / "blue.png"
    cv2.imwrite(str(picture), np.full((96, 160, 3), (250, 0, 0), np.uint8))
    visit(browser, address(serve(tiny_onnx)))
    got = seen(browser, picture)
    assert got["things"]["boxes"][0]["xyxy"] == [16, 32, 80, 64]
    assert set(got["area"]["values"]) == {0}
    assert [best["name"] for best in got["mood"]["best"]] == ["day", "c"]
    assert got["far"]["values"][0] == pytest.approx(250 / 3, abs=0.01)
    names = browser.evaluate(
        "[...document.querySelectorAll('#switches button')].map(b => b.textContent)"
    )
    views = read_description(tiny_onnx).views
    assert names == [views[name].title(name) for name in got]
    assert "car" in browser.evaluate("document.getElementById('legend').textContent")
    browser.evaluate("document.querySelector('#switches button').click()")
    assert "car" not in browser.evaluate("document.getElementById('legend').textContent")


def test_boxes_are_drawn_from_the_score_of_their_class(browser, serve, make_tiny_onnx, tmp_path):
    scores = {"threshold": 30, "shown_threshold/car": 95}
    description = replace(
        read_description(make_tiny_onnx(tmp_path / "a.onnx")), scores={"things": scores}
    )
    model = make_tiny_onnx(tmp_path / "b.onnx", metadata=description.to_json())
    picture = tmp_path / "grey.png"
    cv2.imwrite(str(picture), np.full((96, 160, 3), 90, np.uint8))
    visit(browser, address(serve(model)))
    seen(browser, picture)
    legend = "document.getElementById('legend').textContent"
    assert "pedestrian" in browser.evaluate(legend)
    assert "car" not in browser.evaluate(legend)
    browser.evaluate(
        "(s => { s.value = 0.5; s.oninput({target: s}); })(document.getElementById('score'))"
    )
    assert "car" in browser.evaluate(legend)
    assert "pedestrian" not in browser.evaluate(legend)


def test_classes_outside_the_table_have_the_colour_of_python(browser, serve, tiny_onnx):
    visit(browser, address(serve(tiny_onnx)))
    for name in ("car", "zebra", "straßenbahn", "x" * 200):
        got = browser.evaluate(f'import("/colours.js").then(({{colour}}) => colour("{name}"))')
        assert np.abs(np.subtract(got[::-1], colour(name))).max() <= 1


def test_a_clip_is_played_with_its_frame_rate_shown(browser, serve, tiny_onnx):
    if not CLIP.exists():
        pytest.skip("no clip next to the checkout (shared/data/videos)")
    visit(browser, address(serve(tiny_onnx)))
    browser.choose_file("#file", CLIP)
    browser.wait("/[1-9][0-9.]* frames.s/.test(document.getElementById('rate').textContent)", 60)
    browser.evaluate("document.getElementById('pause').click()")
    assert browser.evaluate('import("/app.js").then(({state}) => state.paused)')
    assert browser.evaluate(PROBLEM) == ""


def huge_png(path: Path, width: int, height: int) -> Path:
    """A black 1-bit PNG: small on disk, large once decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 1)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.fixture
def bad_files(tmp_path: Path, tiny_onnx: Path, make_tiny_onnx) -> dict[str, Path]:
    """Files that the page must refuse, by the start of what it says of each."""
    texts = {
        "text.onnx": b"hello, this is no model",
        "cut.onnx": tiny_onnx.read_bytes()[:200],
        "empty.onnx": b"",
        "text.png": b"hello, this is no picture",
        "text.mp4": b"hello, this is no clip",
    }
    for name, data in texts.items():
        (tmp_path / name).write_bytes(data)
    make_tiny_onnx(tmp_path / "other.onnx", metadata="")
    make_tiny_onnx(tmp_path / "future.onnx", metadata='{"format": 2}')
    huge_png(tmp_path / "huge.png", 12000, 9000)
    return {
        "text.onnx: not an ONNX file": tmp_path / "text.onnx",
        "cut.onnx: not an ONNX file": tmp_path / "cut.onnx",
        "empty.onnx: 0 bytes": tmp_path / "empty.onnx",
        'other.onnx: an ONNX file without a "perception" description': tmp_path / "other.onnx",
        "future.onnx: description format 2": tmp_path / "future.onnx",
        "text.png: no photo": tmp_path / "text.png",
        "text.mp4: no clip": tmp_path / "text.mp4",
        "huge.png: 12000×9000 pixels (108 megapixels)": tmp_path / "huge.png",
    }


def test_bad_files_are_named_and_the_page_continues(browser, serve, tiny_onnx, bad_files, tmp_path):
    visit(browser, address(serve(tiny_onnx)))
    for message, path in bad_files.items():
        browser.choose_file("#file", path)
        browser.wait(f"{PROBLEM}.startsWith({message!r})", 30)
    good = tmp_path / "good.png"
    cv2.imwrite(str(good), np.zeros((96, 160, 3), np.uint8))
    assert seen(browser, good)["area"]["hw"] == [48, 80]
    assert browser.evaluate(PROBLEM) == ""


def test_without_webgpu_wasm_is_used_and_an_explicit_webgpu_is_refused(browser, serve, tiny_onnx):
    visit(browser, address(serve(tiny_onnx)))
    assert "no WebGPU adapter" in browser.evaluate(NOTE)
    assert "WASM" in browser.evaluate(MODEL)
    browser.evaluate(
        "(e => { e.value = 'webgpu'; e.onchange(); })(document.getElementById('engine'))"
    )
    browser.wait(f"{PROBLEM}.includes('no WebGPU adapter')", 30)
    assert "stays loaded" in browser.evaluate("document.getElementById('rate').textContent")


def test_without_threads_one_is_used_and_a_note_says_why(browser, plain_host, tmp_path):
    script = {"source": "sessionStorage.isolated = 'tried'"}  # as where service workers are off
    added = browser.call("Page.addScriptToEvaluateOnNewDocument", **script)
    visit(browser, address(plain_host))
    browser.call("Page.removeScriptToEvaluateOnNewDocument", **added)
    assert not browser.evaluate("crossOriginIsolated")
    assert "one thread only" in browser.evaluate(NOTE)
    picture = tmp_path / "black.png"
    cv2.imwrite(str(picture), np.zeros((96, 160, 3), np.uint8))
    assert seen(browser, picture)["area"]["hw"] == [48, 80]


def test_a_missing_camera_is_reported(browser, serve, tiny_onnx):
    visit(browser, address(serve(tiny_onnx)))
    browser.evaluate("document.getElementById('camera').click()")
    browser.wait(f"{PROBLEM}.includes('camera')", 30)


def test_a_missing_network_is_reported(browser, serve, tiny_onnx):
    visit(browser, address(serve(tiny_onnx)))
    browser.call("Network.enable")
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.call("Network.emulateNetworkConditions", offline=True, **offline)
    browser.evaluate("document.getElementById('engine').onchange()")
    browser.wait(f"{PROBLEM}.startsWith('model.onnx could not be fetched')", 30)
    browser.call("Network.emulateNetworkConditions", offline=False, **offline)


@pytest.fixture
def plain_host(runtime, tiny_onnx, tmp_path):
    """The page on a static host that sends no headers for threads."""
    build(tiny_onnx, tmp_path / "site")
    handler = functools.partial(QuietHandler, directory=tmp_path / "site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_threads_work_on_a_static_host_without_headers(browser, plain_host):
    visit(browser, address(plain_host))
    browser.wait("crossOriginIsolated", 30)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_other_packaged_model_is_one_choice_away(browser, serve):
    visit(browser, address(serve(local_file(DEFAULT, ONNX))))
    browser.wait("!document.getElementById('which').hidden", 20)
    assert "832×480" in browser.evaluate(MODEL)
    browser.evaluate(
        "(() => { const which = document.getElementById('which'); which.value = 'fast.onnx';"
        "which.dispatchEvent(new Event('change')); })()"
    )
    browser.wait(f"{MODEL}.includes('640×384')", 180)
