"""The client runs where nothing is installed but httpx, websockets, msgspec and what those need themselves."""

import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[2]
WANTED = ("httpx", "websockets", "msgspec")
PROGRAM = """
import importlib.abc, sys

class Nothing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in {allowed!r}:
            raise ModuleNotFoundError(name, name=top)
        return None

sys.meta_path.insert(0, Nothing())
sys.path.insert(0, {repository!r})
import pkgutil, pricetime_client
for module in pkgutil.iter_modules(pricetime_client.__path__):
    __import__("pricetime_client." + module.name)
with pricetime_client.Exchange("http://127.0.0.1:9", patience=0.0) as exchange:
    try:
        exchange.status()
    except pricetime_client.NoAnswer:
        print("asked")
"""


def needed(names: tuple[str, ...]) -> set[str]:
    """The distributions and all that they require, without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            wanted = (Requirement(text) for text in requires(name) or ())
            waiting += [each.name for each in wanted if not each.marker or each.marker.evaluate({"extra": ""})]
    return found


def test_it_needs_three_libraries() -> None:
    allowed = {"pricetime_client", *(name.replace("-", "_") for name in needed(WANTED))}
    program = PROGRAM.format(allowed=allowed, repository=str(REPOSITORY))
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, cwd="/", check=False, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.split() == ["asked"]


def test_the_extra_names_them() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    named = {Requirement(text).name for text in project["optional-dependencies"]["client"]}
    assert named == set(WANTED)
