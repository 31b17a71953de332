"""Experiment trackers of a run: TensorBoard, Weights & Biases, MLflow.

A new tracker is one class with `log` and `close`, and one line in TRACKERS. Its package is imported
when it is asked for (`--trackers wandb,mlflow`). log.jsonl is written in any case.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from perception.errors import UserError, check_known, require_extra
from perception.files import write_atomic

NONE: Final = "none"


class Tracker(Protocol):
    """Receives the curves of a run. Built with (folder, settings, step): the run's folder, its
    settings as JSON and the step it starts from, above 0 for a resumed run."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """One point on each named curve; values are finite."""

    def close(self) -> None:
        """The run has ended or stopped."""


class TensorBoard:
    """Curves in FOLDER/tensorboard."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], step: int) -> None:
        require_extra("train", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step or None)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class WandB:
    """A run of Weights & Biases in the project `pvt-hydranet`; WANDB_* variables configure it."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], step: int) -> None:
        require_extra("wandb", "wandb")
        import wandb

        known = stored_id(folder / "wandb.id", step)
        self.run = wandb.init(
            project="pvt-hydranet",
            name=folder.name,
            dir=str(folder),
            config=dict(settings),
            id=known,
            resume="allow" if known else None,
        )
        write_atomic(folder / "wandb.id", str(self.run.id))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """A run of MLflow in the experiment `pvt-hydranet`; MLFLOW_TRACKING_URI says where."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], step: int) -> None:
        require_extra("mlflow", "mlflow")
        import mlflow

        self.mlflow = mlflow
        mlflow.set_experiment("pvt-hydranet")
        known = stored_id(folder / "mlflow.id", step)
        run = mlflow.start_run(run_id=known, run_name=None if known else folder.name)
        write_atomic(folder / "mlflow.id", str(run.info.run_id))
        if not known:
            pairs = [(g, key, value) for g, part in settings.items() for key, value in part.items()]
            mlflow.log_params({f"{group}.{key}": str(value) for group, key, value in pairs})

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.mlflow.log_metrics(dict(values), step=step)

    def close(self) -> None:
        self.mlflow.end_run()


TRACKERS: Final[dict[str, Callable[[Path, Mapping[str, Any], int], Tracker]]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
}


def check_trackers(names: Sequence[str]) -> None:
    """Raises UserError for an unknown name, or for `none` next to others."""
    check_known("tracker", names, [*TRACKERS, NONE])
    if NONE in names and len(names) > 1:
        raise UserError(f"--trackers {','.join(names)}: use `{NONE}` alone")


def stored_id(path: Path, step: int) -> str | None:
    """The id under which a resumed run is known to a tracker."""
    return path.read_text().strip() if step and path.exists() else None


def open_tracker(name: str, folder: Path, settings: Mapping[str, Any], step: int) -> Tracker:
    """Raises UserError where the tracker cannot start: no login, no server, a wrong address."""
    try:
        return TRACKERS[name](folder, settings, step)
    except UserError:
        raise
    except Exception as error:  # each package has exceptions of its own
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--trackers {name}: does not start ({reason})") from None


class Trackers:
    """The trackers of a run as one; NaN and infinities are left out."""

    def __init__(
        self, names: Sequence[str], folder: Path, settings: Mapping[str, Any], step: int
    ) -> None:
        wanted = [name for name in names if name != NONE]
        self.trackers = [open_tracker(name, folder, settings, step) for name in wanted]

    def log(self, values: Mapping[str, float], step: int) -> None:
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for tracker in self.trackers:
            tracker.log(finite, step)

    def close(self) -> None:
        for tracker in self.trackers:
            tracker.close()
