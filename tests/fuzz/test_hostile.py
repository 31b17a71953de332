"""Files made to do harm: each is refused in one line that names it, and none takes memory."""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

import demo.video
from demo.video import VideoFile, open_source
from perception import images
from perception.errors import UserError
from perception.files import read_bounded
from perception.runtime.runner import Runner, read_description

ROOT = Path(__file__).parents[2]
STEM = "0b00bbbb-00000002"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    """A whole, valid PNG: black pixels of any number compress to almost nothing."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
        + chunk(b"IEND", b"")
    )


def tiff(**tags: int) -> bytes:
    numbers = {"width": 256, "height": 257, "bits": 258, "channels": 277, "tile_width": 322,
               "tile_height": 323}  # fmt: skip
    entries = b"".join(
        struct.pack("<HHII", numbers[name], 4, 1, value) for name, value in tags.items()
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def jpeg(width: int, height: int, before: bytes = b"") -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 1) + bytes((1, 0x11, 0))
    return b"\xff\xd8" + before + b"\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame


BOMBS = {
    "png 100,000 x 100,000": png(100_000, 100_000),
    "png 30,000 x 30,000, below OpenCV's own bound": png(30_000, 30_000),
    "png of one endless line": png(2_000_000_000, 1),
    "jpeg": jpeg(65_000, 65_000),
    "jpeg whose header stands far behind": jpeg(
        65_000, 65_000, (b"\xff\xe1" + struct.pack(">H", 65_000) + bytes(64_998)) * 3
    ),
    "bmp": b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 60_000, -60_000, 1, 24) + bytes(24),
    "webp": b"RIFF\x64\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\x3f\0\xff\x3f\0",
    "tiff": tiff(width=50_000, height=50_000, bits=8, channels=3),
    "tiff with small picture and large tile": tiff(
        width=8, height=8, bits=8, channels=3, tile_width=60_000, tile_height=60_000
    ),
    "tiff of a thousand channels": tiff(width=5000, height=5000, bits=64, channels=1000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_picture_s_size_is_bounded_before_it_is_decoded(name, tmp_path, monkeypatch):
    from training.data.bdd.images import read_image
    from training.data.bdd.masks import ENCODINGS, read_mask
    from training.data.folder import read_pixels

    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    path = tmp_path / "bomb.png"
    path.write_bytes(BOMBS[name])
    readers = [read_image, read_pixels, *(lambda p, e=e: read_mask(p, e) for e in ENCODINGS)]
    for read in readers:
        with pytest.raises(UserError, match=r"bomb\.png.* more than 35 million pixels"):
            read(path)
    source = open_source(str(path))
    assert list(source) == []
    assert "million pixels" in source.problems[0]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".png", ()), (".jpg", ()), (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)), (".bmp", ()),
     (".webp", ()), (".webp", (cv2.IMWRITE_WEBP_QUALITY, 101)), (".tif", ())],
)  # fmt: skip
def test_the_size_in_the_header_is_the_picture_s(suffix, options):
    for shape in ((7, 13), (40, 24, 3)):
        pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
        data = cv2.imencode(suffix, pixels, list(options))[1]
        assert images.size_of(data) == shape[:2]
        assert images.decode(data).shape[:2] == shape[:2]


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"BM", b"RIFF", b"II*\0", b"GIF89a", b"\xff" * 99]
)
def test_what_has_no_size_is_no_picture(data):
    with pytest.raises(ValueError, match="does not decode"):
        images.decode(data)


def test_a_jpeg_of_a_million_markers_is_given_up():
    assert images.size_of(b"\xff\xd8" + b"\xff\xd0" * 1_000_000 + jpeg(8, 8)[2:]) is None


def test_files_are_read_up_to_a_bound_and_pipes_not_at_all(tmp_path):
    large = tmp_path / "large.jpg"
    with open(large, "wb") as file:
        file.truncate(4 << 30)
    with pytest.raises(UserError, match=r"large\.jpg: 4096 MB, at most 1 are read"):
        read_bounded(large, 1 << 20)
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("pipe.jpg", "none.jpg", "."):
        with pytest.raises(UserError, match=r"not a plain file|cannot be read"):
            read_bounded(tmp_path / name, 10)
    with pytest.raises(UserError, match=r"null.*not a plain file"):
        read_bounded(Path("/dev/null"), 10)


# --- labels: in a child, whose memory is looked at ------------------------------------------------

CHILD = """
import sys, pathlib
sys.path.insert(0, {benchmarks!r})
import fuzz_readers as f
from training.data.bdd100k import BDD100K
from training.data.coco import COCO
for place in sys.argv[1:]:
    root = pathlib.Path(place)
    more = dict(cache_folder=root / "file" / "x") if {kind} is BDD100K else dict()
    before = f.memory()[0]
    try:
        data = {kind}(root, "train", **more)
        told = "read " + str(len([data[i] for i in range(len(data))]))
    except f.UserError as error:
        told = str(error)
    print((f.memory()[1] - before) >> 20, told)
