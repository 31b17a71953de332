"""Everything a training run can be told: dataclasses grouped by who reads them.

They are the command line (tyro), they are checked when built, and as JSON they travel in the
checkpoint.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Final

import tyro

from perception.errors import UserError
from perception.sizes import format_size, parse_size

STRIDE: Final = 32


def _text_spec(
    parse: Callable[[str], Any], show: Callable[[Any], str], metavar: str
) -> tyro.constructors.PrimitiveConstructorSpec[Any]:
    """A field written as one word on the command line."""
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: parse(words[0]),
        is_instance=lambda value: isinstance(value, tuple | dict),
        str_from_instance=lambda value: [show(value)],
    )


def parse_names(text: str) -> tuple[str, ...]:
    """det,lane -> ("det", "lane")"""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_weights(text: str, flag: str) -> dict[str, float]:
    """det=1,lane=2 -> {"det": 1.0, "lane": 2.0}"""
    try:
        pairs = [item.split("=") for item in text.split(",") if item.strip()]
        return {name.strip(): float(value) for name, value in pairs}
    except ValueError:
        raise UserError(f"{flag} {text!r}: write NAME=WEIGHT,NAME=WEIGHT") from None


def _weights_spec(flag: str) -> tyro.constructors.PrimitiveConstructorSpec[Any]:
    def show(weights: dict[str, float]) -> str:
        return ",".join(f"{name}={weight}" for name, weight in weights.items())

    return _text_spec(partial(parse_weights, flag=flag), show, "NAME=W,NAME=W")


Names = Annotated[tuple[str, ...], _text_spec(parse_names, ",".join, "NAME,NAME")]
Size = Annotated[tuple[int, int], _text_spec(parse_size, format_size, "HEIGHTxWIDTH")]
TaskWeights = Annotated[dict[str, float], _weights_spec("--task-weights")]
TraitWeights = Annotated[dict[str, float], _weights_spec("--trait-weights")]


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


@dataclass(frozen=True)
class DataArgs:
    """Read by the datasets and the sampler."""

    data: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Folder of a dataset; give it again for each further one. None: rendered roads."""
    size: Size = (384, 640)
    """Model input; frames are letterboxed to it."""
    batch: int = 16
    """Frames a step, over all ranks together."""
    workers: int = -1
    """Processes that read and augment; -1 takes one a core, at most 8."""
    limit: int = 0
    """Train on the first N frames only (of --data, before --rendered); 0 takes all."""
    val_limit: int = 0
    """Validate on the first N frames only; 0 takes all."""
    share: float = 1.0
    """Train on this share of the frames of each --data, drawn by --seed; smaller shares of a seed
    are part of larger ones."""
    augment: str = "default"
    """default, none, flip, geometry, colour or strong."""
    mosaic: float = 0.0
    """Chance that a training picture is made of four frames, each in its own corner."""
    mixup: float = 0.0
    """Chance that a training picture is a blend of two."""
    close_mosaic: float = 0.1
    """Last share of --epochs without mosaic and mixup."""
    zoom: tuple[float, float] = (0.75, 1.6)
    """Scale jitter: size of things relative to the whole frame. Above 1 the view is a crop."""
    cache: str = ""
    """Folder for frames kept decoded and shrunk; the second epoch then costs no decoding."""
    skip_bad: float = 0.0
    """Share of the frames that may be bad, e.g. 0.01: they are named, counted and passed over."""
    data_weights: tuple[float, ...] = ()
    """How much is drawn from each --data, relative to its size; none: all frames once an epoch."""
    trait_weights: TraitWeights = field(default_factory=dict)
    """How much frames with a trait are drawn, e.g. origin/restored=0.5,timeofday/night=2; 0 leaves
    them out."""
    rendered: int = 0
    """Rendered roads to train on beside --data (validation is on --data alone)."""
    rendered_weight: float = 1.0
    """How much is drawn from them, relative to their number."""
    repeat_rare: bool = False
    """Draw frames with rare classes or rarely labelled tasks more often (LVIS repeat factors)."""

    def __post_init__(self) -> None:
        height, width = self.size
        _check(
            height > 0 and width > 0 and height % STRIDE == 0 and width % STRIDE == 0,
            f"--size {height}x{width}: both sides must be multiples of {STRIDE}",
        )
        _check(max(height, width) <= 4096, f"--size {height}x{width}: at most 4096 a side")
        _check(self.batch >= 1, f"--batch {self.batch}: at least 1")
        _check(self.workers >= -1, f"--workers {self.workers}: 0 or more, or -1 for automatic")
        _check(0 <= self.skip_bad < 1, f"--skip-bad {self.skip_bad}: a share, 0 or more, below 1")
        low, high = self.zoom
        _check(0.1 <= low <= high <= 10, f"--zoom {low} {high}: two scales in 0.1..10, low first")
        _check(self.limit >= 0 and self.val_limit >= 0, "--limit: 0 (all) or more")
        _check(self.rendered >= 0, f"--rendered {self.rendered}: 0 or more")
        _check(0 < self.share <= 1, f"--share {self.share}: above 0, at most 1")
        for name in ("mosaic", "mixup", "close_mosaic"):
            value = getattr(self, name)
            _check(0 <= value <= 1, f"--{name.replace('_', '-')} {value}: from 0 to 1")
        for name, value in (*self.trait_weights.items(), ("rendered", self.rendered_weight)):
            _check(0 <= value < float("inf"), f"weight {value} of {name}: a number from 0 up")


