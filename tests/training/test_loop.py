"""train_epoch and evaluate on a network of three layers and two made-up tasks."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from perception.errors import UserError
from perception.metrics.base import Metric
from perception.runtime.view import View
from perception.tasks.base import LossPart, Raw, Target, Task
from training.balance import BALANCERS
from training.data.sample import Batch
from training.distributed import World
from training.evaluation.scores import headline
from training.learner import Learner
from training.loop import StepReport, train_epoch, train_step
from training.optimiser import make_optimizer
from training.resume import collect, restore

ALONE = World(0, 1, torch.device("cpu"))


class Seen(Metric):
    """Counts frames and keeps what it was given."""

    def __init__(self) -> None:
        self.frames: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []

    def update(self, decoded: np.ndarray, target: Mapping[str, np.ndarray]) -> None:
        self.frames.append((decoded, dict(target)))

    def compute(self, rows: np.ndarray | None = None) -> dict[str, float]:
        errors = [abs(float(out) - float(target["level"])) for out, target in self.frames]
        return {"error": float(np.mean(errors)) if errors else float("nan"), "n": len(errors)}


class Level(Task):
    """Guesses one number a frame."""

    view = View(kind="map")
    score = "error"
    higher_is_better = False
    loss_parts = ("squared",)
    counters = ("labels",)

    def __init__(self, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__(channels, strides)
        self.guess = nn.Linear(channels, 1)
        self.register_buffer("labels", torch.tensor([10.0]))

    def forward(self, features: Sequence[Tensor]) -> Raw:
        self.seen = features[0].detach()
        return {"level": self.guess(features[0].mean((2, 3)))[:, 0]}

    def loss(self, raw: Raw, target: Target) -> dict[str, LossPart]:
        squared = (raw["level"] - target["level"]).square()
        if self.training:
            self.labels += len(squared)
        return {"squared": LossPart(squared.sum(), torch.tensor(len(squared)))}

    def decode(self, raw: Raw) -> Tensor:
        return raw["level"]

    @classmethod
    def metric(cls, view: View) -> Seen:
        return Seen()


class Tiny(nn.Module):
    """What the loop asks of HydraNet."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.tasks = nn.ModuleDict({name: Level(4, (2,)) for name in ("one", "two")})

    def features(self, frames: Tensor) -> list[Tensor]:
        return [self.trunk(frames.permute(0, 3, 1, 2).float() / 255)]

    def forward(self, frames: Tensor) -> dict[str, Raw]:
        features = self.features(frames)
        return {name: task(features) for name, task in self.tasks.items()}


def learner(method: str = "equal", **options: float) -> Learner:
    torch.manual_seed(0)
    model = Tiny()
    balancer = BALANCERS[method](list(model.tasks))
    optimizer = make_optimizer(model, balancer, 0.02, 0.0, 1.0)
    return Learner(model, balancer, optimizer, ALONE, ModelEmaV3(model, 0.5), **options)


def half() -> float:
    """Middle of a run: past the warm-up of the learning rate."""
    return 0.5


def batch(one: Sequence[int] = (0, 1, 2, 3), two: Sequence[int] = (1, 3)) -> Batch:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8, generator=generator)
    level = frames.float().mean((1, 2, 3)) / 64
    rows = {"one": torch.tensor(one), "two": torch.tensor(two)}
    rows = {name: value for name, value in rows.items() if len(value)}
    targets = {name: {"level": level[value]} for name, value in rows.items()}
    return Batch(frames, targets, rows, ["f0", "f1", "f2", "f3"])


def with_nan(good: Batch) -> Batch:
    good.targets["one"]["level"][0] = float("nan")
    return good


