"""The settings of a run's stages, from the command line of train-bdd and from files.

Settings that no flag gives come from the run that is resumed, else from --config, else from the
recipe. A recipe has one stage or several; each stage is one run. A file for --config names flags
(`lr: 0.001`, `data: [A, B]`), with `recipe:` for all others; or it has the groups of config.json
(`data:`, `model:`, `optim:`, `run:`) and then describes one run completely.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

import tyro

from perception.errors import UserError, unknown_name
from perception.sizes import parse_size
from training.config import Config, RunArgs, parse_names, parse_weights
from training.data.classes import read_yaml
from training.recipes import RECIPES

CONFIG_FILE: Final = "config.json"
STAGES_FILE: Final = "stages.json"
GROUPS: Final = tuple(field.name for field in fields(Config))
# Flags that make no sense in a file.
COMMAND_ONLY: Final = ("resume", "config")
EXAMPLE: Final = """Train one network with a head per task; without --data, on rendered roads.

example:
  train-bdd --data BDD100K --tasks det,lane,drivable --size 384x640 --out runs/first"""

NamedConfig = tuple[str, Config]  # name of the stage, its settings


def read_command_line(words: Sequence[str] | None = None) -> list[NamedConfig]:
    """(name, settings) of each stage that a command line (sys.argv without `words`) asks for.

    The last stage runs in --out, the ones before it in OUT/stages; each starts from the last
    weights of the one before, the first from --init. Raises UserError for wrong values.
    """
    words = sys.argv[1:] if words is None else list(words)
    if "--help" in words or "-h" in words:
        parse_command_line(words, description=f"{EXAMPLE}\n\n{registered_names()}")
    out = Path(_value(words, "--out") or RunArgs().out)
    defaults = _resumed(words, out) or _from_file_or_recipe(words)
    configs = [(name, parse_command_line(words, default)) for name, default in defaults]
    folders = stage_folders(Path(configs[-1][1].run.out), [name for name, _ in configs])
    stages: list[NamedConfig] = []
    for (name, config), folder in zip(configs, folders, strict=True):
        if stages:
            init = f"{stages[-1][1].run.out}/last.safetensors"
            model = dataclasses.replace(config.model, init=init, pretrained=False)
            config = dataclasses.replace(config, model=model)
        run = dataclasses.replace(config.run, out=str(folder))
        stages.append((name, dataclasses.replace(config, run=run)))
    return stages


def stage_folders(out: Path, names: Sequence[str]) -> list[Path]:
    """Where each stage runs: the last one in `out`, the ones before it inside."""
    before = [out / "stages" / f"{number}-{name}" for number, name in enumerate(names[:-1], 1)]
    return [*before, out]


def _from_file_or_recipe(words: Sequence[str]) -> list[NamedConfig]:
    """The stages as --config or --recipe describe them, before the other flags."""
    path = _value(words, "--config")
    settings = read_settings(Path(path)) if path else {}
    source = f"--config {path}"
    if is_complete(settings):
        if _value(words, "--recipe"):
            raise UserError(f"{source}: describes a whole run; leave --recipe out")
        return [("", apply_settings(Config(), settings, source))]
    name = _value(words, "--recipe") or str(settings.get("recipe", RunArgs().recipe))
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return [
        (stage.name, apply_settings(stage.config, {"recipe": name} | settings, source))
        for stage in RECIPES[name].stages
    ]


def _resumed(words: Sequence[str], out: Path) -> list[NamedConfig]:
    """The stored stages of the run that --resume continues; empty where a flag names others."""
    if "--resume" not in words or _value(words, "--config"):
        return []
    stages = stored_stages(out)
    recipe = _value(words, "--recipe")
    if recipe and any(config.run.recipe != recipe for _, config in stages):
        return []
    return [
        (name, dataclasses.replace(config, run=dataclasses.replace(config.run, out=str(out))))
        for name, config in stages
    ]


def stored_stages(out: Path) -> list[NamedConfig]:
    """The stages of the run in a folder; empty where there is none or it did not store them."""
    try:
        names = [""]
        if (out / STAGES_FILE).exists():
            names = json.loads((out / STAGES_FILE).read_text())["stages"]
        files = [folder / CONFIG_FILE for folder in stage_folders(out, names)]
        if not all(path.exists() for path in files):
            return []
        pairs = zip(names, files, strict=True)
        return [(name, config_from_json(json.loads(p.read_text()), str(p))) for name, p in pairs]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{out}: its {CONFIG_FILE} is not readable ({error})") from None


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
    """The settings of one stage: `default` overridden by the flags (sys.argv without `words`)."""
    words = sys.argv[1:] if words is None else list(words)
    default = default or Config()
    if any(word.partition("=")[0] == "--data" for word in words):  # tyro would append to it
        default = dataclasses.replace(default, data=dataclasses.replace(default.data, data=()))
    return tyro.cli(
        Config,
        args=words,
        default=default,
        prog="train-bdd",
        description=description,
        config=(tyro.conf.OmitArgPrefixes,),
    )


def registered_names() -> str:
    """Everything a flag can name, for --help."""
    from perception.model import ZOO
    from perception.tasks import TASKS
    from training.balance import BALANCERS

    recipes = [f"{name} ({recipe.purpose})" for name, recipe in RECIPES.items()]
    return "\n\n".join(
        [
            f"tasks: {', '.join(TASKS)}",
            f"models: {', '.join(ZOO)}",
            f"balancing methods: {', '.join(BALANCERS)}",
            f"recipes: {', '.join(recipes)}",
        ]
    )


def read_settings(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises UserError where it is none."""
    if not path.is_file():
        raise UserError(f"--config {path}: no such file")
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