@dataclass(frozen=True)
class ModelArgs:
    """Read by the zoo."""

    tasks: Names = ("det", "lane", "drivable", "scene")
    """Heads to train, in the order the model will have them."""
    model: str = "pvt-hydranet-b0"
    """A name of the zoo."""
    sharing: str = ""
    """How tasks share the trunk: cross-stitch, mtan or sparse; none: one trunk for all."""
    init: str = ""
    """Weights to start from: `default` (the model in the box), a checkpoint of ours, or a trunk in
    timm's format (safetensors)."""
    init_part: str = "all"
    """What is taken from --init: `all` that fits, `shared` (trunk and neck; heads start anew), or
    `trunk`."""
    pretrained: bool = False
    """Fetch the trunk's ImageNet weights through timm."""
    freeze: str = ""
    """`trunk`: train heads only, on features computed once (with --init)."""
    drop_path: float = 0.0
    """Stochastic depth of the trunk."""

    def __post_init__(self) -> None:
        _check(bool(self.tasks), "--tasks: name at least one task")
        _check(len(set(self.tasks)) == len(self.tasks), "--tasks: a task is named twice")
        parts = ("all", "shared", "trunk")
        _check(self.init_part in parts, f"--init-part {self.init_part!r}: {', '.join(parts)}")
        _check(self.freeze in ("", "trunk"), f"--freeze {self.freeze!r}: only `trunk` is known")
        _check(not self.freeze or bool(self.init), "--freeze trunk needs --init CHECKPOINT")
        _check(
            not (self.freeze and self.init_part == "trunk"),
            "--freeze trunk freezes the neck too; --init-part trunk would leave that one untrained",
        )
        _check(0 <= self.drop_path < 1, f"--drop-path {self.drop_path}: 0 or more, less than 1")
        # A checkpoint names the whole network, sharing included.
        if self.sharing and not self.model.endswith(f"+{self.sharing}"):
            object.__setattr__(self, "model", f"{self.model}+{self.sharing}")


