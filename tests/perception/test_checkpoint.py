"""A checkpoint rebuilds its model from the file alone; a bad file is named in one line."""

import pytest
import torch
from safetensors.torch import save_file

from perception import checkpoint
from perception.errors import UserError
from perception.model import build
from perception.tasks import TASKS
from perception.tasks.class_names import with_classes
from perception.trunk import load_trunk_weights


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    model = build("pvt-hydranet-b0", ["drivable", "scene"])
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    meta = checkpoint.Meta("pvt-hydranet-b0", ["drivable", "scene"], (64, 96), {"x": 1.5})
    checkpoint.save(path, model.state_dict(), meta)
    return model.eval(), path


def test_round_trip(saved):
    model, path = saved
    again, meta = checkpoint.load(path)
    assert meta.size_hw == (64, 96)
    assert meta.scores == {"x": 1.5}
    frame = torch.full((1, 64, 96, 3), 90, dtype=torch.uint8)
    with torch.no_grad():
        left, right = model(frame)["scene"]["logits"], again(frame)["scene"]["logits"]
    assert torch.equal(left, right)


def test_only_the_wanted_heads(saved):
    model, _ = checkpoint.load(saved[1], ["scene"])
    assert list(model.tasks) == ["scene"]


def test_trunk_weights_from_our_file_and_from_timms(saved):
    model, path = saved
    ours, timms = checkpoint.read(path)[0], model.trunk.body.state_dict()
    for weights in (ours, timms):
        trunk = build("pvt-hydranet-b0", ["scene"]).trunk
        copied, total = load_trunk_weights(trunk, weights, "file")
        assert copied == total
        assert all(torch.equal(trunk.body.state_dict()[key], timms[key]) for key in timms)
    with pytest.raises(UserError, match="another architecture"):
        load_trunk_weights(build("hydranet-regnet", ["scene"]).trunk, timms, "file")


def broken(tmp_path, saved):
    """(path, what the error must say) for each way a file can be wrong."""
    good = saved[1].read_bytes()
    stranger, torn, text = tmp_path / "a.safetensors", tmp_path / "b", tmp_path / "c"
    save_file({"x": torch.zeros(2)}, stranger)
    torn.write_bytes(good[: len(good) // 2])
    text.write_text("hello")
    return [
        (tmp_path / "none", "no such checkpoint"),
        (stranger, "not a checkpoint of train-bdd"),
        (torn, "not a readable safetensors file"),
        (text, "not a readable safetensors file"),
    ]


def test_bad_files_are_named(tmp_path, saved):
    for path, message in broken(tmp_path, saved):
        with pytest.raises(UserError, match=message) as error:
            checkpoint.load(path)
        assert str(path) in str(error.value)


def test_a_missing_task_is_named(saved):
    with pytest.raises(UserError, match="no task 'lane'"):
        checkpoint.load(saved[1], ["lane"])


def test_weights_of_another_type_are_named(saved, tmp_path):
    weights, meta = checkpoint.read(saved[1])
    key = next(name for name, value in weights.items() if value.ndim > 1)
    for value, fits in ((weights[key].half(), True), (weights[key].int(), False)):
        path = tmp_path / f"{fits}.safetensors"
        checkpoint.save(path, weights | {key: value}, meta)
        if fits:
            checkpoint.load(path)
        else:
            with pytest.raises(UserError, match=f"'{key}' has type torch.int32"):
                checkpoint.load(path)


def test_no_partial_file_is_left(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(AttributeError):
        checkpoint.save(path, {"bad": "not a tensor"}, checkpoint.Meta("m", [], (32, 32)))  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


def test_own_classes_are_stored_and_rebuilt(tmp_path):
    names = {
        "det": ["cone", "forklift"],
        "drivable": ["path", "background"],
        "scene": {"light": ["day", "night"], "road": ["gravel", "mud", "snow"]},
        "lane": {"categories": ["white", "yellow"], "directions": ["along"]},
    }
    views = {task: with_classes(task, TASKS[task].view, given) for task, given in names.items()}
    model = build("pvt-hydranet-b0", list(names), views=views)
    meta = checkpoint.Meta("pvt-hydranet-b0", list(names), (64, 96))
    meta.classes = checkpoint.own_classes(model)
    checkpoint.save(tmp_path / "own.safetensors", model.state_dict(), meta)
    again, read = checkpoint.load(tmp_path / "own.safetensors")
    assert {task: head.view for task, head in again.tasks.items()} == views
    assert read.classes["det"] == ["cone", "forklift"]
    with torch.no_grad():
        raws = again(torch.zeros(1, 64, 96, 3, dtype=torch.uint8))
    assert raws["det"]["one4"].shape[1] == 2
    assert raws["drivable"]["logits"].shape[1] == 2
    assert raws["scene"]["logits"].shape[1] == 5
    assert [raws["lane"][part].shape[1] for part in ("category", "style", "direction")] == [2, 2, 1]
    scores = TASKS["det"].metric(views["det"]).compute()
    assert "AP50/forklift" in scores


@pytest.mark.parametrize(
    ("task", "names", "message"),
    [
        ("det", [], "classes of det: write a list of class names"),
        ("det", "cone", "classes of det: write a list of class names"),
        ("det", ["cone", "cone"], "classes of det: 'cone' occurs twice"),
        ("det", ["cone", " "], "classes of det: entry 2 is no name"),
        ("scene", ["day"], "classes of scene: give a list of names for each"),
        ("scene", {"light": [None]}, "classes of scene/light: entry 1 is no name"),
        ("lane", {"styles": ["a", "b", "c"]}, "classes of lane/styles: 3 classes; at most 2"),
        ("lane", {"colours": ["a"]}, "classes of lane: no 'colours'"),
        ("depth", ["near"], "classes of depth: this task has none"),
    ],
)
def test_malformed_class_lists_are_one_line(task, names, message):
    with pytest.raises(UserError, match=message):
        with_classes(task, TASKS[task].view, names)
