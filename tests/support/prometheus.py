"""Prometheus's own programs, for tests: Debian's, which `make test` and `make prometheus` fetch."""

import shutil
import subprocess
from pathlib import Path

import pytest

OBSERVE = Path(__file__).parents[2] / "observe"
_FETCHED = Path(__file__).parents[1] / "observe" / ".prometheus" / "usr" / "bin"


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
