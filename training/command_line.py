"""The settings of a run, from the command line of train-bdd and from files.

Settings that no flag gives come from the run that is resumed, else from --config, else from
--recipe. A file for --config names flags (`lr: 0.001`, `data: [A, B]`), with `recipe:` for all
others; or it has the groups of config.json (`data:`, `model:`, `optim:`, `run:`) and then describes
one run completely. A recipe is a file of the first kind in the folder `recipes`.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import tyro

from perception.arguments import parse
from perception.errors import UserError, check_known, unknown_name
from training.config import Config, RunArgs
from training.data.classes import read_yaml

CONFIG_FILE: Final = "config.json"
RECIPES: Final = Path(__file__).with_name("recipes")
GROUPS: Final = tuple(field.name for field in fields(Config))
# Group and type of every setting.
HOMES: Final = {
    name: (group.name, kind)
    for group in fields(Config)
    for name, kind in get_type_hints(group.default_factory, include_extras=True).items()
}
TEXT_SPEC: Final = tyro.constructors.PrimitiveConstructorSpec
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
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--config", "--recipe", "--out"):
        early.add_argument(flag, nargs="?", const="", default="")
    early.add_argument("--resume", action="store_true")
    given, _ = early.parse_known_args(words)
    stored = Path(given.out or RunArgs().out) / CONFIG_FILE
    if given.resume and not (given.config or given.recipe) and stored.exists():
        return parse_command_line(words, _resumed(stored))
    settings = _from_files(given.config, given.recipe)
    config = parse_command_line(words, apply_settings(settings, f"--config {given.config}"))
    named = "model" in settings or any(word.partition("=")[0] == "--model" for word in words)
    return config if named or not config.model.init else _with_network_of_init(config)


def _with_network_of_init(config: Config) -> Config:
    """With the network of the checkpoint that --init names, where it is one."""
    from perception.checkpoint import read
    from perception.hub import CHECKPOINT, local_file

    try:
        network = read(local_file(config.model.init, CHECKPOINT))[1].model
    except UserError:  # reported where the weights are read, or a trunk alone
        return config
    plain = network.removesuffix(f"+{config.model.sharing}")
    return dataclasses.replace(config, model=dataclasses.replace(config.model, model=plain))


def _from_files(path: str, recipe: str) -> dict[str, Any]:
    """The settings of --config and --recipe, before the other flags."""
    settings = read_settings(Path(path), f"--config {path}") if path else {}
    if is_complete(settings):
        if recipe:
            raise UserError(f"--config {path}: describes a whole run; leave --recipe out")
    elif recipe := recipe or str(settings.get("recipe", "")):
        check_known("recipe", [recipe], recipes())
        settings = read_settings(RECIPES / f"{recipe}.yaml", f"--recipe {recipe}") | settings
    return settings


def recipes() -> list[str]:
    """The names that --recipe accepts."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def _resumed(stored: Path) -> Config:
    """The settings of the run that --resume continues."""
    out = stored.parent
    try:
        config = config_from_json(json.loads(stored.read_text(encoding="utf-8")), str(stored))
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{out}: its {CONFIG_FILE} is not readable ({error})") from None
    except UserError as error:
        raise UserError(
            f"{error}; an earlier version began this run: train on with --init "
            f"{out}/last.safetensors and another --out"
        ) from None
    return dataclasses.replace(config, run=dataclasses.replace(config.run, out=str(out)))


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

    known: dict[str, Iterable[str]] = {"tasks": TASKS, "models": ZOO}
    known |= {"balancing methods": BALANCERS, "recipes": recipes()}
    return "\n\n".join(f"{what}: {', '.join(names)}" for what, names in known.items())


def read_settings(path: Path, source: str) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises UserError where it is none."""
    if not path.is_file():
        raise UserError(f"{source}: no such file")
    found = read_yaml(path, "write one setting per line, e.g. `lr: 0.001`")
    return {str(key): value for key, value in found.items()}


def is_complete(settings: Mapping[str, Any]) -> bool:
    """Whether the settings are in groups, as in config.json, and so describe one whole run."""
    return any(isinstance(settings.get(group), Mapping) for group in GROUPS)


def apply_settings(settings: Mapping[str, Any], source: str) -> Config:
    """The default with the values of a file. Raises UserError naming `source` and the field."""
    if is_complete(settings):
        for group, part in settings.items():
            if group not in GROUPS or not isinstance(part, Mapping):
                raise UserError(f"{source}: {group!r} is no group; known: {', '.join(GROUPS)}")
        pairs = [pair for part in settings.values() for pair in part.items()]
        settings = {key: value for key, value in pairs if key not in COMMAND_ONLY}
    changes: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
    for key, value in settings.items():
        name = key.replace("-", "_")
        if name in COMMAND_ONLY:
            raise UserError(
                f"{source}: {name} belongs on the command line; remove it from the file"
            )
        if name not in HOMES:
            raise UserError(f"{source}: {unknown_name('setting', name, HOMES)}")
        group, kind = HOMES[name]
        try:
            changes[group][name] = _coerce(kind, value)
        except (ValueError, TypeError):
            raise UserError(f"{source}: {name}: {value!r} is no {_describe(kind)}") from None
    default = Config()
    return Config(
        **{g: dataclasses.replace(getattr(default, g), **new) for g, new in changes.items()}
    )


def _coerce(kind: Any, value: Any) -> Any:
    """A YAML or JSON value as a field's type; text is read as on the command line."""
    specs = [one for one in getattr(kind, "__metadata__", ()) if isinstance(one, TEXT_SPEC)]
    if specs and isinstance(value, str):
        return specs[0].instance_from_str([value])
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(kind) is dict:
        return {str(key): float(weight) for key, weight in dict(value).items()}
    if get_origin(kind) is tuple:
        part, *rest = get_args(kind)
        items = tuple(_coerce(part, one) for one in ([value] if isinstance(value, str) else value))
        if rest not in ([...], [part] * (len(items) - 1)):
            raise ValueError
        return items
    if isinstance(value, bool) != (kind is bool) or (kind is str and not isinstance(value, str)):
        raise TypeError
    number = kind(value)
    if kind is int and number != float(value):
        raise ValueError
    return number


def _describe(kind: Any) -> str:
    known = {int: "integer", float: "number", bool: "true or false", str: "text"}
    if kind in known:
        return known[kind]
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(plain) is dict:
        return "mapping of names to numbers"
    return "list of " + ("texts" if get_args(plain)[0] is str else "numbers")


def config_from_json(settings: Mapping[str, Any], source: str) -> Config:
    """The inverse of `Config.to_json`; UserError naming `source` for unknown groups or fields."""
    if not is_complete(settings):
        raise UserError(f"{source}: no settings of a run; known groups: {', '.join(GROUPS)}")
    return apply_settings(settings, source)
