"""Help and mistakes of the commands, as a person reads them."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tyro

from perception.arguments import parse
from perception.errors import UserError
from perception.fields import parse_names

COMMANDS = (
    *("training.train", "training.evaluate", "training.check", "training.average"),
    *("export.export_onnx", "export.bench_onnx"),
)


@dataclass(frozen=True)
class Inner:
    """A group."""

    place: Path | None = None
    """Where."""
    rates: tuple[float, ...] = ()
    """How fast."""
    loud: bool = True
    """Whether to shout."""


@dataclass(frozen=True)
class Outer:
    """All."""

    files: tuple[Path, ...]
    """What to read."""
    name: str = ""
    """Who."""
    count: int = 3
    """How many."""
    off: bool = False
    """Not on."""
    data: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """From where."""
    inner: Inner = field(default_factory=Inner)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        parse(Outer, "outer", "Does it.", words)
    found = capsys.readouterr()
    return int(stop.value.code or 0), " ".join((found.out + found.err).replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "loud", "off"),
    [
        ((), True, False),
        (("--loud", "--no-off"), True, False),  # as they are already
        (("--no-loud", "--off"), False, True),
        (("--no-loud", "--loud", "--no-off"), True, False),  # the last one counts
        (("--loud", "--no-loud", "--no-off", "--off"), False, True),
    ],
)
def test_both_forms_of_a_switch(words: tuple[str, ...], loud: bool, off: bool) -> None:
    for default in (None, Outer((), off=True, inner=Inner(loud=False))):
        files = ("a",) if default is None else ()
        found = parse(Outer, "outer", None, (*files, *words), default)
        if words or default is None:
            assert (found.inner.loud, found.off) == (loud, off)


def test_help_names_what_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # describing a class twice changes nothing
        code, text = said(capsys, "--help")
        assert code == 0
        for wanted in (
            "PATH [PATH ...] What to read. (required)",
            "--name STR Who. --count",
            "--count INT How many. (default: 3)",
            "--off Not on. --data",
            "--data STR From where. (repeatable)",
            "--place PATH Where. --rates",
            "--rates FLOAT ... How fast. --no-loud",
            "--no-loud Whether to shout.",
        ):
            assert wanted in text, wanted
        assert text.count("(default") == 1


def test_values_are_read_as_before() -> None:
    words = ["a", "b", "--data", "x", "--data", "y", "--rates", "1", "2", "--no-loud", "--off"]
    found = parse(Outer, "outer", None, [*words, "--place", "p"])
    assert found.files == (Path("a"), Path("b"))
    assert (found.data, found.name, found.count, found.off) == (("x", "y"), "", 3, True)
    assert found.inner == Inner(Path("p"), (1.0, 2.0), False)
    other = Inner(Path("q"), (3.0,))
    assert parse(Inner, "inner", None, [], other) == other
    assert parse(Inner, "inner", None, ["--rates", "4"], other) == Inner(Path("q"), (4.0,))


@pytest.mark.parametrize("module", COMMANDS)
def test_help_of_a_command(module: str) -> None:
    words = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for ugly in ("{None}", "[[", "(default: '')", "(default: None)", ", --no-"):
        assert ugly not in done.stdout, ugly
    if module == "training.train":  # without arguments it trains on rendered roads
        assert "--tasks NAME,NAME" in done.stdout
    else:
        assert "(required)" in done.stdout


@pytest.mark.parametrize("module", COMMANDS)
def test_a_reader_that_has_enough_ends_the_help_quietly(module: str) -> None:
    """As in `train-bdd --help | head -1`."""
    words = [sys.executable, "-m", module, "--help"]
    help_text = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert help_text.stdout is not None
    assert help_text.stderr is not None
    help_text.stdout.close()
    assert help_text.stderr.read() == ""
    help_text.wait(60)


def test_names_are_there_once():
    assert parse_names("") == ()
    assert parse_names("det, lane") == ("det", "lane")
    for text in ("det,,det", "det,", ",", "det,lane,det"):
        with pytest.raises(UserError, match="a name is empty or there twice"):
            parse_names(text)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_stopped_leaves_no_temporary_file(sent, tmp_path: Path):
    """Whatever it is: `cli` runs all of them."""
    script = (
        "import sys, time; from pathlib import Path; from perception.errors import cli;"
        "from perception.files import replacing\n"
        "def work():\n"
        "    with replacing(Path('o.json')) as part:\n"
        "        print('started', flush=True); time.sleep(60)\n"
        "sys.exit(cli(work))"
    )
    line = [sys.executable, "-c", script]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    pipe = subprocess.PIPE
    child = subprocess.Popen(
        line,
        cwd=tmp_path,
        env=environment,
        stdout=pipe,
        stderr=pipe,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup pytest
    )
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(sent)
    _, said = child.communicate(timeout=60)
    assert (child.returncode, said) == (128 + sent, b"stopped\n")
    assert list(tmp_path.iterdir()) == []