@dataclass(frozen=True)
class OptimArgs:
    """Read by the optimiser, the schedule and the balancer."""

    epochs: int = 30
    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.05
    warmup: float = 0.03
    """Share of the run in which the rate rises."""
    layer_decay: float = 1.0
    """Learning rate of each trunk stage relative to the next (fine-tuning: about 0.7)."""
    clip: float = 10.0
    """Largest norm of the whole gradient."""
    ema: float = 0.9998
    """Decay of the averaged weights that are validated and saved; 0 turns averaging off."""
    balance: str = "equal"
    """How the tasks' losses or gradients are combined. Behind a method that compares gradients,
    `@features` compares them at the neck's outputs: one backward pass, not one a task."""
    task_weights: TaskWeights = field(default_factory=dict)
    """Fixed weights of the losses, for --balance equal or fixed."""
    precision: str = "auto"
    """bf16, fp32, or auto: bf16 where the device computes in it."""

    def __post_init__(self) -> None:
        _check(self.epochs >= 1, f"--epochs {self.epochs}: at least 1")
        _check(self.lr > 0, f"--lr {self.lr}: above 0")
        _check(self.weight_decay >= 0, f"--weight-decay {self.weight_decay}: 0 or more")
        _check(0 <= self.warmup < 1, f"--warmup {self.warmup}: a share of the run, below 1")
        _check(0 < self.layer_decay <= 1, f"--layer-decay {self.layer_decay}: above 0, at most 1")
        _check(self.clip > 0, f"--clip {self.clip}: above 0")
        _check(0 <= self.ema < 1, f"--ema {self.ema}: 0 or more, below 1")
        _check(
            self.precision in ("auto", "bf16", "fp32"),
            f"--precision {self.precision!r}: auto, bf16 or fp32",
        )
        _check(
            not self.task_weights or self.balance in ("equal", "fixed"),
            f"--task-weights goes with --balance fixed, not {self.balance}",
        )
        _check(
            self.balance != "fixed" or bool(self.task_weights),
            "--balance fixed needs --task-weights, e.g. det=1,lane=2",
        )


@dataclass(frozen=True)
class RunArgs:
    """Read by the run itself."""

    recipe: str = "default"
    """What the other flags are where they are not given: default, none, flip, geometry, colour,
    strong, bdd-small, bdd100k-full or bdd100k-full-8gpu."""
    out: str = "runs/default"
    """Folder of the run."""
    resume: bool = False
    """Go on from the run's last checkpoint, exactly."""
    seed: int = 0
    checkpoint_every: int = 500
    """Steps between resumable checkpoints (each epoch ends with one too)."""
    max_minutes: float = 0.0
    """End the run (each stage of one), schedule included, after this long; 0 is no limit."""
    max_bad: int = 20
    """Steps in a row with a NaN or infinity after which the run stops."""
    device: str = "auto"

    def __post_init__(self) -> None:
        _check(self.seed >= 0, f"--seed {self.seed}: 0 or more")
        _check(self.checkpoint_every >= 1, f"--checkpoint-every {self.checkpoint_every}: 1 or more")
        _check(self.max_minutes >= 0, f"--max-minutes {self.max_minutes}: 0 or more")
        _check(self.max_bad >= 1, f"--max-bad {self.max_bad}: at least 1")


@dataclass(frozen=True)
class Config:
    """A whole run."""

    data: DataArgs = field(default_factory=DataArgs)
    model: ModelArgs = field(default_factory=ModelArgs)
    optim: OptimArgs = field(default_factory=OptimArgs)
    run: RunArgs = field(default_factory=RunArgs)

    def __post_init__(self) -> None:
        unknown = [task for task in self.optim.task_weights if task not in self.model.tasks]
        _check(not unknown, f"--task-weights names {unknown}, which --tasks does not")
        mixed = self.data.mosaic or self.data.mixup
        _check(
            not (mixed and self.model.freeze),
            "--mosaic and --mixup do not go with --freeze trunk: its features are of whole frames",
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, group by group."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Config":
        """The inverse; unknown groups or fields raise UserError."""
        try:
            return Config(
                data=DataArgs(**_tuples(data["data"])),
                model=ModelArgs(**_tuples(data["model"])),
                optim=OptimArgs(**data["optim"]),
                run=RunArgs(**data["run"]),
            )
        except (TypeError, KeyError) as error:
            raise UserError(f"training settings of another version ({error})") from None


def _tuples(group: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in group.items()}


def parse_command_line(words: Sequence[str] | None = None, default: Config | None = None) -> Config:
    """The configuration of a command line (sys.argv without `words`); what it does not say is as in
    `default` (a recipe's stage: see `recipes.read_command_line`)."""
    return tyro.cli(
        Config,
        args=words,
        default=default or Config(),
        prog="train-bdd",
        config=(tyro.conf.OmitArgPrefixes,),
    )
