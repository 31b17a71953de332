"""Console scripts whose modules import OpenCV: where it is missing they end with one line."""

from importlib import import_module

from perception.errors import cli


def perceive() -> int:
    """The `perceive` command."""
    return cli(lambda: import_module("demo.perceive").main())


def archive() -> int:
    """The `perceive-archive` command."""
    return cli(lambda: import_module("demo.archive").main())


def web() -> int:
    """The `perceive-web` command."""
    return cli(lambda: import_module("demo.web_command").main())
