"""A killed run that is resumed gives the same losses, to the last bit, as one never killed.

KILLS=20 in the environment kills at that many random steps for each method; by default the two
methods with most to remember are killed once, and the plain sum is stopped by SIGTERM.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from perception.errors import UserError
from training.run_state import latest_state, random_states, read_state, restore_random, state_files

KILLS = int(os.environ.get("KILLS", "1"))
METHODS = ["uncertainty", "pcgrad"] + ["equal"] * (KILLS > 1)
STEPS = 12  # two epochs of six
COMMAND = [sys.executable, "-c", "from training.train_bdd import main; main()"]
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


def start(out: Path, *options: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*COMMAND, *OPTIONS, "--out", str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )


def finish(out: Path, *options: str) -> None:
    """The command to its end, in a process of its own as users run it; UserError where it fails."""
    process = start(out, *options)
    said, _ = process.communicate(timeout=300)
    if process.returncode:
        raise UserError(said)


def records(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def kill_at(out: Path, step: int, number: int, *options: str) -> int:
    """Sends the signal once `step` steps are logged; the process's exit code."""
    process = start(out, *options)
    log = out / "log.jsonl"
    while process.poll() is None:
        if log.exists() and log.read_text().count('"loss"') >= step:
            # SIGKILL takes the workers too, as a lack of power would.
            kill = os.killpg if number == signal.SIGKILL else os.kill
            kill(process.pid, number)
            break
        time.sleep(0.01)
    process.communicate(timeout=300)
    return process.returncode


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that nobody disturbs, one a method, made when asked for."""
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
    kill_at(out, step, signal.SIGKILL, "--balance", method)
    finish(out, "--balance", method, "--resume")
    assert records(out) == records(expected)
    found = load_file(out / "last.safetensors")
    for key, value in load_file(expected / "last.safetensors").items():
        assert torch.equal(found[key], value), key


def test_sigterm_leaves_a_state_at_the_very_step(whole: dict[str, Path], tmp_path: Path) -> None:
    expected = undisturbed(whole, "equal")
    out = tmp_path / "run"
    code = kill_at(out, 3, signal.SIGTERM, "--checkpoint-every", "1000")
    assert code == 130
    _, position = latest_state(out)
    assert position.step == len(records(out)) < STEPS
    finish(out, "--resume", "--checkpoint-every", "1000")
    assert records(out) == records(expected)


def test_a_torn_state_is_named_and_the_one_before_used(
    whole: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = state_files(undisturbed(whole, "equal"))
    assert len(files) == 2
    for file in files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    newest, before = tmp_path / files[1].name, tmp_path / files[0].name
    newest.write_bytes(newest.read_bytes()[:-1000])
    _, position = latest_state(tmp_path)
    assert f"state-{position.step:08d}.safetensors" == before.name
    assert newest.name in capsys.readouterr().err


def test_a_flipped_bit_is_found(whole: dict[str, Path], tmp_path: Path) -> None:
    data = bytearray(state_files(undisturbed(whole, "equal"))[-1].read_bytes())
    data[-5000] ^= 1
    path = tmp_path / "state-00000001.safetensors"
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="SHA-256"):
        read_state(path)
    with pytest.raises(UserError, match="no whole state"):
        latest_state(tmp_path)


def test_nothing_to_resume_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no state"):
        latest_state(tmp_path)


def test_other_settings_are_refused(whole: dict[str, Path]) -> None:
    out = undisturbed(whole, "equal")
    with pytest.raises(UserError, match="--lr"):
        finish(out, "--resume", "--lr", "0.5")
    with pytest.raises(UserError, match="--resume"):
        finish(out)


def test_random_states_come_back() -> None:
    import numpy as np

    def draw() -> tuple[float, ...]:
        return float(torch.rand(())), random.random(), float(np.random.rand())

    states = random_states()
    first = draw()
    restore_random(states)
    assert draw() == first
