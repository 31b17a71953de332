"""hf://OWNER/NAME against a local server: downloads, cache, hashes, errors, upload and card."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from perception.errors import UserError
from perception.hub import local_file, parse

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed (extra hub)")

ROOT = Path(__file__).resolve().parents[2]
FETCH = """
import sys
from perception.errors import cli
from perception.hub import ONNX, local_file
sys.exit(max(cli(lambda: print(local_file(name, ONNX))) for name in sys.argv[1:]))
"""
# Between the tries of a download the library waits for seconds.
AT_ONCE = "import time; time.sleep = lambda seconds: None\n" + FETCH


class Hub:
    """The server, and commands that talk to it with a cache of their own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.cache = folder
        server = Path(__file__).parent / "hub_server.py"
        self.process = subprocess.Popen([sys.executable, str(server), str(port)])
        for _ in range(100):
            try:
                self.requests()
                break
            except OSError:
                time.sleep(0.1)

    def requests(self) -> list[str]:
        with urllib.request.urlopen(f"{self.url}/requests", timeout=20) as answer:
            return json.load(answer)

    def put(self, repo: str, name: str, data: bytes) -> None:
        request = urllib.request.Request(f"{self.url}/put/{repo}/{name}", data, method="PUT")
        urllib.request.urlopen(request, timeout=20).close()

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Python with these arguments, pointed at the server."""
        settings = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(self.cache),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        return subprocess.run(
            [sys.executable, *arguments],
            env=os.environ | settings | env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def fetch(self, *names: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("-c", AT_ONCE, *names, **env)

    def cached(self) -> list[str]:
        """Files in the cache that hold bytes of a model, complete or not."""
        return [path.name for path in self.cache.rglob("blobs/*") if path.is_file()]


@pytest.fixture
def hub(tmp_path: Path):
    opened = Hub(tmp_path / "cache")
    yield opened
    opened.process.terminate()
    opened.process.wait(timeout=20)


@pytest.mark.slow
def test_a_file_is_downloaded_once_and_found_again_offline(hub):
    hub.put("owner/good", "model.onnx", b"bytes of a model")
    for name in ("hf://owner/good", "hf://owner/good@main"):
        done = hub.fetch(name)
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).read_bytes() == b"bytes of a model"
    assert sum(request.startswith("GET") for request in hub.requests()) == 1
    before = len(hub.requests())
    done = hub.fetch("hf://owner/good", HF_HUB_OFFLINE="1")
    assert Path(done.stdout.strip()).read_bytes() == b"bytes of a model"
    assert len(hub.requests()) == before
    hub.process.terminate()
    hub.process.wait(timeout=20)
    done = hub.fetch("hf://owner/good")
    assert Path(done.stdout.strip()).read_bytes() == b"bytes of a model"


@pytest.mark.slow
def test_a_failed_download_is_one_line_and_leaves_no_file(hub):
    hub.put("owner/torn", "model.onnx", b"bytes of a model")
    hub.put("owner/cut", "model.onnx", b"bytes of a model")
    hub.put("owner/good", "other.txt", b"x")
    cases = {
        "hf://owner/absent": "no such model",
        "hf://owner/gated": "gated",
        "hf://owner/good": "has no model.onnx",
        "hf://owner/good@v9": "no revision 'v9'",
        "hf://owner/torn": "has hash",
        "hf://owner/cut": "cannot be downloaded",
    }
    done = hub.fetch(*cases)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == len(cases), done.stderr
    for line, (name, message) in zip(lines, cases.items(), strict=True):
        assert line.startswith(f"error: {name}")
        assert message in line
    assert hub.cached() == []
    done = hub.fetch("hf://owner/new", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in done.stderr
    hub.process.terminate()
    hub.process.wait(timeout=20)
    assert "cannot be reached" in hub.fetch("hf://owner/new").stderr


@pytest.mark.slow
def test_round_trip_push_then_perceive(hub, tiny_onnx, tmp_path, video):
    checkpoint = tmp_path / "best.safetensors"
    checkpoint.write_bytes(b"a checkpoint's bytes")
    push = ["-m", "export.push_model", str(tiny_onnx), "hf://owner/mine"]
    refused = hub.run(*push)
    assert refused.returncode == 2
    assert "hf auth login" in refused.stderr
    done = hub.run(*push, "--checkpoint", str(checkpoint), HF_TOKEN="hf_secret")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{hub.url}/owner/mine/commit/")
    out = tmp_path / "out.jsonl"
    command = ["-m", "demo.perceive", str(video), "--model", "hf://owner/mine", "--json", str(out)]
    done = hub.run(*command, "--provider", "cpu")
    assert done.returncode == 0, done.stderr
    assert len(out.read_text().splitlines()) == 30
    code = FETCH.replace("ONNX", "CHECKPOINT")
    done = hub.run("-c", code, "hf://owner/mine")
    assert Path(done.stdout.strip()).read_bytes() == checkpoint.read_bytes()


COMMANDS = {
    "perceive": ["-m", "demo.perceive", "VIDEO", "--model", "NAME"],
    "perceive-archive": ["-m", "demo.archive", "VIDEO", "--out", "OUT", "--model", "NAME"],
    "perceive-web": ["-m", "demo.web_site", "build", "OUT", "--model", "NAME"],
    "eval-bdd": ["-m", "training.evaluate", "NAME", "--limit", "1"],
    "export-onnx": ["-m", "export.export_onnx", "NAME", "-o", "OUT"],
    "bench-onnx": ["-m", "export.bench_onnx", "NAME"],
    "train-bdd": ["-m", "training.train", "--init", "NAME", "--out", "OUT"],
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_takes_a_model_takes_its_name(command, hub, tmp_path, video):
    places = {"VIDEO": str(video), "NAME": "hf://owner/absent@v2", "OUT": str(tmp_path / "out")}
    done = hub.run(*[places.get(word, word) for word in COMMANDS[command]])
    assert done.returncode == 2, done.stderr
    assert "hf://owner/absent@v2: no such model" in done.stderr
    assert "Traceback" not in done.stderr


def test_card_is_written_from_the_model_file():
    from huggingface_hub import ModelCard

    from perception.hub import card
    from perception.runtime.providers import read_description
    from perception.runtime.runner import default_model

    description = read_description(default_model())
    text = card(description, "owner/name")
    data = ModelCard(text).data
    assert data.license == "other"
    assert "research" in text.split("## Licence")[1].split("##")[0]
    assert {"bdd100k", "rendered"} == set(data.datasets)
    assert "driving-perception" in data.tags
    assert data.pipeline_tag == "object-detection"
    scores = {result.metric_name: result for result in data.eval_results}
    assert scores["drivable mIoU"].metric_value == pytest.approx(
        description.scores["drivable"]["mIoU"], abs=0.005
    )
    assert "protocol of eval-bdd" in scores["drivable mIoU"].dataset_name
    assert all(name.startswith(f"{score.task_name} ") for name, score in scores.items())
    assert "det threshold" not in scores
    assert "--model hf://owner/name" in text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf://a/b", ("a/b", None)),
        ("hf://a-1/b.c_d@v2.0", ("a-1/b.c_d", "v2.0")),
        ("hf://a/b@refs/pr/3", ("a/b", "refs/pr/3")),
    ],
)
def test_names_are_read(name, expected):
    assert parse(name) == expected


@pytest.mark.parametrize("name", ["hf://", "hf://a", "hf://a/b/c", "hf://a/b@", "hf://a b/c"])
def test_a_malformed_name_is_refused(name):
    with pytest.raises(UserError, match="OWNER/NAME"):
        local_file(name, "model.onnx")


@pytest.mark.parametrize("name", ["", Path("")])
def test_an_empty_name_is_refused(name):
    with pytest.raises(UserError, match="name is empty"):
        local_file(name, "model.onnx")


def test_a_path_stays_a_path():
    assert local_file("runs/model.onnx", "x") == Path("runs/model.onnx")
