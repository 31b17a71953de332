"""Train every row of a multi-task question with an equal budget and write a report.

Example: study-mtl stl-vs-mtl --data DIR --tasks det,lane --seeds 3 --out runs/study

Finished runs are kept in OUT/results.jsonl, so the same command resumes a stopped study. Each run
is a plain train-bdd run; its command line is in its record. The report is OUT/report.md.
"""

from perception.errors import cli, require_extra


def study() -> int:
    """Runs the study and prints its report."""
    require_extra(
        "train", "torch", "timm", "torchjd", "safetensors", "tyro", "rich", "scipy", "matplotlib"
    )
    from rich.console import Console
    from rich.markdown import Markdown

    from training.study.arguments import BENCHMARK, parse_command_line

    console = Console()
    args = parse_command_line(about=__doc__)
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
