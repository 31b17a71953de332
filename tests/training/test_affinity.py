"""Affinity on a constructed case: two tasks with equal targets and one with the opposite."""

import copy
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from timm.utils import ModelEmaV3

from perception.errors import UserError
from perception.model import build
from perception.sharing import own_maps
from perception.tasks.depth import Depth
from training.affinity import best_groups, mean_matrix, partitions, probe
from training.balance import BALANCERS
from training.data.sample import Batch
from training.distributed import World
from training.learner import Learner
from training.loop import train_step
from training.optimiser import make_optimizer
from training.regrouping import WINDOW, Regrouping, split


def planted_learner(network: str = "pvt-hydranet-b0"):
    """(learner, batch): three equal heads that predict 10 m; the targets of `near` and `close` are
    1 m, those of `far` 100 m, so that its gradient of the logarithmic error is exactly opposite."""
    torch.manual_seed(0)
    names = ("near", "close", "far")
    model = build(network, ["depth", "normals", "drivable"][: 3 if "+" in network else 1])
    head = build("pvt-hydranet-b0", ["depth"]).tasks["depth"]
    assert isinstance(head, Depth)
    model.tasks = torch.nn.ModuleDict({name: copy.deepcopy(head) for name in names})
    if "+" in network:
        for index, task in enumerate(model.tasks.values()):
            task.register_forward_pre_hook(partial(own_maps, index, len(names)))
    balancer = BALANCERS["equal"](list(model.tasks), 0)
    optimizer = make_optimizer(model, balancer, 1e-3, 0.05, 1.0)
    world = World(0, 1, torch.device("cpu"))
    learner = Learner(model, balancer, optimizer, world)
    frames = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    metres = {"near": 1.0, "close": 1.0, "far": 100.0}
    targets = {name: {"map": torch.full((2, 64, 96), value)} for name, value in metres.items()}
    rows = {name: torch.arange(2) for name in metres}
    return learner, Batch(frames, targets, rows, ["a", "b"])


@pytest.fixture(scope="module")
def planted():
    return planted_learner()


@pytest.fixture(scope="module")
def found(planted):
    return probe(*planted)


def test_cosines_are_negative_for_opposite_targets(found):
    matrix = found["cosine"]["all"]
    assert matrix["near"]["close"] == pytest.approx(1, abs=1e-4)
    assert matrix["near"]["far"] < -0.9


def test_look_ahead_is_positive_for_equal_and_negative_for_opposite_targets(found):
    ahead = found["ahead"]
    assert ahead["near"]["close"] > 0 > ahead["near"]["far"]
    assert ahead["near"]["close"] == pytest.approx(ahead["close"]["near"], rel=1e-3)
    assert ahead["far"]["near"] < 0 < ahead["far"]["far"]


def test_a_step_has_a_thousandth_of_the_length_of_the_weights(planted, monkeypatch):
    learner, batch = planted
    sizes = []

    @contextmanager
    def moved(parameters, direction, size):
        sizes.append(size)
        yield

    monkeypatch.setattr("training.affinity.moved", moved)
    ahead = probe(learner, batch)["ahead"]
    length = float(torch.cat([p.detach().flatten() for p in learner.shared]).norm())
    assert sizes == [pytest.approx(-1e-3 * length, rel=1e-3)] * 3
    assert ahead["near"]["far"] == 0  # nothing moved


def test_the_grouping_search_separates_opposite_tasks(found):
    assert best_groups(found["tasks"], found["ahead"]) == (("near", "close"), ("far",))
    assert best_groups(found["tasks"], found["ahead"], most=1) == (("near", "close", "far"),)


def test_a_probe_changes_no_state(planted):
    learner, batch = planted
    before = copy.deepcopy(learner.model.state_dict())
    state = torch.get_rng_state()
    probe(learner, batch)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in learner.model.state_dict().items())
    assert all(parameter.grad is None for parameter in learner.model.parameters())


def test_the_affinity_onto_a_task_is_the_mean_over_the_others():
    # Onto c: 0.4 from a and -0.6 from b; their mean is below 0, that of a task alone.
    ahead = {"a": {"b": 0.2, "c": 0.4}, "b": {"a": 0.2, "c": -0.6}, "c": {"a": 0.0, "b": 0.0}}
    assert best_groups(("a", "b", "c"), ahead) == (("a", "b"), ("c",))
    ahead["b"]["c"] = 0.6  # their mean is now 0.5, the mean over the three 0.23
    assert best_groups(("a", "b", "c"), ahead) == (("a", "b", "c"),)