"""


def in_child(*roots: Path, kind: str = "BDD100K") -> list[tuple[int, str]]:
    """(MB taken at most, what was said) of opening and reading each dataset."""
    for root in roots:
        (root / "file").touch()
    code = CHILD.format(benchmarks=str(ROOT / "benchmarks"), kind=kind)
    command = [sys.executable, "-c", code, *map(str, roots)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-1500:]
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    assert len(lines) == len(roots)
    return [(int(mb), told) for mb, _, told in lines]


@pytest.fixture
def root(tmp_path):
    return make_root(tmp_path)


def make_root(folder: Path) -> Path:
    """A BDD100K folder of one frame without labels."""
    write(folder / f"images/100k/train/{STEM}.jpg", picture())
    return folder


def no_cache(root: Path) -> Path:
    """A place where no index can be written."""
    return root / f"images/100k/train/{STEM}.jpg" / "x"


def picture() -> bytes:
    return cv2.imencode(".jpg", np.full((36, 64, 3), 90, np.uint8))[1].tobytes()


def write(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# The beginning of a file of 2 GB, the rest of which is a hole; and what is said of it.
HUGE = {
    "zeros": (b"", "not valid JSON"),
    "list": (b"[", "not valid JSON"),
    "string": (b'[{"name": "', "not valid JSON"),
    "object": (b'{"frames": [', "not valid JSON"),
    # Spaces are valid inside a string: only the bound on one value ends this.
    "value": (b'[{"name": "' + b" " * (32 << 20), "no value ends within 8 million characters"),
}


def test_two_gigabytes_of_json_are_refused_in_a_line(tmp_path):
    roots = [make_root(tmp_path / name) for name in HUGE]
    for root, (start, _) in zip(roots, HUGE.values(), strict=True):
        os.truncate(write(root / "labels/det_20/det_train.json", start), 2 << 30)
    for (mb, told), (_, message) in zip(in_child(*roots), HUGE.values(), strict=True):
        assert message in told
        assert "det_train.json" in told
        assert mb < 256


def test_a_million_strange_frames_are_counted_not_kept(root):
    """Frames nobody has, nameless ones, and one frame again and again."""
    from training.data.bdd import index, layouts

    frame = json.dumps({"name": f"{STEM}.jpg", "labels": []})
    kinds = ('{"name": "nobody.jpg"}', "{}", frame, f'{{"name": "{"x" * 2000}"}}')
    text = ", ".join(kind for kind in kinds for _ in range(12_000))
    write(root / "labels/det_20/det_train.json", f"[{frame}, {text}]")
    found = index.build(layouts.find(root, "train"))
    assert len(found.problems()) <= index.MOST_LISTED + 1
    assert (0, True) in [(row, "occurs twice" in text) for row, text in found.problems()]
    assert len(found.orphans) == index.MOST_LISTED + 1
    assert found.orphans[-1].endswith(b"14000 more frames")
    assert found.orphans.itemsize <= index.LONGEST_LINE


@pytest.mark.parametrize("depth", [2000, 200_000])
@pytest.mark.parametrize(
    "place",
    [
        "labels/det_20/det_train.json",
        f"labels/100k/train/{STEM}.json",
        "labels/train.json",
        "labels/provenance_train.json",
    ],
)
def test_deeply_nested_json_is_one_line(place, depth, root):
    from training.data.bdd100k import BDD100K

    good = [{"name": f"{STEM}.jpg", "labels": [], "attributes": {"weather": "clear"}}]
    write(root / "labels/det_20/det_train.json", json.dumps(good))
    deep = "[" * depth + "]" * depth
    text = f'{{"name": "{STEM}", "frames": {deep}}}' if "100k" in place else f'[{{"name": {deep}}}]'
    path = write(root / place, text)
    with pytest.raises(UserError, match=path.name) as caught:
        BDD100K(root, "train", cache_folder=no_cache(root)).provenance(0)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", [f"../../{STEM}.jpg", f"/etc/{STEM}.jpg", f"a/../{STEM}.jpg"])
def test_a_frame_s_name_does_not_leave_its_folder(name, root):
    from training.data.bdd100k import BDD100K

    write(root / "labels/det_20/det_train.json", json.dumps([{"name": name, "labels": []}]))
    with pytest.raises(UserError, match=r"det_train\.json: frame name .* leaves its folder; mend"):
        BDD100K(root, "train", cache_folder=no_cache(root))


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg", ""])
def test_coco_and_voc_name_no_file_elsewhere(name, tmp_path):
    from training.data.coco import COCO
    from training.data.voc import VOC

    data = {
        "images": [{"id": 1, "file_name": name, "height": 36, "width": 64}],
        "annotations": [],
        "categories": [{"id": 3, "name": "car"}],
    }
    write(tmp_path / "annotations/instances_train2017.json", json.dumps(data))
    with pytest.raises(UserError, match=r"instances_train2017\.json.* leaves its folder"):
        COCO(tmp_path, "train")
    write(tmp_path / "ImageSets/Main/train.txt", name or "..")
    with pytest.raises(UserError, match=r"train\.txt names .* leaves its folder"):
        VOC(tmp_path, "train")


def test_a_large_coco_file_streams(tmp_path):
    """60,000 annotations with long outlines, 36 MB of text, in the file's usual order."""
    path = tmp_path / "annotations/instances_train2017.json"
    path.parent.mkdir()
    write(tmp_path / "train2017/a.jpg", picture())
    outline = ", ".join(["1.5"] * 80)
    with open(path, "w") as file:
        file.write('{"info": {}, "images": [{"id": 7, "file_name": "a.jpg", "height": 36, ')
        file.write('"width": 64}], "annotations": [')
        for number in range(60_000):
            file.write(", " if number else "")
            file.write(f'{{"image_id": 7, "category_id": {3 + number % 2}, "iscrowd": 0, ')
            file.write(f'"bbox": [1, 2, 30, 30], "segmentation": [[{outline}]]}}')
        file.write('], "categories": [{"id": 3, "name": "car"}, {"id": 4, "name": "none"}]}')
    [(mb, told)] = in_child(tmp_path, kind="COCO")
    assert told == "read 1"
    assert mb < 100


