"""What a run trains (network, balancer, optimiser, averaged network), and how far it is."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import nn

from perception.errors import UserError
from perception.hub import CHECKPOINT, local_file
from perception.model import HydraNet, build
from perception.runtime.providers import cpu_has_bf16
from perception.runtime.view import MAP, MASK, NORMALS, View
from perception.sharing import REGROUP
from perception.trunk import Trunk
from training.balance import AT_FEATURES, Balancer, check_method, make_balancer
from training.config import Config
from training.cpu import for_cpu
from training.distributed import World, synchronise_batch_norm
from training.init import file_views, initialise
from training.optimiser import make_optimizer


@dataclass
class TrainState:
    """Where a run stands; a resumed run starts at batch `batch` of `epoch`."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0  # of training, interruptions not counted
    best: float | None = None  # the headline score of best.safetensors
    bad_in_row: int = 0  # steps with a loss or gradient that was not finite
    bad_total: int = 0
    log_offset: int = 0  # length of log.jsonl
    # Look-ahead affinities since the last split (training/regrouping.py).
    ahead: list[dict[str, dict[str, float]]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)  # contents of the datasets


@dataclass
class Learner:
    """Network, balancer, optimiser and averaged network of a run, and its state."""

    model: HydraNet
    balancer: Balancer
    optimizer: torch.optim.Optimizer
    world: World
    ema: ModelEmaV3 | None = None
    bf16: bool = False
    clip: float = 10.0
    warmup: float = 0.03
    max_bad: int = 20
    only: tuple[str, ...] = ()  # tasks that are trained; none: all
    state: TrainState = field(default_factory=TrainState)

    def __post_init__(self) -> None:
        every = self.model.tasks
        self.tasks = {name: every[name] for name in self.only or every}
        heads = {name: list(task.parameters()) for name, task in every.items()}
        own = {id(parameter) for parameters in heads.values() for parameter in parameters}
        self.heads = {name: [p for p in ps if p.requires_grad] for name, ps in heads.items()}
        self.shared = [p for p in self.model.parameters() if p.requires_grad and id(p) not in own]

    @property
    def eval_model(self) -> HydraNet:
        """The model that is validated and saved."""
        return self.ema.module if self.ema else self.model

    @property
    def trained(self) -> list[nn.Parameter]:
        """Every parameter the optimiser updates."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def train_mode(self) -> None:
        """Training mode, except for what is frozen: its running statistics stay as they are."""
        self.model.train(bool(self.shared))
        for task in self.tasks.values():
            task.train()

    def autocast(self) -> AbstractContextManager[None]:
        """bf16 for matrix products where it is enabled."""
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.bf16)

    def average_statistics(self) -> None:
        """Running statistics as averages over the ranks; all ranks call it, before saving."""
        self.world.average_statistics(self.model, *([self.ema.module] if self.ema else []))


def make_learner(
    config: Config,
    world: World,
    say: Callable[[str], None] = lambda line: None,
    views: Mapping[str, View] | None = None,
) -> Learner:
    """Network, balancer, optimiser and averaged network, untrained, on the world's device.

    `say` receives a line on what --init copied. `views` describe tasks with classes of their own.
    """
    torch.manual_seed(config.run.seed)
    args, optim = config.model, config.optim
    check_method(optim.balance)
    if optim.balance.endswith(AT_FEATURES) and world.size > 1:
        raise UserError(f"--balance {optim.balance}: with one rank only; leave {AT_FEATURES} out")
    if args.sharing == REGROUP and world.size > 1:
        raise UserError(f"--sharing {REGROUP}: with one rank only")
    names = list(args.tasks)
    if args.freeze:  # the file's other heads stay in the model, unchanged
        given = file_views(local_file(args.init, CHECKPOINT))
        names = [*given, *(name for name in names if name not in given)]
        views = {n: view for n, view in given.items() if n not in args.tasks} | dict(views or {})
    model: HydraNet = build(args.model, names, args.pretrained, args.drop_path, views)
    if args.pretrained:
        say(next(m.source for m in model.modules() if isinstance(m, Trunk)))
    if args.init:
        say(initialise(model, local_file(args.init, CHECKPOINT), args.init_part))
    if args.freeze:
        model.requires_grad_(False)
        for name in args.tasks:
            model.tasks[name].requires_grad_(True)
    model.to(world.device)
    if world.device.type == "cpu":
        for_cpu(model)
    synchronise_batch_norm(world, model.trunk, model.neck)
    model.to(memory_format=torch.channels_last)  # 10 % faster in bf16 on a CPU
    options = {"weights": optim.task_weights} if optim.task_weights else {}
    method = "fixed" if optim.task_weights else optim.balance
    balancer = make_balancer(method, args.tasks, config.run.seed, **options)
    muon = optim.optimizer == "muon"
    optimizer = make_optimizer(
        model, balancer, optim.lr, optim.weight_decay, optim.layer_decay, muon
    )
    ema = ModelEmaV3(model, decay=optim.ema, use_warmup=True) if optim.ema else None
    if optim.compile:
        compile_parts(model)
    return Learner(
        model,
        balancer,
        optimizer,
        world,
        ema,
        bf16=use_bf16(optim.precision, world.device),
        clip=optim.clip,
        warmup=optim.warmup,
        max_bad=config.run.max_bad,
        only=args.tasks,
    )


def compile_parts(model: HydraNet, backend: str = "inductor") -> None:
    """Compiles trunk, neck, heads and the losses of dense outputs, in place.

    Decoding and the losses of boxes, whose shapes change with every batch, stay as they are.
    """
    for module in (model.trunk, model.neck, *model.tasks.values()):
        module.compile(backend=backend)
    for task in model.tasks.values():
        if task.view.kind in (MASK, MAP, NORMALS):
            task.loss = torch.compile(task.loss, backend=backend)  # type: ignore[method-assign]


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bf16; "auto": where the device has instructions for it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_has_bf16()  # oneDNN's "supported" includes emulation, 2.4 times as slow as fp32
