"""export-onnx runs/NAME/best.safetensors -o model.onnx [--size 384x640] [--dynamic] [--fp16]

Writes the deployed network as one ONNX file, then runs torch and ONNX Runtime on the same frames
and prints how far they are apart. Where they disagree nothing is written and the exit code is 1.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from perception.errors import UserError, cli, require_extra
from perception.sizes import parse_size

if TYPE_CHECKING:  # the heavy imports come after the arguments are known to be right
    import numpy as np


@dataclass
class Arguments:
    """Export a checkpoint to ONNX and check the file against it."""

    checkpoint: tyro.conf.Positional[Path]
    """Checkpoint of train-bdd (.safetensors)."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("model.onnx")
    """The file to write."""
    tasks: str = ""
    """Heads to export, comma-separated; all by default."""
    size: str = ""
    """HEIGHTxWIDTH of the input, multiples of 32; as trained by default."""
    dynamic: bool = False
    """Leave batch, height and width free."""
    fp16: bool = False
    """Half precision, for GPUs (no gain on a CPU); what needs float32 keeps it."""
    int8: bool = False
    """Integer convolutions (QDQ), with ranges measured on --calibration. Of use for ONNX Runtime on
    a CPU; OpenVINO in bf16 is faster without it."""
    calibration: Path | None = None
    """Folder of real frames; the check uses them too."""
    calibration_frames: int = 64
    """How many frames of the folder to use."""
    check: bool = True
    """Compare torch and ONNX Runtime, and refuse a file that disagrees."""

    def __post_init__(self) -> None:
        if self.fp16 and self.int8:
            raise UserError("--fp16 and --int8 exclude each other")
        if self.int8 and self.dynamic:
            raise UserError("--int8 and --dynamic exclude each other: ranges are those of one size")
        if self.int8 and self.calibration is None:
            raise UserError("--int8 needs --calibration DIR with real frames to measure ranges on")
        if self.calibration_frames < 1:
            raise UserError("--calibration-frames must be at least 1")
        if self.size:
            parse_size(self.size)

    @property
    def precision(self) -> str:
        """The row of export.check.LIMITS."""
        return "fp16" if self.fp16 else "int8" if self.int8 else "fp32"


def run(arguments: Arguments) -> int:
    """The whole command. Raises UserError for what the user can mend."""
    from export.check import DisagreementError, check
    from export.quantize import to_int8
    from export.to_onnx import describe, save, to_onnx
    from perception.checkpoint import load
    from perception.files import replacing

    wanted = [name.strip() for name in arguments.tasks.split(",")] if arguments.tasks else None
    model, meta = load(arguments.checkpoint, wanted)
    height, width = parse_size(arguments.size) if arguments.size else meta.size_hw
    description = describe(model, meta, (height, width))
    frames = _frames(arguments, description.size_hw)
    graph = to_onnx(model, description, arguments.dynamic, half=arguments.fp16)
    if arguments.int8:
        graph = to_int8(graph, description, frames)
    try:
        with replacing(arguments.out) as beside:
            save(graph, beside)
            if arguments.check:
                others = _other_size(arguments, description.size_hw)
                check(model, beside, description, [frames[:8], *others], arguments.precision)
    except DisagreementError as error:
        print(f"{arguments.out}: not written; {error}", file=sys.stderr)
        return 1
    shape = "any batch, height and width" if arguments.dynamic else f"1 x {height} x {width} x 3"
    print(
        f"{arguments.out}: {', '.join(description.views)}; frame uint8 {shape}; "
        f"{arguments.precision}, {arguments.out.stat().st_size / 1e6:.1f} MB"
    )
    return 0


def _frames(arguments: Arguments, size_hw: tuple[int, int]) -> "np.ndarray":
    from export.frames import made_up_frames, read_frames

    if arguments.calibration is None:
        return made_up_frames(size_hw, 3)
    return read_frames(arguments.calibration, size_hw, arguments.calibration_frames)


def _other_size(arguments: Arguments, size_hw: tuple[int, int]) -> "list[np.ndarray]":
    """Frames of a size that was not traced: they show what a dynamic graph froze."""
    from export.frames import made_up_frames

    height, width = size_hw
    return [made_up_frames((height + 64, width + 32), 2, seed=1)] if arguments.dynamic else []


def main() -> int:
    """The command."""

    def command() -> int:
        require_extra("export", "onnx", "onnxslim", "torch", "timm")
        return run(tyro.cli(Arguments, description=__doc__))

    return cli(command)
