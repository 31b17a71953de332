"""Command lines from dataclasses, through tyro, with help that reads like a person's."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def parse(
    kind: type[T],
    prog: str,
    description: str | None,
    words: Sequence[str] | None = None,
    default: T | None = None,
) -> T:
    """The dataclass `kind` from a command line (default: sys.argv); fields without a default are
    positional, and -o is --out. Prints help or mistakes and exits as argparse does."""
    import tyro

    describe(kind)
    words = sys.argv[1:] if words is None else words
    words = ["--out" if word == "-o" else word for word in words]
    config = [
        tyro.conf.OmitArgPrefixes,
        tyro.conf.PositionalRequiredArgs,
        tyro.conf.DisallowNone,  # PATH, not {None}|PATH
    ]
    if {"--help", "-h"} & {*words}:  # shows the form of a switch that changes it; both are accepted
        config.append(tyro.conf.FlagCreatePairsOff)
    given: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(kind, args=words, prog=prog, description=description, config=config, **given)


def describe(kind: Any) -> None:
    """Adds to every field of a dataclass, in place, how help shows its value and default."""
    import tyro

    if "__described__" in vars(kind):
        return
    kind.__described__ = True
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        if is_dataclass(plain):
            describe(plain)
            continue
        required = field.default is MISSING and field.default_factory is MISSING
        extras = getattr(hint, "__metadata__", ())
        repeatable = "Append" in str(extras)
        spec = tyro.constructors.PrimitiveConstructorSpec
        named = repeatable or any(isinstance(extra, spec) for extra in extras)
        options: dict[str, Any] = {"help_behavior_hint": _default_text(required, repeatable)}
        if (metavar := _metavar(plain, required)) and not named:
            options["metavar"] = metavar
        kind.__annotations__[field.name] = Annotated[hint, tyro.conf.arg(**options)]


def _default_text(required: bool, repeatable: bool) -> Callable[[str], str]:
    """What follows a field's help, given its default as text; nothing where that is empty."""

    def text(default: str) -> str:
        if required or repeatable:
            return "(required)" if required else "(repeatable)"
        return "" if default in ("", "''", "None", "False", "True") else f"(default: {default})"

    return text


def _metavar(plain: Any, required: bool) -> str:
    """FLOAT ... for `tuple[float, ...]`; "" where tyro's is fine."""
    parts = get_args(plain)
    if get_origin(plain) is tuple and Ellipsis in parts:
        name = str(parts[0].__name__).upper()
        return f"{name} [{name} ...]" if required else f"{name} ..."
    return ""
