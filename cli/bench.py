"""`pricetime bench`: the measurements of the folder bench/, which come with the repository and not with the package."""

import argparse
import importlib.util
import subprocess
import sys

from cli.errors import CommandError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("options", nargs=argparse.REMAINDER, help="passed on to `python -m bench`")


def run(arguments: argparse.Namespace) -> int:
    if importlib.util.find_spec("bench") is None:
        raise CommandError("the measurements are not installed; run this in a checkout of the repository")
    return subprocess.run([sys.executable, "-m", "bench", *arguments.options], check=False).returncode
