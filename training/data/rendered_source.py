"""Rendered roads under the name of a dataset: `--data rendered:2000`, beside other `--data`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from perception.errors import UserError
from training.data import rendered
from training.data.sample import Sample

COUNTS: Final = {"train": 8000, "val": 200}
# Validation roads come from another seed than any training road.
SEEDS: Final = {"train": 0, "val": 1_000_003}


class RenderedSource:
    """`root` is the number of training frames; validation has its own 200."""

    def __init__(
        self,
        root: Path,
        split: str,
        tasks: Sequence[str] = (),
        decode_size_hw: tuple[int, int] | None = None,
        *,
        strict: bool = True,
    ) -> None:
        text = root.name
        if split not in COUNTS or (text and not (text.isdigit() and int(text) > 0)):
            raise UserError(f"--data rendered:{text}: write how many frames, e.g. rendered:2000")
        count = int(text) if text and split == "train" else COUNTS[split]
        wanted = [task for task in tasks or rendered.TASKS if task in rendered.TASKS]
        if not wanted:
            raise UserError(
                f"rendered roads have no labels for {', '.join(tasks)}; "
                f"they have {', '.join(rendered.TASKS)}"
            )
        size_hw = decode_size_hw or rendered.FULL_HW
        self.roads = rendered.RenderedRoads(count, SEEDS[split], size_hw, wanted)
        self.tasks = self.roads.tasks

    def __len__(self) -> int:
        return len(self.roads)

    def __getitem__(self, index: int) -> Sample:
        return self.roads[index]
