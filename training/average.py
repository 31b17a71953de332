"""Write the mean of the weights of several checkpoints of one network.

This is stochastic weight averaging (Izmailov et al., UAI 2018). With one checkpoint and --half it
only changes the precision.

example:
  average-checkpoints runs/a/last.safetensors runs/b/last.safetensors -o mean.safetensors
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from perception.arguments import parse
from perception.errors import UserError, cli, require_extra

if TYPE_CHECKING:
    from torch import Tensor

    from perception.checkpoint import Meta

    Network = tuple[Meta, dict[str, Tensor]]  # its description and floating-point tensors

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
            first, total = meta, own
            continue
        check_same_network(paths[0], (first, total), path, (meta, own))
        total = {key: value + own[key] for key, value in total.items()}
    mean = {key: (value / len(paths)).to(torch.float32) for key, value in total.items()}
    training = meta.training | {"averaged": [str(path) for path in paths]}
    return weights | mean, replace(meta, scores={}, training=training)


def check_same_network(first: Path, expected: "Network", path: Path, found: "Network") -> None:
    """Raises UserError where `path` is not of the same network as `first`."""
    for field in fields(expected[0]):
        one, two = (getattr(meta, field.name) for meta, _ in (expected, found))
        if one != two and field.name not in MAY_DIFFER:
            raise UserError(f"{path}: {field.name} {two} is not {one}, as in {first}")
    for key in sorted(expected[1].keys() | found[1].keys()):
        one, two = (
            tuple(own[key].shape) if key in own else "absent" for _, own in (expected, found)
        )
        if one != two:
            raise UserError(f"{path}: {key!r} has shape {two}, not {one} as in {first}")


def main() -> None:
    raise SystemExit(cli(average))


if __name__ == "__main__":
    main()
