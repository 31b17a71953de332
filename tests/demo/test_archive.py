import json
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from multiprocessing.context import SpawnProcess
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo import archive as command
from demo import archive_ray
from demo.archive import main
from demo.archive_jobs import Job, Settings, find_jobs
from demo.archive_ray import label_all
from demo.archive_worker import Labeller, Worker, label_here
from perception.errors import UserError


def settings(model, **more) -> Settings:
    return Settings(str(model), "cpu", **more)


def job(video: Path, labels: Path) -> Job:
    return Job(video.name, str(video), str(labels))


def frames_of(labels: Path) -> list[dict]:
    return [json.loads(line) for line in labels.read_text().splitlines()]


def cut_video(path: Path) -> Path:
    """Half of a clip in a container that still opens then."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    noise = np.random.default_rng(0)
    for _ in range(30):
        writer.write(noise.integers(0, 256, (120, 160, 3), np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.fixture
def archive(tmp_path, video) -> Path:
    """Two good clips of one name, one broken, and what is no video."""
    folder = tmp_path / "archive"
    for name in ("a.mp4", "deep/er/a.mp4", ".hidden/a.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(video.read_bytes())
    (folder / "broken.mp4").write_bytes(video.read_bytes()[:2000])
    (folder / "notes.txt").write_text("hello")
    return folder


def in_this_process(jobs, settings, *where):
    yield from map(Labeller(settings), jobs)


@pytest.fixture
def here(monkeypatch):
    """The whole command without Ray: the labeller runs in this process."""
    monkeypatch.setattr(command, "label_here", in_this_process)
    monkeypatch.setattr(command, "require_extra", lambda *names: None)


def run(folder, out, model, *more) -> int:
    return main([str(folder), "--out", str(out), "--model", str(model), "--provider", "cpu", *more])


# One video


def test_one_line_per_frame(video, tiny_onnx, tmp_path):
    outcome = Labeller(settings(tiny_onnx))(job(video, tmp_path / "o" / "a.jsonl"))
    assert (outcome.labelled, outcome.frames, outcome.problem) == (True, 30, "")
    frames = frames_of(tmp_path / "o" / "a.jsonl")
    assert [frame["frameIndex"] for frame in frames] == list(range(30))
    assert {frame["videoName"] for frame in frames} == {video.name}
    assert "car" in {label["category"] for label in frames[0]["labels"]}


def test_every_nth_frame_up_to_a_limit(video, tiny_onnx, tmp_path):
    label = Labeller(settings(tiny_onnx, every=4, frames=3))
    assert label(job(video, tmp_path / "a.jsonl")).frames == 3
    assert [frame["frameIndex"] for frame in frames_of(tmp_path / "a.jsonl")] == [0, 4, 8]


@pytest.mark.parametrize("content", [b"", b"hello", b"\0\0\0\x18ftypmp42" + b"\xff" * 999])
def test_a_bad_video_is_one_line_and_leaves_no_file(content, tiny_onnx, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(content)
    outcome = Labeller(settings(tiny_onnx))(job(tmp_path / "bad.mp4", tmp_path / "o" / "a.jsonl"))
    assert not outcome.labelled
    assert "bad.mp4" in outcome.problem
    assert "\n" not in outcome.problem
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_a_video_that_ends_early_is_labelled_and_reported(tiny_onnx, tmp_path):
    video = cut_video(tmp_path / "cut.avi")
    outcome = Labeller(settings(tiny_onnx))(job(video, tmp_path / "a.jsonl"))
    assert outcome.labelled
    assert 5 < outcome.frames == len(frames_of(tmp_path / "a.jsonl")) < 25
    assert f"ends at frame {outcome.frames} of 30" in outcome.problem


def test_the_partial_file_of_a_killed_process_is_removed(video, tiny_onnx, tmp_path):
    left, other = tmp_path / ".a.0123abcd.part.jsonl", tmp_path / ".ab.0123abcd.part.jsonl"
    left.write_text("{")
    other.write_text("{")
    Labeller(settings(tiny_onnx))(job(video, tmp_path / "a.jsonl"))
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl", other.name}


def test_a_library_error_fails_one_video_only(video, tiny_onnx, tmp_path):
    label = Labeller(settings(tiny_onnx))
    label.runner = lambda frame: 1 / 0
    outcome = label(job(video, tmp_path / "a.jsonl"))
    assert "ZeroDivisionError" in outcome.problem
    assert list(tmp_path.iterdir()) == []


# Its process


def test_a_hanging_process_is_killed_and_the_next_video_is_labelled(video, tiny_onnx, tmp_path):
    with Worker(settings(tiny_onnx), timeout_s=0.5) as ask:
        os.kill(ask.start().pid, signal.SIGSTOP)
        outcome = ask(job(video, tmp_path / "h.jsonl"))
        assert not outcome.labelled
        assert "no frame in 0.5 s, stopped at frame 0" in outcome.problem
        ask.timeout_s = 300
        outcome = ask(job(video, tmp_path / "a.jsonl"))
    assert (outcome.frames, outcome.problem) == (30, "")
    assert len(frames_of(tmp_path / "a.jsonl")) == 30


def test_a_process_that_dies_is_one_line(video, tiny_onnx, tmp_path):
    with Worker(settings(tiny_onnx)) as ask:
        ask.start().kill()
        outcome = ask(job(video, tmp_path / "k.jsonl"))
    assert not outcome.labelled
    assert "died (SIGKILL" in outcome.problem


def test_no_process_starts_once_a_worker_is_stopped(video, tiny_onnx, tmp_path):
    with Worker(settings(tiny_onnx)) as ask:
        ask.stop()
        with pytest.raises(InterruptedError):
            ask(job(video, tmp_path / "s.jsonl"))
    assert ask.process is None


def test_a_worker_is_stopped_while_its_process_starts(video, tiny_onnx, tmp_path, monkeypatch):
    stopping = []

    def start(process):
        stopping.append(threading.Thread(target=ask.stop))
        stopping[0].start()
        stopping[0].join(0.1)
        begin(process)

    begin = SpawnProcess.start
    monkeypatch.setattr(SpawnProcess, "start", start)
    with Worker(settings(tiny_onnx)) as ask:
        outcome = ask(job(video, tmp_path / "s.jsonl"))
        stopping[0].join()
    assert "died (SIGKILL" in outcome.problem


def test_the_process_ends_with_its_parent_also_during_a_video(tiny_onnx, tmp_path):
    long = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(long), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    for _ in range(4000):
        writer.write(np.zeros((120, 160, 3), np.uint8))
    writer.release()
    parent = f"""
