import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from perception.errors import UserError
from perception.runtime import choose, providers
from perception.runtime.compare import LIMITS
from perception.runtime.description import Description
from perception.runtime.runner import Runner, read_description
from perception.runtime.scene import KINDS, Boxes, Labels, Map, Mask
from perception.runtime.view import View


@pytest.fixture(scope="module")
def runner(tiny_onnx):
    return Runner(tiny_onnx, "cpu", threads=1)


def test_the_file_describes_itself(tiny_onnx, runner):
    assert read_description(tiny_onnx) == runner.description
    assert runner.description.name == "tiny"
    assert (runner.provider, runner.chosen_because) == ("cpu", "requested")


def test_a_frame_becomes_a_scene_in_its_own_pixels(runner):
    frame = np.full((240, 400, 3), 40, np.uint8)  # exactly five times the model's size
    frame[:, :200, 0] = 220
    scene = runner(frame)
    assert scene.frame_hw == (240, 400)
    assert set(scene.timings_ms) == {"prepare", "model", "read"}
    (_, boxes), (_, labels) = next(scene.of(Boxes)), next(scene.of(Labels))
    np.testing.assert_allclose(boxes.xyxy, [[40, 80, 200, 160], [200, 100, 300, 200]], atol=1e-3)
    assert boxes.name(0) == "car"
    assert labels.best()["light"] == ("day", pytest.approx(0.8))
    area, paint = (mask for _, mask in scene.of(Mask))
    assert (area.full[:, :195] == 0).all()
    assert (area.full[:, 205:] == 2).all()
    assert paint.is_lane_byte
    assert not area.is_lane_byte
    assert set(np.flatnonzero(paint.full[0] == 6)) == set(range(200, 205))
    far, way = (output for _, output in scene.of(Map))
    np.testing.assert_allclose(far.full[10, 10], (220 + 40 + 40) / 3, rtol=1e-5)
    assert way.full.shape == (3, 240, 400)


@pytest.mark.parametrize(
    "shape", [(1, 400, 3), (400, 1, 3), (50, 60), (50, 60, 4), (2160, 3840, 3)]
)
def test_frames_of_any_size(runner, shape):
    scene = runner(np.full(shape, 90, np.uint8))
    assert scene.frame_hw == shape[:2]
    for _, mask in scene.of(Mask):
        assert mask.full.shape == shape[:2]
    for _, boxes in scene.of(Boxes):
        assert (boxes.xyxy >= 0).all()
        assert (boxes.xyxy[:, 2] <= shape[1]).all()


def test_a_scene_is_not_changed_by_the_next_frame(runner):
    first = runner(np.full((48, 80, 3), 255, np.uint8))
    before = {name: mask.small.copy() for name, mask in first.of(Mask)}
    runner(np.zeros((48, 80, 3), np.uint8))
    for name, mask in first.of(Mask):
        assert (mask.small == before[name]).all()


