import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perception.errors import UserError
from perception.runtime.description import Description
from perception.runtime.scene import KINDS
from perception.runtime.view import Group, View

WORDS = st.sampled_from(["car", "traffic light", "ä", '"', ""])
TEXTS = st.lists(WORDS, max_size=3).map(tuple)
VIEWS = st.builds(
    View,
    kind=st.sampled_from(list(KINDS)),
    classes=TEXTS,
    groups=st.lists(st.builds(Group, WORDS, TEXTS), max_size=2).map(tuple),
    encoding=WORDS,
    categories=TEXTS,
    unit=WORDS,
    range=st.sampled_from([(), (0.0, 80.0)]),
)
GOOD = {
    "format": 1,
    "name": "tiny",
    "size_hw": [48, 80],
    "letterbox": {"align": "center", "pad_value": 114},
    "tasks": [{"name": "things", "kind": "boxes", "classes": ["car"]}],
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(max_size=6), VIEWS, max_size=3))
def test_a_written_description_is_read_back(views):
    description = Description("tiny", (48, 80), views, scores={"x": 1.5}, licence="MIT")
    assert Description.from_json(description.to_json(), "m.onnx") == description


def test_the_documented_example_is_read():
    description = Description.from_json(json.dumps(GOOD), "m.onnx")
    assert description.size_hw == (48, 80)
    assert description.views == {"things": View("boxes", classes=("car",))}


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"size_hw": [48]},
        {"size_hw": [0, 80]},
        {"size_hw": [48, 10**9]},
        {"size_hw": ["a", 80]},
        {"size_hw": [1e999, 80]},
        {"letterbox": {}},
        {"letterbox": {"pad_value": 300}},
        {"tasks": "boxes"},
        {"tasks": [{"name": "things", "kind": "cubes"}]},
        {"tasks": [{"name": 3, "kind": "boxes"}]},
        {"tasks": [{"name": "a", "kind": "label", "groups": [1]}]},
        {"tasks": [{"name": "a", "kind": "map", "range": ["x"]}]},
        {"tasks": [{"name": "a", "kind": ["boxes"]}]},
        {"scores": 5},
    ],
)
def test_a_malformed_description_is_one_error(change):
    with pytest.raises(UserError):
        Description.from_json(json.dumps(GOOD | change), "m.onnx")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "3", "[" * 100_000])
def test_other_text_is_refused_naming_the_file(text):
    with pytest.raises(UserError, match=r"m\.onnx"):
        Description.from_json(text, "m.onnx")


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3),
        lambda part: (
            st.lists(part, max_size=3)
            | st.dictionaries(st.sampled_from([*GOOD, "kind"]), part, max_size=6)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_refused(data):
    text = json.dumps(data)
    for candidate in (text, json.dumps(GOOD | data) if isinstance(data, dict) else text):
        try:
            Description.from_json(candidate, "m.onnx")
        except UserError:
            continue


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({}, 0.3),
        ({"a": {"mAP50": 9.0}, "b": "?"}, 0.3),
        ({"a": {"threshold": 21.5}, "b": {"IoU": 80.0}}, 0.215),
        ({"a": {"threshold": 21.5}, "b": {"threshold": 12}}, 0.12),
        ({"a": {"threshold": -3}}, 0.0),
        ({"a": {"threshold": "x"}}, 0.3),
    ],
)
def test_boxes_are_shown_from_the_score_in_the_file(scores, expected):
    description = Description("m", (64, 96), {}, scores=scores)
    assert description.box_score == pytest.approx(expected)


def test_drawn_boxes_have_a_threshold_per_class():
    views = {"a": View("boxes", classes=("car", "bus", "cat", "dog"))}
    stored = {
        "threshold": 21.5,
        "shown_threshold/car": 36,
        "shown_threshold/bus": 100.0,
        "shown_threshold/cat": float("nan"),
    }
    written = Description("m", (64, 96), views, scores={"a": stored}).to_json()
    description = Description.from_json(written, "m.onnx")
    assert description.shown_scores("a") == pytest.approx((0.36, 1.0, 0.215, 0.215))
    assert description.box_score == pytest.approx(0.215)
    older = Description("m", (64, 96), views, scores={"a": {"mAP50": 9.0}})
    assert older.shown_scores("a") == (0.3,) * 4
    odd = {"shown_threshold/car": "x", "shown_threshold/bus": 10**400}
    assert Description("m", (64, 96), views, scores={"a": odd}).shown_scores("a") == (0.3,) * 4
