"""No command writes over what it reads: files are compared before anything is opened."""

import os
from pathlib import Path

import pytest

from export.arguments import BenchOnnxArguments, ExportArguments
from perception.errors import UserError
from perception.files import check_outputs, dataset_folders
from perception.runtime.annotations import yolo
from perception.runtime.shapes import Annotated
from training.check import CheckArguments, check_places
from training.evaluate import Arguments, DataOptions, OutputOptions


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "data/labels").mkdir(parents=True)
    for name in ("m.safetensors", "c.yaml", "data/labels/a.txt", "data/data.yaml", "old.json"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link.onnx").symlink_to("m.safetensors")
    os.link(tmp_path / "m.safetensors", tmp_path / "hard.json")
    return tmp_path


def evaluate(files: Path, **output: Path) -> None:
    data = DataOptions(f"yolo:{files}/data", None, files / "c.yaml")
    Arguments(files / "m.safetensors", data, output=OutputOptions(**output))


REPLACED = [
    ({"json": "m.safetensors"}, "would replace the input"),
    ({"markdown": "hard.json"}, "would replace the input"),
    ({"json": "c.yaml"}, "would replace the input"),
    ({"json": "data/labels/a.txt"}, "a file of the dataset"),
    ({"json": "o.txt", "markdown": "o.txt"}, "the same file as --json"),
    ({"json": "data"}, "a folder"),
    ({"markdown": "c.yaml/x.md"}, "cannot be written"),
]


@pytest.mark.parametrize(("output", "message"), REPLACED)
def test_scores_replace_nothing(files: Path, output: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(files, **{flag: files / name for flag, name in output.items()})


def test_scores_may_replace_earlier_ones(files: Path) -> None:
    evaluate(files, json=files / "old.json", markdown=files / "new/o.md")


@pytest.mark.parametrize("name", ["m.safetensors", "link.onnx", "hard.json"])
def test_an_exported_file_does_not_replace_its_checkpoint(files: Path, name: str) -> None:
    with pytest.raises(UserError, match="would replace the input"):
        ExportArguments(files / "m.safetensors", files / name)
    with pytest.raises(UserError, match="would replace the input"):
        BenchOnnxArguments((str(files / "m.safetensors"),), json=files / name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"json": "data/data.yaml"}, "a file of the dataset"),
        ({"sheet": "data/labels/a.jpg"}, "a file of the dataset"),
        ({"sheet": "o.txt"}, "name a .jpg or .png file"),
        ({"sheet": "o.jpg", "json": "o.jpg"}, "the same file as --json"),
        ({"json": "c.yaml"}, "would replace the input"),
    ],
)
def test_checking_a_dataset_does_not_change_it(
    files: Path, given: dict[str, str], message: str
) -> None:
    (files / "data/labels/a.jpg").touch()
    paths = {flag: str(files / name) for flag, name in given.items()}
    with pytest.raises(UserError, match=message):
        check_places(CheckArguments(str(files / "data"), classes=files / "c.yaml", **paths))


def test_folders_of_a_dataset(files: Path) -> None:
    data = files / "data"
    assert dataset_folders(str(data), None) == [data]
    assert dataset_folders(f"coco:{data}", files) == [data, files]
    assert dataset_folders("", None) == []
    check_outputs([], [])


def test_two_pictures_do_not_share_a_label_file() -> None:
    pictures = [Annotated(name, (9, 9), [], {}) for name in ("a.jpg", "a.png")]
    with pytest.raises(UserError, match=r"a\.png: labels/train/a\.txt is another picture's too"):
        yolo(pictures, ["car"], "train")
    assert set(yolo(pictures[:1], ["car"], "train")) == {"data.yaml", "labels/train/a.txt"}
