"""The command: measure, print the table, write it down if asked to."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from bench.client import WrongAnswer
from bench.machine import describe, load
from bench.programs import ROOT, NotStarted
from bench.report import as_json, markdown, table
from bench.rounds import Row
from bench.run import MEASUREMENTS, measure_all
from bench.scale import FULL, QUICK, SEED, Scale
from runtime.settings import PREFIX

DEFAULT_JSON = ROOT / "docs" / "benchmarks" / "latest.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    folder = DEFAULT_JSON.parent.relative_to(ROOT)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: about a minute")
    parser.add_argument(
        "--only", type=_names, default=MEASUREMENTS, metavar="NAMES", help=f"some of {','.join(MEASUREMENTS)}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, as JSON")
    parser.add_argument("--write", action="store_true", help=f"write the figures into {folder}, as JSON and as a table")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the data goes meanwhile: on a real disk")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        raise argparse.ArgumentTypeError(f"{','.join(unknown)}: take some of {','.join(MEASUREMENTS)}, commas between")
    return names


def run(arguments: argparse.Namespace) -> int:
    forget_settings()
    try:
        _run(QUICK if arguments.quick else FULL, arguments)
    except (NotStarted, WrongAnswer, TimeoutError) as error:
        print(f"bench: {error or 'a round took too long'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(scale: Scale, arguments: argparse.Namespace) -> None:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pricetime-bench-", dir=arguments.folder, ignore_cleanup_errors=True) as at:
        machine = describe(Path(at))
        rows = _measure(scale, Path(at), arguments.only, Console(stderr=True))
        machine["load after"] = load()
    made = _description(scale, arguments.quick, time.monotonic() - started)
    _print(rows, machine, made)
    if arguments.write or arguments.json:
        path = arguments.json or DEFAULT_JSON
        path.write_bytes(as_json(rows, machine, made))
    if arguments.write:
        DEFAULT_JSON.with_suffix(".md").write_text(markdown(rows, machine, f"Figures of {made['made_at']}"))


def forget_settings() -> None:
    """What is measured runs with its defaults, whatever the caller's own exchange is told by the environment."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]


def _measure(scale: Scale, folder: Path, only: Sequence[str], progress: Console) -> list[Row]:
    with progress.status("") as status:
        return uvloop.run(measure_all(scale, folder, lambda what: status.update(f"measuring: {what}"), only))


def _description(scale: Scale, quick: bool, seconds: float) -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "made_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit.stdout.strip() or "unknown",
        "quick": quick,
        "seed": SEED,
        "rounds": scale.rounds,
        "seconds": round(seconds),
    }


def _print(rows: list[Row], machine: dict[str, str], made: dict[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 200)
    for name, value in machine.items():
        console.print(f"{name + ':':<13}{value}", highlight=False, soft_wrap=True)
    console.print(table(rows))
    console.print(
        f"{made['rounds']} rounds in {made['seconds']} s, figures and floors taking turns; the ratio is figure to"
        " floor. docs/benchmarks/README.md explains each row.",
        highlight=False,
        soft_wrap=True,
    )
