"""Minimal inputs that once crashed a reader or passed unnoticed (docs/fuzzing.md)."""

import json
import struct

import cv2
import numpy as np
import pytest

STEM = "0b00bbbb-00000002"
BOX = {"x1": 1, "y1": 1, "x2": 9, "y2": 9}
PNG_COLOUR = cv2.imencode(".png", np.zeros((32, 48, 3), np.uint8))[1].tobytes()
PNG_16 = cv2.imencode(".png", np.full((32, 48), 999, np.uint16))[1].tobytes()
PNG_ALPHA = cv2.imencode(".png", np.zeros((32, 48, 4), np.uint16))[1].tobytes()


@pytest.fixture(scope="module")
def attempt(tmp_path_factory):
    """attempt(reader, variant, data) -> "" or the line that refuses it."""
    import fuzz_readers

    folder = tmp_path_factory.mktemp("scratch")
    return lambda reader, variant, data: fuzz_readers.attempt(reader, variant, folder, data)


def frames(*labels, **more) -> bytes:
    return json.dumps([{"name": f"{STEM}.jpg", "labels": list(labels), **more}]).encode()


def poly(vertices, types="LL", **more) -> bytes:
    label = {"category": "single white", "poly2d": [{"vertices": vertices, "types": types}]}
    return frames(label | more)


def one_image(**changes) -> bytes:
    whole = {"name": STEM, "frames": [{"objects": []}], "attributes": {"weather": "clear"}}
    return json.dumps(whole | changes).encode()


