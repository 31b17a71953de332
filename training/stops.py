"""Ways a run ends early, each with one clear line and its last state intact."""

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from perception.errors import UserError
from perception.files import WriteError
from training.distributed import World, is_lost_rank
from training.resume import state_files


class Stop:
    """SIGINT (Ctrl-C) and SIGTERM request a stop after the current step; a second Ctrl-C interrupts
    at once."""

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
def early_ends(folder: Path, world: World) -> Iterator[None]:
    """Turns a full disk, a dead loader process and a lost rank into one line."""
    with full_disk(folder), dead_loader(), lost_rank(world):
        yield


@contextmanager
def lost_rank(world: World) -> Iterator[None]:
    """UserError where another rank has ended."""
    try:
        yield
    except RuntimeError as error:
        if world.size == 1 or not is_lost_rank(error):
            raise
        line = str(error).strip().splitlines()[0][:120]
        raise UserError(
            f"rank {world.rank}: another rank has ended ({line}); see its message, "
            "then continue with --resume"
        ) from None


@contextmanager
def dead_loader() -> Iterator[None]:
    """One line for an error in a loader process, to which torch adds that process's traceback, and
    for a process that is gone."""
    try:
        yield
    except WriteError:
        raise
    except UserError as error:
        raise UserError(str(error).rpartition("UserError: ")[2].strip()) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        line = str(error).strip().splitlines()[0]
        raise UserError(
            f"a data loader process has ended ({line}); if memory is short, use fewer --workers; "
            "continue with --resume"
        ) from None


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Names the state to continue from; files that were written before are intact."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC and not (isinstance(error, WriteError) and error.full):
            raise
        kept = [path.name for path in state_files(folder)]
        raise UserError(
            f"{folder}: the disk is full; free some space and continue with --resume "
            f"(from {kept[-1] if kept else 'the start'})"
        ) from None
