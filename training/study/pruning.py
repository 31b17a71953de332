"""The masks of a network with sparse sharing, from pruned single-task runs.

Algorithm 1 of the paper (see perception/sharing/sparse.py): for each task, train from the initial
weights, prune the smallest weights, and repeat from the same initial weights. The paper trains each
round to its end and takes the density with the best score; here a round has a share of the budget,
and the density is fixed, as every further density would cost another run per task.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from perception.errors import UserError
from perception.sharing.sparse import Masked, Masks, Sparse, iterative_pruning
from training.distributed import World
from training.learner import make_learner
from training.study.plan import Row, Trial, shortened

SPARSE: Final = "sparse"
ROUNDS: Final = 3
PRUNED: Final = 0.2  # of the used weights, per round: 0.8 ** 3 = 51 % are left
BUDGET: Final = 0.2  # of a run's budget, per round and task

Train = Callable[[Trial], tuple[Mapping[str, Any], Path]]
"""Trains a trial; its record, and the file of its last weights."""


def needs_masks(row: Row) -> bool:
    """Whether runs of the row start from masks that are found first."""
    return row.sharing == SPARSE and not row.single


def masked_start(trial: Trial, folder: Path, train: Train) -> Path:
    """The file with the initial weights and the masks of all tasks; made if it does not exist.

    Raises UserError where a round fails.
    """
    path = folder / f"{trial.key}.safetensors"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    # The network as the trial's seed and --init make it.
    model = make_learner(trial.config(), World(0, 1, torch.device("cpu"))).model
    trunk = model.trunk
    assert isinstance(trunk, Sparse)
    shared = {k: v for k, v in model.state_dict().items() if not k.startswith("tasks.")}
    for part, task in zip(trunk.parts, trial.row.tasks, strict=True):
        one_round = partial(train_alone, trial, task, shared, folder, train)
        own = cast(Masked, part)
        own.set_masks(iterative_pruning(one_round, own.masks(), PRUNED, ROUNDS))
    save_file({k: v.contiguous() for k, v in shared.items()}, path)
    return path


def train_alone(
    trial: Trial, task: str, shared: Mapping[str, Tensor], folder: Path, train: Train, masks: Masks
) -> dict[str, Tensor]:
    """The weights of one task, trained alone from the initial weights with these masks."""
    own = {f"trunk.parts.0.{name.replace('.', '-')}": mask for name, mask in masks.items()}
    start = {k: v for k, v in shared.items() if not k.startswith("trunk.parts.")}
    first = {k: v for k, v in shared.items() if k.startswith("trunk.parts.0.")}
    used = sum(int(mask.sum()) for mask in masks.values())
    path = folder / f"{trial.key}-{task}-{used}.safetensors"
    save_file({k: v.contiguous().clone() for k, v in (start | first | own).items()}, path)
    base = shortened(trial.base, BUDGET)
    base = replace(base, model=replace(base.model, init=str(path), init_part="shared"))
    row = Row((task,), trial.row.model, sharing=SPARSE, pretrained=trial.row.pretrained)
    record, weights = train(Trial(row, trial.seed, base, probe=False))
    if "failed" in record:
        raise UserError(f"pruning for {task}: {record['failed']}")
    trained = load_file(weights)
    return {name: trained[f"trunk.trunk.{name}"] for name in masks}
