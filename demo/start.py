"""Console scripts whose modules import OpenCV: where it is missing they end with one line. Signals
are taken before the libraries are loaded."""

from collections.abc import Callable
from importlib import import_module

from perception.errors import cli


def _command(module: str) -> Callable[[], int]:
    return lambda: cli(lambda: import_module(module).main())


perceive = _command("demo.perceive")
archive = _command("demo.archive")
web = _command("demo.web_site")