@pytest.mark.parametrize("method", ["equal", "uncertainty", "famo", "pcgrad"])
def test_losses_fall(method: str) -> None:
    reports: list[StepReport] = []
    student = learner(method)

    def after(report: StepReport) -> bool:
        reports.append(report)
        return True

    assert train_epoch(student, [batch() for _ in range(60)], after, half)
    assert [report.step for report in reports] == list(range(60))
    for task in ("one", "two"):
        assert reports[-1].parts[task]["squared"] < 0.3 * reports[0].parts[task]["squared"]
    # Methods that compute the losses again do not count their batch a second time.
    assert student.model.trunk[1].num_batches_tracked == 60
    first = reports[0]
    assert first.loss == pytest.approx(sum(sum(part.values()) for part in first.parts.values()))


def test_a_head_sees_the_rows_it_has_labels_for() -> None:
    student = learner()
    train_step(student, batch(one=(0, 1, 2, 3), two=(1, 3)), half())
    every, some = (student.model.tasks[name].seen for name in ("one", "two"))
    assert len(every) == 4
    assert torch.equal(some, every[[1, 3]])
    assert not torch.equal(some, every[[0, 2]])


def test_the_average_follows_the_weights_as_the_formula_says() -> None:
    """Decay of step s = 1, 2, ...: 1 - s ** (-2/3), at most 0.9 here."""
    student = learner()
    student.ema = ModelEmaV3(student.model, 0.9, use_warmup=True)
    weight = student.model.trunk[0].weight
    average = weight.detach().clone()
    for step in range(1, 41):
        train_step(student, batch(), half())
        decay = min(1 - step ** (-2 / 3), 0.9)
        average = decay * average + (1 - decay) * weight.detach()
    found = student.ema.module.trunk[0].weight
    torch.testing.assert_close(found, average)
    assert (found - weight).abs().max() > 1e-3


class Twins(World):
    """Two ranks that see the same."""

    @property
    def reduce(self) -> Callable[[Tensor], object]:
        return lambda tensor: tensor.mul_(2)

    def total(self, numbers: Sequence[float], tensors: Sequence[Tensor] = ()) -> list[float]:
        return [2 * number for number in ALONE.total(numbers, tensors)]


def test_two_ranks_that_see_the_same_make_the_step_of_one() -> None:
    alone, twin = learner(), learner()
    twin.world = Twins(0, 2, torch.device("cpu"))
    one, two = (train_step(student, batch(), 0.25) for student in (alone, twin))
    assert (two.progress, two.rate, two.frames) == (0.25, one.rate, 2 * one.frames)
    assert two.loss == pytest.approx(one.loss)
    for key, value in alone.model.state_dict().items():
        # 10 at the start, and 4 and 2 labels of this rank, twice on two ranks.
        wanted = 2 * value - 10 if key.endswith("labels") else value
        torch.testing.assert_close(twin.model.state_dict()[key], wanted, rtol=1e-4, atol=1e-6)


def test_the_gradient_is_clipped() -> None:
    student = learner(clip=0.01)
    assert train_step(student, batch(), half()).norm > 0.1
    assert float(get_total_norm(p.grad for p in student.trained)) == pytest.approx(0.01, rel=1e-3)


def test_what_is_saved_restores_every_part() -> None:
    student, other = learner("uncertainty"), learner("uncertainty")
    for _ in range(3):
        train_step(student, batch(), half())
    saved = {key: value.clone() for key, value in collect(student).items()}
    assert {key.partition("/")[0] for key in saved} == {"model", "balancer", "ema", "optimizer"}
    restore(other, saved)
    found = collect(other)
    assert found.keys() == saved.keys()
    for key, value in saved.items():
        assert torch.equal(found[key], value), key
    train_step(student, batch(), half())
    train_step(other, batch(), half())
    assert torch.equal(student.model.trunk[0].weight, other.model.trunk[0].weight)


@pytest.mark.parametrize("method", ["equal", "uncertainty", "pcgrad"])
def test_a_task_without_labels_stays_as_it_is(method: str) -> None:
    student = learner(method)
    before = {name: p.detach().clone() for name, p in student.model.tasks["two"].named_parameters()}
    for _ in range(3):
        report = train_step(student, batch(two=()), half())
        assert set(report.parts) == {"one"}
    for name, parameter in student.model.tasks["two"].named_parameters():
        assert torch.equal(parameter, before[name])


