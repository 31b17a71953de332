"""Export a checkpoint to one self-describing ONNX file and check it against PyTorch.

Example: export-onnx runs/bdd/best.safetensors -o model.onnx --size 384x640

The file is run with ONNX Runtime on the same frames as the PyTorch model, and the differences are
printed. Where an output differs, nothing is written and the exit code is 1.
"""

import sys
from typing import TYPE_CHECKING

from perception.arguments import parse
from perception.errors import UserError, cli, require_extra

if TYPE_CHECKING:  # the slow imports come after the command line is parsed
    from export.arguments import ExportArguments


def run(arguments: "ExportArguments") -> int:
    """The whole command. Raises UserError for mistakes of the user."""
    if arguments.checkpoint.suffix == ".onnx":
        raise UserError(
            f"{arguments.checkpoint}: already exported; give the checkpoint it was exported from"
        )
    if arguments.int8:
        require_extra("int8", "nncf")
    from export.arguments import FEWEST
    from export.check import DisagreementError, check
    from export.frames import read_frames, synthetic_frames
    from export.to_onnx import describe, round_to_half, save, to_onnx
    from perception.checkpoint import load
    from perception.files import replacing
    from perception.hub import CHECKPOINT, ONNX, PACKAGED, local_file
    from perception.runtime.providers import read_description

    model, meta = load(local_file(arguments.checkpoint, CHECKPOINT), list(arguments.tasks) or None)
    size_hw = meta.size_hw
    if ONNX in PACKAGED.get(name := str(arguments.checkpoint), {}):  # weights for several sizes
        size_hw = read_description(local_file(name, ONNX)).size_hw
    height, width = arguments.size or size_hw
    description = describe(model, meta, (height, width))
    if arguments.int8 is None:
        frames = synthetic_frames(description.size_hw, 3)
    else:
        frames = read_frames(arguments.int8, description.size_hw, arguments.int8_frames)
        if len(frames) < FEWEST:
            raise UserError(f"--int8 {arguments.int8}: {len(frames)} frames; at least {FEWEST}")
    if arguments.half_weights:
        round_to_half(model)
    plain = arguments.precision == "fp32"
    graph = to_onnx(model, description, arguments.dynamic, half=arguments.fp16, half_weights=plain)
    if arguments.int8:
        from export.quantize import to_int8

        graph = to_int8(graph, description, frames)
    try:
        with replacing(arguments.out) as temporary:
            save(graph, temporary)
            if arguments.check:
                batches = [frames[:8]]
                if arguments.dynamic:  # a size that was not traced reveals constants in the graph
                    batches.append(synthetic_frames((height + 64, width + 32), 2, seed=1))
                check(model, temporary, description, batches, arguments.precision)
    except DisagreementError as error:
        print(f"{arguments.out}: not written; {error}", file=sys.stderr)
        return 1
    shape = "any batch, height and width" if arguments.dynamic else f"1 x {height} x {width} x 3"
    print(
        f"{arguments.out}: {', '.join(description.views)}; frame uint8 {shape}; "
        f"{arguments.precision}, {arguments.out.stat().st_size / 1e6:.1f} MB"
    )
    if arguments.int8:
        print("INT8 is faster on CPUs with VNNI or AMX instructions: compare with bench-onnx")
    return 0


def main() -> int:
    def command() -> int:
        require_extra("train", "torch", "timm", "safetensors")
        require_extra("export", "onnx", "onnxslim", "tyro", "rich")
        require_extra("cpu", "onnxruntime")
        from export.arguments import ExportArguments

        return run(parse(ExportArguments, "export-onnx", __doc__))

    return cli(command)


if __name__ == "__main__":
    raise SystemExit(main())
