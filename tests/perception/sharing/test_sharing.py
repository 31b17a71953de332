"""Every way of sharing: learns, is saved and loaded, starts as it should, exports."""

import copy
import re
from math import log
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from export.inference_rewrite import rewrite_for_inference
from export.to_onnx import describe, save, to_onnx
from perception import checkpoint
from perception.errors import UserError
from perception.model import Deployed, build
from perception.sharing import SHARINGS, own_maps
from perception.sharing.cross_stitch import CrossStitch
from perception.sharing.gated_adapters import GatedAdapter
from perception.sharing.mtan import Attention
from perception.sharing.pad_net import Distillation, PADNet
from perception.sharing.regroup import Regroup
from perception.sharing.sparse import Masked, Sparse, iterative_pruning, prune
from perception.tasks.base import total_loss
from perception.trunk import Trunk
from training.config import ModelArgs
from training.init import initialise

TASKS = ["depth", "normals"]


def frame() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8, generator=generator)


def assert_equal(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    for one, two in zip(found, wanted, strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def model_of(sharing: str):
    torch.manual_seed(0)
    model = build(f"pvt-hydranet-b0+{sharing}", TASKS)
    if isinstance(model.trunk, Sparse):
        for part in model.trunk.parts:
            part.set_masks({name: torch.rand(m.shape) < 0.7 for name, m in part.masks().items()})
    if isinstance(model.trunk, Regroup):
        model.trunk.split([[0], [1]])
    return model


@pytest.mark.parametrize("sharing", SHARINGS)
def test_every_part_of_the_network_is_trained(sharing: str):
    model = model_of(sharing).train()
    targets = {
        "depth": {"map": torch.full((1, 64, 96), 30.0)},
        "normals": {
            "normals": torch.tensor([0.0, -1.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 64, 96)
        },
    }
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    seen = []
    for _ in range(6):
        assert len(model.features(frame())) == (16 if sharing in ("pad-net", "mti-net") else 8)
        raws = model(frame())
        losses = [total_loss(t.loss(raws[n], targets[n])) for n, t in model.tasks.items()]
        optimizer.zero_grad()
        sum(losses).backward()
        # Of the neck, what is of one task, for the finest map: these heads read no other.
        own = re.compile(r"trunk\.|neck\.propagate|neck\.(tasks|initial|distil)\.\d\.0\.")
        parts = [(name, p.grad) for name, p in model.named_parameters() if own.match(name)]
        assert [name for name, grad in parts if grad is None] == []
        optimizer.step()
        seen.append(sum(losses).item())
    assert seen[-1] < seen[0]


@pytest.mark.parametrize("sharing", SHARINGS)
def test_survives_saving_and_deploys(sharing: str, tmp_path: Path):
    model = model_of(sharing)
    model.train()(frame())  # sets what is learned from passing data
    model.eval()
    meta = checkpoint.Meta(f"pvt-hydranet-b0+{sharing}", TASKS, (64, 96))
    checkpoint.save(tmp_path / "m.safetensors", model.state_dict(), meta)
    loaded, _ = checkpoint.load(tmp_path / "m.safetensors")
    with torch.no_grad():
        for one, two in zip(Deployed(model)(frame()), Deployed(loaded)(frame()), strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize("sharing", SHARINGS)
def test_rewritten_for_export_outputs_are_equal(sharing: str):
    model = model_of(sharing)
    model.train()(frame())
    model.eval()
    with torch.no_grad():
        for one, two in zip(
            Deployed(model)(frame()), Deployed(rewrite_for_inference(model))(frame()), strict=True
        ):
            assert torch.allclose(one, two, atol=1e-3)


@pytest.mark.parametrize("sharing", SHARINGS)
def test_one_head_alone_keeps_its_part_of_the_trunk(sharing: str, tmp_path: Path):
    model = model_of(sharing)
    model.train()(frame())
    meta = checkpoint.Meta(f"pvt-hydranet-b0+{sharing}", TASKS, (64, 96))
    checkpoint.save(tmp_path / "m.safetensors", model.state_dict(), meta)
    alone, _ = checkpoint.load(tmp_path / "m.safetensors", ["normals"])
    assert list(alone.tasks) == ["normals"]
    with torch.no_grad():
        _, both = Deployed(model.eval())(frame())
        (one,) = Deployed(alone)(frame())
    assert torch.equal(both, one)


def test_the_flag_of_train_bdd_names_the_network():
    args = ModelArgs(sharing="mtan")
    assert args.model == "pvt-hydranet-b0+mtan"
    assert ModelArgs(sharing="mtan", model=args.model).model == args.model


def test_every_trunk_starts_from_the_given_weights(tmp_path: Path):
    body = build("pvt-hydranet-b0", ["depth"]).trunk.body
    save_file(body.state_dict(), tmp_path / "trunk.safetensors")
    model = model_of("cross-stitch")
    initialise(model, tmp_path / "trunk.safetensors")
    for column in model.trunk.columns:
        assert all(
            torch.equal(v, column.body.state_dict()[k]) for k, v in body.state_dict().items()
        )


def test_heads_see_their_own_maps_only():
    model = model_of("mtan").eval()
    features = model.features(frame())
    with torch.no_grad():
        before = model.tasks["depth"](features)["log_depth"]
        changed = [*features[:4], *[feature + 1 for feature in features[4:]]]
        assert torch.equal(before, model.tasks["depth"](changed)["log_depth"])
        changed = [features[0] + 1, *features[1:]]
        assert not torch.equal(before, model.tasks["depth"](changed)["log_depth"])


def test_mtan_begins_close_to_hard_sharing():
    shared = torch.rand(1, 8, 2, 2)
    torch.testing.assert_close(Attention(0, 8)(shared, None), 0.952574 * shared)  # sigmoid of 3


def test_the_others_of_three_have_a_tenth_in_total():
    trunk = CrossStitch(lambda: Trunk("pvt_v2_b0"), 3)
    assert trunk.mixes[0][1].tolist() == pytest.approx([0.05, 0.9, 0.05])


def test_cross_stitch_mixes_by_its_weights():
    model = model_of("cross-stitch").eval()
    trunk = model.trunk
    assert isinstance(trunk, CrossStitch)
    with torch.no_grad():
        for mix in trunk.mixes:
            torch.testing.assert_close(mix, torch.tensor([[0.9, 0.1], [0.1, 0.9]]))
            mix.copy_(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
        maps = trunk(model.image(frame()))
        alone = trunk.columns[1](model.image(frame()))
    for first, second, own in zip(maps[:4], maps[4:], alone, strict=True):
        assert torch.allclose(first, own, atol=1e-5)
        assert torch.equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("sharing", SHARINGS)
def test_runs_in_onnx_runtime_with_equal_outputs(sharing: str, tmp_path: Path):
    model = model_of(sharing).eval()
    meta = checkpoint.Meta(f"pvt-hydranet-b0+{sharing}", TASKS, (64, 96))
    save(to_onnx(model, describe(model, meta, (64, 96))), tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    found = session.run(None, {"frame": frame().numpy()})
    with torch.no_grad():
        for one, two in zip(Deployed(model)(frame()), found, strict=True):
            assert torch.allclose(one, torch.from_numpy(two), atol=1e-3)


def test_a_share_of_the_used_weights_is_pruned_over_all_tensors_together():
    weights = {"a": torch.tensor([1.0, -4.0, 2.0]), "b": torch.tensor([[3.0, -0.5]])}
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    once = prune(weights, masks, 0.4)  # the smallest two of five: 0.5 and 1
    assert once["a"].tolist() == [False, True, True]
    assert once["b"].tolist() == [[True, False]]
    # What is pruned stays so, however large it has become; of 4, 2 and 3 a third goes: 2.
    twice = prune(weights | {"b": torch.tensor([[3.0, 9.0]])}, once, 1 / 3)
    assert twice["a"].tolist() == [False, True, False]
    assert twice["b"].tolist() == [[True, False]]
    assert prune(weights, masks, 0.0)["a"].all()
    assert prune(weights, masks, 0.55)["a"].tolist() == [False, True, False]  # 2.75 of five: three


def test_pruning_is_repeated_and_each_round_trains_with_the_masks_of_the_last():
    start = {"w": torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])}
    seen: list[int] = []

    def train(masks):
        # Rewound: every round begins at `start`. Training reverses the order of the weights' sizes.
        seen.append(int(masks["w"].sum()))
        return {"w": (9 - start["w"]) * masks["w"]}

    masks = iterative_pruning(train, {"w": torch.ones(8, dtype=torch.bool)}, 0.5, 2)
    assert seen == [8, 4]
    assert masks["w"].tolist() == [True, True, *[False] * 6]


class Small(nn.Module):
    """A trunk of one convolution and one batch norm."""

    channels, strides = (2,), (1,)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, image):
        return [self.norm(self.conv(image))]


def test_a_task_sees_its_own_weights_and_keeps_its_own_statistics():
    sparse = Sparse(Small, 2).train()
    with torch.no_grad():
        sparse.trunk.conv.weight.copy_(torch.tensor([2.0, 4.0]).view(2, 1, 1, 1))
    first, second = sparse.parts
    assert isinstance(first, Masked)
    first.set_masks({"conv.weight": torch.tensor([True, False]).view(2, 1, 1, 1)})
    second.set_masks({"conv.weight": torch.tensor([False, True]).view(2, 1, 1, 1)})
    sparse(torch.full((1, 1, 2, 2), 10.0))
    # Running mean after one step with momentum 0.1: a tenth of the maps' means, 2 * 10 and 4 * 10.
    means = [part.get_buffer("of-norm-running_mean").tolist() for part in (first, second)]
    assert means == [[pytest.approx(2.0), 0.0], [0.0, pytest.approx(4.0)]]
    assert sparse.unused() == 0
    second.set_masks({"conv.weight": torch.tensor([True, False]).view(2, 1, 1, 1)})
    assert sparse.unused() == 1
    sparse.eval()
    image = torch.rand(1, 1, 3, 3)
    for one, two in zip(sparse(image), sparse.unfolded()(image), strict=True):
        assert torch.equal(one, two)


def test_a_split_copies_the_trunk_of_its_group_and_no_other():
    model = build("pvt-hydranet-b0+regroup", ["depth", "normals", "drivable"]).eval()
    trunk, one = (
        model.trunk,
        sum(p.numel() for p in build("pvt-hydranet-b0", TASKS).trunk.parameters()),
    )
    assert isinstance(trunk, Regroup)
    maps = model.features(frame())
    assert [a is b for a, b in zip(maps[:4], maps[4:8], strict=True)] == [True] * 4
    assert (trunk.groups(), trunk.unused()) == ([[0, 1, 2]], 2 * one)
    with torch.no_grad():
        trunk.trunks[0].body.patch_embed.proj.bias.fill_(2.0)
        before = model.features(frame())
        assert trunk.split([[0], [1, 2]]) == [(trunk.trunks[0], trunk.trunks[1])]
        assert (trunk.groups(), trunk.unused()) == ([[0], [1, 2]], one)
        assert_equal(model.features(frame()), before)
        trunk.trunks[1].body.patch_embed.proj.bias.fill_(-2.0)
        after = model.features(frame())
        assert_equal(after[:4], before[:4])
        assert not torch.allclose(after[4], before[4])
        assert after[4] is after[8]
        assert trunk.split([[0], [2], [1]]) == [(trunk.trunks[1], trunk.trunks[2])]
        assert (trunk.groups(), trunk.unused()) == ([[0], [1], [2]], 0)
        assert_equal(model.features(frame()), after)
        assert_equal(trunk.unfolded()(torch.ones(1, 3, 64, 96)), trunk(torch.ones(1, 3, 64, 96)))


def test_training_several_tasks_without_masks_is_refused():
    model = build("pvt-hydranet-b0+sparse", TASKS).train()
    with pytest.raises(UserError, match="study-mtl sharing"):
        model.features(frame())
    assert len(model.eval().features(frame())) == 8
    build("pvt-hydranet-b0+sparse", TASKS[:1]).train().features(frame())  # a round of pruning


def test_the_gate_mixes_shared_and_adapted_maps():
    adapter = GatedAdapter(1)
    adapter.adapter = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        for conv, weight, bias in ((adapter.adapter, [3.0], 0.0), (adapter.gate, [0.0, 0.0], 0.0)):
            conv.weight.copy_(torch.tensor(weight).view(1, -1, 1, 1))
            conv.bias.fill_(bias)
        x = torch.tensor([[1.0, 3.0]]).view(1, 1, 1, 2)
        # A(x) = 3x and g = sigmoid(0) = 1/2: (x + 3x) / 2.
        assert adapter(x).flatten().tolist() == [2.0, 6.0]
        # Means of x and A(x) are 2 and 6: g = sigmoid(2 * 2 - 6 + 2 + log 3) = 3/4.
        adapter.gate.weight.copy_(torch.tensor([2.0, -1.0]).view(1, 2, 1, 1))
        adapter.gate.bias.fill_(2 + log(3))
        assert adapter(x).flatten().tolist() == pytest.approx([1.5, 4.5])


def test_gated_adapters_begin_close_to_hard_sharing():
    x = torch.randn(1, 64, 4, 4)
    adapter = GatedAdapter(64).eval()
    with torch.no_grad():
        assert torch.allclose(adapter(x), x * torch.sigmoid(torch.tensor(2.0)), atol=0.2)


def test_messages_of_other_tasks_are_gated_by_the_own_map():
    distil = Distillation(1, 2)
    with torch.no_grad():
        distil.attention.weight.fill_(log(3))
        distil.attention.bias.zero_()
        distil.message.weight.copy_(torch.tensor([2.0, -1.0]).view(1, 2, 1, 1))
        distil.message.bias.zero_()
        own, one, two = (torch.full((1, 1, 1, 1), value) for value in (1.0, 3.0, 4.0))
        # G = sigmoid(log 3) = 3/4; messages 2 * 3 - 4 = 2; 1 + 3/4 * 2.
        assert distil(own, [one, two]).item() == pytest.approx(2.5)
        assert distil(own, []).item() == 1.0


def test_a_task_is_distilled_from_the_other_tasks_alone():
    model = model_of("pad-net").train()
    neck = model.neck
    assert isinstance(neck, PADNet)
    with torch.no_grad():
        for distil in neck.distil[0]:  # of the first task
            distil.message.weight.zero_()
            distil.message.bias.zero_()
    maps = model.features(frame())
    for distilled, initial in zip(maps[:4], maps[4:8], strict=True):
        assert torch.equal(distilled, initial)
    for distilled, initial in zip(maps[8:12], maps[12:], strict=True):
        assert not torch.equal(distilled, initial)


def test_intermediate_predictions_are_supervised_in_training_and_left_out_of_the_file():
    model = copy.deepcopy(model_of("pad-net")).train()  # as the averaged network is made
    head = model.tasks["depth"]
    raw = model(frame())["depth"]
    assert set(raw) == {"log_depth", "initial_log_depth"}
    target = {"map": torch.full((1, 64, 96), 30.0)}
    parts = head.loss(raw, target)
    assert tuple(parts) == head.loss_parts == ("log", "metres", "initial_log", "initial_metres")
    own = parts["log"].sum.item()
    raw["initial_log_depth"] = raw["initial_log_depth"] + 1
    assert head.loss(raw, target)["log"].sum.item() == own
    assert head.loss(raw, target)["initial_log"].sum.item() != parts["initial_log"].sum.item()
    assert set(rewrite_for_inference(model)(frame())["depth"]) == {"log_depth"}


@pytest.mark.parametrize(("tasks", "maps"), [(2, 8), (2, 16), (3, 12)])
def test_every_head_selects_its_part_of_the_maps(tasks: int, maps: int):
    inputs = (list(range(maps)),)
    parts = [own_maps(index, tasks, SimpleNamespace(), inputs)[0] for index in range(tasks)]
    assert [number for part in parts for number in part] == list(range(maps))
    assert {len(part) for part in parts} == {maps // tasks}


def test_an_unknown_method_is_named():
    with pytest.raises(UserError, match="did you mean 'mtan'"):
        build("pvt-hydranet-b0+mtann", TASKS)
