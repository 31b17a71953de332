"""A labelling process and who looks after it: a file that crashes or hangs a decoder costs one
process, and one line in the report."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from demo.archive_video import Job, Outcome, Settings

PATIENCE_S = 600.0  # covers loading a model and trying its providers


class Child(AbstractContextManager["Child"]):
    """Asks a process of its own; starts another when that one is lost.

    `patience_s`: a process that has finished no frame in so long is taken to hang.
    """

    def __init__(self, settings: Settings, patience_s: float = PATIENCE_S) -> None:
        self.settings, self.patience_s = settings, patience_s
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, job: Job) -> Outcome:
        """The outcome of one video. Never raises for the video's sake."""
        start, frames = time.monotonic(), 0
        process = self.process = self.process or self._start()
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
            while "name" not in (said := self._hear(process)):
                frames = said["beat"]
            return Outcome(**said)
        except (TimeoutError, OSError, EOFError) as error:
            problem = f"{job.video}: {self._lost(process, error)} at frame {frames}"
            return Outcome(job.name, False, frames, round(time.monotonic() - start, 3), problem)

    def _start(self) -> "subprocess.Popen[bytes]":
        """A process that finds our modules where this one does. Unbuffered, so that waiting on
        the pipe is waiting for the next line."""
        command = [sys.executable, "-m", "demo.archive_video", json.dumps(asdict(self.settings))]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, bufsize=0, env=environment, start_new_session=True
        )

    def _hear(self, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
        """The next line. Raises TimeoutError after the patience, EOFError where none will come."""
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], self.patience_s)
        if not ready:
            raise TimeoutError
        line = process.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return json.loads(line)

    def _lost(self, process: "subprocess.Popen[bytes]", error: Exception) -> str:
        """Ends what is left of a process; why it was lost."""
        if isinstance(error, TimeoutError):
            reason = f"no frame in {self.patience_s:g} s, given up"
        else:
            code = process.wait()
            name = signal.Signals(-code).name if code < 0 else f"code {code}"
            reason = f"its process died ({name}: a decoder's crash, or memory)"
        self.close()
        return reason

    def close(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
            self.process = None

    def __exit__(self, *_: object) -> None:
        self.close()
