"""List what is wrong with a dataset, and draw its labels on a contact sheet.

Exit code 0: clean; 1: findings, listed by file; 2: there are no frames.

example:
  check-bdd BDD100K --json report.json --sheet sheet.jpg
"""

import json
import os
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from perception.arguments import parse
from perception.errors import UserError, cli, require_extra
from perception.files import check_outputs, check_place, dataset_folders, write_atomic

SHOWN: Final = 20
SHEETS: Final = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class CheckArguments:
    """The command line of check-bdd."""

    data: str
    """Dataset folder, or KIND:DIR as for train-bdd."""
    labels: Path | None = None
    """Folder or file with the labels, where DATA holds images only."""
    classes: Path | None = None
    """File of class lists, as for train-bdd."""
    json: str = ""
    """Where to write the report as JSON; - prints it instead of the text."""
    sheet: str = "check-bdd.jpg"
    """Where to write a contact sheet with the labels drawn, in the current folder if not given; ""
    for none."""
    jobs: int = min(os.cpu_count() or 1, 4)
    """Processes that read frames."""
    all: bool = False
    """Print every finding instead of the first few of each kind."""


def check() -> int:
    """The command: prints the report, returns 1 where there are findings."""
    require_extra("train", "torch", "tyro", "rich")
    args = parse(CheckArguments, "check-bdd", __doc__)
    from rich.console import Console

    from training.data.classes import read_classes
    from training.data.examine import examine
    from training.logs import make_progress

    check_places(args)
    classes = read_classes(args.classes) if args.classes else None
    with make_progress(Console(stderr=True)) as bar:
        advance = partial(bar.update, bar.add_task("frames"))
        report, datasets = examine(args.data, args.jobs, advance, args.labels, classes)
    text = json.dumps(report.to_json(), indent=1)
    if args.json == "-":
        print(text)
    else:
        print("\n".join(lines(report, args.all)))
        if args.json:
            write_atomic(Path(args.json), text)
    if args.sheet:
        _write_sheet(datasets, Path(args.sheet))
    return 1 if report.findings else 0


def check_places(args: CheckArguments) -> None:
    """Raises UserError where the report or the sheet would replace something else, or cannot be
    written."""
    sheet = Path(args.sheet)
    if args.sheet and sheet.suffix.lower() not in SHEETS:
        raise UserError(f"--sheet {sheet}: name a .jpg or .png file")
    outputs = [("--json", Path(args.json))] if args.json not in ("", "-") else []
    if args.sheet == CheckArguments.sheet:  # this command's own, of an earlier run too
        check_place("--sheet", sheet)
    elif args.sheet:
        outputs.append(("--sheet", sheet))
    inputs = [("--classes", args.classes), ("--labels", args.labels)]
    check_outputs(outputs, inputs, datasets=dataset_folders(args.data, args.labels))


def lines(report: Any, every: bool = False) -> list[str]:
    """The report as text: counts first, then the findings by kind."""
    out = [f"{report.root}"]
    for split, counts in report.splits.items():
        out += _split_lines(split, counts)
    by_kind: dict[str, list[Any]] = defaultdict(list)
    for finding in report.findings:
        by_kind[finding.kind].append(finding)
    for kind, found in sorted(by_kind.items()):
        out.append(f"\n{kind}: {len(found)}")
        shown = found if every else found[:SHOWN]
        out += [f"  {finding.file}: {finding.message}" for finding in shown]
        if len(shown) < len(found):
            out.append(f"  ... and {len(found) - len(shown)} more (--all, or --json FILE)")
    files = len({finding.file for finding in report.findings})
    count = len(report.findings)
    out.append(f"\n{count} findings in {files} files" if count else "\nclean")
    return out


def _split_lines(split: str, counts: dict[str, Any]) -> list[str]:
    sizes = ", ".join(f"{size} {count}" for size, count in counts["sizes"].items())
    out = [f"\n{split}: {counts['frames']} frames ({sizes})"]
    for task, count in counts["labelled"].items():
        out.append(f"  {task:9} {count:6} labelled")
    boxes = Counter(counts["boxes"]).most_common()
    out.append("  boxes     " + ", ".join(f"{name} {number}" for name, number in boxes))
    for name, values in counts["attributes"].items():
        known = ", ".join(f"{value} {number}" for value, number in values.items() if number)
        out.append(f"  {name:9} {known}")
    return out


def _write_sheet(datasets: Any, path: Path) -> None:
    from training.data.sheet import drawn_frames
    from training.logs import write_sheet

    if frames := drawn_frames(datasets):  # else none can be read
        write_sheet(path, frames, columns=4)
        print(f"contact sheet: {path}", file=sys.stderr)


def main() -> None:
    raise SystemExit(cli(check))


if __name__ == "__main__":
    main()