LABELS = {
    "a box of 400 digits": ("det-20", frames({"category": "car", "box2d": BOX | {"x2": 10**400}})),
    "a box beyond any frame": ("det-20", frames({"category": "car", "box2d": BOX | {"y2": 1e39}})),
    "a box that is a list": ("det-20", frames({"category": "car", "box2d": [1, 2, 3, 4]})),
    "a category that is a list": ("det-20", frames({"category": ["car"], "box2d": BOX})),
    "half a surrogate pair as attribute": ("det-20", frames(attributes={"weather": "\ud800"})),
    "a frame that is a number": ("det-20", b'{"frames": [3]}'),
    "a corner that is a number": ("lane", poly([3, 4])),
    "corners that are an object": ("lane", poly({"a": 1, "b": 2})),
    "a corner of 400 digits": ("lane", poly([[1, 1], [9, 10**400]])),
    "a corner of letters": ("lane", poly([["a", 1], [2, 3]])),
    "a curve beyond any frame": ("lane", poly([[0, 0], [1e300, 1], [2, -1e300], [3, 3]], "CCCC")),
    "poly2d of mixed kinds": (
        "lane",
        frames({"category": "single white", "poly2d": [[1, 2, "L"], 3, {"vertices": []}]}),
    ),
    "objects that are a number": ("image-2018", one_image(frames=[{"objects": 3}])),
    "frames of numbers": ("image-2018", one_image(frames=[3])),
    "YOLO classes that are no numbers": ("yolo", b"nan .5 .5 .5 .5\ninf 1 1 1 1\n"),
    "YOLO names without an end": ("yolo-names", b"names: [" * 20_000),
    "COCO without a name": ("coco", b'{"categories": [{"id": 1}]}'),
    "COCO with numbers for letters": (
        "coco",
        b'{"images": [{"id": [], "file_name": "a", "height": 1, "width": 1}]}',
    ),
    "VOC with a class nobody knows": ("voc", b"<annotation><object/></annotation>"),
    "a camera of infinite focus": (
        "camera",
        b'{"extrinsic": {"baseline": 1e999}, "intrinsic": {"fx": 1}}',
    ),
    "a camera in a camera in a camera": ("camera", b"[" * 60_000),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels(name, attempt):
    variant, data = LABELS[name]
    assert attempt("labels", variant, data) != ""


@pytest.mark.parametrize(
    ("variant", "data"),
    [
        # Half a surrogate pair in the name of a frame that nobody has.
        ("det-20", b'[{"name": "\\ud800", "labels": []}, ' + frames()[1:]),
        # Names of frames in folders are those of other releases.
        ("det-20", frames().replace(STEM.encode(), b"somewhere/" + STEM.encode())),
        # A lane without a category; an image without objects.
        ("lane", poly([[1, 1], [9, 9]], attributes=[1])),
        ("image-2018", one_image(frames={"0": {}})),
    ],
)
def test_unusual_labels_that_are_read(variant, data, attempt):
    assert attempt("labels", variant, data) == ""


@pytest.mark.parametrize("data", [PNG_COLOUR, PNG_ALPHA], ids=["colour", "alpha"])
def test_colour_disparities_are_refused(data, attempt):
    assert "; restore" in attempt("images", "city-disparity", data)


@pytest.mark.parametrize("variant", ["city-mask", "ade-mask"])
def test_masks_of_sixteen_bits_are_no_class_indices(variant, attempt):
    assert attempt("images", variant, PNG_COLOUR) == ""  # grey saved as colour is read
    red = cv2.imencode(".png", np.full((32, 48, 3), (0, 0, 1), np.uint8))[1].tobytes()
    assert "is a colour image" in attempt("images", variant, red)
    for data in (PNG_ALPHA, PNG_16):
        assert "save it with 8 bits per pixel" in attempt("images", variant, data)
    assert "; restore" in attempt("images", "voc-mask", PNG_ALPHA)


@pytest.mark.parametrize("length", [536_871_087, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_png_chunk_length_is_bounded(length, attempt, monkeypatch):
    """OpenCV allocated and cleared as much for each of the three reads of a file of 300 bytes."""
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    at = PNG_COLOUR.index(b"IDAT") - 4
    data = PNG_COLOUR[:at] + struct.pack(">I", length) + PNG_COLOUR[at + 4 :]
    for variant in ("frame", "mask", "source-png"):
        assert "does not decode" in attempt("images", variant, data)


def npy(head: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(1536)


@pytest.mark.parametrize("part", ["image", "label", "depth", "normal"])
@pytest.mark.parametrize(
    "head",
    [
        b"{'descr': '<f4', 'shape': (",  # tokenize.TokenError from numpy
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (8, 12)",
        b"{'descr': 'S4', 'fortran_order': False, 'shape': (8, 12), }",
        b"{'descr': '<c8', 'fortran_order': False, 'shape': (8, 12, 2), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (384,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 12, 3), }",
        b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (8, 12), }",
    ],
)
def test_arrays(part, head, attempt):
    assert "0.npy" in attempt("images", f"array-{part}", npy(head))


def checkpoint(**changes) -> bytes:
    metadata = {"format": 1, "model": "pvt-hydranet-b0", "tasks": ["det"], "size_hw": [64, 96]}
    head = {
        "__metadata__": {"perception": json.dumps(metadata | changes)},
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    }
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + bytes(4)


@pytest.mark.parametrize(
    "changes",
    [{"size_hw": [float("inf"), 1]}, {"size_hw": [1, -5]}, {"tasks": None}, {"tasks": 0.5},
     {"tasks": [None]}, {"tasks": [{}]}, {"tasks": "det"}, {"model": None}, {"model": [[]]},
     {"scores": 3}, {"strange": 1}, {"format": "\ud800"}, {"size_hw": ["x", "y"]}],
)  # fmt: skip
def test_checkpoints(changes, attempt):
    assert "x.safetensors" in attempt("checkpoint", "load", checkpoint(**changes))


@pytest.mark.parametrize("dtype", ["I64", "BOOL", "F8_E4M3", "C64", "NONE"])
def test_weights_of_another_kind_are_refused(dtype, attempt):
    text = checkpoint()[8:-4].replace(b'"F32"', f'"{dtype}"'.encode())
    data = struct.pack("<Q", len(text)) + text + bytes(4)
    assert "x.safetensors" in attempt("checkpoint", "load", data)


def test_an_error_of_a_checkpoint_is_one_line(attempt):
    text = b'{"' + b"x" * 100_000 + b'": {"dtype": "F32", "shape": [1], "data_offsets": [0, 9]}}'
    said = attempt("checkpoint", "load", struct.pack("<Q", len(text)) + text + bytes(4))
    assert "not a readable safetensors file" in said
    assert len(said) < 600


DESCRIPTION = {
    "format": 1,
    "name": "m",
    "size_hw": [48, 80],
    "letterbox": {"pad_value": 114},
    "tasks": [{"name": "a", "kind": "map"}],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", ["m"]), ("name", "\ud800"), ("size_hw", [1e999, 1]), ("tasks", {"a": 1}),
     ("tasks", [3]), ("tasks", [{"name": "a", "kind": []}]),
     ("tasks", [{"name": "a", "kind": "map", "range": [0, float("nan")]}]),
     ("tasks", [{"name": "a", "kind": "map", "range": [1]}]),
     ("tasks", [{"name": "a", "kind": "mask", "classes": "car"}]),
     ("tasks", [{"name": "a", "kind": "mask", "classes": [1]}]),
     ("tasks", [{"name": "a", "kind": "map"}] * 2), ("tasks", [{"name": "a", "kind": "map"}] * 99),
     ("scores", 3), ("letterbox", None), ("format", "x" * 10_000)],
)  # fmt: skip
def test_descriptions(field, value, attempt):
    said = attempt("onnx", "description", json.dumps(DESCRIPTION | {field: value}).encode())
    assert "m.onnx" in said
    assert len(said) < 600


def test_a_good_description_is_read(attempt):
    assert attempt("onnx", "description", json.dumps(DESCRIPTION).encode()) == ""


def model(**changes: tuple[bytes, bytes]) -> bytes:
    import fuzz_examples

    data = fuzz_examples.models()[0]
    for before, after in changes.values():
        assert before in data
        assert len(before) == len(after)
        data = data.replace(before, after)
    return data


def test_names_in_a_model_that_are_not_utf8_are_refused(attempt):
    """The library hands the bytes on as they are, and raised UnicodeDecodeError."""
    assert attempt("onnx", "model", model()) == ""
    for before in (b'"format"', b"frame", b"perception"):
        said = attempt("onnx", "model", model(text=(before, b"\xff" + before[1:])))
        assert "m.onnx" in said


def test_a_model_without_an_input_is_refused(attempt):
    onnx = pytest.importorskip("onnx")
    graph = onnx.load_from_string(model())
    kept = [node for node in graph.graph.node if node.op_type == "Constant"]
    for field in ("node", "input", "initializer"):
        graph.graph.ClearField(field)
    graph.graph.node.extend(kept)
    made = {node.output[0] for node in kept}
    outputs = [output for output in graph.graph.output if output.name in made]
    graph.graph.ClearField("output")
    graph.graph.output.extend(outputs)
    assert "m.onnx: has 0 inputs" in attempt("onnx", "model", graph.SerializeToString())
