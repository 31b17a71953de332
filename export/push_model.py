"""push-model MODEL.onnx hf://OWNER/NAME [--checkpoint FILE]: upload a model with its card.

The card's licence, data and scores are those in the model file. --card prints the card and uploads
nothing. Log in before with 'hf auth login'.
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
    """The command line."""
    made = argparse.ArgumentParser("push-model", description=__doc__)
    made.add_argument("model", type=Path, help="an .onnx made by export-onnx")
    made.add_argument("name", help="hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    made.add_argument("--checkpoint", type=Path, help="its .safetensors, for --init hf://…")
    made.add_argument("--card", action="store_true", help="print the card, upload nothing")
    return made


if __name__ == "__main__":
    sys.exit(main())
