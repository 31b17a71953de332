"""study-mtl PRESET [--data DIR] [--tasks a,b,c] [--seeds 3] [--out runs/study] [--quick]

Trains every row of a question with equal budgets, keeps what is finished, writes a report. Presets:
stl-vs-mtl, pairs, trunks, balance, sharing, baselines, scratch-vs-pretrained, nyuv2, groups, grid.
"""

from perception.errors import cli, require_extra


def study() -> int:
    """The command: 0 when the report is written; a stopped study goes on where it was."""
    require_extra("train", "torch", "timm", "torchjd", "safetensors", "tyro", "rich")
    from rich.console import Console
    from rich.markdown import Markdown

    from training.study.arguments import parse_command_line
    from training.study.conduct import conduct

    console = Console()
    arguments = parse_command_line()
    text, html = conduct(arguments, console.print)
    console.print(Markdown(text.read_text()))
    console.print(f"Report: {text} and {html}", soft_wrap=True)
    return 0


def main() -> None:
    raise SystemExit(cli(study))


if __name__ == "__main__":
    main()
