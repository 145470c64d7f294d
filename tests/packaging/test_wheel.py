"""What is in the wheel is what `pricetime up` needs, all of it and nothing else. Installing it: `make package-test`."""

import ast
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.packaging.wheels import ROOT, build_wheel, tracked_files

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = {name for name in PROJECT["tool"]["setuptools"]["packages"] if "." not in name}
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
OPTIONAL = {"cli/bench.py": {"bench"}}
"""`pricetime bench` says that it is only to be had in a checkout."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def packed(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    [name] = [each for each in wheel.namelist() if each.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())


def test_every_file_of_every_package_is_in_it_and_no_other(packed: set[str]) -> None:
    wanted = {name for name in tracked_files() if name.split("/")[0] in PACKAGES}
    code = {name for name in packed if ".data/" not in name}
    assert wanted - code == set(), "missing from the wheel: name it in pyproject.toml"
    assert code - wanted == set()


def test_it_holds_the_configuration_of_nats_server_that_up_uses(wheel: zipfile.ZipFile, packed: set[str]) -> None:
    found = {name.rpartition("/")[2]: name for name in packed if ".data/data/share/pricetime/nats/" in name}
    assert found.keys() == {path.name for path in (ROOT / "nats").glob("*.conf") if not path.name.startswith("compose")}
    for name, place in found.items():
        assert wheel.read(place) == (ROOT / "nats" / name).read_bytes()


def test_what_its_modules_import_of_ours_is_in_it(packed: set[str]) -> None:
    """Inside functions, too: a command loads its part when it is used."""
    missing = {
        f"{name}: {imported}"
        for name in packed
        if name.endswith(".py")
        for imported in _imported(ROOT / name) - OPTIONAL.get(name, set())
        if imported in FOLDERS - PACKAGES - {"nats"}  # that one is nats-py
    }
    assert missing == set()


def _imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and node.level == 0}
    return {name.split(".")[0] for name in names}


def test_every_migration_and_every_file_of_the_pages_is_in_it(packed: set[str]) -> None:
    assert any(name.endswith(".sql") for name in packed)
    assert {"gateway/static/icon.svg", "gateway/static/site.css"} <= packed
    assert any(name.startswith("gateway/static/vendor/") for name in packed)


def test_it_says_what_it_is(wheel: zipfile.ZipFile, metadata: Message) -> None:
    assert metadata["Name"] == "pricetime"
    assert metadata["Version"] == PROJECT["project"]["version"]
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert {"local", "client"} <= set(metadata.get_all("Provides-Extra", []))
    [scripts] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "pricetime = cli.main:main" in wheel.read(scripts).decode()


def test_the_image_of_the_services_is_built_from_every_package() -> None:
    """What .dockerignore does not let in would be missing in containers only."""
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_in >= {*PACKAGES, "nats", "pyproject.toml", "requirements.lock", "README.md", "LICENSE"}
