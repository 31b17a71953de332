"""The command: right arguments, one file or none, exit codes."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
import torch

from export import export_onnx, to_onnx
from perception.checkpoint import Meta, save
from perception.runtime.providers import read_description


@pytest.fixture
def checkpoint(exported: SimpleNamespace, tmp_path: Path) -> Path:
    path = tmp_path / "best.safetensors"
    description = exported.description
    meta = Meta(description.name, list(description.views), description.size_hw, {"total": 1.0})
    save(path, exported.model.state_dict(), meta)
    return path


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["export-onnx", *map(str, arguments)])
    return export_onnx.main()


def test_writes_one_file_that_describes_itself(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = checkpoint.parent / "sub" / "model.onnx"
    task = read_tasks(checkpoint)[-1]
    assert command(monkeypatch, checkpoint, "-o", out, "--tasks", task, "--size", "96x128") == 0
    assert list(out.parent.iterdir()) == [out]
    description = read_description(out)
    assert description.size_hw == (96, 128)
    assert list(description.views) == [task]
    assert description.scores == {"total": 1.0}
    assert "ok" in capsys.readouterr().out


def read_tasks(checkpoint: Path) -> list[str]:
    from perception.checkpoint import read

    return read(checkpoint)[1].tasks


@pytest.mark.slow
def test_file_that_disagrees_is_not_left_behind(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite = to_onnx.rewrite_for_inference

    def wrong(module: torch.nn.Module) -> torch.nn.Module:
        rewritten = rewrite(module)
        for parameter in rewritten.parameters():
            parameter.mul_(1.2)
        return rewritten

    monkeypatch.setattr(to_onnx, "rewrite_for_inference", wrong)
    out = checkpoint.parent / "model.onnx"
    assert command(monkeypatch, checkpoint, "-o", out) == 1
    assert "not written" in capsys.readouterr().err
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_the_model_that_ships_is_exported_at_another_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "small.onnx"
    assert command(monkeypatch, "default", "-o", out, "--size", "64x96", "--tasks", "scene") == 0
    assert read_description(out).size_hw == (64, 96)


def test_a_packaged_model_is_exported_at_its_own_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "fast.onnx"
    assert command(monkeypatch, "fast", "-o", out, "--tasks", "scene", "--no-check") == 0
    assert read_description(out).size_hw == (384, 640)


BAD = [
    (["--fp16", "--int8", "."], "exclude each other"),
    (["--half-weights", "--int8", "."], "exclude each other"),
    (["--int8", "/nowhere"], "no such folder"),
    (["--int8", ".", "--int8-frames", "8"], "at least 16"),
    (["--size", "384"], "HEIGHTxWIDTH"),
    (["--size", "100x96"], "multiples of 32"),
    (["--tasks", "nonsense"], "nonsense"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_arguments_exit_with_2_and_one_line(
    checkpoint: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = checkpoint.parent / "model.onnx"
    assert command(monkeypatch, checkpoint, "-o", out, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_too_few_frames_for_int8_are_counted(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint.parent / "frames"
    folder.mkdir()
    for i in range(15):
        cv2.imwrite(str(folder / f"{i}.png"), np.zeros((72, 128, 3), np.uint8))
    out = checkpoint.parent / "model.onnx"
    assert command(monkeypatch, checkpoint, "-o", out, "--int8", folder) == 2
    assert f"--int8 {folder}: 15 frames; at least 16" in capsys.readouterr().err
    assert not out.exists()


def test_an_exported_file_is_no_checkpoint(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, checkpoint.parent / "model.int8.onnx") == 2
    assert "already exported; give the checkpoint" in capsys.readouterr().err


def test_full_disk_is_one_line(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(graph: onnx.ModelProto, path: Path) -> None:
        path.write_bytes(b"half a file")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(onnx, "save", full)
    out, task = checkpoint.parent / "model.onnx", read_tasks(checkpoint)[-1]
    assert command(monkeypatch, checkpoint, "-o", out, "--tasks", task, "--size", "64x64") == 2
    error = capsys.readouterr().err
    assert f"{out}: the disk is full" in error
    assert error.count("\n") == 1
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


@pytest.mark.parametrize("module", ["export_onnx", "bench_onnx"])
def test_help_without_tyro_names_the_extra(module: str) -> None:
    code = "import sys, importlib.util as u; find = u.find_spec\n"
    code += "u.find_spec = lambda name, *rest: None if name == 'tyro' else find(name, *rest)\n"
    code += f"sys.modules['tyro'] = None\nfrom export.{module} import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "pvt-hydranet[export]" in done.stderr


def test_missing_checkpoint_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, tmp_path / "absent.safetensors") == 2
    assert "absent.safetensors" in capsys.readouterr().err