def test_an_outline_that_reaches_far_or_has_a_million_corners_is_refused(root):
    from training.data.bdd100k import BDD100K

    for vertices, why in (
        ([[0, -1e9], [5, 1e9]], "malformed"),
        ([[0, 1e300], [5, 10**400]], "malformed"),
        ([[number % 64, number % 36] for number in range(5000)], "malformed"),
    ):
        poly = [{"vertices": vertices, "types": "L" * len(vertices)}]
        label = {"id": 1, "category": "single white", "poly2d": poly}
        frames = [{"name": f"{STEM}.jpg", "labels": [label] * 5}]
        write(root / "labels/lane/polygons/lane_train.json", json.dumps(frames))
        with pytest.raises(UserError, match=why):
            BDD100K(root, "train", cache_folder=no_cache(root))


def test_the_longest_outlines_allowed_draw_within_bounds(root):
    """Zigzags across the frame by as many corners as are read, straight and bent."""
    wild = [[number % 2 * 90_000 - 20_000, number * 37 % 99 - 20] for number in range(2000)]
    labels = [
        {"category": name, "poly2d": [{"vertices": wild, "types": letter * 2000}]}
        for name in ("direct", "single white")
        for letter in "LC"
    ]
    text = json.dumps([{"name": f"{STEM}.jpg", "labels": labels}])
    write(root / "labels/lane/polygons/lane_train.json", text)
    write(root / "labels/drivable/polygons/drivable_train.json", text)
    [(mb, told)] = in_child(root)
    assert told == "read 1"
    assert mb < 512


def test_too_many_labels_in_one_frame_are_refused(root):
    from training.data.bdd100k import BDD100K

    box = {"category": "car", "box2d": {"x1": 1, "y1": 1, "x2": 9, "y2": 9}}
    frames = [{"name": f"{STEM}.jpg", "labels": [box] * 10_001}]
    write(root / "labels/det_20/det_train.json", json.dumps(frames))
    with pytest.raises(UserError, match="10001 labels, at most 10000 are read"):
        BDD100K(root, "train", cache_folder=no_cache(root))


