"""Ctrl-C, SIGTERM and a closed terminal end a command with complete files."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals(AbstractContextManager["StopSignals"]):
    """While it is entered, the first signal sets `number` where `gently` is set, and any other one
    ends the process through its context managers, with exit code 128 + number.

    As process 1 of a container too, to which signals without a handler are not delivered.
    """

    def __init__(self, numbers: Sequence[signal.Signals] = SIGNALS) -> None:
        self.numbers = numbers
        self.number, self.gently, self.process = 0, False, os.getpid()
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            # A closed terminal does not end what nohup started; shells start background jobs with
            # SIGINT ignored, which is no reason to ignore one that is sent.
            nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            taken = [one for one in self.numbers if one != signal.SIGHUP or not nohup]
            self.before = {one: signal.signal(one, self._take) for one in taken}
        return self

    def _take(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # a forked child ends as it would without a handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        first, self.number = not self.number, number
        if not (self.gently and first):
            print("stopped", file=sys.stderr)
            sys.exit(128 + number)

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
