"""Upload a model with its card to a hub. Log in first with 'hf auth login'.

The licence, data and scores on the card are those recorded in the model file.

examples:
  push-model model.onnx hf://OWNER/NAME --checkpoint runs/bdd/best.safetensors
  push-model model.onnx hf://OWNER/NAME --card    print the card, upload nothing
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from perception.errors import UserError, cli, require_extra


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line for a user's mistake."""
    args = parser().parse_args(argv)
    return cli(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Checks the files, then uploads or prints."""
    from perception.hub import card, parse, push
    from perception.runtime.providers import read_description

    require_extra("hub", "huggingface_hub")
    description = read_description(args.model)
    repo, _ = parse(args.name)
    if args.checkpoint is not None and not args.checkpoint.is_file():
        raise UserError(f"--checkpoint {args.checkpoint}: no such file")
    if args.card:
        print(card(description, repo))
    else:
        print(push(args.model, description, args.checkpoint, args.name))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "push-model", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("model", type=Path, help="an .onnx made by export-onnx")
    made.add_argument("name", help="hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    made.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="its .safetensors, for --init hf://…"
    )
    made.add_argument("--card", action="store_true", help="print the card, upload nothing")
    return made


if __name__ == "__main__":
    sys.exit(main())
