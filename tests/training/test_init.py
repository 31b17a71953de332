"""--init onto heads with other classes, and the names that lane scores have."""

import argparse
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from perception import checkpoint
from perception.errors import UserError
from perception.model import build
from perception.runtime.view import LANE_BYTE, Group, View
from perception.tasks.lane import Lane
from training.init import initialise, read_weights

HW = (64, 96)


def views() -> dict[str, View]:
    return {
        "det": View("boxes", classes=("cone", "bus", "car")),
        "lane": View("mask", encoding=LANE_BYTE, categories=("kerb", "single white"),
                     styles=("solid", "dashed"), directions=("parallel", "vertical")),
        "scene": View("label", groups=(Group("road", ("a",)), Group("weather", ("fog", "snowy")))),
    }  # fmt: skip


def test_init_carries_over_the_rows_of_classes_with_the_same_name(tmp_path: Path) -> None:
    tasks = ["det", "lane", "scene", "drivable"]
    torch.manual_seed(1)
    old = build("pvt-hydranet-b0", tasks)
    meta = checkpoint.Meta("pvt-hydranet-b0", tasks, HW)
    checkpoint.save(tmp_path / "old.safetensors", old.state_dict(), meta)
    torch.manual_seed(2)
    new = build("pvt-hydranet-b0", tasks, views=views())
    start = {key: value.clone() for key, value in new.state_dict().items()}
    said = initialise(new, tmp_path / "old.safetensors")
    was, now = old.state_dict(), new.state_dict()
    for head in ("det", "lane", "scene"):
        old_rows = old.tasks[head].class_rows(old.tasks[head].view)
        new_rows = new.tasks[head].class_rows(new.tasks[head].view)
        for key in was:
            if key.startswith(f"tasks.{head}.") and key.split(".", 2)[2] not in new_rows:
                assert torch.equal(now[key], was[key]), key
        for key, rows in new_rows.items():
            full = f"tasks.{head}.{key}"
            for row, name in enumerate(rows):
                before = old_rows[key]
                expected = was[full][before.index(name)] if name in before else start[full][row]
                assert torch.equal(now[full][row], expected), (full, name)
    assert "det: classes carried over: bus, car; untrained: cone; dropped: pedestrian" in said
    assert "drivable:" not in said


def test_init_reorders_rows_of_equal_lists_in_another_order(tmp_path: Path) -> None:
    turned = {"drivable": View("mask", classes=("background", "direct", "alternative"))}
    old, new = (
        build("pvt-hydranet-b0", ["drivable"]),
        build("pvt-hydranet-b0", ["drivable"], views=turned),
    )
    checkpoint.save(tmp_path / "a.safetensors", old.state_dict(),
                    checkpoint.Meta("pvt-hydranet-b0", ["drivable"], HW))  # fmt: skip
    initialise(new, tmp_path / "a.safetensors")
    weight = "tasks.drivable.classify.weight"
    assert torch.equal(new.state_dict()[weight], old.state_dict()[weight][[2, 0, 1]])


def test_lane_scores_have_the_names_of_the_view() -> None:
    metric = Lane.metric(views()["lane"])
    byte = np.full((20, 20), 255, np.uint8)
    byte[:, 5] = 1
    metric.update(byte, {"lane": byte})
    scores = metric.compute()
    assert scores["F1@5/category/single white"] == 100
    assert "F1@5/category/crosswalk" not in scores


class Command:
    """Pickled, it runs a command when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/pwned",)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"state_dict": {"a": torch.ones(1)}, "x": Command()}, "refused"),
        (nn.Linear(2, 2), "refused"),  # a whole module
        ({"args": argparse.Namespace(lr=1.0)}, "refused"),
        (b"", "not readable"),  # no pickle at all
    ],
)
def test_a_file_that_holds_more_than_weights_is_refused_in_one_line(
    content: object, line: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError) as caught:
        read_weights(path)
    said = str(caught.value)
    assert said.startswith(f"--init {path}: {line}")
    assert "\n" not in said
    assert "weights_only" not in said
