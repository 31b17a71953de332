"""The settings of a training run: dataclasses that are the command line of train-bdd.

They are validated when built. As JSON they are stored in OUT/config.json and in every checkpoint.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Final

import tyro

from perception.errors import UserError, check_known
from perception.fields import Names, Size, Tasks, text_spec

STRIDE: Final = 32


def parse_weights(text: str, flag: str) -> dict[str, float]:
    """det=1,lane=2 -> {"det": 1.0, "lane": 2.0}; a name may contain `=`."""
    try:
        pairs = [item.rsplit("=", 1) for item in text.split(",") if item.strip()]
        return {name.strip(): float(value) for name, value in pairs}
    except ValueError:
        raise UserError(f"{flag} {text!r}: write NAME=WEIGHT,NAME=WEIGHT") from None


def _weights_spec(flag: str) -> Any:
    def show(weights: dict[str, float]) -> str:
        return ",".join(f"{name}={weight}" for name, weight in weights.items())

    return text_spec(partial(parse_weights, flag=flag), show, "NAME=W,NAME=W")


TaskWeights = Annotated[dict[str, float], _weights_spec("--task-weights")]
TraitWeights = Annotated[dict[str, float], _weights_spec("--trait-weights")]


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


@dataclass(frozen=True)
class DataArgs:
    """Which frames to train on, and how they are augmented."""

    data: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Dataset folder; repeat for further datasets. Without any: rendered roads."""
    labels: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Folder or file with the labels of a --data that holds images only; one per --data."""
    classes: str = ""
    """YAML or JSON file with the class list of each task (docs/data.md), or a YOLO data.yaml.
    Default: the classes of --data; BDD100K's where it uses no others."""
    size: Size = (384, 640)
    """Model input; frames are letterboxed to it."""
    batch: int = 16
    """Frames per step, over all ranks together."""
    workers: int = -1
    """Data loader processes per rank; -1: one per core, at most 8."""
    limit: int = 0
    """Train on the first N frames only (of --data, before --rendered); 0: all."""
    val_limit: int = 0
    """Validate on the first N frames only; 0: all."""
    share: float = 1.0
    """Train on this share of the frames of each --data, drawn by --seed. With one seed, a smaller
    share is a subset of a larger one."""
    augment: str = "default"
    """Augmentation: default, none, flip, geometry, colour or strong."""
    zoom: tuple[float, float] = (0.75, 1.6)
    """Scale jitter relative to the whole frame; above 1 the image is a crop."""
    cache: str = ""
    """Folder for frames kept decoded and resized; later epochs then decode nothing."""
    skip_bad: float = 0.0
    """Share of the frames that may be unreadable, e.g. 0.01; they are named and skipped."""
    data_weights: tuple[float, ...] = ()
    """Sampling weight of each --data, relative to its size. Default: every frame once per epoch."""
    trait_weights: TraitWeights = field(default_factory=dict)
    """Sampling weight of frames with a trait, e.g. timeofday/night=2,source/bdd100k-640=0.5; 0
    leaves them out."""
    rendered: int = 0
    """Rendered roads to train on in addition to --data (validation uses --data only)."""
    rendered_weight: float = 1.0
    """Sampling weight of the rendered roads, relative to their number."""
    repeat_rare: bool = False
    """Draw frames with rare classes or rarely labelled tasks more often (LVIS repeat factors)."""

    def __post_init__(self) -> None:
        height, width = self.size
        _check(
            height > 0 and width > 0 and height % STRIDE == 0 and width % STRIDE == 0,
            f"--size {height}x{width}: both sides must be multiples of {STRIDE}",
        )
        _check(max(height, width) <= 4096, f"--size {height}x{width}: at most 4096 per side")
        _check(self.batch >= 1, f"--batch {self.batch}: at least 1")
        _check(self.workers >= -1, f"--workers {self.workers}: 0 or more, or -1 for automatic")
        _check(
            len(self.labels) in (0, len(self.data)),
            f"--labels: {len(self.labels)} for {len(self.data)} --data; give one for each",
        )
        _check(0 <= self.skip_bad < 1, f"--skip-bad {self.skip_bad}: a share, 0 or more, below 1")
        low, high = self.zoom
        _check(0.1 <= low <= high <= 10, f"--zoom {low} {high}: two scales in 0.1..10, low first")
        _check(self.limit >= 0 and self.val_limit >= 0, "--limit: 0 (all) or more")
        _check(self.rendered >= 0, f"--rendered {self.rendered}: 0 or more")
        _check(0 < self.share <= 1, f"--share {self.share}: above 0, at most 1")
        for name, value in (*self.trait_weights.items(), ("rendered", self.rendered_weight)):
            _check(0 <= value < float("inf"), f"weight {value} of {name}: a number from 0 up")


