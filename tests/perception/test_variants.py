"""Every variant is a network that learns, and differs from the plain one where it says."""

import pytest
import torch

from perception.errors import UserError
from perception.variants import VARIANTS
from perception.zoo import ZOO, build, recipe_of

TASKS = ["det", "lane", "drivable"]
SIZE_HW = (64, 96)


def targets() -> dict[str, dict[str, torch.Tensor]]:
    lane = torch.full((2, *SIZE_HW), 255, dtype=torch.uint8)
    lane[:, :, 40:43] = 6
    return {
        "det": {
            "boxes_xyxy": torch.tensor([[[10.0, 12, 40, 38], [50, 20, 58, 30]]] * 2),
            "classes": torch.tensor([[2, 9], [8, -1]]),
            "ignore": torch.zeros(2, 2, dtype=torch.bool),
        },
        "lane": {"lane": lane},
        "drivable": {"mask": (torch.arange(96) > 40).expand(2, *SIZE_HW).to(torch.uint8)},
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_learns_with_all_its_parameters(variant: str) -> None:
    torch.manual_seed(0)
    model = build(f"pvt-hydranet-b0~{variant}", TASKS).train()
    raws = model(torch.randint(0, 256, (2, *SIZE_HW, 3), dtype=torch.uint8))
    losses = [
        sum(head.loss(raws[task], targets()[task]).values()) for task, head in model.tasks.items()
    ]
    torch.stack(losses).sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None]
    # A teacher that is switched off has nothing to learn from; nothing else may be idle.
    allowed = "tasks.det.many" if variant == "one-head" else "\0"
    assert all(allowed in name for name in silent)
    assert all(torch.isfinite(loss) for loss in losses)


def test_a_variant_changes_only_what_it_names() -> None:
    plain, pan = recipe_of("pvt-hydranet-b0"), recipe_of("pvt-hydranet-b0~pan")
    assert (pan.trunk, pan.neck, pan.width) == (plain.trunk, "pan", plain.width)
    theirs = recipe_of("yolop-like~lane-focal").heads
    assert theirs["det"] is ZOO["yolop-like"].heads["det"]
    assert theirs["lane"] is VARIANTS["lane-focal"]["heads"]["lane"]
    with pytest.raises(UserError, match=r"variant 'pam'.*pan"):
        recipe_of("pvt-hydranet-b0~pam")
