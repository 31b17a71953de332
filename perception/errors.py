"""Errors a user can fix: raised anywhere, printed as one line by the command, exit code 2."""

import difflib
import errno
import importlib.util
import io
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Sequence

from perception.stop import StopSignals

# What reading a text of any content as one of ours can raise.
MALFORMED = (
    *(ValueError, LookupError, TypeError, AttributeError),
    *(RecursionError, OverflowError),
)


class UserError(Exception):
    """An error the user can fix; the message names the file or field and what to do."""


class NoFramesError(UserError):
    """A dataset folder has no frames for the requested split."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """UserError for a name that is not in a registry; suggests the closest known one."""
    names, name = sorted(known), str(name)[:100]  # the name may come from a file, at any length
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
    return UserError(f"unknown {kind} {name!r}; {hint}")


def check_known(kind: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raises UserError for the first name that is not in a registry."""
    for name in names:
        if name not in known:
            raise unknown_name(kind, name, known)


def first_line(error: Exception) -> str:
    """Of an error's text, at most 200 characters; its type where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def some_of(names: Sequence[str], most: int = 12) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


def require_extra(extra: str, *modules: str) -> None:
    """Raises UserError naming the `pip install` that provides the modules, if one is missing."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(
            f"this command needs {', '.join(missing)}: pip install 'pvt-hydranet[{extra}]'"
        )


def cli(run: Callable[[], int | None]) -> int:
    """Runs a command: its exit code; 2 after a UserError or a full disk (one line on stderr), 128
    and the number of a signal that ends it, 141 where nobody reads its output any more.

    Characters that the terminal cannot show are escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with StopSignals((signal.SIGTERM, signal.SIGHUP)):
            code = run() or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        if not nobody_reads(sys.stdout.fileno()):
            raise  # of another pipe
        # Python would report the same error again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        problem = opencv_problem(error)
        if not problem:
            raise
        print(f"error: {problem}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}the disk is full; free some space", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def opencv_problem(error: ImportError) -> str:
    """What to do where OpenCV is missing or does not load; empty for other imports."""
    if isinstance(error, ModuleNotFoundError):
        extras = "[cpu], [gpu], or [headless] (without libGL)"
        wanted = f"OpenCV is not installed: pip install pvt-hydranet{extras}"
        return wanted if error.name == "cv2" else ""
    library = re.match(r"(lib\S+): cannot open shared object file", str(error))
    if not library or "cv2" not in (error.name or "") + (error.path or ""):
        return ""
    return (
        f"OpenCV needs {library[1]}, which this system lacks: apt install libgl1 libglib2.0-0, "
        "or install [headless] in place of [cpu]"
    )


def nobody_reads(number: int) -> bool:
    """Whether the file of this number is a pipe whose reader has closed it."""
    asked = select.poll()
    asked.register(number, select.POLLOUT)
    return any(events & select.POLLERR for _, events in asked.poll(0))