import os, sys
from demo.archive_worker import Job, Settings, Worker
ask = Worker(Settings({str(tiny_onnx)!r}, "cpu"))
child = ask.start()
ask.pipe.send(Job("long.avi", {str(long)!r}, {str(tmp_path / "l.jsonl")!r}))
assert isinstance(ask.pipe.recv(), int)
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", parent], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    for _ in range(100):
        if not Path("/proc", done.stdout.strip()).exists():
            break
        time.sleep(0.1)
    else:
        raise AssertionError("the process is left")
    assert not (tmp_path / "l.jsonl").exists()


# The archive


def test_videos_are_found_once_at_any_depth(archive, tmp_path):
    jobs = find_jobs([archive], tmp_path / "out")
    assert [j.name for j in jobs] == ["a.mp4", "broken.mp4", "deep/er/a.mp4"]
    assert jobs[2].labels == str(tmp_path / "out" / "deep" / "er" / "a.mp4.jsonl")
    with pytest.raises(UserError, match="no such folder"):
        find_jobs([tmp_path / "gone"], tmp_path)
    with pytest.raises(UserError, match="share one label file"):
        find_jobs([archive, archive / "deep" / "er"], tmp_path)
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no video"):
        find_jobs([empty], tmp_path)


def test_a_second_run_labels_only_the_remaining_videos(
    here, archive, tiny_onnx, video, tmp_path, capsys
):
    out = tmp_path / "out"
    assert run(archive, out, tiny_onnx) == 1
    said, err = capsys.readouterr()
    assert "3 videos: 2 labelled now, 0 done before, 1 with a problem; 60 frames" in said
    assert err.count("error: ") == 1
    summary = json.loads((out / "summary.json").read_text())["videos"]
    assert [entry["name"] for entry in summary] == ["a.mp4", "broken.mp4", "deep/er/a.mp4"]
    assert "broken.mp4" in summary[1]["problem"]

    kept = (out / "a.mp4.jsonl").stat()
    (out / "deep/er/a.mp4.jsonl").unlink()
    (out / "deep/er/.a.mp4.0123abcd.part.jsonl").write_text("{")
    (archive / "broken.mp4").write_bytes(video.read_bytes())
    assert run(archive, out, tiny_onnx) == 0
    assert "2 labelled now, 1 done before, 0 with a problem" in capsys.readouterr().out
    assert (out / "a.mp4.jsonl").stat() == kept
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert found == [
        "a.mp4.jsonl",
        "broken.mp4.jsonl",
        "deep/er/a.mp4.jsonl",
        "summary.json",
    ]


