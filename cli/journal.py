"""`pricetime journal`: what happened, commit by commit, as the journal has it.

    pricetime journal                        the last twenty commits
    pricetime journal --order 17             the life of an order, and what has become of it
    pricetime journal --symbol BTC-USD --since 10m
    pricetime journal --sequence 1000..1020
    pricetime journal -f                     and what comes, as it comes

It asks NATS alone, so that it answers as well while matcher, gateway and Postgres do not; only what is trimmed from
the journal comes from Postgres, by the recorder. Of an exchange that is stopped, it reads what nats-server has on disk.
"""

import argparse
import asyncio
import re
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime

import msgspec
from nats.errors import Error as NatsError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cli.asking import address, connected
from cli.errors import CommandError
from cli.journal_sources import Files, Range, Running, Source, Span, stores
from cli.journal_text import Scale, Wanted, as_json, as_text, conclusion, state_after
from cli.options import MOMENTS, add_nats, count, microseconds, order_id, past, symbol
from cli.runfile import NotRunning, meant_folder
from contracts.commits import JournalBroken, decode_commit
from contracts.orders import Standing
from runtime.archive import ArchiveUnavailable
from runtime.connection import close

_LAST = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sequence", type=_range, metavar="N[..M]", help="this commit, N..M, or N.. to the end")
    parser.add_argument("--order", type=order_id, metavar="ID", help="what concerns this order")
    parser.add_argument("--symbol", type=symbol, metavar="S", help="what concerns this instrument")
    parser.add_argument("--since", type=past, metavar="TIME", help="committed then or later")
    parser.add_argument("--until", type=past, metavar="TIME", help="committed before then")
    parser.add_argument("-n", "--last", type=count, metavar="N", help="no more than the last N of those that fit")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each commit")
    add_nats(parser)
    parser.epilog = f"Without options, the last {_LAST} commits. TIME is in UTC: {MOMENTS}."


def _range(text: str) -> Range:
    found = re.fullmatch(r"([1-9][0-9]{0,17})(?:(\.\.|-)([1-9][0-9]{0,17})?)?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no sequence: give 1000, 1000..1020, or 1000.. to the end")
    first = int(found[1])
    last = int(found[3]) if found[3] else None if found[2] else first
    if last is not None and last < first:
        raise argparse.ArgumentTypeError(f"{text!r} ends before it begins")
    return Range(first, last)


def run(arguments: argparse.Namespace) -> int:
    try:
        asyncio.run(_show(arguments))
    except JournalBroken as error:
        raise CommandError(f"{error}; `pricetime verify` tells more") from error
    except ArchiveUnavailable as error:
        raise CommandError(f"what was asked for is trimmed from the journal, and {error}") from error
    except (NatsError, TimeoutError) as error:
        raise CommandError(
            "nats-server does not let the journal be read: perhaps it is not well (`pricetime status`), or this user "
            "may not (`pricetime nats-users url operator` may)"
        ) from error
    return 0


async def _show(arguments: argparse.Namespace) -> None:
    if arguments.follow and (arguments.until is not None or (arguments.sequence and arguments.sequence.last)):
        raise CommandError("--follow has no end: leave --until out, and give --sequence N.. without one")
    async with _source(arguments) as source:
        scale = Scale(await source.instruments())
        span = await _span(arguments, source)
        wanted = Wanted(arguments.order, arguments.symbol)
        printer = Printer(wanted, scale, as_lines=arguments.json, most=None if wanted.is_all else arguments.last)
        with _progress(span, is_shown=not wanted.is_all) as progress:

            def take(sequence: int, payload: bytes) -> None:
                progress(sequence)
                printer.take(sequence, payload)

            await source.read(span, take)
        printer.end()
        if not printer.shown and not arguments.follow:
            print(_nothing(span), file=sys.stderr)
        if arguments.follow:
            await source.read(Range(span.last + 1, None), printer.take)


@asynccontextmanager
async def _source(arguments: argparse.Namespace) -> AsyncIterator[Source]:
    """The exchange that runs; or what one that is stopped has left on disk, as that is when one wants to know most."""
    try:
        url, tls = address(arguments)
    except NotRunning as error:
        data = meant_folder(arguments.data)
        if arguments.follow or not stores(data):
            raise
        print(f"{error}. What nats-server has left on disk there:", file=sys.stderr)
        yield Files(stores(data))
        return
    connection = await connected(url, tls)
    try:
        yield Running(connection, url, tls)
    finally:
        await close(connection)


