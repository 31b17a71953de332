"""A killed run that is resumed gives the same losses, to the last bit, as one never killed.

KILLS=20 in the environment kills at that many random steps for each method; by default once. Each
run is a process of its own, with two loader workers, forked from one that has imported the code.
"""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from perception.errors import UserError
from training.resume import (
    latest_state,
    random_states,
    read_state,
    restore_random,
    state_files,
    state_to_resume,
)

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("KILLS", "1"))
METHODS = ["equal", "uncertainty", "pcgrad"]
STEPS = 12  # two epochs of six
# A group of its own, so that the workers die with it.
COMMAND = """
import multiprocessing, os, sys
multiprocessing.set_start_method(None, force=True)  # its own workers start as a user's do
os.setsid()
said = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
os.dup2(said, 1), os.dup2(said, 2)
sys.argv = ["train-bdd", *words]
from training.train import main
main()
"""
OPTIONS = [
    "--tasks",
    "drivable,scene",
    "--size",
    "64x96",
    "--limit",
    "12",
    "--val-limit",
    "2",
    "--batch",
    "2",
    "--workers",
    "2",
    "--epochs",
    "2",
    "--checkpoint-every",
    "2",
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """For the processes: a sum's order, and so its last bit, depends on the number of threads."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    os.environ.pop("OMP_NUM_THREADS")
    if before is not None:
        os.environ["OMP_NUM_THREADS"] = before


def start(out: Path, *options: str) -> ForkServerProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.run"])
    words = [*OPTIONS, "--out", str(out), *options]
    names = {"words": words, "log": str(out.with_name(f"{out.name}.said"))}
    process = context.Process(target=exec, args=(COMMAND, names))
    out.parent.mkdir(parents=True, exist_ok=True)
    process.start()
    return process


def finish(out: Path, *options: str) -> None:
    """The command to its end; UserError with what it said where it fails."""
    process = start(out, *options)
    process.join(timeout=600)
    if process.exitcode:
        raise UserError(out.with_name(f"{out.name}.said").read_text())


def records(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def kill_at(out: Path, step: int, number: int, *options: str) -> int:
    """Sends the signal once `step` steps are logged; the process's exit code."""
    process = start(out, *options)
    log = out / "log.jsonl"
    while process.is_alive():
        if log.exists() and log.read_text().count('"loss"') >= step:
            # The workers too: so do a lack of power, torchrun and schedulers.
            os.killpg(process.pid or 0, number)
            break
        time.sleep(0.01)
    process.join(timeout=600)
    assert process.exitcode is not None
    return process.exitcode


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Uninterrupted runs, one per method, made on demand."""
    return {"folder": tmp_path_factory.mktemp("whole")}


def undisturbed(whole: dict[str, Path], method: str) -> Path:
    if method not in whole:
        finish(whole["folder"] / method, "--balance", method)
        whole[method] = whole["folder"] / method
    return whole[method]


@pytest.mark.parametrize("number", range(KILLS))
@pytest.mark.parametrize("method", METHODS)
def test_killed_and_resumed_is_bitwise_the_same(
    method: str, number: int, whole: dict[str, Path], tmp_path: Path
) -> None:
    expected = undisturbed(whole, method)
    step = random.Random(f"{method} {number}").randint(3, STEPS - 1)
    out = tmp_path / "run"
    assert kill_at(out, step, signal.SIGKILL, "--balance", method) == -signal.SIGKILL
    finish(out, "--balance", method, "--resume")
    assert records(out) == records(expected)
    found = load_file(out / "last.safetensors")
    for key, value in load_file(expected / "last.safetensors").items():
        assert torch.equal(found[key], value), key


def test_a_killed_run_with_muon_is_bitwise_the_same(tmp_path: Path) -> None:
    finish(tmp_path / "whole", "--optimizer", "muon")
    killed = tmp_path / "killed"
    assert kill_at(killed, 5, signal.SIGKILL, "--optimizer", "muon") == -signal.SIGKILL
    finish(killed, "--optimizer", "muon", "--resume")
    assert records(killed) == records(tmp_path / "whole")


def test_sigterm_leaves_a_state_at_the_very_step(whole: dict[str, Path], tmp_path: Path) -> None:
    expected = undisturbed(whole, "equal")
    out = tmp_path / "run"
    code = kill_at(out, 3, signal.SIGTERM, "--checkpoint-every", "1000")
    assert code == 130
    _, state = latest_state(out)
    assert state.step == len(records(out)) < STEPS
    finish(out, "--resume", "--checkpoint-every", "1000")
    assert records(out) == records(expected)


def test_an_incomplete_state_is_named_and_the_previous_one_used(
    whole: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (last,) = state_files(undisturbed(whole, "equal"))
    newest, before = tmp_path / "state-00000013.safetensors", tmp_path / last.name
    before.write_bytes(last.read_bytes())
    newest.write_bytes(last.read_bytes()[:-1000])
    _, state = latest_state(tmp_path)
    assert f"state-{state.step:08d}.safetensors" == before.name
    assert newest.name in capsys.readouterr().err


def test_a_flipped_bit_is_found(whole: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(state_files(undisturbed(whole, "equal"))[-1].read_bytes())
    data[-5000] ^= 1
    path = tmp_path / "state-00000001.safetensors"
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="SHA-256"):
        read_state(path)
    with pytest.raises(UserError, match="no undamaged state"):
        latest_state(tmp_path)


def test_an_altered_header_is_found(whole: dict[str, Path], tmp_path: Path) -> None:
    data = state_files(undisturbed(whole, "equal"))[-1].read_bytes()
    step = rb"\"step\": 12"
    assert data.count(step) == 1
    path = tmp_path / "state-00000013.safetensors"
    path.write_bytes(data.replace(step, rb"\"step\": 13"))
    with pytest.raises(UserError, match="SHA-256"):
        read_state(path)


def test_torchrun_may_pass_resume_at_its_first_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert state_to_resume(tmp_path, asked=True) is None
    assert "starting at step 0" in capsys.readouterr().err
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT")
    with pytest.raises(UserError, match="has no state"):
        state_to_resume(tmp_path, asked=True)


def test_nothing_to_resume_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no state"):
        latest_state(tmp_path)


def test_random_states_come_back() -> None:
    states = random_states()
    first = torch.rand(3)
    restore_random(states)
    assert torch.equal(torch.rand(3), first)
