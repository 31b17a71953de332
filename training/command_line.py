"""From the words of a train-bdd command to the settings of its stages.

What a flag does not say comes from the run that is resumed, else from --config, else from the
recipe. A recipe has one stage or several; each stage is one run.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import tyro

from perception.errors import UserError, unknown_name
from training.config import Config, RunArgs
from training.recipes import RECIPES
from training.settings import apply_settings, config_from_json, is_complete, read_settings

CONFIG_FILE: Final = "config.json"
STAGES_FILE: Final = "stages.json"
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
    from perception.tasks import TASKS
    from perception.zoo import ZOO
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
