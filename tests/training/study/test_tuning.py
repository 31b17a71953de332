"""The search of learning rates and of masks: what is tried, printed and taken."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from training.config import Config, DataArgs, OptimArgs
from training.study import trials
from training.study.arguments import StudyArgs
from training.study.plan import Row, Trial, shortened
from training.study.tuning import SEED, Search, base_of, search_rates, search_trials

ROWS = [Row(("scene",)), Row(("scene", "depth"), "resnet50")]
BEST = {ROWS[0]: 1e-3, ROWS[1]: 4e-3}


def fake(trial: Trial, folder: Path, device: str = "auto", say=print) -> dict:
    """A record as of a run, best at the row's own learning rate."""
    level = 50.0 - abs(trial.base.optim.lr - BEST[trial.row]) * 1000
    return {
        "key": trial.key, **trial.to_json(), "steps": 2, "seconds": 1.0, "probes": [],
        "scores": {"scene": {"accuracy": level}}, "parameters": 7,
    }  # fmt: skip


def test_each_row_takes_its_own_best_rate_and_every_rate_is_printed(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(trials, "train_trial", fake)
    args = StudyArgs("sharing", rates=(1e-3, 2e-3, 4e-3), out=tmp_path)
    said: list[str] = []
    found = search_rates(ROWS, args, Config(), said.append)
    assert [search.best for search in found] == [1e-3, 4e-3]
    assert "0.001 scored 50.00, 0.002 scored 49.00, 0.004 scored 47.00; 0.001 is taken" in said[-2]
    assert "at the edge of --rates" in said[-2]
    base = Config(optim=OptimArgs(lr=7.0))
    assert [base_of(row, found, base).optim.lr for row in ROWS] == [1e-3, 4e-3]
    assert base_of(Row(("lane",)), found, base).optim.lr == 7.0
    records = trials.Store(tmp_path).read().values()
    assert {record["seed"] for record in records} == {SEED}
    # What is stored is not tried again, and suffices for --report-only.
    monkeypatch.setattr(trials, "train_trial", None)
    assert search_rates(ROWS, replace(args, report_only=True), Config(), print) == found


def test_a_rate_between_others_is_not_at_the_edge():
    assert "edge" not in Search(ROWS[0], {1e-3: 1.0, 2e-3: 2.0, 4e-3: 1.0}).text()
    assert "edge" not in Search(ROWS[0], {1e-3: 1.0}).text()
    assert "edge" in Search(ROWS[0], {1e-3: 2.0, 2e-3: 1.0}).text()
    assert "edge" in Search(ROWS[0], {1e-3: 1.0, 2e-3: 2.0}).text()
    assert "no learning rate" in Search(ROWS[0], {}).text()


def test_without_rates_nothing_is_tried(tmp_path: Path):
    assert search_rates(ROWS, StudyArgs("sharing", out=tmp_path), Config(), print) == []


@pytest.mark.parametrize(
    ("epochs", "share", "left"), [(5, 1.0, 1), (1, 0.2, 1), (8, 1.0, 2), (40, 1.0, 8)]
)
def test_a_rate_is_tried_on_a_fifth_of_the_budget(epochs: int, share: float, left: int):
    base = Config(optim=OptimArgs(epochs=epochs))
    (trial,) = search_trials(ROWS[:1], (2e-3,), base)
    tried = trial.base
    assert (tried.data.share, tried.optim.epochs) == (pytest.approx(share), left)
    assert (tried.optim.lr, tried.optim.ema, trial.held_out) == (2e-3, 0.0, True)
    assert shortened(base, 0.2).optim.lr == base.optim.lr


@pytest.fixture
def tiny() -> Config:
    data = DataArgs(("rendered:11",), size=(64, 96), batch=2, workers=0, val_limit=2)
    return Config(data, optim=OptimArgs(epochs=1, ema=0.0))


def test_a_search_is_scored_on_training_frames_that_it_does_not_train_on(
    tmp_path: Path, tiny: Config
):
    from rich.console import Console

    trial = Trial(Row(("scene",)), 0, tiny, held_out=True)
    config = trial.config(str(tmp_path / "a"))
    searched = trials.SearchRun(config, Console(quiet=True))
    plain = trials.StudyRun(trial.config(str(tmp_path / "b")), Console(quiet=True))
    names = [
        [frames.name(i) for i in range(len(frames))] for frames in (searched.train, searched.val)
    ]
    every = [plain.train.name(index) for index in range(len(plain.train))]
    assert len(names[1]) == len(every) // 5 == 2
    assert sorted([*names[0], *names[1]]) == sorted(every)
    assert not set(names[1]) & {plain.val.name(i) for i in range(len(plain.val))}


@pytest.mark.slow
def test_a_sparse_run_trains_from_the_masks_that_pruning_found(tmp_path: Path, tiny: Config):
    trial = Trial(Row(("depth", "normals"), sharing="sparse"), 0, tiny)
    record = trials.train_trial(trial, tmp_path)
    assert set(record["scores"]) == {"depth", "normals"}
    masks = tmp_path / "masks" / f"{trial.key}.safetensors"
    assert f"--init {masks} --init-part shared" in record["command"]
    start = load_file(masks)
    last = load_file(tmp_path / "runs" / trial.key / "last.safetensors")
    own: list[dict] = [{}, {}]
    for key, mask in start.items():
        if key.startswith("trunk.parts.") and ".of-" not in key:
            own[int(key.split(".")[2])][key.split(".", 3)[3]] = mask
            assert (last[key] == mask).all()  # masks do not change in training
    used = [sum(int(m.sum()) for m in masks.values()) for masks in own]
    whole = sum(mask.numel() for mask in own[0].values())
    assert [count / whole for count in used] == [pytest.approx(0.512, abs=1e-3)] * 2
    different = sum(int((own[0][name] != own[1][name]).sum()) for name in own[0])
    assert 0 < different < whole / 2
    # Every round began at the same initial weights: those that the joint run began with.
    rounds = sorted((tmp_path / "masks").glob(f"{trial.key}-depth-*"))
    assert len(rounds) == 3
    kernel = next(key for key in start if key.startswith("trunk.trunk.") and start[key].ndim == 4)
    assert all((load_file(path)[kernel] == start[kernel]).all() for path in rounds)
    unused = sum(int((~(own[0][name] | own[1][name])).sum()) for name in own[0])
    assert record["parameters"] == sum(
        v.numel() for k, v in last.items() if "parts" not in k and "running" not in k
        and "num_batches" not in k and "counts" not in k
    ) - unused  # fmt: skip
