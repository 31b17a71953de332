"""The command line is the dataclasses, checked when built, and JSON and back."""

import json

import pytest

from perception.errors import UserError
from training.command_line import config_from_json, parse_command_line


def test_the_command_of_the_readme() -> None:
    config = parse_command_line(
        ["--tasks", "det,lane,drivable", "--data", "a", "--data", "b", "--size", "192x320"]
    )
    assert config.model.tasks == ("det", "lane", "drivable")
    assert config.data.data == ("a", "b")
    assert config.data.size == (192, 320)


def test_defaults_and_json() -> None:
    config = parse_command_line(
        ["--task-weights", "det=2,lane=0.5", "--trait-weights", "weather/partly cloudy=2"]
    )
    assert config.data.trait_weights == {"weather/partly cloudy": 2.0}
    assert config.optim.task_weights == {"det": 2.0, "lane": 0.5}
    assert config_from_json(json.loads(json.dumps(config.to_json())), "x") == config
    with pytest.raises(UserError, match="unknown setting 'colour'"):
        config_from_json({"data": {"colour": 1}}, "x")


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("--size 100x200", "--size"),
        ("--size big", "--size"),
        ("--tasks ,", "--tasks"),
        ("--tasks det,det", "--tasks"),
        ("--batch 0", "--batch"),
        ("--lr 0", "--lr"),
        ("--freeze neck", "--freeze"),
        ("--freeze trunk", "--init"),
        ("--task-weights det", "--task-weights"),
        ("--task-weights det=1 --balance pcgrad", "--task-weights"),
        ("--task-weights scene=1 --tasks det", "--task-weights"),
        ("--balance fixed", "--balance"),
        ("--checkpoint-every 0", "--checkpoint-every"),
        ("--precision fp8", "--precision"),
        ("--optimizer sgd", "--optimizer"),
        ("--share 0", "--share"),
        ("--share 1.5", "--share"),
        ("--trait-weights weather/rainy", "--trait-weights"),
        ("--trait-weights weather/rainy=-1", "weather/rainy"),
        ("--rendered -1", "--rendered"),
    ],
)
def test_wrong_settings_name_their_flag(
    words: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((UserError, SystemExit)) as caught:
        parse_command_line(words.split())
    if isinstance(caught.value, UserError):
        assert flag in str(caught.value)
    else:
        assert caught.value.code == 2
        said = capsys.readouterr().err
        assert flag in said
        assert "nrecognized" not in said


def test_an_unknown_flag_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_command_line(["--learning-rate", "1"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "nrecognized" in said
    assert "--learning-rate" in said
