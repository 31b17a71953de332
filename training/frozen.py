"""The frozen trunk as a function, and the key of what it computed."""

import json
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from training.config import DataArgs
from training.features import Compute
from training.loop import Learner
from training.resume import digest


def neck_outputs(learner: Learner) -> Compute:
    """uint8 (H, W, 3) -> the neck's maps, as training would compute them."""
    learner.model.eval()

    @torch.no_grad()
    def compute(image: np.ndarray) -> list[Tensor]:
        batch = torch.from_numpy(image)[None].to(learner.world.device)
        with learner.autocast():
            return [level[0].contiguous().cpu() for level in learner.model.features(batch)]

    return compute


def cache_key(learner: Learner, data: DataArgs, tasks: Sequence[str], marks: Sequence[str]) -> str:
    """Names all that cached features and labels depend on: weights, precision, data."""
    weights = learner.model.state_dict()
    frozen = {key: value for key, value in weights.items() if not key.startswith("tasks.")}
    used = [data.data, data.size, data.limit, list(tasks), list(marks), learner.bf16]
    return json.dumps([digest(frozen), used])
