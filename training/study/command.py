"""Train every row of a multi-task question with an equal budget and write a report.

Example: study-mtl stl-vs-mtl --data DIR --tasks det,lane --seeds 5 --out runs/study

`--plan` prints what it will cost first. Finished runs are kept in OUT/results.jsonl, so the same
command resumes a stopped study. Each run is a plain train-bdd run; its command line is in its
record. The report is OUT/report.md.
"""

import shlex
import sys

from perception.errors import cli, require_extra


def study() -> int:
    """Runs the study and prints its report, or its plan."""
    require_extra(
        "train", "torch", "timm", "torchjd", "safetensors", "tyro", "rich", "scipy", "matplotlib"
    )
    from rich.console import Console
    from rich.markdown import Markdown

    from training.study.arguments import parse_command_line
    from training.study.questions import QUESTIONS
    from training.study.run_study import run_study

    console = Console()
    questions = "\n".join(f"  {name}: {about}" for name, (about, _) in QUESTIONS.items())
    args = parse_command_line(about=f"{__doc__}\nQuestions:\n{questions}")
    report = run_study(args, console.print, shlex.join(["study-mtl", *sys.argv[1:]]))
    if report:
        console.print(Markdown(report.read_text()))
        console.print(f"Report: {report}", soft_wrap=True)
    return 0


def main() -> None:
    raise SystemExit(cli(study))


if __name__ == "__main__":
    main()
