"""Prometheus's own programs, for tests: Debian's, which `make test` and `make prometheus` fetch."""

import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.support.servers import wait_until

OBSERVE = Path(__file__).parents[2] / "observe"
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_FETCHED = Path(__file__).parents[1] / "observe" / ".prometheus" / "usr" / "bin"


def get(url: str) -> str:
    """httpx would make a client for each of a hundred questions."""
    with _direct.open(url, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`. Fails the test where there is none: it would prove nothing."""
    found = shutil.which(name) or shutil.which(name, path=str(_FETCHED))
    if found is None:
        pytest.fail(f"{name} is not here: run `make prometheus`, which fetches Debian's package")
    return found


def promtool(*arguments: str, folder: Path | None = None) -> str:
    """What it prints. Fails with that when promtool is not content."""
    done = subprocess.run(
        [program("promtool"), *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    return printed


@contextmanager
def running_prometheus(targets: dict[str, str], folder: Path) -> Iterator[str]:
    """A Prometheus that reads these parts twice a second, with our alerts. Gives its address."""
    configuration = yaml.safe_load((OBSERVE / "local.yml").read_text())
    configuration["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(OBSERVE / "alerts.yml")]
    [scraping] = configuration["scrape_configs"]
    scraping["static_configs"] = [
        {"targets": [urlsplit(url).netloc], "labels": {"part": part}} for part, url in targets.items()
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    (folder / "alertmanagers.json").write_text("[]")
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        arguments = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"]
        process = subprocess.Popen([program("prometheus"), *arguments], cwd=folder, stdout=output, stderr=output)
        try:
            wait_until(lambda: _is_ready(_address(log)) or process.poll() is not None, 30)
            address = _address(log)
            assert address is not None, log.read_text()
            assert _is_ready(address), log.read_text()
            yield address
        finally:
            process.terminate()
            process.wait(30)


def _address(log: Path) -> str | None:
    found = re.search(r'"?Listening on"? address=(\S+)', log.read_text())
    return f"http://{found[1]}" if found else None


def _is_ready(address: str | None) -> bool:
    """It listens before it has opened its data, and says so with 503."""
    try:
        return address is not None and bool(get(f"{address}/-/ready"))
    except OSError:
        return False
