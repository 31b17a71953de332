"""The C++ example against the Python Runner: built with the system's compiler, on the released
ONNX Runtime library that the Python package carries. Headers are no part of that package; they
come from ONNXRUNTIME_INCLUDE, the system, or (once, then cached) Debian's development package."""

import hashlib
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.files import write_atomic
from perception.runtime.description import Description
from perception.runtime.letterbox import Letterbox
from perception.runtime.runner import Runner
from perception.runtime.scene import Boxes, Labels, Map, Mask, Scene
from perception.runtime.view import LANE_BYTE, View

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "demo" / "car" / "cpp"
MODEL = ROOT / "perception" / "models" / "hydranet-lite0-384x640.onnx"
HEADER = "onnxruntime_cxx_api.h"
# MIT-licensed headers of release 1.21; an older header works with every newer library.
DEB = (
    "https://deb.debian.org/debian/pool/main/o/onnxruntime/"
    "libonnxruntime-dev_1.21.0+dfsg-1_amd64.deb"
)
DEB_SHA256 = "14f7d959d5deacbcf1504830d4189f91fc67382b399ed9ae9d3aa9c4050ced08"


def library() -> Path:
    """libonnxruntime.so of the installed Python package."""
    spec = find_spec("onnxruntime")
    found = sorted(Path(spec.submodule_search_locations[0], "capi").glob("libonnxruntime.so*"))
    if not found:
        pytest.skip("this onnxruntime package carries no libonnxruntime.so")
    return found[0]


def headers() -> Path:
    """A folder with the headers."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cached = base / "pvt-hydranet" / f"onnxruntime-include-{DEB_SHA256[:12]}"
    system = [Path("/usr/include/onnxruntime"), Path("/usr/local/include/onnxruntime")]
    named = [Path(os.environ["ONNXRUNTIME_INCLUDE"])] if "ONNXRUNTIME_INCLUDE" in os.environ else []
    for folder in [*named, *system, cached]:
        if (folder / HEADER).is_file():
            return folder
    try:
        with urllib.request.urlopen(DEB, timeout=30) as answer:
            package = answer.read()
    except OSError as error:
        pytest.skip(f"no ONNX Runtime headers here, and {DEB} does not answer: {error}")
    assert hashlib.sha256(package).hexdigest() == DEB_SHA256
    # The one that is looked for comes last, so that a cache cut short is no cache.
    for name, data in sorted(deb_headers(package), key=lambda item: item[0] == HEADER):
        write_atomic(cached / name, data)
    return cached


def deb_headers(package: bytes) -> list[tuple[str, bytes]]:
    """(name, content) of the headers in a Debian package: an `ar` of tar archives."""
    at, found = 8, []
    while at < len(package):
        name, size = package[at : at + 16].split()[0], int(package[at + 48 : at + 58])
        if name.startswith(b"data.tar.xz"):
            data = lzma.decompress(package[at + 60 : at + 60 + size])
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                for member in archive:
                    if member.isfile() and Path(member.name).match("include/onnxruntime/*.h"):
                        found.append((Path(member.name).name, archive.extractfile(member).read()))
        at += 60 + size + size % 2
    return found


@pytest.fixture(scope="session")
def program(tmp_path_factory) -> Path:
    """The example built with CMake against the layout of a published release."""
    for tool in ("cmake", "c++"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    root = tmp_path_factory.mktemp("cpp")
    release(root, "include")
    done = configure(root, f"-DONNXRUNTIME_ROOT={root}", "-DCMAKE_CXX_FLAGS=-Werror")
    if "nlohmann-json not found" in done.stderr:
        pytest.skip("nlohmann-json is not installed: apt install nlohmann-json3-dev")
    assert done.returncode == 0, done.stderr
    command = ["cmake", "--build", str(root / "build")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return root / "build" / "perceive_frame"


def release(root: Path, include: str) -> None:
    """The folders of an ONNX Runtime release, the headers in `include`."""
    (root / "lib").mkdir()
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (root / "lib" / name).symlink_to(library())
    (root / include).parent.mkdir(exist_ok=True)
    (root / include).symlink_to(headers())


def configure(root: Path, *flags: str) -> subprocess.CompletedProcess:
    command = ["cmake", "-S", str(SOURCE), "-B", str(root / "build"), *flags]
    return subprocess.run(command, capture_output=True, text=True)


def test_cmake_finds_headers_in_a_subfolder(program, tmp_path):
    release(tmp_path, "include/onnxruntime")
    done = configure(tmp_path, f"-DONNXRUNTIME_ROOT={tmp_path}")
    assert done.returncode == 0, done.stderr


def test_cmake_takes_separate_header_and_library_folders(program, tmp_path):
    flags = [f"-DONNXRUNTIME_INCLUDE={headers()}", f"-DONNXRUNTIME_LIBRARY={library()}"]
    done = configure(tmp_path, *flags)
    assert done.returncode == 0, done.stderr


def test_cmake_names_the_variables_where_onnx_runtime_is_missing(program, tmp_path):
    flags = ["-DCMAKE_FIND_ROOT_PATH=/nowhere", "-DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY"]
    done = configure(tmp_path, f"-DONNXRUNTIME_ROOT={tmp_path}", *flags)
    assert done.returncode != 0
    assert "-DONNXRUNTIME_ROOT" in done.stderr
    assert "-DONNXRUNTIME_INCLUDE" in done.stderr


def run(program, model, frame, out, *more) -> subprocess.CompletedProcess:
    command = [str(program), str(model), str(frame), str(out), "--threads", "1", *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def compare(text: str, scene: Scene, score: float = 0.3) -> None:
    """What the program printed and wrote equals the outputs of Runner, up to rounding."""
    rows = [line.split("\t") for line in text.splitlines()]
    boxes = [row[1:] for row in rows if row[0] == "box"]
    expected = [(name, b, i) for name, b in scene.of(Boxes) for i in range(len(b.above(score)))]
    assert [row[:2] for row in boxes] == [[name, b.name(i)] for name, b, i in expected]
    for row, (_, b, i) in zip(boxes, expected, strict=True):
        assert float(row[2]) == pytest.approx(b.scores[i], abs=2e-3)
        np.testing.assert_allclose(np.array(row[3:], float), b.xyxy[i], atol=0.1)
    labels = [row[1:4] for row in rows if row[0] == "label"]
    assert labels == [
        [name, group, best]
        for name, output in scene.of(Labels)
        for group, (best, _) in output.best().items()
    ]
    said = {(row[1], row[2]): float(row[3]) for row in rows if row[0] == "class"}
    covered = dict(shares(scene))
    for key in said.keys() | covered.keys():
        assert said.get(key, 0) == pytest.approx(covered.get(key, 0), abs=3e-3), key
    masks = {row[1]: row[3] for row in rows if row[0] == "mask"}
    assert set(masks) == {name for name, _ in scene.of(Mask)}
    for name, mask in scene.of(Mask):
        written = cv2.imread(masks[name], cv2.IMREAD_UNCHANGED)
        assert written.shape == mask.full.shape
        assert (written == mask.full).mean() > 0.998, name


def shares(scene: Scene) -> Iterator[tuple[tuple[str, str], float]]:
    """((output, class), share of the frame) of every class that a mask shows."""
    for name, mask in scene.of(Mask):
        lane = mask.view.encoding == LANE_BYTE
        values = np.where(mask.full & 8, 255, mask.full & 7) if lane else mask.full
        for number, label in enumerate(mask.view.categories if lane else mask.view.classes):
            if (values == number).any():
                yield (name, label), float((values == number).mean())


def test_pretrained_model_on_a_rendered_frame(program, tmp_path):
    rendered = pytest.importorskip("training.data.rendered")
    frame = rendered.render_frame(3, 1, (720, 1280), ()).image
    cv2.imwrite(str(tmp_path / "frame.ppm"), frame)
    done = run(program, MODEL, tmp_path / "frame.ppm", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    scene = Runner(MODEL, "cpu", 1)(frame)
    assert any(len(boxes.above(0.3)) for _, boxes in scene.of(Boxes)), "a frame that shows nothing"
    compare(done.stdout, scene)
    assert "1 runs: letterbox" in done.stderr


@pytest.mark.parametrize(
    "shape", [(48, 80), (96, 160), (120, 160), (33, 47), (200, 90), (1, 160), (9, 1)]
)
def test_every_kind_at_every_size(shape, program, tiny_onnx, tmp_path):
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    frame = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "frame.ppm"), frame)
    done = run(program, tiny_onnx, tmp_path / "frame.ppm", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    runner = Runner(tiny_onnx, "cpu", 1)
    scene = runner(frame)
    box = Letterbox(frame.shape[:2], runner.description.size_hw)
    compare(done.stdout, scene)
    for name, output in scene.of(Map):
        written = read_pfm(tmp_path / "out" / f"{name}.pfm")
        assert written.shape[-2:] == box.inner_hw
        np.testing.assert_allclose(written, output.small, atol=1.01)  # one grey value's rounding


def read_pfm(path: Path) -> np.ndarray:
    """float32 (H, W), or (3, H, W) of a colour file."""
    kind, size, scale, data = path.read_bytes().split(b"\n", 3)
    assert scale == b"-1.0"
    width, height = map(int, size.split())
    pixels = np.frombuffer(data, "<f4").reshape(height, width, -1)[::-1].transpose(2, 0, 1)
    return pixels if kind == b"PF" else pixels[0]


def test_raw_bgr_and_grey_frames_are_read(program, tiny_onnx, tmp_path):
    frame = np.random.default_rng(1).integers(0, 256, (30, 50, 3), np.uint8)
    frame[:] = frame[..., :1]
    (tmp_path / "frame.bgr").write_bytes(frame.tobytes())
    header = b"P5 # a comment\n50 # and one\n30\n255\n"
    (tmp_path / "frame.pgm").write_bytes(header + frame[..., 0].tobytes())
    raw = run(program, tiny_onnx, tmp_path / "frame.bgr", tmp_path / "out", "--bgr", "50x30")
    compare(raw.stdout, Runner(tiny_onnx, "cpu", 1)(frame))
    grey = run(program, tiny_onnx, tmp_path / "frame.pgm", tmp_path / "out")
    assert grey.stdout == raw.stdout


def test_the_description_is_read_as_json(program, make_tiny_onnx, tmp_path):
    views = {"things": View("boxes", classes=('a "b"\\\n\u00e9\U0001f697', "c"))}
    text = Description("x", (48, 80), views, scores={"m": float("nan"), "n": [-1e-3, {}]}).to_json()
    assert "NaN" in text
    assert "\\ud83d" in text
    model = make_tiny_onnx(tmp_path / "m.onnx", metadata=text)
    cv2.imwrite(str(tmp_path / "f.ppm"), np.zeros((48, 80, 3), np.uint8))
    done = run(program, model, tmp_path / "f.ppm", tmp_path / "out")
    # A line break in a name must not break the line.
    assert done.stdout.startswith('box\tthings\ta "b"\\ \u00e9\U0001f697\t0.9000\t8.00\t16.00')


GOOD = {"format": 1, "name": "x", "size_hw": [48, 80], "letterbox": {"pad_value": 114}}


def described(**more) -> str:
    return json.dumps(GOOD | more)


BAD_MODELS = {
    "without a description": "",
    "not JSON": '{"format": 1,',
    "too deep": "[" * 99,
    "another format": described(format=2, tasks=[]),
    "size": described(size_hw=[48, 1e300], tasks=[]),
    "pad": described(letterbox={"pad_value": -1}, tasks=[]),
    "kind": described(tasks=[{"name": "things", "kind": "song"}]),
    "shape": described(tasks=[{"name": "things", "kind": "mask"}]),
    "type": described(tasks=[{"name": "area", "kind": "map"}]),
    "no such output": described(tasks=[{"name": "gone", "kind": "mask"}]),
    "a name that leads out": described(tasks=[{"name": "../area", "kind": "mask"}]),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_a_bad_model_is_one_line(case, program, make_tiny_onnx, tmp_path):
    model = make_tiny_onnx(tmp_path / "m.onnx", metadata=BAD_MODELS[case])
    cv2.imwrite(str(tmp_path / "f.ppm"), np.zeros((48, 80, 3), np.uint8))
    one_line(run(program, model, tmp_path / "f.ppm", tmp_path / "out"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"P6\n9 9\n255\n123",
        b"P6\n0 9\n255\n",
        b"P6\n-4 9\n255\n",
        b"P6\n16384 16384\n255\n",
        b"P6\n99999999999999999999 1\n255\n",
        b"P6\n9 9\n65535\n" + b"0" * 999,
        b"P6\n# no end",
    ],
)
def test_a_bad_frame_is_one_line(data, program, tiny_onnx, tmp_path):
    (tmp_path / "f.ppm").write_bytes(data)
    one_line(run(program, tiny_onnx, tmp_path / "f.ppm", tmp_path / "out"))


def test_wrong_arguments_are_one_line(program, tiny_onnx, tmp_path):
    for more in (["--bgr", "50"], ["--what", "1"], ["--score"], ["--score", "high"], ["and more"]):
        one_line(run(program, tiny_onnx, tmp_path / "f.ppm", tmp_path / "out", *more))
    one_line(run(program, "gone.onnx", tmp_path / "f.ppm", tmp_path / "out"))


def one_line(done: subprocess.CompletedProcess) -> None:
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1, done.stderr
