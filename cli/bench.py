"""`pricetime bench`: the measurements of the folder bench/, which come with the repository and not with the package."""

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType

from cli.errors import CommandError

_ROOT = Path(__file__).parent.parent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    if (command := _command()) is not None:
        command.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    command = _command()
    if command is None:
        raise CommandError("the measurements are not installed; run this in a checkout of the repository")
    code: int = command.run(arguments)
    return code


def _command() -> ModuleType | None:
    if not (_ROOT / "bench" / "command.py").exists():
        return None
    if str(_ROOT) not in sys.path:
        sys.path.append(str(_ROOT))
    return importlib.import_module("bench.command")