@dataclass(frozen=True)
class ModelArgs:
    """Which network, and which weights it starts from."""

    tasks: Tasks = ("det", "lane", "drivable", "scene")
    """Tasks to train, in the order of the model's outputs."""
    model: str = "pvt-hydranet-b0"
    """Network; with --init of a model and without this flag, that model's."""
    sharing: str = ""
    """How tasks share the network: cross-stitch, mtan, attentive, task-experts, gated-adapters,
    pad-net, mti-net, regroup, or sparse (with --init of its masks, from study-mtl); default: one
    trunk for all."""
    init: str = ""
    """Weights to start from: `default` or `pvt` (the pretrained models), a checkpoint of train-bdd,
    hf://OWNER/NAME[@REVISION], or a trunk in timm's format (safetensors)."""
    init_part: str = "all"
    """What to copy from --init: `all` that fits, `shared` (trunk and neck) or `trunk`."""
    pretrained: bool = False
    """Start the trunk from ImageNet weights: those of the extra `imagenet` where it has them
    (hydranet-lite0), else downloaded through timm."""
    freeze: str = ""
    """`trunk`: train the heads only; trunk and neck stay as --init has them."""
    drop_path: float = 0.0
    """Stochastic depth of the trunk."""

    def __post_init__(self) -> None:
        _check(bool(self.tasks), "--tasks: name at least one task")
        _check(len(set(self.tasks)) == len(self.tasks), "--tasks: a task is named twice")
        check_known("--init-part", [self.init_part], ("all", "shared", "trunk"))
        _check(self.freeze in ("", "trunk"), f"--freeze {self.freeze!r}: only `trunk` is known")
        _check(not self.freeze or bool(self.init), "--freeze trunk needs --init CHECKPOINT")
        _check(
            not (self.freeze and self.init_part == "trunk"),
            "--freeze trunk freezes the neck too; --init-part trunk would leave that one untrained",
        )
        _check(0 <= self.drop_path < 1, f"--drop-path {self.drop_path}: 0 or more, less than 1")
        # The name of the network in a checkpoint includes its way of sharing.
        if self.sharing and not self.model.endswith(f"+{self.sharing}"):
            object.__setattr__(self, "model", f"{self.model}+{self.sharing}")


