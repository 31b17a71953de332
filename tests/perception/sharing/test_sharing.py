"""Every way of sharing: learns, is saved and loaded, starts as it should, exports."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from export.inference_rewrite import rewrite_for_inference
from perception import checkpoint
from perception.errors import UserError
from perception.model import Deployed, build
from perception.sharing import SHARINGS
from perception.sharing.cross_stitch import CrossStitch
from perception.sharing.sparse import Sparse
from perception.tasks.base import total_loss
from training.config import ModelArgs
from training.init import initialise

TASKS = ["depth", "normals"]


def frame() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8, generator=generator)


def model_of(sharing: str):
    torch.manual_seed(0)
    return build(f"pvt-hydranet-b0+{sharing}", TASKS)


@pytest.mark.parametrize("sharing", SHARINGS)
def test_every_part_of_the_trunk_is_trained(sharing: str):
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
        assert len(model.features(frame())) == 8
        raws = model(frame())
        losses = [total_loss(t.loss(raws[n], targets[n])) for n, t in model.tasks.items()]
        optimizer.zero_grad()
        sum(losses).backward()
        untouched = [name for name, p in model.trunk.named_parameters() if p.grad is None]
        assert not untouched
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


def test_cross_stitch_mixes_by_its_weights():
    model = model_of("cross-stitch").eval()
    trunk = model.trunk
    assert isinstance(trunk, CrossStitch)
    with torch.no_grad():
        for mix in trunk.mixes:
            mix.copy_(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
        maps = trunk(model.image(frame()))
        alone = trunk.columns[1](model.image(frame()))
    for first, second, own in zip(maps[:4], maps[4:], alone, strict=True):
        assert torch.allclose(first, own, atol=1e-5)
        assert torch.equal(first, second)


def test_sparse_uses_its_share_of_the_weights_and_masks_can_change():
    model = model_of("sparse").train()
    trunk = model.trunk
    assert isinstance(trunk, Sparse)
    parts = trunk.parts(0)
    used = sum((parts[name].detach() != 0).sum() for name in trunk.names)
    whole = sum(trunk.trunk.get_parameter(name).numel() for name in trunk.names)
    assert used / whole == pytest.approx(0.7, abs=0.01)
    shared = sum(((parts[name] != 0) & (part != 0)).sum() for name, part in trunk.parts(1).items())
    assert 0.7 < shared / used < 1
    sum(part.sum() for part in parts.values()).backward()
    assert all(score.grad is not None for score in trunk.scores[0])
    assert all(score.grad is None for score in trunk.scores[1])


def test_an_unknown_method_is_named():
    with pytest.raises(UserError, match="did you mean 'mtan'"):
        build("pvt-hydranet-b0+mtann", TASKS)
