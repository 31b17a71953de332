"""The task interface, tested over the registry: registering a task tests it."""

import numpy as np
import pytest
import torch

from perception.classes import IGNORE, LANE_BACKGROUND, LANE_IGNORE
from perception.model import Deployed, build
from perception.runtime.view import View
from perception.tasks import TASKS
from perception.tasks.base import total_loss

SIZE = (64, 96)


def target_of(view, seed=0):
    """(numpy target of one frame, the decoded output equal to it) by kind."""
    rng = np.random.default_rng(seed)
    height, width = SIZE
    if view.kind == "boxes":
        xyxy = np.array([[8, 8, 40, 40], [50, 20, 90, 60]], np.float32)
        classes = np.array([2, 5])
        flags = np.zeros(2, bool)
        decoded = np.zeros((100, 6), np.float32)
        decoded[:2] = np.column_stack([xyxy, [1, 0.9], classes])
        return {
            "boxes_xyxy": xyxy,
            "classes": classes,
            "ignore": flags,
            "occluded": flags,
            "truncated": flags,
        }, decoded
    if view.kind == "label":
        widest = max(len(group.classes) for group in view.groups)
        labels = np.array([rng.integers(len(group.classes)) for group in view.groups])
        return {"labels": labels}, np.eye(widest, dtype=np.float32)[labels]
    if view.kind == "map":
        values = np.full(SIZE, 7.5, np.float32)
        values[:, width // 2 :] = 22
        return {"map": values}, values
    if view.kind == "normals":
        normals = np.zeros((3, height, width), np.float32)
        normals[1, :32], normals[2, 32:] = -1, -1
        return {"normals": normals}, normals
    if view.encoding:
        lane = np.full(SIZE, LANE_BACKGROUND, np.uint8)
        lane[:, 20:24], lane[:, 60:64] = 6, 16 + 7
        return {"lane": lane}, lane
    mask = np.zeros(SIZE, np.uint8)
    mask[20:, :50], mask[40:, 50:] = 1, 2
    return {"mask": mask}, mask


def empty_of(view):
    """A target in which nothing is annotated, or nothing is there."""
    target, _ = target_of(view)
    if view.kind == "boxes":
        return {key: value[:0] for key, value in target.items()}
    fill = {"label": -1, "mask": IGNORE, "map": np.nan, "normals": np.nan}[view.kind]
    fill = LANE_IGNORE if view.encoding else fill
    return {key: np.full_like(value, fill) for key, value in target.items()}


def batched(target, view):
    """Adds the batch dimension; an empty box list becomes one row of padding."""
    tensors = {key: torch.from_numpy(np.asarray(value))[None] for key, value in target.items()}
    if view.kind == "boxes" and not len(target["classes"]):
        tensors = {key: torch.zeros((1, 1, *value.shape[2:]), dtype=value.dtype)
                   for key, value in tensors.items()}  # fmt: skip
        tensors["classes"] -= 1
    return tensors


def frame(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, *SIZE, 3), dtype=torch.uint8, generator=generator)


def model_of(name):
    torch.manual_seed(0)
    return build("pvt-hydranet-b0", [name])


def loss_of(model, name, target):
    task = model.tasks[name]
    return total_loss(task.loss(model(frame())[name], target))


@pytest.mark.parametrize("name", TASKS)
def test_learns_one_sample(name):
    model = model_of(name)
    target = batched(target_of(TASKS[name].view)[0], TASKS[name].view)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    # Detection's targets are the overlaps reached so far: its loss rises before it falls.
    for _ in range(30):
        loss = loss_of(model, name, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if len(losses) > 3 and np.mean(losses[-3:]) < 0.9 * losses[0]:
            return
    raise AssertionError(losses)


@pytest.mark.parametrize("name", TASKS)
def test_loss_parts_of_frames_add_up(name):
    """Sums and counts of two frames are those of each alone: ranks need not exchange outputs."""
    model, view = model_of(name).eval(), TASKS[name].view
    task = model.tasks[name]
    targets = [batched(target, view) for target in (target_of(view)[0], empty_of(view))]
    if view.kind == "boxes":  # rows are padded to the longest
        targets[1] = {
            key: value.expand(1, 2, *value.shape[2:]) for key, value in targets[1].items()
        }
    with torch.no_grad():
        raw = model(torch.cat([frame(0), frame(1)]))[name]
    one, other = (
        task.loss({key: value[row : row + 1] for key, value in raw.items()}, targets[row])
        for row in range(2)
    )
    both = task.loss(raw, {key: torch.cat([t[key] for t in targets]) for key in targets[0]})
    assert tuple(both) == tuple(one) == task.loss_parts
    for part in both:
        torch.testing.assert_close(both[part].sum, one[part].sum + other[part].sum)
        torch.testing.assert_close(both[part].count, one[part].count + other[part].count)


@pytest.mark.parametrize("name", TASKS)
def test_loss_of_an_empty_frame_is_finite(name):
    model, view = model_of(name), TASKS[name].view
    loss = loss_of(model, name, batched(empty_of(view), view))
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert torch.isfinite(loss)
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert model.tasks[name].score in TASKS[name].metric(TASKS[name].view).compute()


@pytest.mark.parametrize("name", TASKS)
def test_perfect_on_its_own_target_and_worse_on_another(name):
    task = model_of(name).tasks[name]
    target, decoded = target_of(task.view)
    metric = task.metric(task.view)
    metric.update(decoded, target)
    best = metric.compute()[task.score]
    assert best == pytest.approx(100 if task.higher_is_better else 0, abs=1e-3)

    wrong = task.metric(task.view)
    changed = np.roll(decoded, 16, axis=-1) if task.view.kind != "boxes" else decoded + 16
    wrong.update(changed.astype(decoded.dtype), target)
    assert (wrong.compute()[task.score] < best) == task.higher_is_better


@pytest.mark.parametrize("name", TASKS)
def test_decode_has_the_shape_of_its_kind(name):
    model = model_of(name).eval()
    view: View = TASKS[name].view
    with torch.no_grad():
        (decoded,) = Deployed(model)(frame())
    shapes = {
        "boxes": (1, 300, 6),
        "mask": (1, *SIZE),
        "map": (1, *SIZE),
        "normals": (1, 3, *SIZE),
        "label": (1, len(view.groups), max([len(g.classes) for g in view.groups], default=0)),
    }
    assert tuple(decoded.shape) == shapes[view.kind]
    assert decoded.dtype == (torch.uint8 if view.kind == "mask" else torch.float32)
    json = view.to_json(name)
    assert View.from_json(json) == (name, view)


@pytest.mark.parametrize("name", TASKS)
def test_bf16_loss_is_close_to_fp32(name):
    target = batched(target_of(TASKS[name].view)[0], TASKS[name].view)
    model = model_of(name).eval()
    with torch.no_grad():
        exact = loss_of(model, name, target)
        with torch.autocast("cpu", torch.bfloat16):
            rough = loss_of(model, name, target)
    assert rough.item() == pytest.approx(exact.item(), rel=0.1)
