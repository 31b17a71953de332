"""Command lines from dataclasses, through tyro, with help that reads like a person's."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

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
    config = (
        tyro.conf.OmitArgPrefixes,
        tyro.conf.PositionalRequiredArgs,
        tyro.conf.FlagCreatePairsOff,  # --flag, or --no-flag where the default is on
    )
    given: dict[str, Any] = {} if default is None else {"default": default}
    words = sys.argv[1:] if words is None else words
    words = ["--out" if word == "-o" else word for word in words]
    words = _without_repetitions(words, dict(_switches(default or kind)))
    return tyro.cli(kind, args=words, prog=prog, description=description, config=config, **given)


def _switches(group: Any) -> Iterator[tuple[str, bool]]:
    """(flag, default) of the boolean fields of a dataclass or an instance of one."""
    for field in fields(group):
        value = getattr(group, field.name, None)
        if value is None and callable(field.default_factory):
            value = field.default_factory()
        if isinstance(value, bool):
            yield field.name.replace("_", "-"), value
        elif is_dataclass(value):
            yield from _switches(value)


def _without_repetitions(words: Sequence[str], switches: dict[str, bool]) -> list[str]:
    """The words without --x where x is on already (a resumed run, a recipe), without --no-x where
    it is off; tyro accepts the other form only. The last of several counts."""
    forms = {f"--{no}{flag}": flag for flag in switches for no in ("", "no-")}
    last = {forms[word]: place for place, word in enumerate(words) if word in forms}
    kept = []
    for place, word in enumerate(words):
        flag = forms.get(word)
        on = flag is not None and word == f"--{flag}"
        if flag is None or (last[flag] == place and on != switches[flag]):
            kept.append(word)
    return kept


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
    """PATH for `Path | None`, FLOAT ... for `tuple[float, ...]`; "" where tyro's is fine."""
    parts = get_args(plain)
    if get_origin(plain) in (Union, UnionType) and NoneType in parts:
        (known,) = [part for part in parts if part is not NoneType]
        specs = getattr(known, "__metadata__", ())  # of fields.text_spec
        return specs[0].metavar if specs else str(known.__name__).upper()
    if get_origin(plain) is tuple and Ellipsis in parts:
        name = str(parts[0].__name__).upper()
        return f"{name} [{name} ...]" if required else f"{name} ..."
    return ""