def test_a_video_newer_than_its_labels_is_labelled_again(
    here, archive, tiny_onnx, tmp_path, capsys
):
    run(archive / "a.mp4", tmp_path / "out", tiny_onnx)
    later = time.time() + 60
    os.utime(archive / "a.mp4", (later, later))
    run(archive / "a.mp4", tmp_path / "out", tiny_onnx)
    assert "1 labelled now, 0 done before" in capsys.readouterr().out.splitlines()[-2]


def test_a_problem_of_an_earlier_run_is_still_reported(here, tiny_onnx, tmp_path, capsys):
    cut_video(tmp_path / "cut.avi")
    assert run(tmp_path, tmp_path / "out", tiny_onnx) == 1
    assert run(tmp_path, tmp_path / "out", tiny_onnx) == 1
    assert "0 labelled now, 1 done before, 1 with a problem" in capsys.readouterr().out


def test_no_worker_starts_when_all_videos_are_done(here, archive, tiny_onnx, tmp_path, monkeypatch):
    (archive / "broken.mp4").unlink()
    assert run(archive, tmp_path / "out", tiny_onnx) == 0
    monkeypatch.setattr(command, "label_here", None)
    assert run(archive, tmp_path / "out", tiny_onnx) == 0


BAD = {
    "other settings": (["--score", "0.5"], "made with score 0.3, not 0.5"),
    "score": (["--score", "30"], "--score"),
    "every": (["--every", "0"], "--every 0: give 1 or more"),
    "model": (["--model", "gone.onnx"], r"gone.onnx"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_arguments_are_one_line(case, here, archive, tiny_onnx, tmp_path, capsys):
    (archive / "broken.mp4").unlink()
    assert run(archive, tmp_path / "out", tiny_onnx) == 0
    capsys.readouterr()
    more, message = BAD[case]
    assert run(archive, tmp_path / "out", tiny_onnx, *more) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert message in errors[0]


def test_a_summary_of_another_program_is_not_overwritten(here, archive, tiny_onnx, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.json").write_text("[]")
    assert run(archive, tmp_path / "out", tiny_onnx) == 2
    assert (tmp_path / "out" / "summary.json").read_text() == "[]"


def test_without_ray_the_extra_is_named(archive, tiny_onnx, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "perception.errors.importlib.util.find_spec",
        lambda name: None if name == "ray" else find_spec(name),
    )
    assert run(archive, tmp_path / "out", tiny_onnx, "--address", "auto") == 2
    assert capsys.readouterr().err == (
        "error: this command needs ray: pip install 'pvt-hydranet[ray]'\n"
    )


def test_two_runs_do_not_share_a_folder(here, archive, tiny_onnx, tmp_path, capsys):
    with command.only_run(tmp_path / "out"):
        assert run(archive, tmp_path / "out", tiny_onnx) == 2
    assert "another perceive-archive writes there" in capsys.readouterr().err
    (archive / "broken.mp4").unlink()
    assert run(archive, tmp_path / "out", tiny_onnx) == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_child_processes_of_this_machine(workers, archive, tiny_onnx, tmp_path):
    """Every video once, a broken one as a problem; names need not be UTF-8."""
    odd = os.fsdecode(b"\xff.mp4")
    (archive / odd).write_bytes((archive / "a.mp4").read_bytes())
    places = [*sorted(archive.rglob("*.mp4"))]
    jobs = [Job(str(n), str(place), str(tmp_path / f"{n}.jsonl")) for n, place in enumerate(places)]
    found = {one.name: one for one in label_here(jobs, settings(tiny_onnx), 60, workers)}
    assert set(found) == {one.name for one in jobs}
    assert [bool(found[one.name].problem) for one in jobs] == [
        "broken" in one.video for one in jobs
    ]
    assert all(found[one.name].frames == 30 for one in jobs if "broken" not in one.video)


def test_a_run_that_is_stopped_ends_its_processes(archive, tiny_onnx, tmp_path):
    jobs = [Job(str(n), str(archive / "a.mp4"), str(tmp_path / f"{n}.jsonl")) for n in range(20)]
    outcomes = label_here(jobs, settings(tiny_onnx), 60, 2)
    next(outcomes)
    outcomes.close()
    assert not [one for one in threading.enumerate() if one.name.endswith("(work)")]
    assert not list(tmp_path.glob(".*.part*"))


# Ray


@pytest.fixture
def ray_here():
    if find_spec("ray") is None:
        pytest.skip("ray is not installed (extra `ray`)")


@pytest.mark.slow
def test_through_ray(ray_here, archive, tiny_onnx, video, tmp_path, capfd):
    """One of the good clips was done before, and another run was killed in the other one."""
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "label_here", in_this_process)
        assert run(archive / "a.mp4", out, tiny_onnx) == 0
    for number in range(2):
        (archive / f"new-{number}.mp4").write_bytes(video.read_bytes())
    kept = (out / "a.mp4.jsonl").stat()
    (out / ".new-0.mp4.0123abcd.part.jsonl").write_text("{")
    odd = os.fsdecode(b"\xff.mp4")
    (archive / odd).write_bytes(video.read_bytes())
    assert run(archive, out, tiny_onnx, "--workers", "2", "--address", "local") == 1
    said, err = capfd.readouterr()
    assert "6 videos: 4 labelled now, 1 done before, 1 with a problem; 120 frames" in said
    assert "broken.mp4: " in err
    assert len(frames_of(out / f"{odd}.jsonl")) == 30
    assert (out / "a.mp4.jsonl").stat() == kept
    first = frames_of(out / "new-0.mp4.jsonl")
    assert len(first) == 30
    assert not list(out.rglob("*.part*"))
    assert [f | {"name": "", "videoName": ""} for f in first] == [
        f | {"name": "", "videoName": ""} for f in frames_of(out / "deep/er/a.mp4.jsonl")
    ]


@pytest.mark.parametrize("address", ["127.0.0.1:9", "what"])
def test_an_unreachable_cluster_is_one_line(
    address, ray_here, video, tiny_onnx, tmp_path, monkeypatch
):
    """Ray would wait for it without end."""
    monkeypatch.setattr(archive_ray, "CONNECT_TIMEOUT_S", 3.0)
    with pytest.raises(UserError, match=f"--address {address}: no Ray cluster"):
        next(label_all([job(video, tmp_path / "a")], settings(tiny_onnx), 1, address))