def test_xml_entities_do_not_unfold(tmp_path):
    from training.data.voc import read_objects

    lol = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    text = f'<!DOCTYPE x [<!ENTITY a0 "ha">{lol}]><annotation><object><name>&a9;</name></object>'
    path = write(tmp_path / "a.xml", text + "</annotation>")
    with pytest.raises(UserError, match=r"a\.xml: not a VOC annotation"):
        read_objects(path, (36, 64))
    path = write(tmp_path / "b.xml", b"<annotation>" + b" " * (2 << 20) + b"</annotation>")
    with pytest.raises(UserError, match=r"b\.xml: 2 MB, at most 1"):
        read_objects(path, (36, 64))


def test_an_array_s_header_claims_what_it_likes(tmp_path):
    from training.data.nyuv2 import read_array

    path = tmp_path / "0.npy"
    for text in (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (100000, 100000, 3), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }",
        "{'descr': '<U9999999', 'fortran_order': False, 'shape': (4, 4), }",
        "{'descr': (((",
    ):
        head = text.encode().ljust(118) + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(64))
        with pytest.raises(UserError, match=r"0\.npy: not a readable array .*; restore the file"):
            read_array(path)


# --- checkpoints ------------------------------------------------------------------------------


def safetensors(header: dict | bytes, body: bytes = bytes(16), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(start: int, stop: int, shape: tuple[int, ...] = (2,)) -> dict:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, stop]}


OFFSETS = {
    "beyond the file": safetensors({"a": tensor(0, 1 << 40, (1 << 38,))}),
    "negative": safetensors({"a": tensor(-8, 0)}),
    "backwards": safetensors({"a": tensor(16, 8)}),
    "overlapping": safetensors({"a": tensor(0, 8), "b": tensor(4, 12)}),
    "with a hole": safetensors({"a": tensor(0, 4, (1,)), "b": tensor(8, 16)}),
    "of another shape": safetensors({"a": tensor(0, 16, (1 << 30, 1 << 30, 1 << 30))}),
    "in a header of 2^63 bytes": safetensors({"a": tensor(0, 16, (4,))}, length=1 << 63),
    "in a header longer than the file": safetensors({"a": tensor(0, 16, (4,))}, length=5000),
    "in a header of 5 MB": safetensors(b"{" + b" " * (5 << 20) + b"}"),
    "nested": safetensors(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}


@pytest.mark.parametrize("name", OFFSETS)
def test_tensors_at_impossible_places_are_one_line(name, tmp_path):
    from perception import checkpoint

    path = write(tmp_path / "x.safetensors", OFFSETS[name])
    with pytest.raises(UserError, match=r"x\.safetensors: not a readable safetensors") as caught:
        checkpoint.read(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_checkpoint_of_a_terabyte_is_not_opened(tmp_path):
    from perception import checkpoint

    path = write(tmp_path / "x.safetensors", safetensors({"a": tensor(0, 1 << 40, (1 << 38,))}))
    os.truncate(path, 1 << 40)
    with pytest.raises(UserError, match=r"1048576 MB, at most 512 are read"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("model", 3), ("model", "x" * 1_000_000), ("tasks", "det"), ("tasks", []),
     ("tasks", [["det"]]),
     ("tasks", ["det", "det"]), ("tasks", None), ("size_hw", [0, 5]), ("size_hw", [1e999, 5]),
     ("size_hw", [10**9, 10**9]), ("scores", []), ("licence", {})],
)  # fmt: skip
def test_a_description_of_the_wrong_kind_names_its_field(field, value, tmp_path):
    from safetensors.numpy import save_file

    from perception import checkpoint

    told = {"format": 1, "model": "pvt-hydranet-b0", "tasks": ["det"], "size_hw": [64, 96]}
    path = tmp_path / "x.safetensors"
    save_file(
        {"a": np.zeros(1, np.float32)}, path, {"perception": json.dumps(told | {field: value})}
    )
    with pytest.raises(UserError, match=r"x\.safetensors|unknown model") as caught:
        checkpoint.load(path)
    assert len(str(caught.value)) < 400


# --- models -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["../../../../../etc/passwd", "/etc/passwd", "beside.bin", "linked.bin"]
)
def test_an_onnx_that_leads_to_other_files_is_refused(place, tiny_onnx, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tiny_onnx)
    (tmp_path / "beside.bin").write_bytes(bytes(1000))
    (tmp_path / "linked.bin").symlink_to("/etc/passwd")
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", place
    path = write(tmp_path / "m.onnx", model.SerializeToString())
    for read in (read_description, lambda p: Runner(p, "cpu", 1)):
        with pytest.raises(
            UserError, match=r"m\.onnx: keeps weights in another file .*export-onnx"
        ):
            read(path)


