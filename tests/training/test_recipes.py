"""Recipes: a flag wins over the recipe, the recipe over the default; stages follow each other."""

import inspect

import pytest

from perception.errors import UserError
from training.config import Config, RunArgs
from training.recipes import RECIPES, read_command_line


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_read_whole(name: str) -> None:
    stages = read_command_line(["--recipe", name, "--data", "a", "--out", "runs/x"])
    assert [stage for stage, _ in stages] == [stage.name for stage in RECIPES[name].stages]
    for (_, config), stage in zip(stages, RECIPES[name].stages, strict=True):
        assert config.run.recipe == name
        assert config.data.data == ("a",)
        assert config.optim == stage.optim
        assert config.data.zoom == stage.data.zoom
        assert Config.from_json(config.to_json()) == config
    assert stages[-1][1].run.out == "runs/x"
    folders = [config.run.out for _, config in stages]
    assert len(set(folders)) == len(folders)
    assert name in inspect.getsource(RunArgs)  # --help names them all


def test_without_a_name_it_is_the_default() -> None:
    assert read_command_line([]) == read_command_line(["--recipe", "default"])
    assert read_command_line([]) == [("", Config())]
    ((_, flip),) = read_command_line(["--recipe", "flip"])
    assert flip.data.augment == "flip"


def test_a_flag_wins_over_the_recipe_in_every_stage() -> None:
    words = ["--recipe=bdd-small", "--size", "64x96", "--lr", "0.1", "--rendered", "0"]
    small, full = (config for _, config in read_command_line(words))
    for config in (small, full):
        assert (config.data.size, config.optim.lr, config.data.rendered) == ((64, 96), 0.1, 0)
    assert (small.optim.epochs, full.optim.epochs) == (12, 8)  # what was not said
    # Also one that says what would be the default without the recipe.
    ((_, full),) = read_command_line(["--recipe", "bdd100k-full", "--batch", "16"])
    assert (full.data.batch, full.data.mosaic) == (16, 0.5)


def test_the_stages_that_made_the_model_in_the_box() -> None:
    words = ["--recipe", "bdd-small", "--data", "a", "--out", "r", "--init", "default"]
    (first, small), (second, full) = read_command_line([*words, "--pretrained"])
    assert (first, small.data.size, small.data.zoom) == ("small", (192, 320), (0.8, 2.2))
    assert (second, full.data.size, full.data.zoom) == ("full", (384, 640), (0.9, 1.5))
    assert (full.optim.lr, full.optim.ema, full.data.rendered_weight) == (6e-4, 0.998, 0.6)
    assert small.model.init == "default"
    assert (
        full.model.init
        == f"{small.run.out}/last.safetensors"
        == ("r/stages/1-small/last.safetensors")
    )
    assert (small.model.pretrained, full.model.pretrained) == (True, False)


def test_an_unknown_recipe_is_told() -> None:
    with pytest.raises(UserError, match="did you mean 'bdd-small'"):
        read_command_line(["--recipe", "bdd-smal"])
