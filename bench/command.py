"""The command: measure, print the table, write it down if asked to."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from bench import plots
from bench.client import WrongAnswer
from bench.machine import describe, load
from bench.programs import ROOT, NotStarted
from bench.report import as_json, distributions, latency_table, markdown, notes, table
from bench.rounds import Row
from bench.run import MEASUREMENTS, measure
from bench.scale import FULL, QUICK, SEED, Scale
from runtime.settings import PREFIX

DEFAULT_JSON = ROOT / "docs" / "benchmarks" / "latest.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    folder = DEFAULT_JSON.parent.relative_to(ROOT)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: about a minute")
    parser.add_argument(
        "--only", type=_names, default=MEASUREMENTS, metavar="NAMES", help=f"some of {','.join(MEASUREMENTS)}"
    )
    parser.add_argument("--json", type=_new_file, metavar="FILE", help="write the figures there, as JSON")
    parser.add_argument("--write", action="store_true", help=f"write tables, JSON and pictures into {folder}")
    parser.add_argument("--folder", type=_folder, metavar="DIR", help="where the data goes meanwhile: on a real disk")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        raise argparse.ArgumentTypeError(f"{','.join(unknown)}: take some of {','.join(MEASUREMENTS)}, commas between")
    return names


def _new_file(text: str) -> Path:
    """Said before a quarter of an hour of measuring, not after it."""
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written: name a file in a folder that is there")
    return path


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir() or not os.access(path, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} is not a folder that can be written to")
    return path


def run(arguments: argparse.Namespace) -> int:
    forget_settings()
    if arguments.write and (why := _why_not_written(arguments)):
        print(f"bench: {why}", file=sys.stderr)
        return 2
    try:
        _run(QUICK if arguments.quick else FULL, arguments)
    except (NotStarted, WrongAnswer, TimeoutError) as error:
        print(f"bench: {error or 'a round took too long'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _why_not_written(arguments: argparse.Namespace) -> str | None:
    if set(arguments.only) != set(MEASUREMENTS):
        return "the table that --write writes is of one run: leave out --only, or take --json"
    if find_spec("matplotlib") is None:
        return "--write draws pictures and needs matplotlib: pip install 'pricetime[bench]', or make"
    return None


def _run(scale: Scale, arguments: argparse.Namespace) -> None:
    started = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="pricetime-bench-", dir=arguments.folder, ignore_cleanup_errors=True) as at:
        machine = describe(Path(at))
        try:
            for each in _measured(scale, Path(at), arguments.only):
                rows += each
        finally:  # what was found before something went wrong is worth seeing
            machine["load after"] = load()
            made = _description(scale, arguments.quick, time.monotonic() - started)
            _print(rows, machine, made)
    if arguments.json:
        arguments.json.write_bytes(as_json(rows, machine, made))
    if arguments.write:
        _write(rows, machine, made)


def _write(rows: Sequence[Row], machine: Mapping[str, str], made: Mapping[str, Any]) -> None:
    DEFAULT_JSON.write_bytes(as_json(rows, machine, made))
    plots.draw(rows, DEFAULT_JSON.parent)
    title = f"Figures of {made['made_at']}{', of a quick run' if made['quick'] else ''}"
    DEFAULT_JSON.with_suffix(".md").write_text(markdown(rows, machine, title, plots.PICTURES))


def forget_settings() -> None:
    """What is measured runs with its defaults, whatever the caller's own exchange is told by the environment."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]


def _measured(scale: Scale, folder: Path, only: Collection[str]) -> Iterator[list[Row]]:
    with Console(stderr=True).status("") as status:

        def say(what: str) -> None:
            status.update(f"measuring {what}")

        for name in MEASUREMENTS:
            if name in only:
                yield uvloop.run(measure(name, scale, folder, say))


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


def _print(rows: Sequence[Row], machine: Mapping[str, str], made: Mapping[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 200)
    for name, value in machine.items():
        console.print(f"{name + ':':<13}{value}", highlight=False, soft_wrap=True)
    console.print(table(rows))
    for note in notes(rows):
        console.print(note, highlight=False, soft_wrap=True)
    if found := distributions(rows):
        console.print(latency_table(found))
    console.print(
        f"{made['rounds']} rounds in {made['seconds']} s, figures and floors taking turns; the ratio is figure to"
        " floor. docs/benchmarks/README.md explains each row.",
        highlight=False,
        soft_wrap=True,
    )
