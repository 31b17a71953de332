"""The page's files, a server for them, and a browser where one is installed."""

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from demo.web_runtime import fetch, runtime_files
from demo.web_site import Server, make_server
from perception.errors import UserError


@pytest.fixture(scope="session")
def runtime() -> None:
    """onnxruntime-web in the cache; fetched through npm at the first run."""
    try:
        runtime_files()
    except UserError as missing:
        if shutil.which("npm") is None:
            pytest.skip(str(missing))
        try:
            fetch(None)
        except UserError as error:
            pytest.skip(str(error))


@pytest.fixture
def serve(runtime: None) -> Iterator[Callable[[Path], Server]]:
    """serve(model) -> a running server on a free port."""
    servers = []

    def start(model: Path) -> Server:
        servers.append(make_server(model, ("127.0.0.1", 0)))
        # Seconds between checks for `shutdown`, which the teardown waits for; the default is 0.5.
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def chromium() -> ModuleType:
    """The module that drives Chromium; skips where no browser is installed."""
    sys.path.insert(0, str(Path(__file__).parent))
    import chromium

    sys.path.pop(0)
    if chromium.find_chromium() is None:
        pytest.skip("no Chromium is installed (Debian package chromium)")
    return chromium


@pytest.fixture(scope="module")
def browser(chromium: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """One headless Chromium per test file."""
    with chromium.Chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened
