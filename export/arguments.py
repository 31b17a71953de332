"""Command lines of export-onnx and bench-onnx."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perception.errors import UserError
from perception.fields import FrameSize, Names, Size, Tasks
from perception.files import check_outputs

FEWEST: Final = 16  # frames to measure the ranges of INT8 on


@dataclass
class ExportArguments:
    """Command line of export-onnx."""

    checkpoint: Path
    """Checkpoint written by train-bdd (.safetensors), hf://OWNER/NAME[@REVISION], or `default` or
    `fast` (the pretrained models)."""
    out: Path = Path("model.onnx")
    """ONNX file to write; also -o."""
    tasks: Tasks = ()
    """Tasks to export, comma-separated; default: all of the checkpoint."""
    size: Size | None = None
    """Input size, both multiples of 32; default: the size of the checkpoint's training."""
    dynamic: bool = False
    """Leave batch size, height and width free."""
    fp16: bool = False
    """Compute in half precision, for GPUs (slower on a CPU). Decoding stays in float32."""
    half_weights: bool = False
    """Round weights to float16 for storage: about half the file size, computed in float32 as
    before. Weights that float16 represents exactly are always stored so."""
    int8: Path | None = None
    """Quantise convolutions to INT8 with ranges measured on the real frames of this folder (at
    least 16, of training drives); the check against PyTorch uses them too. Needs the extra int8."""
    int8_frames: int = 100
    """Number of frames to use from the folder."""
    check: bool = True
    """Write the file without comparing its outputs with PyTorch's; otherwise one that differs is
    refused."""

    def __post_init__(self) -> None:
        if self.fp16 + bool(self.int8) + self.half_weights > 1:
            raise UserError("--fp16, --int8 and --half-weights exclude each other")
        if self.int8 and self.dynamic:
            raise UserError("--int8 and --dynamic exclude each other: ranges are those of one size")
        if self.int8_frames < FEWEST:
            raise UserError(f"--int8-frames {self.int8_frames}: at least {FEWEST}")
        check_outputs([("-o", self.out)], [("checkpoint", self.checkpoint)])

    @property
    def precision(self) -> str:
        """Key of export.check.LIMITS."""
        return "fp16" if self.fp16 else "int8" if self.int8 else "fp32"


@dataclass
class BenchOnnxArguments:
    """Command line of bench-onnx."""

    models: tuple[str, ...]
    """ONNX files, `default`, `fast`, hf://OWNER/NAME; timm:NAME is a timm backbone, zoo:NAME an
    untrained network of the zoo, exported on the fly. The first is the reference of all ratios."""
    providers: Names = ("cpu",)
    """Comma-separated: cpu, openvino, openvino-bf16, cuda, tensorrt. Each model runs on each."""
    threads: int = 2
    """Threads per model; the process is pinned to as many cores."""
    rounds: int = 50
    """Timed runs per model."""
    warmup: int = 5
    """Untimed runs per model before the first timed one."""
    size: Size = (384, 640)
    """Input size where a model leaves it free, and of networks that are exported on the fly."""
    tasks: Tasks = ()
    """Tasks of zoo:NAME, comma-separated; default: the first four."""
    frame: FrameSize = (720, 1280)
    """Size of the camera frame, for letterboxing and post-processing of this project's models."""
    json: Path | None = None
    """Write every time to this JSON file."""

    def __post_init__(self) -> None:
        if not self.models:
            raise UserError("give at least one .onnx file")
        if self.json is not None:
            models = [("model", Path(model)) for model in self.models]
            check_outputs([("--json", self.json)], models)
        for name in ("threads", "rounds", "warmup"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} must be at least 1")
