"""From flags, config files, recipes and stored runs to the settings of a run."""

import json
from pathlib import Path

import pytest

from perception.errors import UserError
from training.command_line import (
    config_from_json,
    parse_command_line,
    read_command_line,
    recipes,
    registered_names,
)
from training.config import Config


@pytest.mark.parametrize(
    ("name", "size", "batch", "epochs", "lr"),
    [
        ("bdd-small", (384, 640), 8, 8, 6e-4),
        ("bdd100k-full", (384, 640), 64, 100, 1e-3),
        ("bdd100k-full-8gpu", (384, 640), 256, 100, 2e-3),
    ],
)
def test_every_recipe_is_a_file_of_settings(
    name: str, size: tuple[int, int], batch: int, epochs: int, lr: float
) -> None:
    config = read_command_line(["--recipe", name, "--data", "a", "--out", "runs/x"])
    assert (config.data.size, config.data.batch) == (size, batch)
    assert (config.optim.epochs, config.optim.lr) == (epochs, lr)
    assert (config.run.out, config.data.data) == ("runs/x", ("a",))
    assert config_from_json(json.loads(config.to_file()), "x") == config
    assert name in recipes()
    assert len(recipes()) == 3


def test_without_flags_it_is_the_default() -> None:
    assert read_command_line([]) == Config()


def test_a_flag_overrides_the_recipe() -> None:
    words = ["--recipe=bdd-small", "--size", "64x96", "--lr", "0.1", "--rendered", "0"]
    config = read_command_line(words)
    assert (config.data.size, config.optim.lr, config.data.rendered) == ((64, 96), 0.1, 0)
    assert config.optim.epochs == 8  # not given
    # Also one whose value is the default without the recipe.
    config = read_command_line(["--recipe", "bdd100k-full", "--batch", "16"])
    assert (config.data.batch, config.data.val_limit) == (16, 2000)


def test_recipes_and_augmentations_have_a_flag_each() -> None:
    with pytest.raises(UserError, match="did you mean 'bdd-small'"):
        read_command_line(["--recipe", "bdd-smal"])
    with pytest.raises(UserError, match="unknown recipe 'flip'"):
        read_command_line(["--recipe", "flip"])
    assert parse_command_line(["--augment", "flip"]).data.augment == "flip"


def test_help_lists_what_a_flag_can_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        read_command_line(["--help"])
    assert stop.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.index("--init default") < said.index("train-bdd --data BDD100K")
    assert said.index("train-bdd --data BDD100K") < said.index("Data options")
    for group in ("Data", "Model", "Optimisation", "Run"):
        assert f"{group} options" in said
    listed = registered_names()
    for name in ("semantic", "yolop-like", "aligned-mtl", "bdd100k-full-8gpu"):
        assert name in listed


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_config_file_names_flags(tmp_path: Path) -> None:
    path = written(
        tmp_path / "run.yaml",
        "tasks: [det, lane]\nsize: 192x320\nlr: 1e-4\ndata: [a, b]\ntrait-weights: {det/car: 2}\n"
        "zoom: [0.8, 2]\nrepeat_rare: true\ntrackers: none\n",
    )
    config = read_command_line(["--config", str(path), "--batch", "4"])
    assert config.model.tasks == ("det", "lane")
    assert config.data.size == (192, 320)
    assert config.data.data == ("a", "b")
    assert config.data.zoom == (0.8, 2.0)
    assert config.data.trait_weights == {"det/car": 2.0}
    assert config.data.repeat_rare
    assert config.run.trackers == ("none",)
    assert (config.optim.lr, config.data.batch) == (1e-4, 4)
    config = read_command_line(["--config", str(path), "--data", "c", "--lr", "0.5"])
    assert (config.data.data, config.optim.lr) == (("c",), 0.5)


def test_a_config_file_may_name_a_recipe(tmp_path: Path) -> None:
    path = written(tmp_path / "run.yaml", "recipe: bdd-small\nlr: 0.5\n")
    config = read_command_line(["--config", str(path)])
    assert (config.optim.lr, config.optim.epochs, config.data.batch) == (0.5, 8, 8)
    config = read_command_line(["--config", str(path), "--recipe", "bdd100k-full"])
    assert (config.optim.lr, config.optim.epochs, config.data.batch) == (0.5, 100, 64)


def test_the_config_of_a_run_is_read_back(tmp_path: Path) -> None:
    words = ["--recipe", "bdd-small", "--tasks", "det,scene", "--task-weights", "det=2"]
    config = read_command_line([*words, "--sharing", "mtan", "--out", "r"])
    path = written(tmp_path / "config.json", config.to_file())
    assert config.run.resume is False
    again = read_command_line(["--config", str(path), "--out", "r"])
    run = again.run
    assert (again.data, again.model, again.optim) == (config.data, config.model, config.optim)
    assert (run.recipe, run.seed, run.out) == ("bdd-small", 0, "r")
    with pytest.raises(UserError, match="describes a whole run"):
        read_command_line(["--config", str(path), "--recipe", "bdd-small"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one setting per line"),
        ("- lr", "one setting per line"),
        ("lr: [", "not valid YAML"),
        ("learning_rate: 1", "unknown setting 'learning_rate'"),
        ("epoch: 1", "did you mean 'epochs'"),
        ("epochs: soon", "epochs: 'soon' is no integer"),
        ("epochs: 1.5", "epochs: 1.5 is no integer"),
        ("epochs: true", "epochs: True is no integer"),
        ("pretrained: 1", "pretrained: 1 is no true or false"),
        ("zoom: [1]", "zoom: \\[1\\] is no list of numbers"),
        ("tasks: 5", "tasks: 5 is no list of texts"),
        ("task_weights: [1]", "task_weights: \\[1\\] is no mapping"),
        ("resume: true", "resume belongs on the command line"),
        ("optim: {lr: 1}\nlr: 2", "'lr' is no group"),
        ("optim: {rate: 1}", "unknown setting 'rate'"),
        ("size: 100x200", "multiples of 32"),
    ],
)
def test_wrong_config_files_are_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "run.yaml", text)
    with pytest.raises(UserError, match=message) as caught:
        read_command_line(["--config", str(path)])
    assert "\n" not in str(caught.value)


def test_a_missing_config_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_command_line(["--config", str(tmp_path / "x.yaml")])


def test_resume_needs_no_other_flag(tmp_path: Path) -> None:
    words = ["--out", str(tmp_path), "--tasks", "scene", "--data", "a", "--lr", "0.1"]
    config = read_command_line(words)
    written(tmp_path / "config.json", config.to_file())
    again = read_command_line(["--out", str(tmp_path), "--resume"])
    assert again.run.resume
    assert (again.data, again.model, again.optim) == (config.data, config.model, config.optim)
    again = read_command_line(["--out", str(tmp_path), "--resume", "--epochs", "99"])
    assert (again.optim.epochs, again.optim.lr, again.data.data) == (99, 0.1, ("a",))
    written(tmp_path / "config.json", "{")
    with pytest.raises(UserError, match=r"config\.json is not readable"):
        read_command_line(["--out", str(tmp_path), "--resume"])


def test_a_run_of_an_earlier_version_is_refused_in_one_line(tmp_path: Path) -> None:
    settings = json.loads(Config().to_file())
    settings["data"]["mosaic"] = 0.0
    written(tmp_path / "config.json", json.dumps(settings))
    with pytest.raises(UserError, match=r"earlier version.*--init .*last\.safetensors") as caught:
        read_command_line(["--out", str(tmp_path), "--resume"])
    assert "\n" not in str(caught.value)
