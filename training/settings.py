"""Settings from files: `--config run.yaml`, or the config.json of an earlier run.

A file names flags (`lr: 0.001`, `data: [A, B]`), with `recipe:` for all others; or it has the
groups of config.json (`data:`, `model:`, `optim:`, `run:`) and then describes one run completely.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

from perception.errors import UserError, unknown_name
from perception.files import read_bounded
from perception.sizes import parse_size
from training.config import Config, parse_names, parse_weights

MAX_BYTES: Final = 1 << 20
GROUPS: Final = tuple(field.name for field in fields(Config))
# How a command continues or where it reads from; no file may say it.
COMMAND_ONLY: Final = ("resume", "config")


def read_settings(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises UserError where it is none."""
    import yaml

    if not path.is_file():
        raise UserError(f"--config {path}: no such file")
    try:
        text = read_bounded(path, MAX_BYTES).decode()
        found = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"--config {path}: not valid YAML or JSON ({reason})") from None
    if not isinstance(found, dict):
        raise UserError(f"--config {path}: write one setting per line, e.g. `lr: 0.001`")
    return {str(key): value for key, value in found.items()}


def is_complete(settings: Mapping[str, Any]) -> bool:
    """Whether the settings are in groups, as in config.json, and so describe one whole run."""
    return any(isinstance(settings.get(group), Mapping) for group in GROUPS)


def apply_settings(config: Config, settings: Mapping[str, Any], source: str) -> Config:
    """`config` with the values of a file. Raises UserError naming `source` and the field."""
    if is_complete(settings):
        for group in settings:
            if group not in GROUPS or not isinstance(settings[group], Mapping):
                raise UserError(f"{source}: {group!r} is no group; known: {', '.join(GROUPS)}")
        pairs = [(g, key, value) for g, part in settings.items() for key, value in part.items()]
        pairs = [pair for pair in pairs if pair[1] not in COMMAND_ONLY]
    else:
        pairs = [(_group_of(str(key), source), key, value) for key, value in settings.items()]
    changes: dict[str, dict[str, Any]] = {}
    for group, key, value in pairs:
        name = str(key).replace("-", "_")
        hints = get_type_hints(type(getattr(config, group)))
        if name not in hints:
            raise UserError(f"{source}: {unknown_name('setting', name, hints)}")
        try:
            changes.setdefault(group, {})[name] = _coerce(hints[name], value, name)
        except (ValueError, TypeError, AttributeError):
            raise UserError(f"{source}: {name}: {value!r} is no {_describe(hints[name])}") from None
    groups = {g: dataclasses.replace(getattr(config, g), **new) for g, new in changes.items()}
    return dataclasses.replace(config, **groups)


def _group_of(key: str, source: str) -> str:
    """The group that has this field."""
    name = key.replace("-", "_")
    if name in COMMAND_ONLY:
        raise UserError(f"{source}: {name} belongs on the command line; remove it from the file")
    homes = {
        field.name: group.name
        for group in fields(Config)
        for field in fields(group.default_factory)  # type: ignore[arg-type]
    }
    if name not in homes:
        raise UserError(f"{source}: {unknown_name('setting', name, homes)}")
    return homes[name]


def _coerce(kind: Any, value: Any, name: str) -> Any:
    """A YAML or JSON value, or the text of the flag, as the field's type."""
    if kind is bool or isinstance(value, bool):
        if kind is not bool or not isinstance(value, bool):
            raise TypeError
        return value
    if kind is int:
        if float(value) != int(value):
            raise ValueError
        return int(value)
    if kind in (float, str):
        if kind is str and not isinstance(value, str):
            raise TypeError
        return kind(value)
    if get_origin(kind) is dict:
        flag = f"--{name.replace('_', '-')}"
        parsed = parse_weights(value, flag) if isinstance(value, str) else dict(value)
        return {str(key): float(weight) for key, weight in parsed.items()}
    parts = get_args(kind)
    if isinstance(value, str):
        if kind == tuple[int, int]:
            return parse_size(value)
        value = (value,) if name == "data" else parse_names(value)
    items = tuple(_coerce(parts[0], item, name) for item in value)
    if Ellipsis not in parts and len(items) != len(parts):
        raise ValueError
    return items


def _describe(kind: Any) -> str:
    if kind in (int, float, bool, str):
        return {int: "integer", float: "number", bool: "true or false", str: "text"}[kind]
    if get_origin(kind) is dict:
        return "mapping of names to numbers"
    return "list of " + ("texts" if get_args(kind)[0] is str else "numbers")


def config_from_json(settings: Mapping[str, Any], source: str) -> Config:
    """The inverse of `Config.to_json`; UserError naming `source` for unknown groups or fields."""
    if not is_complete(settings):
        raise UserError(f"{source}: no settings of a run; known groups: {', '.join(GROUPS)}")
    return apply_settings(Config(), settings, source)
