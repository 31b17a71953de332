"""Write the mean of the weights of several checkpoints of one network.

This is stochastic weight averaging (Izmailov et al., UAI 2018). With one checkpoint and --half it
only changes the precision.

example:
  average-checkpoints runs/a/last.safetensors runs/b/last.safetensors -o mean.safetensors
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from perception.arguments import parse
from perception.errors import UserError, cli, require_extra

if TYPE_CHECKING:
    from torch import Tensor

    from perception.checkpoint import Meta

# Fields of the description that may differ between checkpoints; the mean has the last file's.
MAY_DIFFER: Final = ("size_hw", "scores", "training", "licence")


@dataclass(frozen=True)
class AverageArguments:
    """The command line of average-checkpoints."""

    checkpoints: tuple[Path, ...]
    """Checkpoints of train-bdd (.safetensors), all of the same network and tasks."""
    out: Path = Path("average.safetensors")
    """Checkpoint to write; also -o."""
    half: bool = False
    """Write half precision."""

    def __post_init__(self) -> None:
        if not self.checkpoints:
            raise UserError("name at least one checkpoint")


def average() -> int:
    """The command: 0. Raises UserError where the checkpoints do not go together."""
    require_extra("train", "torch", "timm", "safetensors", "tyro")
    from perception import checkpoint

    args = parse(AverageArguments, "average-checkpoints", __doc__)

    weights, meta = mean_of(args.checkpoints)
    checkpoint.save(args.out, weights, meta, half=args.half)
    kind = "half" if args.half else "single"
    count = len(args.checkpoints)
    print(f"{args.out}: mean of {count} checkpoints of {meta.model}, {kind} precision")
    return 0


def mean_of(paths: Sequence[Path]) -> tuple[dict[str, "Tensor"], "Meta"]:
    """(weights, description) of the mean; integers, such as counters, are those of the last file.

    Raises UserError naming the first file that is of another network or holds NaN or infinities.
    """
    import torch

    from perception import checkpoint
    from training.init import check_finite

    total: dict[str, Tensor] = {}
    for path in paths:
        weights, meta = checkpoint.read(path)
        check_finite(weights, str(path))
        own = {key: value.double() for key, value in weights.items() if value.is_floating_point()}
        if not total:
            first, total = network(meta, own), own
            continue
        found = network(meta, own)
        for what in first | found:
            one, two = first.get(what, "absent"), found.get(what, "absent")
            if one != two:
                raise UserError(f"{path}: {what} {two} is not {one}, as in {paths[0]}")
        total = {key: value + own[key] for key, value in total.items()}
    mean = {key: (value / len(paths)).to(torch.float32) for key, value in total.items()}
    training = meta.training | {"averaged": [str(path) for path in paths]}
    return weights | mean, replace(meta, scores={}, training=training)


def network(meta: "Meta", weights: dict[str, "Tensor"]) -> dict[str, Any]:
    """What checkpoints of one network have in common, by what it is called in messages."""
    about = {name: value for name, value in vars(meta).items() if name not in MAY_DIFFER}
    return about | {f"shape of {key!r}": tuple(value.shape) for key, value in weights.items()}


def main() -> None:
    raise SystemExit(cli(average))


if __name__ == "__main__":
    main()
