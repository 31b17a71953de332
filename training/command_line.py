"""The settings of a run, from the command line of train-bdd and from files.

Settings that no flag gives come from the run that is resumed, else from --config, else from
--recipe. A file for --config names flags (`lr: 0.001`, `data: [A, B]`), with `recipe:` for all
others; or it has the groups of config.json (`data:`, `model:`, `optim:`, `run:`) and then describes
one run completely. A recipe is a file of the first kind in the folder `recipes`.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

from perception.arguments import parse, parse_names
from perception.errors import UserError, unknown_name
from perception.sizes import parse_size
from training.config import Config, RunArgs, parse_weights
from training.data.classes import read_yaml

CONFIG_FILE: Final = "config.json"
RECIPES: Final = Path(__file__).with_name("recipes")
GROUPS: Final = tuple(field.name for field in fields(Config))
# Flags that make no sense in a file.
COMMAND_ONLY: Final = ("resume", "config")
EXAMPLE: Final = """Train one network with a head per task; without --data, on rendered roads.

examples:
  train-bdd --data DIR --init default --out runs/mine      few frames of your own: start from the
                                                           pretrained model, it helps most
  train-bdd --data BDD100K --tasks det,lane,drivable --size 384x640 --out runs/first"""


def read_command_line(words: Sequence[str] | None = None) -> Config:
    """The settings that a command line (sys.argv without `words`) asks for.

    Raises UserError for wrong values.
    """
    words = sys.argv[1:] if words is None else list(words)
    if "--help" in words or "-h" in words:
        parse_command_line(words, description=f"{EXAMPLE}\n\n{registered_names()}")
    return parse_command_line(words, _resumed(words) or _from_files(words))


def _from_files(words: Sequence[str]) -> Config:
    """The settings of --config and --recipe, before the other flags."""
    path, recipe = _value(words, "--config"), _value(words, "--recipe")
    settings = read_settings(Path(path), f"--config {path}") if path else {}
    if is_complete(settings):
        if recipe:
            raise UserError(f"--config {path}: describes a whole run; leave --recipe out")
        return apply_settings(Config(), settings, f"--config {path}")
    recipe = recipe or str(settings.get("recipe", ""))
    if recipe:
        if recipe not in recipes():
            raise unknown_name("recipe", recipe, recipes())
        settings = read_settings(RECIPES / f"{recipe}.yaml", f"--recipe {recipe}") | settings
    return apply_settings(Config(), settings, f"--config {path}")


def recipes() -> list[str]:
    """The names that --recipe accepts."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def _resumed(words: Sequence[str]) -> Config | None:
    """The stored settings of the run that --resume continues; None where a flag names others."""
    if "--resume" not in words or _value(words, "--config") or _value(words, "--recipe"):
        return None
    out = Path(_value(words, "--out") or RunArgs().out)
    if not (out / CONFIG_FILE).exists():
        return None
    try:
        settings = json.loads((out / CONFIG_FILE).read_text(encoding="utf-8"))
        config = config_from_json(settings, str(out / CONFIG_FILE))
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{out}: its {CONFIG_FILE} is not readable ({error})") from None
    except UserError as error:
        raise UserError(
            f"{error}; an earlier version began this run: train on with --init "
            f"{out}/last.safetensors and another --out"
        ) from None
    return dataclasses.replace(config, run=dataclasses.replace(config.run, out=str(out)))


def _value(words: Sequence[str], flag: str) -> str:
    """The value of a flag that is needed before the others can be read; "" where not given."""
    value = ""
    for place, word in enumerate(words):
        if word == flag and place + 1 < len(words):
            value = words[place + 1]
        elif word.startswith(f"{flag}="):
            value = word.partition("=")[2]
    return value


def parse_command_line(
    words: Sequence[str] | None = None,
    default: Config | None = None,
    description: str = EXAMPLE,
) -> Config:
    """`default` overridden by the flags (sys.argv without `words`)."""
    words = sys.argv[1:] if words is None else list(words)
    default = default or Config()
    given = {word.partition("=")[0] for word in words}
    if given & {"--data", "--labels"}:  # tyro would append to those of the default
        before = default.data
        for flag, values in (("--data", before.data), ("--labels", before.labels)):
            words += [] if flag in given else [w for value in values for w in (flag, value)]
        data = dataclasses.replace(before, data=(), labels=())
        default = dataclasses.replace(default, data=data)
    return parse(Config, "train-bdd", description, words, default)


def registered_names() -> str:
    """Everything a flag can name, for --help."""
    from perception.model import ZOO
    from perception.tasks import TASKS
    from training.balance import BALANCERS

    return "\n\n".join(
        [
            f"tasks: {', '.join(TASKS)}",
            f"models: {', '.join(ZOO)}",
            f"balancing methods: {', '.join(BALANCERS)}",
            f"recipes: {', '.join(recipes())}",
        ]
    )


def read_settings(path: Path, source: str) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises UserError where it is none."""
    if not path.is_file():
        raise UserError(f"{source}: no such file")
    found = read_yaml(path, "write one setting per line, e.g. `lr: 0.001`")
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
