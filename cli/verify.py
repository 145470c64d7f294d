"""`pricetime verify`: does everything that the exchange holds follow from its journal?

Beside a running stack. What the parts hold is asked first, each answer with the journal sequence that it stands for;
then the journal is replayed from its first commit, and at each of those sequences the answer is compared with what
replaying gives. So orders may go on flowing meanwhile. Only reads; the first difference ends it.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

import asyncpg
import msgspec
from msgspec.structs import astuple
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cli.asking import connected
from cli.errors import CommandError
from cli.options import add_data
from cli.runfile import running_exchange
from contracts.commits import JournalBroken
from contracts.subjects import BROADCASTER_DEPTH, MATCHER_INSTRUMENTS, MATCHER_STATE_HASH, RECORDER_STATUS
from contracts.views import DepthView, Instrument
from matcher.replay import Replay
from recorder.rows import (
    AccountLimitsRow,
    CandleRow,
    DeadMansSwitchRow,
    Fold,
    InstrumentRow,
    KillSwitchRow,
    OpenOrderRow,
    OrderEventRow,
    OrderRow,
    PositionRow,
    SymbolLimitsRow,
    TradeRow,
)
from runtime.connection import close, connect
from runtime.journal import JournalReader, journal_state, journal_state_reaching
from runtime.tls import NatsTls

_DEPTH_LEVELS = 1000
_ANSWER_SECONDS = 30.0
_ROWS_AT_ONCE = 5000


class Difference(Exception):
    """The first thing found that does not follow from the journal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.epilog = "Exits 0 and says identical, or exits 1 and names the first difference."


def run(arguments: argparse.Namespace) -> int:
    stack = running_exchange(arguments.data)
    try:
        report = asyncio.run(verify(stack.nats, stack.postgres, stack.nats_tls))
    except (Difference, JournalBroken) as difference:
        print(f"different: {difference}", file=sys.stderr)
        return 1
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CommandError(f"Postgres does not answer ({error}); `pricetime status` shows how it is") from error
    print(f"identical: {report}")
    return 0


async def verify(nats_url: str, postgres_url: str, tls: NatsTls | None = None) -> str:
    """A sentence on what was compared. Raises Difference or JournalBroken on the first thing that does not fit."""
    await close(await connected(nats_url, tls or NatsTls()))  # which, other than the one below, waits for nobody
    postgres = await asyncpg.connect(postgres_url)
    connection = await connect(nats_url, "verify", tls=tls)
    try:
        async with postgres.transaction(isolation="repeatable_read", readonly=True):
            return await _Verification(connection, postgres).run()
    finally:
        await postgres.close()
        await connection.close()