@dataclass(frozen=True)
class OptimArgs:
    """Optimiser, schedule and task balancing."""

    epochs: int = 30
    """Passes over the training frames; may be raised on a finished run with --resume."""
    optimizer: str = "adamw"
    """adamw, or muon: Muon for matrices and kernels, AdamW for the rest."""
    lr: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.05
    """Weight decay (matrices and kernels only)."""
    warmup: float = 0.03
    """Share of the run in which the learning rate rises."""
    layer_decay: float = 1.0
    """Learning rate of each trunk stage relative to the next (fine-tuning: about 0.7)."""
    clip: float = 10.0
    """Largest norm of the gradient."""
    ema: float = 0.9998
    """Decay of the averaged weights that are validated and saved; 0: no averaging."""
    balance: str = "equal"
    """How the tasks' losses or gradients are combined. With `@features` after a gradient method,
    gradients are compared at the neck's outputs: one backward pass instead of one per task."""
    task_weights: TaskWeights = field(default_factory=dict)
    """Fixed weights of the losses, for --balance equal or fixed."""
    compile: bool = False
    """Compile trunk, neck, heads and dense losses with torch.compile: about 1.6 times as fast on a
    GPU after two minutes of compiling; needs a C++ compiler on a CPU."""
    precision: str = "auto"
    """bf16, fp32, or auto: bf16 where the device supports it."""

    def __post_init__(self) -> None:
        _check(self.epochs >= 1, f"--epochs {self.epochs}: at least 1")
        check_known("--optimizer", [self.optimizer], ("adamw", "muon"))
        _check(self.lr > 0, f"--lr {self.lr}: above 0")
        _check(self.weight_decay >= 0, f"--weight-decay {self.weight_decay}: 0 or more")
        _check(0 <= self.warmup < 1, f"--warmup {self.warmup}: a share of the run, below 1")
        _check(0 < self.layer_decay <= 1, f"--layer-decay {self.layer_decay}: above 0, at most 1")
        _check(self.clip > 0, f"--clip {self.clip}: above 0")
        _check(0 <= self.ema < 1, f"--ema {self.ema}: 0 or more, below 1")
        check_known("--precision", [self.precision], ("auto", "bf16", "fp32"))
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
    """Output folder, resuming, logging and device."""

    recipe: str = ""
    """Named settings for all flags that are not given: bdd-small, bdd100k-full or
    bdd100k-full-8gpu."""
    config: str = ""
    """YAML or JSON file with settings, e.g. the config.json of a run; flags override it."""
    out: str = "runs/default"
    """Folder of the run."""
    resume: bool = False
    """Continue the run in --out from its last state; other flags need not be repeated."""
    seed: int = 0
    """Seed of all random numbers."""
    checkpoint_every: int = 500
    """Steps between resume states (each epoch ends with one too)."""
    half: bool = False
    """Write best.safetensors and last.safetensors in half precision."""
    trackers: Names = ("tensorboard",)
    """Experiment trackers in addition to log.jsonl: tensorboard, wandb, mlflow, or none."""
    max_minutes: float = 0.0
    """End the run, schedule included, after this long; 0: no limit."""
    max_bad: int = 20
    """Stop after this many steps in a row with NaN or infinity."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def __post_init__(self) -> None:
        _check(self.seed >= 0, f"--seed {self.seed}: 0 or more")
        _check(self.checkpoint_every >= 1, f"--checkpoint-every {self.checkpoint_every}: 1 or more")
        _check(self.max_minutes >= 0, f"--max-minutes {self.max_minutes}: 0 or more")
        _check(self.max_bad >= 1, f"--max-bad {self.max_bad}: at least 1")


@dataclass(frozen=True)
class Config:
    """All settings of one run."""

    data: Annotated[DataArgs, tyro.conf.arg(name="Data")] = field(default_factory=DataArgs)
    model: Annotated[ModelArgs, tyro.conf.arg(name="Model")] = field(default_factory=ModelArgs)
    optim: Annotated[OptimArgs, tyro.conf.arg(name="Optimisation")] = field(
        default_factory=OptimArgs
    )
    run: Annotated[RunArgs, tyro.conf.arg(name="Run")] = field(default_factory=RunArgs)

    def __post_init__(self) -> None:
        unknown = [task for task in self.optim.task_weights if task not in self.model.tasks]
        _check(not unknown, f"--task-weights names {unknown}, which --tasks does not")

    def to_json(self) -> dict[str, Any]:
        """Plain values, group by group."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def to_file(self) -> str:
        """The text of config.json. --resume is how a command continues, not a setting."""
        settings = self.to_json()
        del settings["run"]["resume"]
        return json.dumps(settings, indent=1) + "\n"