BAD = {
    "missing": lambda path, make: path,
    "empty": lambda path, make: (path.write_bytes(b"") and path) or path,
    "text": lambda path, make: path.write_text("hello") and path,
    "not ours": lambda path, make: make(path, metadata=""),
    "malformed": lambda path, make: make(path, metadata="{}"),
    "other version": lambda path, make: make(
        path,
        metadata=Description("t", (48, 80), {}).to_json().replace('"format": 1', '"format": 9'),
    ),
    "no outputs": lambda path, make: make(path, views={}),
    "absent output": lambda path, make: make(path, views={"gone": View("mask")}),
    "other size": lambda path, make: make(path, metadata=Description("t", (96, 80), {}).to_json()),
    "other shape": lambda path, make: make(path, views={"area": View("boxes", classes=("car",))}),
    "label rows": lambda path, make: make(path, views={"mood": View("label")}),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_without_a_description_is_one_line(case, tmp_path, make_tiny_onnx):
    path = tmp_path / "bad.onnx"
    BAD[case](path, make_tiny_onnx)
    with pytest.raises(UserError, match=r"bad\.onnx") as caught:
        Runner(path, "cpu")(np.zeros((48, 80, 3), np.uint8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_two_threads_get_their_own_frames(provider, tiny_onnx):
    pytest.importorskip("openvino" if provider == "openvino" else "onnxruntime")
    runner = Runner(tiny_onnx, provider, threads=2, streams=2)
    frames = [np.full((48, 80, 3), value, np.uint8) for value in range(0, 240, 3)]
    with ThreadPoolExecutor(2) as pool:
        scenes = list(pool.map(runner, frames))
    for frame, scene in zip(frames, scenes, strict=True):
        for name, output in runner(frame).of(Map):
            np.testing.assert_array_equal(scene.outputs[name].small, output.small)


def test_an_unknown_provider_is_named_with_the_near_miss(tiny_onnx):
    with pytest.raises(UserError, match="openvino"):
        Runner(tiny_onnx, "openvno")


def test_an_unavailable_provider_names_the_package(tiny_onnx, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UserError, match=r"pvt-hydranet\[gpu\]"):
        Runner(tiny_onnx, "cuda")
    monkeypatch.setattr(providers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pvt-hydranet\[openvino\]"):
        Runner(tiny_onnx, "openvino")
    assert providers.candidates() == ["cpu"]


@pytest.mark.parametrize("provider", ["openvino", "openvino-bf16"])
def test_openvino_gives_the_same_scene(provider, tiny_onnx, runner):
    if providers.missing(provider):
        pytest.skip(providers.missing(provider))
    frame = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    expected, got = runner(frame), Runner(tiny_onnx, provider, threads=1)(frame)
    for name, mask in expected.of(Mask):
        assert (mask.small == got.outputs[name].small).mean() > 0.98
    for name, boxes in expected.of(Boxes):
        np.testing.assert_allclose(boxes.xyxy, got.outputs[name].xyxy, rtol=0.02)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("PVT_HYDRANET_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pvt-hydranet" / "providers.json"


def offer(monkeypatch, names, verdicts):
    """Pretends the machine offers `names` and that their trials ended so; returns the calls."""
    tried = []
    monkeypatch.setattr(choose, "candidates", lambda: names)
    monkeypatch.setattr(choose, "trial", lambda p, name, t: tried.append(name) or verdicts[name])
    return tried


def test_auto_takes_the_fastest_that_agrees_and_caches_it(tiny_onnx, cache, monkeypatch):
    good, bad = {"reason": "", "ms": 1.0, "cpu_ms": 2.0}, {"reason": "wrong numbers"}
    tried = offer(monkeypatch, ["cuda", "openvino", "cpu"], {"cuda": bad, "openvino": good})
    name, said = choose.choose(tiny_onnx, 1)
    assert name == "openvino"
    assert "cuda not used: wrong numbers" in said
    assert tried == ["cuda", "openvino"]
    assert choose.choose(tiny_onnx, 1) == (name, f"{said}; tried at an earlier start")
    assert tried == ["cuda", "openvino"]
    assert choose.choose(tiny_onnx, 2)[0] == "openvino"  # other threads, other verdict
    assert len(tried) == 4


def test_auto_falls_back_to_the_cpu(tiny_onnx, cache, monkeypatch):
    offer(monkeypatch, ["openvino", "cpu"], {"openvino": {"reason": "its trial crashed"}})
    assert choose.choose(tiny_onnx, 1) == ("cpu", "openvino not used: its trial crashed")


def test_a_refusal_for_time_does_not_hold_for_ever(tiny_onnx, cache, monkeypatch):
    """Measured on a busy machine, the faster engine was refused; later it is tried again."""
    verdicts = {
        "openvino": {"reason": "slower than ONNX Runtime (900 against 860 ms)", "slow": True}
    }
    tried = offer(monkeypatch, ["openvino", "cpu"], verdicts)
    assert choose.choose(tiny_onnx, 1)[0] == "cpu"
    verdicts["openvino"] = {"reason": "", "ms": 30.0, "cpu_ms": 40.0}
    assert choose.choose(tiny_onnx, 1)[0] == "cpu"
    assert tried == ["openvino"]  # not at every start
    later = choose.time.time() + choose.SLOW_S
    monkeypatch.setattr(choose.time, "time", lambda: later)
    assert choose.choose(tiny_onnx, 1)[0] == "openvino"
    later += 1000 * choose.SLOW_S
    assert choose.choose(tiny_onnx, 1)[0] == "openvino"
    assert tried == ["openvino"] * 2


def test_wrong_outputs_are_refused_for_good(tiny_onnx, cache, monkeypatch):
    tried = offer(monkeypatch, ["openvino", "cpu"], {"openvino": {"reason": "wrong numbers"}})
    choose.choose(tiny_onnx, 1)
    later = choose.time.time() + 1000 * choose.SLOW_S
    monkeypatch.setattr(choose.time, "time", lambda: later)
    assert choose.choose(tiny_onnx, 1)[0] == "cpu"
    assert tried == ["openvino"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": 3}', '{"a": {"provider": "gone"}}', "[" * 100_000]
)
def test_a_damaged_cache_counts_as_empty(text, tiny_onnx, cache, monkeypatch):
    cache.parent.mkdir()
    cache.write_text(text)
    offer(monkeypatch, ["openvino", "cpu"], {"openvino": {"reason": "", "ms": 1, "cpu_ms": 2}})
    assert choose.choose(tiny_onnx, 1)[0] == "openvino"


@pytest.mark.parametrize("death", ["crash", "silence", "slow"])
def test_a_provider_that_crashes_in_its_trial_is_not_used(death, tiny_onnx, monkeypatch):
    """In a real child process: one that aborts, as OpenVINO once did, one without a verdict."""
    code = {
        "crash": "import os; os.abort()",
        "silence": "",
        "slow": "import time; time.sleep(60)",
    }[death]
    monkeypatch.setattr(choose, "TRIAL_TIMEOUT_S", 1 if death == "slow" else 60)
    run = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda command, **more: run([sys.executable, "-c", code], **more)
    )
    verdict = choose.trial(tiny_onnx, "openvino", 1)
    assert verdict["reason"].startswith("its trial")
    assert "slow" not in verdict  # it is not tried again


def test_a_trial_runs_in_a_child_process(tiny_onnx):
    if providers.missing("openvino"):
        pytest.skip(providers.missing("openvino"))
    verdict = choose.trial(tiny_onnx, "openvino", 1)
    slower = verdict["ms"] > verdict["cpu_ms"] > 0
    assert bool(verdict["reason"]) == slower
    assert not slower or verdict["reason"].startswith("slower than ONNX Runtime (")


@pytest.mark.parametrize(("times", "reason"), [([1.0, 2.0], "slower"), ([2.0, 1.0], "")])
def test_a_slower_engine_is_refused(times, reason, tiny_onnx, monkeypatch):
    """[ms of the CPU's, ms of the other]."""
    monkeypatch.setattr(choose, "_times", lambda engines, image: times)
    verdict = choose.compare(tiny_onnx, "cpu", 1)
    assert (verdict["reason"][:6], verdict["slow"]) == (reason, bool(reason))


@pytest.mark.parametrize(
    ("view", "wrong"),
    [
        (View("mask"), lambda a: a * 0 + 3),
        (View("label"), lambda a: a + 0.2),
        (View("boxes"), lambda a: a * 0),
        (View("boxes"), lambda a: a + 20),
        (View("map"), lambda a: a * 1.2),
        (View("map"), lambda a: a * np.nan),
    ],
)
def test_wrong_outputs_are_detected_and_rounding_is_accepted(view, wrong):
    rng = np.random.default_rng(0)
    array = rng.uniform(0.3, 1, (100, 6)).astype(np.float32)
    if view.kind == "boxes":
        array[:, 5] = 2
    if view.kind == "mask":
        array = np.arange(200, dtype=np.uint8).reshape(20, 10) % 3
    description = Description("t", (48, 80), {"x": view})
    rounded = array.copy()
    if view.kind != "mask":
        rounded[:, :5] *= np.float32(1.004)
    assert choose.difference(description, {"x": array}, {"x": rounded}) == ""
    assert "output x" in choose.difference(description, {"x": array}, {"x": wrong(array)})
    assert "output x" in choose.difference(description, {"x": array}, {})


def test_trial_images_are_fixed():
    once, twice = choose.trial_images((48, 80)), choose.trial_images((48, 80))
    assert all(
        (a == b).all() and a.shape == (1, 48, 80, 3) for a, b in zip(once, twice, strict=True)
    )


@pytest.mark.parametrize(("wrong", "refused"), [(4, False), (6, True)])
def test_a_twentieth_of_the_pixels_may_differ(wrong, refused):
    expected = np.zeros((10, 10), np.uint8)
    got = expected.copy()
    got.ravel()[:wrong] = 1
    description = Description("t", (10, 10), {"x": View("mask")})
    assert bool(choose.difference(description, {"x": expected}, {"x": got})) == refused


@pytest.mark.parametrize("column", [0, 4], ids=["corner", "score"])
@pytest.mark.parametrize("boxes", [1, 100], ids=["one", "all"])
def test_boxes_that_are_no_numbers_are_refused(column, boxes):
    expected = np.random.default_rng(0).uniform(0.3, 1, (100, 6)).astype(np.float32)
    expected[:, 5] = 2
    got = expected.copy()
    got[:boxes, column] = np.nan
    description = Description("t", (48, 80), {"x": View("boxes", ("a", "b", "c"))})
    assert "is nan" in choose.difference(description, {"x": expected}, {"x": got})


def test_a_box_that_only_one_side_has_counts():
    wanted = np.zeros((6, 6), np.float32)
    wanted[:4] = [[10 * n, 0, 10 * n + 9, 9, 0.9, 1] for n in range(4)]
    got = wanted.copy()
    got[3] = 0
    for one, other in ((wanted, got), (got, wanted)):
        (measured,) = KINDS["boxes"].compare(one, other, LIMITS["fp32"])
        assert measured[1] == pytest.approx(0.25)


def test_numbers_differ_by_a_share_of_the_largest():
    """The largest is 4, so 0.2 of difference is 5 % of it; one NaN is a disagreement."""
    wanted, got = np.array([0.0, 2.0, 4.0]), np.array([0.1, 2.2, 4.1])
    (measured,) = KINDS["map"].compare(wanted, got, LIMITS["bf16"])
    assert measured[1:] == (pytest.approx(0.05), LIMITS["bf16"].relative)
    (measured,) = KINDS["map"].compare(wanted, got * [1, 1, np.nan], LIMITS["bf16"])
    assert np.isnan(measured[1])