class _Verification:
    """One replay, with checks waiting at the sequences that the live answers stand for."""

    def __init__(self, connection: Client, postgres: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self._postgres = postgres
        self._replay = Replay()
        self._fold = Fold()
        self._checks: dict[int, list[Callable[[], None]]] = {}
        self._missing: list[str] = []
        self._compared_trades = 0

    async def run(self) -> str:
        try:
            last = (await journal_state(self._connection)).last_seq
        except NotFoundError as error:
            raise Difference("there is no journal on this nats-server") from error
        await self._ask_matcher()
        await self._ask_broadcaster(last)
        await self._wait_for_recorder(last)
        position = await self._position()
        end = await self._end(position)
        await self._follow(position, end)
        if self._missing:
            raise Difference("; ".join(self._missing))
        chain = self._replay.chain
        return (
            f"{chain.sequence} commits, {len(self._fold.orders)} orders and {self._compared_trades} trades agree "
            f"between the journal, its replay, the live books and Postgres; hash {chain.hash.hex()[:16]}"
        )

    async def _end(self, position: int) -> int:
        """Where to stop: after everything that was answered, which the journal must hold."""
        known = max(self._checks)
        last = (await journal_state_reaching(self._connection, known)).last_seq
        if last < known:
            raise JournalBroken(
                last + 1, f"is missing: the journal ends at {last}, but commits up to {known} are known"
            )
        return max(last, position)

    # The live answers

    async def _ask(self, subject: str, question: dict[str, object], who: str) -> dict[str, Any] | None:
        try:
            reply = await self._connection.request(subject, json.dumps(question).encode(), timeout=_ANSWER_SECONDS)
        except (NatsError, TimeoutError):
            self._missing.append(f"the {who} does not answer, so what it holds could not be compared")
            return None
        answer: dict[str, Any] = json.loads(reply.data)
        return answer

    def _at(self, sequence: int, check: Callable[[], None]) -> None:
        self._checks.setdefault(sequence, []).append(check)

    async def _ask_matcher(self) -> None:
        answer = await self._ask(MATCHER_STATE_HASH, {}, "matcher")
        if answer is None:
            return

        def check() -> None:
            if self._replay.engine.state_hash().hex() != answer["hash"]:
                raise Difference(
                    f"the matcher's state after journal sequence {answer['sequence']} is not what replaying gives"
                )

        self._at(answer["sequence"], check)

    async def _ask_broadcaster(self, sequence: int) -> None:
        listed = await self._ask(MATCHER_INSTRUMENTS, {}, "matcher")
        for instrument in msgspec.convert(listed["items"] if listed else [], list[Instrument]):
            question = {"symbol": instrument.symbol, "levels": _DEPTH_LEVELS, "min_sequence": sequence}
            answer = await self._ask(BROADCASTER_DEPTH, question, "broadcaster")
            if answer is None:
                return
            if "error" in answer:
                raise Difference(f"the broadcaster has no depth of {instrument.symbol}: {answer['error']}")
            self._expect_depth(instrument, msgspec.convert(answer, DepthView))

    def _expect_depth(self, instrument: Instrument, live: DepthView) -> None:
        def check() -> None:
            bids, asks = self._replay.engine.depth(instrument.symbol, _DEPTH_LEVELS)
            for name, levels, shown in (("bids", bids, live.bids), ("asks", asks, live.asks)):
                expected = [(instrument.tick.format(price), instrument.lot.format(total)) for price, total in levels]
                if difference := _first_difference(expected, shown):
                    raise Difference(
                        f"{instrument.symbol} {name} after journal sequence {live.sequence}, level "
                        f"{difference[0] + 1}: the broadcaster shows {difference[2]}, replaying gives {difference[1]}"
                    )

        self._at(live.sequence, check)

    async def _wait_for_recorder(self, sequence: int) -> None:
        """Let the recorder finish what is on its way, so that the comparison covers it."""
        for _ in range(100):
            answer = await self._ask(RECORDER_STATUS, {}, "recorder")
            if answer is None or answer["sequence"] >= sequence:
                return
            await asyncio.sleep(0.1)

    async def _position(self) -> int:
        """The sequence that Postgres stands for in this transaction; its hash is compared on the way."""
        row = await self._postgres.fetchrow("select sequence, hash from recorder_position")
        if row is None:
            raise Difference("Postgres table recorder_position is empty")
        sequence, digest = row

        def check() -> None:
            if self._replay.chain.hash != digest:
                raise Difference(
                    f"Postgres table recorder_position: its hash is not that of journal sequence {sequence}"
                )

        self._at(sequence, check)
        return int(sequence)

    # The replay

    async def _follow(self, position: int, end: int) -> None:
        recorded = self._rows("select sequence, hash, payload from journal_commits order by sequence")
        trades = self._rows(f"select {_columns(TradeRow._fields)} from trades order by trade_id")
        for check in self._checks.get(0, []):
            check()
        with _progress(end) as step:
            async for sequence, payload in self._messages(end):
                commit = self._replay.follow(sequence, payload)
                if sequence <= position:
                    await self._compare_commit(sequence, payload, recorded)
                    self._fold.add(commit, payload, self._replay.chain.hash)
                    await self._compare_trades(trades)
                    self._fold.commits.clear()
                for check in self._checks.get(sequence, []):
                    check()
                if sequence == position:
                    await self._compare_rest(recorded, trades)
                step()

    async def _messages(self, end: int) -> AsyncIterator[tuple[int, bytes]]:
        if end == 0:
            return
        async with JournalReader(self._connection, 1) as reader:
            async for messages in reader:
                for message in messages:
                    yield message
                    if message[0] >= end:
                        return

    async def _rows(self, query: str) -> AsyncIterator[tuple[Any, ...]]:
        async for record in self._postgres.cursor(query, prefetch=_ROWS_AT_ONCE):
            yield tuple(record)

    async def _compare_commit(self, sequence: int, payload: bytes, recorded: AsyncIterator[tuple[Any, ...]]) -> None:
        row = await anext(recorded, None)
        if row is None or row[0] != sequence:
            raise Difference(f"Postgres table journal_commits: sequence {sequence} is missing")
        if row[2] != payload or row[1] != self._replay.chain.hash:
            raise Difference(f"Postgres table journal_commits: sequence {sequence} is not the commit in the journal")

    async def _compare_trades(self, trades: AsyncIterator[tuple[Any, ...]]) -> None:
        for expected in self._fold.trades:
            _compare_row(_TRADES, expected, await anext(trades, None))
        self._compared_trades += len(self._fold.trades)
        self._fold.trades.clear()

    async def _compare_rest(
        self, recorded: AsyncIterator[tuple[Any, ...]], trades: AsyncIterator[tuple[Any, ...]]
    ) -> None:
        """What only the end can tell: final rows of all other tables, and rows that nothing led to."""
        for table, rows in (("journal_commits", recorded), ("trades", trades)):
            if extra := await anext(rows, None):
                raise Difference(f"Postgres table {table}: a row that the journal does not give: {extra[:2]}")
        for each in _tables(self._fold):
            await self._compare_table(each)

    async def _compare_table(self, table: "_Table") -> None:
        keys = ", ".join(table.columns[: table.keys])
        rows = self._rows(f"select {_columns(table.columns)} from {table.name} order by {keys}")
        for row in table.rows:
            _compare_row(table, row, await anext(rows, None))
        if extra := await anext(rows, None):
            key = _key(table, extra)
            raise Difference(f"Postgres table {table.name}: a row that the journal does not give: {key}")


class _Table(NamedTuple):
    """What a table must hold, in the order of its first columns, the `keys`."""

    name: str
    columns: tuple[str, ...]
    keys: int
    rows: Iterable[tuple[Any, ...]]


_TRADES = _Table("trades", TradeRow._fields, 1, ())


def _tables(fold: Fold) -> list[_Table]:
    """What only the end can tell, of a fold of the whole journal."""
    orders = (astuple(row) for _, row in sorted(fold.orders.items()))
    limits = (row for rows in fold.symbol_limits.values() for row in rows)
    return [
        _Table("orders", OrderRow.__struct_fields__, 1, orders),
        _Table("open_orders", OpenOrderRow._fields, 1, sorted(fold.open_orders())),
        _Table("order_events", OrderEventRow._fields, 3, sorted(fold.order_events)),
        _Table("candles", CandleRow._fields, 3, sorted(fold.candles())),
        _Table("instruments", InstrumentRow.__struct_fields__, 1, map(astuple, fold.listed())),
        _Table("positions", PositionRow._fields, 2, sorted(fold.positions())),
        _Table("account_limits", AccountLimitsRow._fields, 1, _sorted(fold.account_limits)),
        _Table("symbol_limits", SymbolLimitsRow._fields, 2, sorted(limits)),
        _Table("kill_switches", KillSwitchRow._fields, 1, _sorted(fold.kill_switches)),
        _Table("dead_mans_switches", DeadMansSwitchRow._fields, 1, _sorted(fold.dead_mans_switches)),
    ]


_Row = TypeVar("_Row", bound=tuple[Any, ...])


def _sorted(rows: Mapping[str, _Row]) -> list[_Row]:
    return [row for _, row in sorted(rows.items())]


_TIMES = ("created_at", "updated_at", "executed_at", "expires_at", "open_time", "deadline", "time")


def _columns(names: Iterable[str]) -> str:
    return ", ".join(f"(extract(epoch from {n}) * 1000000)::bigint" if n in _TIMES else n for n in names)


def _key(table: _Table, row: tuple[Any, ...]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(table.columns[: table.keys], row, strict=False))


def _compare_row(table: _Table, expected: tuple[Any, ...], found: tuple[Any, ...] | None) -> None:
    where = f"Postgres table {table.name}, {_key(table, expected)}"
    if found is None or found[: table.keys] != expected[: table.keys]:
        raise Difference(f"{where}: the row is missing")
    for name, value, stored in zip(table.columns, expected, found, strict=True):
        plain = getattr(value, "value", value)
        if plain != stored:
            shown = int(stored) if isinstance(stored, Decimal) else stored
            raise Difference(f"{where}: {name} is {shown!r}, the journal gives {plain!r}")


def _first_difference(expected: list[Any], found: list[Any]) -> tuple[int, Any, Any] | None:
    for index in range(max(len(expected), len(found))):
        left = tuple(expected[index]) if index < len(expected) else None
        right = tuple(found[index]) if index < len(found) else None
        if left != right:
            return index, left, right
    return None


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on the terminal, on stderr so that the verdict alone is the output."""
    columns = (TextColumn("replaying the journal"), BarColumn(), MofNCompleteColumn(), TextColumn("commits"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
