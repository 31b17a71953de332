"""Ways a run ends early, each with one clear line and its last state intact."""

import errno
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from perception.errors import UserError, first_line
from perception.files import WriteError
from training.distributed import World, is_lost_rank
from training.resume import state_files

# Of messages about shared memory, by torch's loader and by its allocator.
NO_SHARED_MEMORY: Final = ("shared memory", "unable to write to file </torch")


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
def early_ends(folder: Path, world: World, stop: Stop) -> Iterator[None]:
    """Turns a full disk, a dead loader process and a lost rank into one line."""
    with full_disk(folder), dead_loader(stop), lost_rank(world):
        try:
            yield
        except BaseException as error:
            # Its frames hold the loader; without them the loader ends its processes now, which
            # would otherwise ignore the end of this one for SECONDS_TO_END.
            traceback.clear_frames(error.__traceback__)
            raise


@contextmanager
def lost_rank(world: World) -> Iterator[None]:
    """UserError where another rank has ended."""
    try:
        yield
    except RuntimeError as error:
        if world.size == 1 or not is_lost_rank(error):
            raise
        raise UserError(
            f"rank {world.rank}: another rank has ended ({first_line(error)}); see its message, "
            "then continue with --resume"
        ) from None


@contextmanager
def dead_loader(stop: Stop) -> Iterator[None]:
    """One line for an error in a loader process, to which torch adds that process's traceback, and
    for a process that is gone. After a requested stop such a process is part of the stop."""
    try:
        yield
    except (UserError, OSError) as error:
        _, of_a_process, trace = str(error).partition("in DataLoader worker process")
        if not of_a_process:
            raise
        line = trace.strip().splitlines()[-1].partition(": ")[2]
        if isinstance(error, UserError):
            raise UserError(line) from None
        raise OSError(errno.ENOSPC if "No space left" in line else error.errno, line) from None
    except RuntimeError as error:
        text = str(error)
        if stop.wanted and "DataLoader worker" in text:
            raise KeyboardInterrupt from None
        if any(sign in text for sign in NO_SHARED_MEMORY):
            raise UserError(
                "/dev/shm, through which loader processes send frames, is too small: give the "
                "container --shm-size 2g or more, or use --workers 0; continue with --resume"
            ) from None
        if not text.startswith("DataLoader worker (pid"):
            raise  # an error of the program, from one of its processes
        raise UserError(
            f"a data loader process has ended ({first_line(error)}); if memory is short, use fewer "
            "--workers; continue with --resume"
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
