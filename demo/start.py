"""Console scripts whose modules import OpenCV: where it is missing they end with one line. Signals
are taken from the first moment on, before the libraries are loaded."""

from collections.abc import Callable
from importlib import import_module

from demo.stop import StopSignals
from perception.errors import cli


def _command(module: str) -> Callable[[], int]:
    def run() -> int:
        with StopSignals():
            return cli(lambda: import_module(module).main())

    return run


perceive = _command("demo.perceive")
archive = _command("demo.archive")
web = _command("demo.web_command")
