"""The check reports wrong outputs and tolerates ties."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from export.check import DisagreementError, check, compare
from export.frames import synthetic_frames
from perception.runtime.compare import LIMITS, Difference
from perception.runtime.scene import KINDS
from perception.runtime.view import LABEL, MASK

STRICT = LIMITS["fp32"]


def agree(kind: str, wanted: np.ndarray, got: np.ndarray) -> bool:
    measures = KINDS[kind].compare(wanted, got, STRICT)
    return all(value <= limit for _, value, limit in measures)


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 6)


A, B, LOW = (10, 10, 50, 50, 0.9, 2), (60, 10, 90, 40, 0.9, 3), (0, 0, 5, 5, 0.01, 0)

BOX_CASES = [
    ("the same", boxes(A, B, LOW), boxes(A, B, LOW), True),
    ("equal scores in another order", boxes(A, B, LOW), boxes(B, A, LOW), True),
    ("another box at the cutoff", boxes(A, B, LOW), boxes(A, B, (7, 7, 9, 9, 0.01, 1)), True),
    ("moved", boxes(A, B, LOW), boxes((13, 10, 50, 50, 0.9, 2), B, LOW), False),
    ("another class", boxes(A, B, LOW), boxes((10, 10, 50, 50, 0.9, 4), B, LOW), False),
    ("another score", boxes(A, B, LOW), boxes((10, 10, 50, 50, 0.8, 2), B, LOW), False),
    ("twice one box", boxes(A, B, LOW), boxes(A, A, LOW), False),
    ("one too many", boxes(A, LOW), boxes(A, B, LOW), False),
    ("one too few", boxes(A, B, LOW), boxes(A, LOW), False),
]


@pytest.mark.parametrize(("why", "wanted", "got", "same"), BOX_CASES)
def test_boxes(why: str, wanted: np.ndarray, got: np.ndarray, same: bool) -> None:
    assert agree("boxes", wanted[None], got[None]) is same, why


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "boxes"])
def test_other_kinds(kind: str) -> None:
    wanted = np.random.default_rng(0).uniform(0.2, 1, (1, 3, 40, 40)).astype(np.float32)
    if kind == MASK:
        wanted = (wanted[:, 0] * 5).astype(np.uint8)
    got = wanted.copy()
    assert agree(kind, wanted, got)
    got[..., :4, :4] = 0
    assert not agree(kind, wanted, got)


def test_nan_is_a_disagreement() -> None:
    wanted = np.ones((1, 2, 3), np.float32)
    (measured,) = KINDS[LABEL].compare(wanted, wanted * np.nan, STRICT)
    assert not Difference("x", LABEL, *measured).agrees
    assert Difference("x", LABEL, "largest", 0.5, 0.5).agrees


def test_the_exported_file_agrees_and_another_networks_does_not(
    exported: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = synthetic_frames(exported.size_hw, 2)
    check(exported.model, exported.path, exported.description, [frames])
    assert "differs" not in capsys.readouterr().out

    other = copy.deepcopy(exported.model)
    with torch.no_grad():
        for parameter in other.trunk.parameters():
            parameter.mul_(1.3)
    differences = compare(other, exported.path, exported.description, frames)
    # A head of random weights may see one class everywhere, so not every output must change.
    kinds = {view.kind for view in exported.description.views.values()}
    assert {d.kind for d in differences if not d.agrees} == kinds
    with pytest.raises(DisagreementError, match="differs from PyTorch"):
        check(other, exported.path, exported.description, [frames])
    assert "differs" in capsys.readouterr().out
