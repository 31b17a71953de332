"""From a configuration to what is trained: model, balancer, optimiser, averaged model."""

import torch
from timm.utils import ModelEmaV3

from perception import checkpoint
from perception.errors import UserError
from perception.model import HydraNet
from perception.zoo import build
from training.balance import AT_FEATURES, check_method, make_balancer
from training.config import Config
from training.cpu import for_cpu
from training.distributed import World, synchronise_batch_norm
from training.init import init_file, initialise
from training.loop import Learner
from training.optimiser import make_optimizer


def make_learner(config: Config, world: World) -> Learner:
    """Model, balancer, optimiser and averaged model, fresh, on the world's device."""
    torch.manual_seed(config.run.seed)
    args, optim = config.model, config.optim
    check_method(optim.balance)
    if optim.balance.endswith(AT_FEATURES) and world.size > 1:
        raise UserError(f"--balance {optim.balance}: with one rank only; leave {AT_FEATURES} out")
    names = list(args.tasks)
    if args.freeze:  # the file's other heads stay in the model, untouched
        given = checkpoint.read(init_file(args.init))[1].tasks
        names = [*given, *(name for name in names if name not in given)]
    model: HydraNet = build(args.model, names, args.pretrained, args.drop_path)
    if args.init:
        initialise(model, init_file(args.init), args.init_part)
    if args.freeze:
        model.requires_grad_(False)
        for name in args.tasks:
            model.tasks[name].requires_grad_(True)
    model.to(world.device)
    if world.device.type == "cpu":
        for_cpu(model)
    synchronise_batch_norm(world, model.trunk, model.neck)
    model.to(memory_format=torch.channels_last)  # a tenth faster in bf16 on a CPU
    options = {"weights": optim.task_weights} if optim.task_weights else {}
    method = "fixed" if optim.task_weights else optim.balance
    balancer = make_balancer(method, args.tasks, config.run.seed, **options)
    optimizer = make_optimizer(model, balancer, optim.lr, optim.weight_decay, optim.layer_decay)
    ema = ModelEmaV3(model, decay=optim.ema, use_warmup=True) if optim.ema else None
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


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bf16: as told, or where the device has instructions for it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
