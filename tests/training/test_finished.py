"""What a finished run leaves behind, and how it is repeated or prolonged."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from perception import checkpoint
from perception.errors import UserError
from training.command_line import read_command_line
from training.resume import read_state, state_files
from training.run import Run

pytestmark = pytest.mark.slow
SMALL = "--size 64x96 --limit 4 --val-limit 2 --batch 2 --workers 0 --tasks scene --trackers none"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train(out: Path, *words: str) -> Run:
    """A run of the command, in this process."""
    config = read_command_line(["--out", str(out), *words])
    run = Run(config, Console(quiet=True))
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "config.json").write_text(config.to_file())
    run.go()
    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("run"), *SMALL.split(), "--epochs", "1")


@pytest.fixture
def finished(trained: Run) -> Path:
    return trained.folder


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "last.safetensors")


def equal(one: Path, two: Path) -> bool:
    first, second = weights(one), weights(two)
    return all(torch.equal(first[key], second[key]) for key in first)


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            (to / path.name).write_bytes(path.read_bytes())
    return to


def test_a_finished_run_keeps_its_last_state(finished: Path) -> None:
    (path,) = state_files(finished)
    assert read_state(path)[1].step == 2
    for path in finished.iterdir():
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044 & ~os.umask(os.umask(0))


def test_its_config_repeats_it_bit_for_bit(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    train(out, "--config", str(finished / "config.json"))
    assert equal(finished, out)
    assert (finished / "log.jsonl").read_text() == (out / "log.jsonl").read_text()


def test_it_is_not_overwritten_and_resuming_changes_nothing(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds a run already; add --resume"):
        train(finished, *SMALL.split(), "--epochs", "1")
    out = copied(finished, tmp_path / "run")
    assert train(out, "--resume").state.epoch == 1
    assert equal(finished, out)


def test_its_epochs_may_be_raised(finished: Path, tmp_path: Path) -> None:
    out = copied(finished, tmp_path / "run")
    run = train(out, "--resume", "--epochs", "2")
    assert (run.state.epoch, run.state.step) == (2, 4)
    steps = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if "loss" in line] == [0, 1, 2, 3]
    assert not equal(finished, out)
    assert len(state_files(out)) == 1
    with pytest.raises(UserError, match="began with --epochs 2, not 1"):
        train(out, "--resume", "--epochs", "1")


def test_it_continues_exactly(trained: Run, tmp_path: Path) -> None:
    """The optimiser's moments are kept: the steps after are those of the state, not of new ones."""
    out = copied(trained.folder, tmp_path / "run")
    again = Run(read_command_line(["--out", str(out), "--resume", "--epochs", "2"]))
    own, found = trained.learner.optimizer.state_dict(), again.learner.optimizer.state_dict()
    for key, state in own["state"].items():
        assert torch.equal(state["exp_avg"], found["state"][key]["exp_avg"])


@pytest.mark.parametrize(("flag", "value"), [("--lr", "0.5"), ("--seed", "3"), ("--batch", "4")])
def test_other_settings_are_refused(flag: str, value: str, finished: Path) -> None:
    with pytest.raises(UserError, match=f"--resume: the run began with {flag}") as caught:
        train(finished, "--resume", flag, value)
    assert "\n" not in str(caught.value)


def test_half_precision_checkpoints_are_half_the_size_and_load(tmp_path: Path) -> None:
    run = train(tmp_path / "run", *SMALL.split(), "--epochs", "1", "--half", "--ema", "0")
    path = run.folder / "last.safetensors"
    kinds = {value.dtype for value in load_file(path).values() if value.is_floating_point()}
    assert kinds == {torch.float16}
    model, _ = checkpoint.load(path)
    for key, value in model.state_dict().items():
        full = run.learner.model.state_dict()[key]
        assert value.dtype == full.dtype
        torch.testing.assert_close(value, full, rtol=1e-3, atol=1e-6)
    words = [*SMALL.split(), "--init", str(path), "--out", str(tmp_path / "two")]
    again = Run(read_command_line(words), Console(quiet=True))
    assert again.learner.model.state_dict().keys() == model.state_dict().keys()


def test_values_too_large_for_half_precision_stay_single() -> None:
    large = torch.tensor([1.0, 1e6])
    assert checkpoint.to_half(large).dtype == torch.float32
    assert checkpoint.to_half(torch.ones(2)).dtype == torch.float16
    assert checkpoint.to_half(torch.tensor(3)).dtype == torch.int64


def test_init_from_a_file_with_nan_names_the_tensor(finished: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    broken = weights(finished)
    name = next(key for key in broken if key.endswith("weight"))
    broken[name][0] = float("nan")
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(UserError, match=f"{name}.*NaN or infinity"):
        train(tmp_path / "run", *SMALL.split(), "--init", str(tmp_path / "broken.safetensors"))


def test_the_command_stops_and_resumes_with_out_alone(tmp_path: Path) -> None:
    """In processes, as a user types it."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "training.train", "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    first = subprocess.Popen([*command, *SMALL.split(), "--epochs", "500"], env=environment)
    log = out / "log.jsonl"
    while first.poll() is None and not (log.exists() and log.read_text().count('"loss"') > 2):
        pass
    first.terminate()
    assert first.wait(120) == 130
    words = [*command, "--resume", "--max-minutes", "0.01"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Done" in done.stdout
