"""`pricetime status`: how every part of a running exchange is, how far it has come, and what to look at.

    pricetime status              exits 0 if it is ready and nothing is wrong, 1 if not
    pricetime status --watch      again each second, until Ctrl-C
    pricetime status --json       for programs

Each part is asked itself, so that it is answered also when most of them are away.
"""

import argparse
import asyncio
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text

from cli.asking import address
from cli.errors import CommandError
from cli.options import add_nats
from cli.parts import Part, Report, look
from cli.runfile import RunFile, meant_folder, read_run_file, run_file_path
from cli.supervisor import last_line
from cli.tables import columns
from runtime.tls import NatsTls

_EVERY_SECONDS = 1.0
_HEAD = ("PART", "STATE", "SEQUENCE", "LAG", "PID", "MORE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-w", "--watch", action="store_true", help="again each second, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="as JSON, one line each time")
    add_nats(parser)
    parser.epilog = "Exits 0 if it is ready and nothing is wrong, 1 if not."


def run(arguments: argparse.Namespace) -> int:
    if arguments.watch:
        asyncio.run(_watch(arguments))
    url, tls, running = _where(arguments)
    report = asyncio.run(look(url, tls, running))
    print(_shown(report, arguments, running))
    return 0 if report.is_well else 1


def _where(arguments: argparse.Namespace) -> tuple[str, NatsTls, RunFile | None]:
    """Read each time: it may be started anew while somebody watches. What runs here counts only if it is meant."""
    url, tls = address(arguments)
    is_here = not arguments.nats and run_file_path(meant_folder(arguments.data)).exists()
    running = read_run_file(arguments.data) if is_here else None
    return url, tls, running if running is not None and running.nats == url else None


async def _watch(arguments: argparse.Namespace) -> None:
    """Without end, also while nothing runs: it may be started again."""
    with Live(console=Console(), auto_refresh=False, screen=False) as live:
        while True:
            try:
                url, tls, running = _where(arguments)
                shown = _shown(await look(url, tls, running), arguments, running)
            except CommandError as error:
                shown = str(error)
            if sys.stdout.isatty():
                live.update(Text(shown), refresh=True)
            else:
                print(shown, flush=True)
            await asyncio.sleep(_EVERY_SECONDS)


def _shown(report: Report, arguments: argparse.Namespace, running: RunFile | None) -> str:
    if arguments.json:
        return msgspec.json.encode(report).decode()
    title = f"Pricetime {version('pricetime')}"
    if running is None:
        return "\n".join(lines(report, title, None))
    data = meant_folder(arguments.data)
    return "\n".join([*lines(report, f"{title}, {data}", data / "logs"), *_metrics(running)])


def _metrics(running: RunFile) -> list[str]:
    return ["", *(f"metrics of {name}: {url}" for name, url in running.metrics.items())] if running.metrics else []


def lines(report: Report, title: str, logs: Path | None) -> list[str]:
    """For people: the verdict, the parts, and what to look at when something is wrong. `logs`: if they are here."""
    verdict = "not ready" if not report.ready else "ready" if report.is_well else "ready, but not all is well"
    return [
        f"{title}: {verdict}",
        "",
        *columns(_HEAD, [_row(part) for part in report.parts], right=("SEQUENCE", "LAG", "PID")),
        *_journal(report),
        *([] if logs is None else _advice(report, logs)),
    ]


def _row(part: Part) -> tuple[str, ...]:
    numbers = ("-" if each is None else str(each) for each in (part.sequence, part.lag, part.pid))
    return (part.part, part.state, *numbers, part.more)


def _journal(report: Report) -> list[str]:
    journal = report.journal
    if journal is None:
        return []
    return ["", f"The journal holds commits {journal.first} to {journal.last}, {journal.bytes / 1e6:.1f} MB."]


def _advice(report: Report, logs: Path) -> list[str]:
    """For each part that is not well, what its log ends with: that says why."""
    found = []
    for part in report.parts:
        log = logs / f"{part.part}.log"
        if part.ok or not log.is_file():
            continue
        found.append(f"{part.part} {part.state}; {log} says: {last_line(log, 0) or '(nothing)'}")
    if found:
        found.append("What each message means, and what to do: docs/operations.md, When something is wrong.")
    return ["", *found] if found else []
