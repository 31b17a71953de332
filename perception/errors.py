"""A user's mistake as one clear line: raised anywhere, printed once, exit code 2."""

import difflib
import importlib.util
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """Something the user can mend; the message names the file or field and what to do."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is in no registry, with the near miss suggested."""
    names, name = sorted(known), str(name)[:100]  # a file may say megabytes
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
    return UserError(f"unknown {kind} {name!r}; {hint}")


def require_extra(extra: str, *modules: str) -> None:
    """Raises UserError naming the `pip install` that provides the modules, if one is missing."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(
            f"this command needs {', '.join(missing)}: pip install 'pvt-hydranet[{extra}]'"
        )


def cli(run: Callable[[], int | None]) -> int:
    """Runs a command; a UserError becomes one line on stderr and exit code 2, Ctrl-C 130."""
    try:
        return run() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
