"""One line in place of a traceback where a library of the system is missing."""

import pytest

from perception.errors import cli, opencv_problem

LIBRARY = "libGL.so.1: cannot open shared object file: No such file or directory"


def test_opencv_without_its_libraries_says_what_to_install(capsys: pytest.CaptureFixture[str]):
    def run() -> int:
        raise ImportError(LIBRARY, name="cv2", path="/lib/cv2/cv2.abi3.so")

    assert cli(run) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: OpenCV needs libGL.so.1, ")
    assert "apt install libgl1" in said
    assert said.count("\n") == 1


def test_opencv_that_is_not_installed(capsys: pytest.CaptureFixture[str]):
    def run() -> int:
        raise ModuleNotFoundError("No module named 'cv2'", name="cv2")

    assert cli(run) == 2
    assert capsys.readouterr().err.startswith("error: OpenCV is not installed: pip install")


@pytest.mark.parametrize(
    "error",
    [
        ImportError(LIBRARY, name="_other", path="/lib/other/_other.so"),
        ImportError("cannot import name 'x' from 'cv2'", name="cv2", path="/lib/cv2/__init__.py"),
        ModuleNotFoundError("No module named 'other'", name="other"),
    ],
)
def test_other_imports_keep_their_traceback(error: ImportError):
    assert opencv_problem(error) == ""