def _nothing(span: Span) -> str:
    if span.last < span.first:
        return "there are no commits of that time"
    return f"nothing in commits {span.first} to {span.last} is of that"


# Which commits


async def _span(arguments: argparse.Namespace, source: Source) -> Span:
    """As far as that can be said without looking into each commit."""
    asked: Range = arguments.sequence or Range(1, None)
    begin, end = await source.bounds()
    if asked.first > end and not arguments.follow:
        raise CommandError(f"there is no commit {asked.first}: the journal ends at {end}")
    first, last = max(asked.first, begin), end if asked.last is None else min(asked.last, end)
    if arguments.until is not None:
        last = min(last, await _first_at(source, arguments.until, begin, last) - 1)
    if arguments.since is not None:
        first = max(first, await _first_at(source, arguments.since, begin, last))
    most = _most(arguments)
    return Span(first if most is None else max(first, last - most + 1), last)


def _most(arguments: argparse.Namespace) -> int | None:
    """How many commits to look at, if that is certain before."""
    if arguments.order or arguments.symbol:
        return None
    is_free = not (arguments.sequence or arguments.since or arguments.until)
    most: int | None = arguments.last or (_LAST if is_free else None)
    return most


async def _first_at(source: Source, moment: datetime, begin: int, last: int) -> int:
    """The first commit of that time or later, or the one after the last: time never goes back in the journal."""
    time, low, high = microseconds(moment), begin, last + 1
    while low < high:
        middle = (low + high) // 2
        payload = await source.at(middle)
        if payload is None:
            raise JournalBroken(middle, "is missing")
        if decode_commit(middle, payload)[0].time < time:
            low = middle + 1
        else:
            high = middle
    return low


# What to say of each


class Printer:
    """Shows what is wanted of the commits that it takes: each at once, or the last `most` of them at the `end`."""

    def __init__(self, wanted: Wanted, scale: Scale, *, as_lines: bool, most: int | None = None) -> None:
        self._wanted = wanted
        self._scale = scale
        self._as_json = as_lines
        self._held: deque[str] | None = None if most is None else deque(maxlen=most)
        self._standing: Standing | None = None
        self.shown = 0
        """How many commits were."""
        self._needles = _needles(wanted) if scale.is_known else []

    def take(self, sequence: int, payload: bytes) -> None:
        if any(needle not in payload for needle in self._needles):
            return
        commit, digest = decode_commit(sequence, payload)
        self._scale.learn(commit)
        if self._wanted.order_id is not None:
            self._standing = state_after(self._standing, self._wanted.order_id, commit)
        if self._as_json:
            shown = as_json(commit, digest, self._wanted, self._scale)
            lines = [msgspec.json.encode(shown).decode()] if shown["commands"] or self._wanted.is_all else []
        else:
            lines = as_text(commit, self._wanted, self._scale)
        if lines:
            self.shown += 1
            self._say("\n".join(lines))

    def _say(self, text: str) -> None:
        if self._held is None:
            print(text)
        else:
            self._held.append(text)

    def end(self) -> None:
        """What was held; and of an order, what has become of it."""
        for text in self._held or ():
            print(text)
        self._held = None
        if self._standing is not None and not self._as_json:
            print(conclusion(self._standing, self._scale))
        sys.stdout.flush()


def _needles(wanted: Wanted) -> list[bytes]:
    """Bytes without which a commit cannot hold what is wanted: much faster to look for than to decode."""
    found = [] if wanted.order_id is None else [msgspec.msgpack.encode(wanted.order_id)]
    return found if wanted.symbol is None else [*found, wanted.symbol.encode()]


@contextmanager
def _progress(span: Span, *, is_shown: bool) -> Iterator[Callable[[int], None]]:
    """On stderr, while many commits are looked through; not between lines that are shown at once."""
    console = Console(stderr=True)
    columns = (TextColumn("looking through the journal"), BarColumn(), MofNCompleteColumn(), TextColumn("commits"))
    disabled = not is_shown or not console.is_terminal or span.last - span.first < 1000
    with Progress(*columns, console=console, transient=True, disable=disabled) as bar:
        task = bar.add_task("", total=span.last - span.first + 1)
        yield lambda sequence: bar.update(task, completed=sequence - span.first + 1) if sequence % 100 == 0 else None