@pytest.mark.parametrize(("count", "bell"), [(0, 1), (1, 1), (3, 5), (5, 52)])
def test_partitions_are_complete(count: int, bell: int):
    tasks = [str(n) for n in range(count)]
    found = {frozenset(frozenset(g) for g in groups) for groups in partitions(tasks, count or 1)}
    assert len(found) == bell


def test_mean_over_probes():
    assert mean_matrix([{"a": {"b": 1.0}}, {"a": {"b": 3.0}}]) == {"a": {"b": 2.0}}


def test_of_equal_affinities_the_fewest_networks_are_proposed():
    tasks = ("a", "b", "c")
    ahead = {one: dict.fromkeys(tasks, 0.0) for one in tasks}
    assert best_groups(tasks, ahead) == (tasks,)


def test_ten_tasks_are_grouped_and_eleven_are_too_many():
    tasks = tuple("abcdefghijk")
    ahead = {one: dict.fromkeys(tasks, 0.0) for one in tasks}
    assert best_groups(tasks[:10], ahead, most=1) == (tasks[:10],)
    with pytest.raises(UserError, match="11 tasks"):
        best_groups(tasks, ahead, most=1)


def test_tasks_that_disturb_each_other_get_a_trunk_of_their_own():
    learner, batch = planted_learner("pvt-hydranet-b0+regroup")
    learner.optimizer = make_optimizer(learner.model, learner.balancer, 1e-3, 0.05, 1.0, muon=True)
    learner.ema = ModelEmaV3(learner.model)
    regrouping = Regrouping(learner, steps=1000)
    assert [regrouping.every, Regrouping(learner, 375).every, Regrouping(learner, 9000).every] == [
        25, 15, 100
    ]  # fmt: skip
    regrouping.every = 1
    found = []
    for _ in range(WINDOW):
        train_step(learner, batch)
        assert regrouping.due()
        found.append(regrouping.step(batch))
    whole, parted = (("near", "close", "far"),), (("near", "close"), ("far",))
    assert [one["groups"] for one in found] == [whole] * (WINDOW - 1) + [parted]
    assert [one["split"] for one in found] == [False] * (WINDOW - 1) + [True]
    assert learner.state.ahead == []
    for model in (learner.model, learner.ema.module):
        assert model.trunk.groups() == [[0, 1], [2]]
    old, new = (learner.model.trunk.trunks[leader].body.patch_embed.proj for leader in (0, 2))
    assert torch.equal(old.weight, new.weight)
    first, second = (learner.optimizer.state[module.weight] for module in (old, new))
    assert first.keys() == second.keys()
    assert torch.equal(first["exp_avg"], second["exp_avg"])
    assert first["exp_avg"] is not second["exp_avg"]
    train_step(learner, batch)
    assert not torch.equal(old.weight, new.weight)
    regrouping.step(batch)
    assert len(learner.state.ahead) == 1


@pytest.mark.parametrize(
    ("gains", "parts"),
    [
        ([1.0, 1.0, 1.0, 1.0], 2),  # without variance
        ([1.0, 2.0, 3.0, 4.0], 2),  # mean 2.5, standard error 0.65, limit 2.35 * 0.65 = 1.52
        ([0.5, 1.5, 2.5, 3.5], 2),  # mean 2, same limit; 3.18 * 0.65 = 2.05 if two-sided
        ([-1.0, 1.0, 2.0, 4.0], 1),  # mean 1.5, standard error 1.04, limit 2.45
        ([-1.0, -2.0, -3.0, -4.0], 1),
        ([0.0, 0.0, 0.0, 0.0], 1),
    ],
)
def test_a_group_is_split_only_if_newer_probes_confirm_it(gains: list[float], parts: int):
    # Apart, both tasks have affinity 0; together the mean of the two.
    def ahead(gain: float) -> dict[str, dict[str, float]]:
        return {"a": {"b": -gain - 0.5}, "b": {"a": -gain + 0.5}}

    assert len(split(["a", "b"], [ahead(1.0)] * 4 + [ahead(gain) for gain in gains])) == parts
    # The older half chooses, whatever the mean over all says.
    assert split(["a", "b"], [ahead(-1.0)] * 4 + [ahead(3.0)] * 4) == (("a", "b"),)
    assert split(["a"], [ahead(1.0)] * 8) == (("a",),)