def test_other_files_are_seen_however_deep_they_hide(tiny_onnx, tmp_path):
    """In a constant of a branch of a function, without the flag that says so."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tiny_onnx)
    hidden = onnx.TensorProto(name="w", data_type=1, dims=[4])
    hidden.external_data.add(key="location", value="/etc/passwd")
    constant = onnx.helper.make_node("Constant", [], ["c"], value=hidden)
    branch = onnx.helper.make_graph([constant], "branch", [], [])
    node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    model.functions.add(name="f", domain="d").node.append(node)
    path = write(tmp_path / "m.onnx", model.SerializeToString())
    with pytest.raises(UserError, match="/etc/passwd"):
        read_description(path)


def test_a_graph_that_asks_for_40_gigabytes_fails_in_a_line(tiny_onnx, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tiny_onnx)
    shape = onnx.numpy_helper.from_array(np.array([100_000, 100_000], np.int64), "huge")
    one = onnx.numpy_helper.from_array(np.ones((1, 1), np.float32), "one")
    model.graph.initializer.extend([shape, one])
    nodes = [
        onnx.helper.make_node("Expand", ["one", "huge"], ["field"]),
        onnx.helper.make_node("ReduceSum", ["field"], ["sum"], keepdims=0),
        onnx.helper.make_node("Mul", ["sum", "half"], ["more"]),
    ]
    for node in nodes:
        model.graph.node.append(node)
    next(n for n in model.graph.node if n.op_type == "Greater").input[1] = "more"
    path = write(tmp_path / "m.onnx", model.SerializeToString())
    with pytest.raises(UserError, match=r"m\.onnx: (fails on a frame|ONNX Runtime cannot load)"):
        Runner(path, "cpu", 1)(np.zeros((48, 80, 3), np.uint8))


def test_a_model_of_gigabytes_or_of_nothing_is_not_opened(tmp_path):
    path = write(tmp_path / "m.onnx", b"")
    for size in (0, 4 << 30):
        os.truncate(path, size)
        with pytest.raises(UserError, match=r"m\.onnx: \d+ MB; a model has up to 512"):
            read_description(path)


# --- films ------------------------------------------------------------------------------------


def test_a_film_that_grows_in_the_middle_does_not_pass_the_bound(tmp_path, monkeypatch):
    """Two MJPEG frames of 64 x 32, then one of 640 x 320, with a bound between them."""
    monkeypatch.setitem(demo.video.FILE_OPTIONS, "max_pixels", str(100 * 100))
    small, large = (
        cv2.imencode(".jpg", np.full((32 * k, 64 * k, 3), 90, np.uint8))[1].tobytes()
        for k in (1, 10)
    )
    path = write(tmp_path / "v.mjpeg", small + small)
    assert len(list(VideoFile(path))) == 2
    path.write_bytes(small + small + large)
    assert all(frame.image.shape == (32, 64, 3) for frame in VideoFile(path))
    path.write_bytes(large + large)
    with pytest.raises(UserError, match=r"v\.mjpeg"):
        VideoFile(path)


def y4m(width: int, height: int) -> bytes:
    return f"YUV4MPEG2 W{width} H{height} F25:1 C420jpeg\nFRAME\n".encode() + bytes(5000)


def test_a_raw_film_cannot_ask_for_gigabytes(tmp_path):
    path = write(tmp_path / "v.mp4", y4m(64, 32))
    assert len(list(VideoFile(path))) >= 1
    path.write_bytes(y4m(60_000, 60_000))
    with pytest.raises(UserError, match=r"v\.mp4"):
        VideoFile(path)


@pytest.mark.parametrize("kind", ["m3u8", "ffconcat", "sdp", "pipe"])
def test_a_playlist_leads_nowhere(kind, video, tmp_path):
    """FFmpeg would open what it names: other files, the network."""
    texts = {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{video}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile {video.name}\n",
        "sdp": "v=0\nm=video 5004 RTP/AVP 96\nc=IN IP4 127.0.0.1\na=rtpmap:96 H264/90000\n",
    }
    for name in (f"list.{kind}", "film.mp4"):
        path = tmp_path / name
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.write_text(texts[kind])
        with pytest.raises(UserError, match=r"not a video that decodes|not a plain file"):
            open_source(str(path))


def test_the_environment_is_as_it_was(video, monkeypatch):
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;udp")
    assert len(list(VideoFile(video))) == 30
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "rtsp_transport;udp"
