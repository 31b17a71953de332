"""Trackers receive the run's settings and curves; stand-ins take the place of their packages."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from perception.errors import UserError
from training.trackers import TRACKERS, Trackers, check_trackers

SETTINGS = {"optim": {"lr": 0.1}, "run": {"seed": 0}}


class Calls:
    """Records every call of a stand-in."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.seen.append((name, args, options))
            return SimpleNamespace(
                id="abc", info=SimpleNamespace(run_id="abc"), log=self.log, finish=self.finish
            )

        return call

    def named(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(args, options) for called, args, options in self.seen if called == name]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    found = Calls()
    for name in ("wandb", "mlflow"):
        module = ModuleType(name)
        module.__spec__ = SimpleNamespace(name=name)  # type: ignore[assignment]
        for function in (
            *("init", "set_experiment", "start_run"),
            *("log_params", "log_metrics", "end_run"),
        ):
            setattr(module, function, getattr(found, function))
        monkeypatch.setitem(sys.modules, name, module)
    return found


def test_wandb(calls: Calls, tmp_path: Path) -> None:
    trackers = Trackers(["wandb"], tmp_path, SETTINGS, 0)
    ((_, options),) = calls.named("init")
    assert (options["config"], options["id"]) == (SETTINGS, None)
    trackers.log({"loss": 2.0, "bad": float("nan")}, 7)
    assert calls.named("log") == [(({"loss": 2.0},), {"step": 7})]
    trackers.close()
    assert len(calls.named("finish")) == 1
    Trackers(["wandb"], tmp_path, SETTINGS, 8)  # resumed
    assert calls.named("init")[1][1]["id"] == "abc"


def test_mlflow(calls: Calls, tmp_path: Path) -> None:
    trackers = Trackers(["mlflow"], tmp_path, SETTINGS, 0)
    assert calls.named("log_params") == [(({"optim.lr": "0.1", "run.seed": "0"},), {})]
    trackers.log({"val/det/mAP50": 1.0}, 3)
    assert calls.named("log_metrics") == [(({"val/det/mAP50": 1.0},), {"step": 3})]
    trackers.close()
    assert len(calls.named("end_run")) == 1
    Trackers(["mlflow"], tmp_path, SETTINGS, 8)
    assert calls.named("start_run")[1][1]["run_id"] == "abc"
    assert len(calls.named("log_params")) == 1  # a resumed run has its parameters


def test_tensorboard_writes_events(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    trackers = Trackers(["tensorboard"], tmp_path, SETTINGS, 0)
    trackers.log({"loss": 2.0}, 0)
    trackers.close()
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_a_tracker_that_is_not_installed_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("wandb", "mlflow"):
        with pytest.raises(UserError, match=rf"pvt-hydranet\[{name}\]"):
            Trackers([name], tmp_path, SETTINGS, 0)


def test_a_tracker_that_does_not_start_is_one_line(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**options: Any) -> None:
        raise RuntimeError("api_key not configured\nlog in first")

    monkeypatch.setattr(sys.modules["wandb"], "init", refused)
    with pytest.raises(
        UserError, match=r"--trackers wandb: does not start \(api_key not"
    ) as caught:
        Trackers(["wandb"], tmp_path, SETTINGS, 0)
    assert "\n" not in str(caught.value)


def test_names_are_checked() -> None:
    check_trackers([*TRACKERS])
    check_trackers(["none"])
    check_trackers([])
    with pytest.raises(UserError, match="did you mean 'mlflow'"):
        check_trackers(["mlflo"])
    with pytest.raises(UserError, match="use `none` alone"):
        check_trackers(["none", "wandb"])
