"""`pricetime replay FILE`: send a file of recorded order flow to a running exchange, in its order, and count.

    pricetime replay orders.csv.xz              over NATS, in batches
    pricetime replay orders.csv.xz --rest       over REST, one request per order
    pricetime replay orders.csv.xz --speed 60   an hour of the file in a minute

Each order carries the file's id as its client_order_id: a replay that was interrupted is given again and goes on. To
play the same file a second time, name another --account.
"""

import argparse
import asyncio
import csv
import logging
import lzma
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TextIO

import httpx
import msgspec
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.errors import CommandError
from cli.exchanges import NatsExchange, RestExchange, instruments_over_nats, symbols_over_rest
from cli.flow import COLUMNS, Action, BadRow, Exchange, Flow, FlowEvent, Place, Tally, Wish, parse_row
from cli.options import add_data
from cli.runfile import running_exchange
from contracts.messages import DEFAULT_ACCOUNT, MAX_COMMANDS, NAME_PATTERN
from runtime.connection import connect
from runtime.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help=f"csv or csv.xz with the columns {', '.join(COLUMNS)}")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--nats", dest="rest", action="store_false", default=False, help="in batches over NATS (default)")
    way.add_argument("--rest", dest="rest", action="store_true", help="over REST, one request per order")
    add_data(parser)
    parser.add_argument(
        "--symbol", default=Settings().default_instrument, metavar="S", help="instrument (default: %(default)s)"
    )
    parser.add_argument("--account", default=DEFAULT_ACCOUNT, metavar="A", help="account (default: %(default)s)")
    parser.add_argument(
        "--speed", type=speed, metavar="X", help="X times the recorded speed (default: as fast as it goes)"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")


def speed(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return found


def run(arguments: argparse.Namespace) -> int:
    if not re.fullmatch(NAME_PATTERN, arguments.account):
        raise CommandError(f"--account {arguments.account!r}: 1 to 64 letters, digits, hyphens or underscores")
    flow, started = Flow(), time.monotonic()
    try:
        asyncio.run(_replay(arguments, flow))
    finally:  # what was done is told also when the rest could not be
        if flow.tally.events:
            print(report(arguments, flow.tally, time.monotonic() - started))
    return 0


async def _replay(arguments: argparse.Namespace, flow: Flow) -> None:
    total = sum(1 for _ in read_events(arguments.file))
    with _progress() as progress:
        _show_waiting(progress)
        task = progress.add_task(arguments.file.name, total=total)
        async with _exchange(arguments) as exchange:
            sender = Sender(exchange, flow, Clock(arguments.speed))
            for event in read_events(arguments.file):
                await sender.take(event)
                progress.update(task, completed=flow.tally.events)
            await sender.flush()


class Clock:
    """When an event of the file is due."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._start: tuple[int, float] | None = None

    def seconds_until(self, milliseconds: int) -> float:
        if self._speed is None:
            return 0.0
        if self._start is None:
            self._start = milliseconds, time.monotonic()
        first, started = self._start
        return (milliseconds - first) / 1000 / self._speed - (time.monotonic() - started)


class Sender:
    """Collects actions into batches. One batch is on its way at a time, so the file's order is the exchange's."""

    def __init__(self, exchange: Exchange, flow: Flow, clock: Clock) -> None:
        self._exchange = exchange
        self._flow = flow
        self._clock = clock
        self._batch: list[Action] = []

    async def take(self, event: FlowEvent) -> None:
        if (pause := self._clock.seconds_until(event.milliseconds)) > 0:
            await self.flush()
            await asyncio.sleep(pause)
        for wanted in self._flow.plan(event):
            if (action := await self._action(wanted)) is not None:
                self._batch.append(action)
            if len(self._batch) == MAX_COMMANDS:
                await self.flush()

    async def _action(self, wanted: Place | Wish) -> Action | None:
        if isinstance(wanted, Place):
            return wanted
        if self._flow.must_wait(wanted):
            await self.flush()
        return self._flow.cancel(wanted)

    async def flush(self) -> None:
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        for action, result in zip(batch, await self._exchange.send(batch), strict=True):
            self._flow.record(action, result)


@asynccontextmanager
async def _exchange(arguments: argparse.Namespace) -> AsyncIterator[Exchange]:
    addresses = running_exchange(arguments.data)
    if arguments.rest:
        async with httpx.AsyncClient(
            base_url=addresses.http, trust_env=False, timeout=10.0, verify=addresses.https
        ) as client:
            _check_listed(arguments.symbol, await symbols_over_rest(client))
            yield RestExchange(client, arguments.symbol, arguments.account)
        return
    connection = await connect(addresses.nats, "replay", tls=addresses.nats_tls)
    try:
        instruments = await instruments_over_nats(connection)
        _check_listed(arguments.symbol, list(instruments))
        yield NatsExchange(connection, instruments[arguments.symbol], arguments.account)
    finally:
        await connection.close()


def _check_listed(symbol: str, listed: list[str]) -> None:
    if symbol not in listed:
        raise CommandError(f"{symbol} is not listed; listed: {', '.join(listed)}. PUT /instruments/{symbol} lists it")


def read_events(file: Path) -> Iterator[FlowEvent]:
    """The file's events, as they are read. Raises CommandError, naming the line, at the first that cannot be read."""
    try:
        with _open(file) as lines:
            rows = csv.reader(lines)
            if (header := next(rows, [])) != list(COLUMNS):
                raise CommandError(
                    f"{file}: the first line must be {','.join(COLUMNS)}, it is {','.join(header)[:200]}"
                )
            for row in rows:
                yield _event(file, rows.line_num, row)
    except (OSError, UnicodeDecodeError, lzma.LZMAError, EOFError, csv.Error) as error:
        raise CommandError(f"{file}: {getattr(error, 'strerror', None) or error}") from error


def _event(file: Path, line: int, row: list[str]) -> FlowEvent:
    try:
        return parse_row(row)
    except BadRow as error:
        raise CommandError(f"{file}, line {line}: {error}") from error


def _open(file: Path) -> TextIO:
    if file.suffix == ".xz":
        return lzma.open(file, "rt", encoding="utf-8", newline="")
    return file.open(encoding="utf-8", newline="")


def _progress() -> Progress:
    """On stderr, so that the numbers alone are the output."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
    )


def _show_waiting(progress: Progress) -> None:
    """Above the bar: why nothing moves. The connection's own words would only repeat it."""
    logging.basicConfig(
        format="%(message)s", handlers=[RichHandler(console=progress.console, show_time=False, show_path=False)]
    )
    logging.getLogger("runtime.connection").setLevel(logging.ERROR)


def report(arguments: argparse.Namespace, tally: Tally, seconds: float) -> str:
    if arguments.json:
        return msgspec.json.encode({**msgspec.to_builtins(tally), "sent": tally.sent, "seconds": seconds}).decode()
    way = "REST" if arguments.rest else "NATS"
    lines = [
        f"{arguments.file.name} over {way}: {tally.events} events in {seconds:.1f} s",
        f"  sent      {tally.sent} commands, {tally.sent / seconds:.0f}/s",
        f"  placed    {tally.placed} orders, {tally.trades} trades",
        f"  canceled  {tally.canceled}; {tally.gone_before} were filled or canceled already",
        f"  refused   {_counts(tally.refused)}",
        f"  skipped   {_counts(tally.skipped)}",
        f"  journal   sequence {tally.first_sequence} to {tally.last_sequence}",
    ]
    if tally.placed_before:
        lines.append(
            f"  {tally.placed_before} orders were there already, from an earlier replay or a request that was sent"
            " again. To play the file once more, name another --account"
        )
    return "\n".join(lines)


def _counts(reasons: dict[str, int]) -> str:
    found = {reason: count for reason, count in reasons.items() if count}
    return f"{sum(found.values())}" + "".join(f", {count} {reason}" for reason, count in sorted(found.items()))
