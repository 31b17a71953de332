"""Ways a run ends before its time, each with one clear line and its last state whole."""

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from safetensors import SafetensorError

from perception.errors import UserError
from training.distributed import World, is_lost_rank
from training.resume import state_files


class Stop:
    """Ctrl-C and SIGTERM ask for an orderly end; a second Ctrl-C is not asked twice."""

    def __init__(self) -> None:
        self.wanted = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Handles the signals inside the block."""
        main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
        before = {number: signal.signal(number, self) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def ranks_watched(world: World) -> Iterator[None]:
    """Turns the loss of another rank into one line."""
    try:
        yield
    except RuntimeError as error:
        if world.size == 1 or not is_lost_rank(error):
            raise
        line = str(error).strip().splitlines()[0][:120]
        raise UserError(
            f"rank {world.rank}: another rank has ended ({line}); look at its message, "
            "then go on with --resume"
        ) from None


@contextmanager
def loaders_watched() -> Iterator[None]:
    """Turns what a loader's process died of into one line: torch adds that process's traceback to
    its errors, and raises one of its own where the process is gone."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).rpartition("UserError: ")[2].strip()) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        line = str(error).strip().splitlines()[0]
        raise UserError(
            f"a process that reads frames has ended ({line}); where memory is short, take fewer "
            "--workers; go on with --resume"
        ) from None


@contextmanager
def disk_watched(folder: Path) -> Iterator[None]:
    """Turns a full disk into one line; what was written before is whole."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", 0) != errno.ENOSPC and "os error 28" not in str(error):
            raise
        kept = [path.name for path in state_files(folder)]
        raise UserError(
            f"{folder}: the disk is full; free some space and go on with --resume "
            f"(from {kept[-1] if kept else 'the start'})"
        ) from None