def test_a_batch_without_any_label_changes_nothing() -> None:
    student = learner()
    before = [parameter.detach().clone() for parameter in student.model.parameters()]
    report = train_step(student, batch(one=(), two=()), half())
    assert (report.parts, report.loss) == ({}, 0)
    assert all(map(torch.equal, before, student.model.parameters()))


def test_a_nan_step_changes_nothing() -> None:
    student = learner()
    train_step(student, batch(), half())
    before = {key: value.clone() for key, value in student.model.state_dict().items()}
    averaged = {key: value.clone() for key, value in student.ema.module.state_dict().items()}
    report = train_step(student, with_nan(batch()), half())
    assert report.bad == "loss of one"
    assert report.names == ["f0"]  # whose label it was
    state = student.state
    assert (state.step, state.bad_in_row, state.bad_total) == (2, 1, 1)
    for key, value in student.model.state_dict().items():  # running statistics too
        assert torch.equal(value, before[key]), key
    for key, value in student.ema.module.state_dict().items():
        assert torch.equal(value, averaged[key]), key
    assert not train_step(student, batch(), half()).bad
    assert (state.bad_in_row, state.bad_total) == (0, 1)


def test_the_frame_of_a_nan_is_found_by_its_place_in_the_batch() -> None:
    bad = batch()
    bad.targets["two"]["level"][1] = float("nan")  # the task's second frame is the batch's last
    assert train_step(learner(), bad, half()).names == ["f3"]


def solvable(method: str) -> bool:
    """Whether the method's solver is installed, and it needs no weights of the user's."""
    try:
        return method != "fixed" and bool(BALANCERS[method](["one", "two"]))
    except UserError:
        return False


@pytest.mark.parametrize("method", [name for name in BALANCERS if solvable(name)])
def test_a_step_with_an_infinite_gradient_is_skipped(method: str) -> None:
    student = learner(method)
    with torch.no_grad():  # finite losses whose gradients overflow
        for task in student.model.tasks.values():
            task.guess.weight.fill_(1e18)
    state = {f"m.{k}": v.clone() for k, v in student.model.state_dict().items()}
    state |= {f"b.{k}": v.clone() for k, v in student.balancer.state_dict().items()}
    report = train_step(student, batch(), half())
    assert np.isfinite(report.loss)
    if not report.bad:  # these scale every task's gradient by its own size, and stay finite
        assert method in ("geometric", "config")
        return
    assert report.bad == "gradient"
    assert report.names == ["f0", "f1", "f2", "f3"]  # no frame alone is to blame
    now = {f"m.{k}": v for k, v in student.model.state_dict().items()}
    now |= {f"b.{k}": v for k, v in student.balancer.state_dict().items()}
    for key, value in now.items():  # what the balancer remembers too
        torch.testing.assert_close(value, state[key], rtol=0, atol=0, equal_nan=True, msg=key)


def test_too_many_bad_steps_in_a_row_stop_the_run() -> None:
    student = learner(max_bad=3)
    seen: list[str] = []
    with pytest.raises(UserError, match=r"3 steps in a row.*f0"):
        train_epoch(
            student, (with_nan(batch()) for _ in range(9)), lambda r: not seen.append(r.bad), half
        )
    assert seen == ["loss of one"] * 3


def test_after_may_end_the_epoch() -> None:
    assert not train_epoch(learner(), [batch(), batch()], lambda report: False, half)


def test_the_mean_headline_score() -> None:
    heads = dict(learner().model.tasks.items())
    assert headline(heads.items(), {"one": {"error": 0.5}, "two": {"error": 2.5}}) == -1.5
    assert headline(heads.items(), {"one": {"error": math.nan}, "two": {"error": 1.0}}) == -1.0
    assert math.isnan(headline(heads.items(), {}))
