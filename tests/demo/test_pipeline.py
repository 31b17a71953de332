import io
import threading
from pathlib import Path

import numpy as np
import pytest

from demo.perceive import main
from demo.pipeline import DEPTH, BoundedQueue, Packet, Pipeline, Source, SourceFrame
from demo.progress import Statistics
from perception import hub

DOT = np.zeros((1, 1, 3), np.uint8)


class Numbers(Source):
    """Gives numbered frames and notes how many were taken."""

    def __init__(self, count, live=False, fail_at=None):
        super().__init__("numbers", 25, count)
        self.live, self.fail_at, self.given = live, fail_at, 0
        self.all_given = threading.Event()

    def __iter__(self):
        for index in range(self.count):
            if index == self.fail_at:
                raise OSError("broken")
            self.given = index + 1
            yield SourceFrame(DOT, index, index / 25, str(index))
        self.all_given.set()


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_all_frames_of_a_file_arrive_in_order(count):
    seen = []
    stages = [("one", lambda p: seen.append(p.frame.index)), ("two", lambda p: None)]
    with Pipeline(Numbers(count), stages) as pipeline:
        packets = list(pipeline)
    assert [packet.frame.index for packet in packets] == seen == list(range(count))
    assert pipeline.dropped == 0
    assert all(set(packet.timings_ms) == {"decode", "one", "two"} for packet in packets)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 50])
def test_two_frames_at_once_arrive_in_order(count):
    """Even frames end only after the next one has begun; the second stage sees them in order."""
    begun, seen = [threading.Event() for _ in range(count + 1)], []
    begun[count].set()

    def infer(packet):
        begun[packet.frame.index].set()
        if packet.frame.index % 2 == 0:
            assert begun[packet.frame.index + 1].wait(10)

    stages = [("infer", infer), ("finish", lambda packet: seen.append(packet.frame.index))]
    with Pipeline(Numbers(count), stages, at_once=2) as pipeline:
        packets = list(pipeline)
    assert [packet.frame.index for packet in packets] == seen == list(range(count))
    assert not any(thread.is_alive() for thread in pipeline.threads)


def test_a_camera_gives_its_newest_frame_and_drops_are_counted():
    source = Numbers(100, live=True)
    # The stage is busy until the camera has given everything.
    stages = [("slow", lambda packet: source.all_given.wait(10))]
    with Pipeline(source, stages) as pipeline:
        indices = [packet.frame.index for packet in pipeline]
    assert indices[-1] == 99
    assert indices == sorted(indices)
    assert len(indices) <= 3
    assert len(indices) + pipeline.dropped == 100


def test_a_file_waits_for_a_slow_consumer():
    source = Numbers(1000)
    with Pipeline(source, [("stage", lambda packet: None)]) as pipeline:
        packets = iter(pipeline)
        next(packets)
        # In flight at most: both queues, one in each thread's hands, and the one taken.
        assert source.given <= 2 * DEPTH + 4
    assert not any(thread.is_alive() for thread in pipeline.threads)


@pytest.mark.parametrize("stage", ["source", "stage"])
def test_an_error_is_raised_to_the_consumer_and_all_threads_end(stage):
    def fails(packet):
        if packet.frame.index == 3:
            raise ValueError("bad frame")

    source = Numbers(1000, fail_at=3 if stage == "source" else None)
    got = []
    stages = [("a", (lambda p: None) if stage == "source" else fails), ("b", lambda p: None)]
    with (
        pytest.raises(OSError if stage == "source" else ValueError, match="b"),
        Pipeline(source, stages) as pipeline,
    ):
        got += [packet.frame.index for packet in pipeline]
    assert not any(thread.is_alive() for thread in pipeline.threads)


def test_a_full_queue_drops_its_oldest_item_only_with_newest():
    newest = BoundedQueue(2, newest=True)
    for item in range(5):
        assert newest.put(item)
    newest.end()
    assert (list(newest), newest.dropped) == ([3, 4], 3)
    plain = BoundedQueue(2)
    assert plain.put(0)
    assert plain.put(1)
    plain.abort()
    assert not plain.put(2)
    assert list(plain) == []


def test_closing_waits_for_the_thread_of_the_model(monkeypatch):
    monkeypatch.setattr("demo.pipeline.DECODER_TIMEOUT_S", 0.01)
    release = threading.Event()
    with Pipeline(Numbers(50), [("model", lambda p: release.wait(20))]) as pipeline:
        pipeline.ended = lambda: True
        assert list(pipeline) == []
        threading.Timer(0.2, release.set).start()
    assert not pipeline.threads[1].is_alive()


def timed(total_ms: float, model_ms: float, **stages: float) -> Statistics:
    """Of 100 frames."""
    made = Statistics(io.StringIO())
    for _ in range(100):
        frame = SourceFrame(np.zeros((2, 2, 3), np.uint8), 0, 0.0, "")
        made.add(Packet(frame, timings_ms={"model": model_ms, **stages}))
    made.start, made.end = 0.0, 0.1 * total_ms
    return made


def test_the_rate_with_another_model_follows_from_the_models_share():
    assert timed(80, 50, decode=6, finish=20).fps_with(0.6) == pytest.approx(1000 / 60)
    assert timed(60, 30, decode=6, finish=20).fps_with(1 / 0.6) == pytest.approx(1000 / 80)
    # No faster than the slowest of the other stages.
    assert timed(60, 55, decode=6, finish=50).fps_with(0.6) == pytest.approx(20)


def test_perceive_says_what_the_other_packaged_model_would_give(
    video, tiny_onnx, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(hub, "MODELS", tmp_path)
    default = Path(hub.PACKAGED[hub.DEFAULT][hub.ONNX]).stem
    for stem, line in ((default, "--model fast: about "), ("own", "")):
        model = tmp_path / f"{stem}.onnx"
        model.write_bytes(tiny_onnx.read_bytes())
        words = [str(video), "--json", str(tmp_path / f"{stem}.jsonl"), "--provider", "cpu"]
        assert main([*words, "--model", str(model)]) == 0
        said = [one for one in capsys.readouterr().out.splitlines() if "frames/s; --model" in one]
        assert len(said) == bool(line)
        assert all(line in one for one in said)
