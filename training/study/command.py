"""Train every row of a multi-task question with an equal budget and write a report.

Example: study-mtl stl-vs-mtl --data DIR --tasks det,lane --seeds 3 --out runs/study

Finished runs are kept in OUT/results.jsonl, so the same command resumes a stopped study. Each run
is a plain train-bdd run; its command line is in its record. The report is OUT/report.md.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any, Final

import tyro

from perception.errors import cli, require_extra
from training.study.arguments import BENCHMARK, StudyArgs

# What the benchmark uses where no option is given: whole data sets, in crops, averaged weights.
BENCHMARK_DEFAULTS: Final[dict[str, Any]] = {
    "size": (192, 320),
    "frames": 0,
    "val_frames": 0,
    "zoom": (0.8, 2.2),
    "ema": 0.998,
    "seeds": 2,
}


def parse_command_line(argv: Sequence[str] | None = None) -> StudyArgs:
    """The options of a command line, by default sys.argv."""
    argv = sys.argv[1:] if argv is None else list(argv)
    default = dataclasses.replace(StudyArgs(BENCHMARK), **BENCHMARK_DEFAULTS)
    given: dict[str, Any] = {"default": default} if BENCHMARK in argv else {}
    return tyro.cli(StudyArgs, args=argv, prog="study-mtl", description=__doc__, **given)


def study() -> int:
    """Runs the study and prints its report."""
    require_extra(
        "train", "torch", "timm", "torchjd", "safetensors", "tyro", "rich", "scipy", "matplotlib"
    )
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    args = parse_command_line()
    if args.preset == BENCHMARK:
        from training.study.benchmark import run_benchmark

        report = run_benchmark(args, console.print)
    else:
        from training.study.run_study import run_study

        report = run_study(args, console.print)
    console.print(Markdown(report.read_text()))
    console.print(f"Report: {report}", soft_wrap=True)
    return 0


def main() -> None:
    raise SystemExit(cli(study))


if __name__ == "__main__":
    main()
