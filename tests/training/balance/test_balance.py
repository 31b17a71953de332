"""Every method on a case small enough for paper: two tasks, two shared parameters."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from perception.errors import UserError
from perception.model import build
from training.balance import BALANCERS, Balancer, Border, make_balancer

NEEDS_SOLVER = {"cagrad": "cvxpy", "nash-mtl": "cvxpy"}
STATEFUL = ("uncertainty", "dwa", "gradnorm", "famo", "imtl-l", "imtl", "stch", "gradvac")


def make(name: str, tasks: Sequence[str] = ("a", "b")) -> Balancer:
    if name in NEEDS_SOLVER:
        pytest.importorskip(NEEDS_SOLVER[name], reason=f"{name} needs the extra mtl-full")
    options = {"weights": {"a": 2.0, "b": 0.5}} if name == "fixed" else {}
    return BALANCERS[name](tasks, 0, **options)


class Toy:
    """Losses that are linear in the shared parameters: gradients and values as one chooses.

    Two feature maps of different shapes stand for the scales; each task has a head parameter h_k
    at zero that adds to its loss, so its plain gradient is one.
    """

    def __init__(self, size: int = 2, tasks: Sequence[str] = ("a", "b")) -> None:
        self.shared = nn.Parameter(torch.zeros(size))
        self.heads = {task: [nn.Parameter(torch.zeros(()))] for task in tasks}

    def step(
        self,
        balancer: Balancer,
        gradients: dict[str, Sequence[float]],
        values: dict[str, float],
    ) -> Tensor:
        """The gradient that the method puts on the shared parameters."""
        self.shared.grad = None
        for head in self.heads.values():
            head[0].grad = None
        outputs = [self.shared[:1].view(1, 1, 1, 1), self.shared[1:].view(1, 1, 1, -1)]
        border = Border(outputs, [self.shared], self.heads)
        seen = torch.cat([leaf.flatten() for leaf in border.leaves])
        losses = {
            task: torch.tensor(gradient, dtype=torch.float32) @ seen
            + self.heads[task][0]
            + values[task]
            for task, gradient in gradients.items()
        }
        self.weights = balancer.backward(losses, border)
        assert self.shared.grad is not None
        return self.shared.grad


def shared_gradient(
    name: str, a: Sequence[float], b: Sequence[float], values: tuple[float, float] = (2.0, 3.0)
) -> np.ndarray:
    toy = Toy(len(a))
    gradient = toy.step(make(name), {"a": a, "b": b}, dict(zip("ab", values, strict=True)))
    return gradient.numpy()


A, B = np.array([2.0, 0.0]), np.array([-1.0, 1.0])  # they conflict: A.B = -2
VALUES = {"a": 2.0, "b": 3.0}


def test_at_features_gradients_are_compared_before_the_trunk() -> None:
    trunk = torch.tensor([[1.0, 3.0], [0.0, 1.0]])  # features = trunk @ shared
    shared, heads = nn.Parameter(torch.zeros(2)), {"a": [], "b": []}
    features = (trunk @ shared).view(1, 2, 1, 1)
    border = Border([features], [shared], heads)
    seen = border.leaves[0].flatten()
    losses = {
        task: torch.tensor(row, dtype=torch.float32) @ seen for task, row in (("a", A), ("b", B))
    }
    make_balancer("pcgrad@features", ["a", "b"]).backward(losses, border)
    surgery = (A - (A @ B) / (B @ B) * B) + (B - (A @ B) / (A @ A) * A)
    np.testing.assert_allclose(shared.grad.numpy(), trunk.numpy().T @ surgery, rtol=1e-5)


def test_at_features_works_behind_a_trunk_in_bf16() -> None:
    shared, heads = nn.Parameter(torch.zeros(2)), {"a": [], "b": []}
    border = Border([shared.view(1, 2, 1, 1).bfloat16()], [shared], heads)
    seen = border.leaves[0].float().flatten()
    losses = {t: torch.tensor(row, dtype=torch.float32) @ seen for t, row in (("a", A), ("b", B))}
    make_balancer("upgrad@features", ["a", "b"]).backward(losses, border)
    expected = shared_gradient("upgrad", A, B)
    np.testing.assert_allclose(shared.grad.numpy(), expected, rtol=1e-2)


@pytest.mark.parametrize("name", ["pcgrad", "mgda", "upgrad", "imtl-g"])
def test_at_features_equals_exact_behind_a_trunk_that_changes_nothing(name: str) -> None:
    exact, cheap = make(name), make(name)
    cheap.at_features = True
    step = {"a": A, "b": B}, {"a": 2.0, "b": 3.0}
    np.testing.assert_allclose(Toy().step(cheap, *step), Toy().step(exact, *step), rtol=1e-5)


@pytest.mark.parametrize("name", ["equal@features", "famo@features", "nosuch", "pcgrad@trunk"])
def test_names_that_make_no_balancer(name: str) -> None:
    with pytest.raises(UserError, match=r"--balance|balancing method"):
        make_balancer(name, ["a", "b"])


def test_equal_is_the_sum() -> None:
    np.testing.assert_allclose(shared_gradient("equal", A, B), A + B)


def test_fixed_uses_the_given_weights() -> None:
    np.testing.assert_allclose(shared_gradient("fixed", A, B), 2 * A + 0.5 * B)


def test_fixed_leaves_tasks_that_are_not_named_at_one() -> None:
    toy = Toy()
    toy.step(BALANCERS["fixed"](("a", "b"), 0, weights={"a": 3.0}), {"a": A, "b": B}, VALUES)
    assert toy.weights == {"a": 3.0, "b": 1.0}


def test_uncertainty() -> None:
    balancer, toy = make("uncertainty"), Toy()
    with torch.no_grad():
        balancer.methods["a"].log_var.fill_(0.7)
    gradient = toy.step(balancer, {"a": A, "b": B}, {"a": 2.0, "b": 3.0})
    np.testing.assert_allclose(gradient, 0.5 * np.exp(-0.7) * A + 0.5 * B, rtol=1e-4)
    own = balancer.methods["a"].log_var.grad
    assert float(own) == pytest.approx(0.5 - 0.5 * np.exp(-0.7) * 2.0, rel=1e-4)


def test_imtl_losses() -> None:
    balancer, toy = make("imtl-l"), Toy()
    with torch.no_grad():
        balancer.methods["b"].log_scale.fill_(-0.3)
    gradient = toy.step(balancer, {"a": A, "b": B}, {"a": 2.0, "b": 3.0})
    np.testing.assert_allclose(gradient, A + np.exp(-0.3) * B, rtol=1e-4)
    own = balancer.methods["b"].log_scale.grad
    assert float(own) == pytest.approx(np.exp(-0.3) * 3.0 - 1.0)


def test_dwa_weighs_by_the_rate_of_the_last_two_epochs() -> None:
    balancer, toy = make("dwa"), Toy()
    for steps, values in ((1, {"a": 4.0, "b": 4.0}), (3, {"a": 2.0, "b": 3.0})):
        for _ in range(steps):  # the mean over them counts
            np.testing.assert_allclose(toy.step(balancer, {"a": A, "b": B}, values), A + B)
        balancer.end_epoch()
    rates = np.exp(np.array([2 / 4, 3 / 4]) / 2.0)
    weights = 2 * rates / rates.sum()
    gradient = toy.step(balancer, {"a": A, "b": B}, {"a": 9.0, "b": 9.0})
    np.testing.assert_allclose(gradient, weights[0] * A + weights[1] * B, rtol=1e-6)


def test_dwa_gives_weight_one_to_a_task_without_history() -> None:
    balancer = make("dwa", ("a", "b", "c"))
    toy = Toy(tasks=("a", "b", "c"))
    for values in ({"a": 4.0, "b": 4.0}, {"a": 2.0, "b": 3.0}):
        toy.step(balancer, {"a": A, "b": B}, values)
        balancer.end_epoch()
    toy.step(balancer, {"a": A, "b": B, "c": A}, {"a": 9.0, "b": 9.0, "c": 9.0})
    # 2 exp(0.25) / (exp(0.25) + exp(0.375)), as for two known tasks
    assert list(toy.weights.values()) == pytest.approx([0.9376, 1.0624, 1.0], abs=1e-4)


@pytest.mark.parametrize(
    ("last", "weights"),
    [
        (0.0, (0.8147, 1.1853)),  # rates 0 and 3/4: 2 / (1 + exp(0.375))
        (1e-12, (1.0624, 0.9376)),  # rates 1 and 3/4: 2 / (1 + exp(-0.125))
    ],
)
def test_dwa_of_a_task_whose_loss_was_zero(last: float, weights: tuple[float, float]) -> None:
    balancer, toy = make("dwa"), Toy()
    for values in ({"a": 0.0, "b": 4.0}, {"a": last, "b": 3.0}):
        toy.step(balancer, {"a": A, "b": B}, values)
        balancer.end_epoch()
    toy.step(balancer, {"a": A, "b": B}, {"a": 9.0, "b": 9.0})
    assert tuple(toy.weights.values()) == pytest.approx(weights, abs=1e-4)


def test_rlw_draws_a_new_convex_combination_each_step() -> None:
    balancer, toy = make("rlw"), Toy()
    drawn = []
    for _ in range(2):
        gradient = toy.step(balancer, {"a": A, "b": B}, {"a": 2.0, "b": 3.0})
        assert sum(toy.weights.values()) == pytest.approx(1.0)
        expected = toy.weights["a"] * A + toy.weights["b"] * B
        np.testing.assert_allclose(gradient, expected, rtol=1e-5)
        drawn.append(toy.weights["a"])
    assert drawn[0] != drawn[1]
    toy.step(BALANCERS["rlw"](("a", "b"), 1), {"a": A, "b": B}, VALUES)
    assert toy.weights["a"] != drawn[0]  # another seed, the same step


def test_a_loss_of_zero_leaves_the_geometric_mean_a_small_gradient() -> None:
    gradient = Toy().step(make("geometric"), {"a": A, "b": B}, {"a": 0.0, "b": 4.0})
    np.testing.assert_allclose(gradient, 0.5 * np.sqrt(1e-6 / 4.0) * B, rtol=1e-4)


def test_geometric_mean() -> None:
    expected = np.sqrt(2.0 * 3.0) / 2 * (A / 2.0 + B / 3.0)
    np.testing.assert_allclose(shared_gradient("geometric", A, B), expected, rtol=1e-5)


def test_famo_combines_logarithms_and_follows_the_change() -> None:
    balancer, toy = make("famo"), Toy()
    gradient = toy.step(balancer, {"a": A, "b": B}, {"a": 2.0, "b": 3.0})
    norm = 1 / (0.5 / 2.0 + 0.5 / 3.0)
    expected = norm * (0.5 * A / 2.0 + 0.5 * B / 3.0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
    # "a" fell much, "b" not at all: "b" must weigh more in the next step.
    balancer.after_step(lambda: {"a": 1.0, "b": 3.0})
    assert balancer.logits[1] > balancer.logits[0]


def test_famo_without_a_change_of_losses_decays_to_equal_shares() -> None:
    balancer, toy = make("famo"), Toy()
    balancer.logits[:] = torch.tensor([1.0, -0.5])
    toy.step(balancer, {"a": A, "b": B}, VALUES)
    balancer.after_step(lambda: VALUES)
    # The first step of Adam has the size of its rate, 0.025, whatever the gradient's.
    assert balancer.logits.tolist() == pytest.approx([0.975, -0.475], abs=1e-4)
    balancer.after_step(lambda: VALUES)  # and the second, as the gradient is nearly the same
    assert balancer.logits.tolist() == pytest.approx([0.95, -0.45], abs=1e-3)


def test_famo_s_decay_is_small_next_to_a_change_of_two_percent() -> None:
    """The gradient of "a" is z_a z_b (-0.02) + 0.001 * 1 = -0.0030 + 0.001: it weighs more."""
    balancer, toy = make("famo"), Toy()
    balancer.logits[:] = torch.tensor([1.0, -0.5])
    toy.step(balancer, {"a": A, "b": B}, VALUES)
    balancer.after_step(lambda: {"a": 2.0 * np.exp(0.02), "b": 3.0})
    assert balancer.logits.tolist() == pytest.approx([1.025, -0.525], abs=1e-4)


def test_stch_weighs_by_relative_loss_after_the_first_epoch() -> None:
    balancer, toy = make("stch"), Toy()
    for values in ({"a": 5.0, "b": 6.0}, {"a": 3.0, "b": 6.0}):  # means 4 and 6
        first = toy.step(balancer, {"a": A, "b": B}, values)
        np.testing.assert_allclose(first, A + B)
    balancer.end_epoch()
    gradient = toy.step(balancer, {"a": A, "b": B}, {"a": 1.0, "b": 3.0})
    # mu = 1: K log sum exp(log(L/n)) has the gradient K / (sum_i L_i/n_i) * 1/n_k.
    expected = 2 / (1 / 4 + 3 / 6) * (A / 4 + B / 6)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_stch_takes_the_mean_over_the_steps_of_each_task() -> None:
    balancer, toy = make("stch"), Toy()
    toy.step(balancer, {"a": A, "b": B}, {"a": 5.0, "b": 6.0})
    toy.step(balancer, {"a": A}, {"a": 3.0})
    balancer.end_epoch()
    gradient = toy.step(balancer, {"a": A, "b": B}, {"a": 1.0, "b": 3.0})
    np.testing.assert_allclose(gradient, 2 / (1 / 4 + 3 / 6) * (A / 4 + B / 6), rtol=1e-5)


def test_stch_of_a_task_first_seen_later_is_relative_to_its_first_loss() -> None:
    balancer, toy = make("stch"), Toy()
    toy.step(balancer, {"a": A}, {"a": 4.0})
    balancer.end_epoch()
    gradient = toy.step(balancer, {"a": A, "b": B}, {"a": 1.0, "b": 6.0})
    np.testing.assert_allclose(gradient, 2 / (1 / 4 + 6 / 6) * (A / 4 + B / 6), rtol=1e-5)


def test_gradnorm_moves_towards_equal_rates() -> None:
    balancer, toy = make("gradnorm"), Toy()
    first = toy.step(balancer, {"a": A, "b": B}, {"a": 2.0, "b": 3.0})
    np.testing.assert_allclose(first, A + B, rtol=1e-6)  # weights start at one
    # Equal rates: norms 2 and sqrt 2 must come together, so "a" loses and "b" gains weight:
    # w - lr * sign(G - mean) * norm, rescaled to the sum 2.
    moved = np.array([1 - 0.025 * 2.0, 1 + 0.025 * np.sqrt(2.0)])
    np.testing.assert_allclose(balancer.weights, 2 * moved / moved.sum(), rtol=1e-5)
    # The step is as large as the norm of the plain loss, whatever its weight.
    balancer.weights[:] = torch.tensor([1.5, 0.5])
    toy.step(balancer, {"a": A, "b": B}, VALUES)
    moved = np.array([1.5 - 0.025 * 2.0, 0.5 + 0.025 * np.sqrt(2.0)])
    np.testing.assert_allclose(balancer.weights, 2 * moved / moved.sum(), rtol=1e-5)


@pytest.mark.parametrize(("a", "sign"), [(0.80, 1), (0.74, -1)])
def test_gradnorm_aims_at_the_relative_loss_to_the_power_of_one_and_a_half(
    a: float, sign: int
) -> None:
    """Norms a and 2 - a have the mean 1; losses of 0.84 and 1.16 of the first ones aim at norms
    0.84^1.5 = 0.770 and 1.16^1.5 = 1.249. (0.84^1 = 0.84, 0.84^2 = 0.706)"""
    balancer, toy = make("gradnorm"), Toy()
    balancer.first[:] = 1.0
    toy.step(balancer, {"a": [a, 0.0], "b": [0.0, 2 - a]}, {"a": 0.84, "b": 1.16})
    moved = np.array([1 - sign * 0.025 * a, 1 + sign * 0.025 * (2 - a)])
    np.testing.assert_allclose(balancer.weights, 2 * moved / moved.sum(), rtol=1e-5)


def test_pcgrad() -> None:
    expected = A - (A @ B) / (B @ B) * B + B - (A @ B) / (A @ A) * A
    np.testing.assert_allclose(shared_gradient("pcgrad", A, B), expected, rtol=1e-5)
    np.testing.assert_allclose(shared_gradient("pcgrad", A, -B), A - B, rtol=1e-5)


def test_mgda_is_the_shortest_of_the_hull() -> None:
    share = np.clip((B - A) @ B / ((A - B) @ (A - B)), 0, 1)
    expected = share * A + (1 - share) * B
    np.testing.assert_allclose(shared_gradient("mgda", A, B), expected, atol=1e-5)


def test_imtl_gradient_projects_equally() -> None:
    found = shared_gradient("imtl-g", A, B)
    units = A / np.linalg.norm(A), B / np.linalg.norm(B)
    assert found @ units[0] == pytest.approx(found @ units[1], rel=1e-4)
    weights = np.linalg.solve(np.stack([A, B]).T, found)
    assert weights.sum() == pytest.approx(1.0, rel=1e-4)


def test_imtl_is_both_halves() -> None:
    balancer, toy = make("imtl"), Toy()
    with torch.no_grad():
        balancer.scales["a"].log_scale.fill_(0.5)
    found = toy.step(balancer, {"a": A, "b": B}, {"a": 2.0, "b": 3.0}).numpy()
    np.testing.assert_allclose(found, shared_gradient("imtl-g", np.exp(0.5) * A, B), rtol=1e-4)
    assert float(balancer.scales["a"].log_scale.grad) == pytest.approx(np.exp(0.5) * 2.0 - 1)
    assert float(toy.heads["a"][0].grad) == pytest.approx(np.exp(0.5))


def test_aligned_mtl_brings_components_to_the_smallest() -> None:
    # Orthogonal gradients are their own principal components: lengths 3 and 1 become 1 and 1.
    found = shared_gradient("aligned-mtl", [3.0, 0.0], [0.0, 1.0])
    np.testing.assert_allclose(found, [0.5, 0.5], rtol=1e-5)


def test_gradvac_reaches_the_usual_cosine() -> None:
    # At first the usual cosine is 0, which makes conflicting gradients those of PCGrad.
    first = shared_gradient("gradvac", A, B)
    np.testing.assert_allclose(first, shared_gradient("pcgrad", A, B), rtol=1e-4)
    balancer = make("gradvac")
    Toy().step(balancer, {"a": A, "b": A}, {"a": 1.0, "b": 1.0})
    assert float(balancer.cosines[0, 1]) == pytest.approx(0.5, rel=1e-4)  # half way from 0 to 1


def test_graddrop_keeps_one_sign_in_each_coordinate() -> None:
    a, b = np.array([2.0, 1.0, -1.0]), np.array([-1.0, 3.0, -2.0])
    seen = set()
    balancer, toy = make("graddrop"), Toy(3)
    for _ in range(20):
        found = toy.step(balancer, {"a": a, "b": b}, {"a": 1.0, "b": 1.0}).numpy()
        np.testing.assert_allclose(found[1:], [4.0, -3.0])
        seen.add(float(found[0]))
    assert seen == {2.0, -1.0}


def test_config_has_the_same_cosine_to_all() -> None:
    found = shared_gradient("config", A, B)
    unit = found / np.linalg.norm(found)
    assert unit @ A / np.linalg.norm(A) == pytest.approx(unit @ B / np.linalg.norm(B), rel=1e-4)
    assert np.linalg.norm(found) == pytest.approx(unit @ (A + B), rel=1e-4)


def test_upgrad_is_half_of_pcgrad_for_two_tasks() -> None:
    expected = shared_gradient("pcgrad", A, B) / 2
    np.testing.assert_allclose(shared_gradient("upgrad", A, B), expected, rtol=1e-3)


def test_fairgrad_solves_its_equation() -> None:
    found = shared_gradient("fairgrad", A, B)
    matrix = np.stack([A, B])
    weights = np.linalg.solve(matrix.T, found)
    np.testing.assert_allclose(matrix @ matrix.T @ weights, weights ** (-1 / 2.0), rtol=1e-3)


def test_cagrad_stays_near_the_mean_and_helps_the_worst() -> None:
    make("cagrad")
    found, mean = shared_gradient("cagrad", A, B), (A + B) / 2
    radius = 0.4 * np.linalg.norm(mean)
    assert np.linalg.norm(found - mean) == pytest.approx(radius, rel=1e-3)
    around = [mean + radius * np.array([np.cos(t), np.sin(t)]) for t in np.linspace(0, 6.3, 2000)]
    best = max(min(A @ d, B @ d) for d in around)
    assert min(A @ found, B @ found) == pytest.approx(best, rel=1e-3)


def test_nash_mtl_solves_the_bargain() -> None:
    balancer = make("nash-mtl")
    balancer.method.max_norm = 0.0
    matrix = np.array([[2.0, 0.3], [-0.5, 1.0]])
    gradients = {"a": matrix[0], "b": matrix[1]}
    found = Toy().step(balancer, gradients, {"a": 1.0, "b": 1.0}).numpy()
    weights = np.linalg.solve(matrix.T, found)
    np.testing.assert_allclose(matrix @ matrix.T @ weights, 1 / weights, rtol=1e-2)


@pytest.mark.parametrize("name", sorted(NEEDS_SOLVER))
def test_a_missing_solver_is_one_clear_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchjd._mixins.find_spec", lambda _: None)
    with pytest.raises(UserError, match="mtl-full"):
        BALANCERS[name](("a", "b"))


@pytest.mark.parametrize("name", BALANCERS)
def test_an_absent_task_neither_divides_by_zero_nor_counts_as_solved(name: str) -> None:
    balancer = make(name, ("a", "b", "c"))
    twin = make(name, ("a", "b"))
    toys = Toy(3, ("a", "b", "c")), Toy(3)
    both = {"a": [2.0, 0.0, 1.0], "b": [-1.0, 1.0, 0.5]}
    for epoch in range(3):
        values = {"a": 2.0 - epoch / 2, "b": 3.0 - epoch}
        found = toys[0].step(balancer, both, values)
        expected = toys[1].step(twin, both, values)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        assert toys[0].heads["c"][0].grad is None
        assert set(toys[0].weights) == {"a", "b"}
        for method in (balancer, twin):
            method.after_step(lambda now=values: {task: v * 0.9 for task, v in now.items()})
            method.end_epoch()
    for key, parameter in balancer.named_parameters():
        if ".c." in f".{key}.":
            assert parameter.grad is None


@pytest.mark.parametrize("name", BALANCERS)
def test_one_task_alone_trains_along_its_own_gradient(name: str) -> None:
    found = Toy().step(make(name), {"a": A}, {"a": 2.0}).numpy()
    assert np.isfinite(found).all()
    assert found @ A / np.linalg.norm(found) / np.linalg.norm(A) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("name", BALANCERS)
def test_state_travels_through_a_state_dict(name: str) -> None:
    balancer, toy = make(name), Toy(3)
    gradients = {"a": [2.0, 0.1, 1.0], "b": [-1.0, 1.0, 0.5]}

    def step(method: Balancer, number: int) -> np.ndarray:
        found = toy.step(method, gradients, {"a": 2.0 + number, "b": 3.0 / (number + 1)}).clone()
        method.after_step(lambda: {"a": 1.0, "b": 2.0})
        method.end_epoch()
        return found.numpy()

    for number in range(3):
        step(balancer, number)
    fresh = make(name)
    fresh.load_state_dict({key: value.clone() for key, value in balancer.state_dict().items()})
    for number in range(3, 6):
        np.testing.assert_array_equal(step(balancer, number), step(fresh, number))


@pytest.mark.parametrize("name", STATEFUL)
def test_what_a_method_learns_changes(name: str) -> None:
    balancer, toy = make(name), Toy()
    before = {key: value.clone() for key, value in balancer.state_dict().items()}
    parameters = list(balancer.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=0.1) if parameters else None
    toy.step(balancer, {"a": A, "b": B}, {"a": 2.0, "b": 5.0})
    if optimizer:
        optimizer.step()
    balancer.after_step(lambda: {"a": 1.0, "b": 5.0})
    balancer.end_epoch()
    changed = [key for key, v in balancer.state_dict().items() if not torch.equal(v, before[key])]
    assert [key for key in changed if key != "steps"]


@pytest.mark.parametrize("name", ["equal", "pcgrad"])
def test_gradients_accumulate_over_batches(name: str) -> None:
    balancer, toy = make(name), Toy()
    first = toy.step(balancer, {"a": A, "b": B}, {"a": 1.0, "b": 1.0}).clone()
    toy.shared.grad = None
    border = Border([toy.shared.view(1, 1, 1, -1)], [toy.shared], toy.heads)
    for _ in range(2):
        losses = {"a": torch.tensor(A).float() @ border.leaves[0].flatten()}
        losses["b"] = torch.tensor(B).float() @ border.leaves[0].flatten()
        border.outputs = [toy.shared.view(1, 1, 1, -1)]
        balancer.backward(losses, border)
    torch.testing.assert_close(toy.shared.grad, 2 * first)


@pytest.mark.parametrize("name", ["equal", "pcgrad", "pcgrad@features"])
def test_gradients_have_the_layout_of_their_parameters(name: str) -> None:
    kernel = nn.Parameter(torch.zeros(4, 3, 2, 2).to(memory_format=torch.channels_last))
    factor = torch.arange(48.0).view(4, 3, 2, 2)
    border = Border([kernel * factor], [kernel], {"a": [], "b": []})
    losses = {"a": border.leaves[0].sum(), "b": 2 * border.leaves[0].sum()}
    make_balancer(name, ["a", "b"]).backward(losses, border)
    assert kernel.grad is not None
    assert kernel.grad.stride() == kernel.stride()  # which fused AdamW on CUDA needs
    torch.testing.assert_close(kernel.grad, 3 * factor, check_stride=False)


def test_equal_is_plain_backward_through_the_real_trunk() -> None:
    torch.manual_seed(0)
    model = build("pvt-hydranet-b0", ["drivable", "scene"]).eval()
    frames = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)

    def losses(features: Sequence[Tensor]) -> dict[str, Tensor]:
        return {
            name: torch.stack([value.square().mean() for value in task(features).values()]).sum()
            for name, task in model.tasks.items()
        }

    sum(losses(model.features(frames)).values()).backward()
    plain = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    heads = {name: list(task.parameters()) for name, task in model.tasks.items()}
    own = {id(parameter) for parameters in heads.values() for parameter in parameters}
    shared = [parameter for parameter in model.parameters() if id(parameter) not in own]
    border = Border(model.features(frames), shared, heads)
    BALANCERS["equal"](list(heads)).backward(losses(border.leaves), border)
    scale = max(float(gradient.abs().max()) for gradient in plain.values())
    for name, parameter in model.named_parameters():
        expected = plain.get(name, torch.zeros_like(parameter))
        assert float((parameter.grad - expected).abs().max()) <= 1e-6 * scale, name
