"""Prepare the page that runs a model in the browser. `perceive --web` serves it on this machine.

examples:
  perceive-web fetch         download onnxruntime-web into the cache, once
  perceive-web build site/   write page, runtime and model into a folder for a static host
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from demo.command_line import add_model
from demo.web_runtime import fetch
from demo.web_site import build
from perception.errors import cli
from perception.hub import ONNX, local_file


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit code 2 and one line for a user's mistake."""
    args = parser().parse_args(argv)
    return cli(lambda: args.run(args))


def run_fetch(args: argparse.Namespace) -> None:
    print(f"onnxruntime-web is in {fetch(args.tarball)}")


def run_build(args: argparse.Namespace) -> None:
    build(local_file(args.model, ONNX), args.folder)
    print(f"wrote {args.folder}; put it on any static host, its start page is index.html")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        "perceive-web", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = made.add_subparsers(required=True)
    one = commands.add_parser("fetch", help="download onnxruntime-web (npm) into the cache")
    one.add_argument(
        "--tarball", type=Path, metavar="FILE", help="the npm package, where npm is not installed"
    )
    one.set_defaults(run=run_fetch)
    two = commands.add_parser("build", help="write the page into a folder")
    two.add_argument("folder", type=Path)
    add_model(two)
    two.set_defaults(run=run_build)
    return made


if __name__ == "__main__":
    sys.exit(main())
