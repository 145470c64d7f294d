"""What the recorder has written into Postgres, and what it should have: to compare row by row. And its processes."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import asyncpg
from msgspec.structs import astuple

from recorder.rows import (
    AccountLimitsRow,
    CandleRow,
    CommitRow,
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
from recorder.store import Position
from recorder.tables import connect
from runtime.service import EXIT_REFUSED
from tests.support.journals import Written

Tables = dict[str, list[tuple[object, ...]]]

_COLUMNS = {
    "journal_commits": CommitRow._fields,
    "orders": OrderRow.__struct_fields__,
    "open_orders": OpenOrderRow._fields,
    "order_events": OrderEventRow._fields,
    "trades": TradeRow._fields,
    "candles": CandleRow._fields,
    "instruments": InstrumentRow.__struct_fields__,
    "positions": PositionRow._fields,
    "account_limits": AccountLimitsRow._fields,
    "symbol_limits": SymbolLimitsRow._fields,
    "kill_switches": KillSwitchRow._fields,
    "dead_mans_switches": DeadMansSwitchRow._fields,
    "recorder_position": Position._fields,
}


def fold(written: Sequence[Written], last_trade_id: int = 0) -> tuple[Fold, Position]:
    """The rows of a run, and the position after it. `last_trade_id`: of the trades before it."""
    rows = Fold(last_trade_id)
    for each in written:
        rows.add(*each)
    last = written[-1]
    return rows, Position(last.commit.sequence, last.hash, last.commit.journal_epoch)


def expected(written: Sequence[Written]) -> Tables:
    """Every table after the whole journal."""
    rows, position = fold(written)
    assert not rows.changes
    return {
        "journal_commits": list(rows.commits),
        "orders": [astuple(rows.orders[order_id]) for order_id in sorted(rows.orders)],
        "open_orders": sorted(rows.open_orders()),
        "order_events": sorted(rows.order_events),
        "trades": list(rows.trades),
        "candles": sorted(rows.candles()),
        "instruments": [astuple(row) for row in rows.listed()],
        "positions": sorted(rows.positions()),
        "account_limits": _in_order(rows.account_limits),
        "symbol_limits": sorted(row for limits in rows.symbol_limits.values() for row in limits),
        "kill_switches": _in_order(rows.kill_switches),
        "dead_mans_switches": _in_order(rows.dead_mans_switches),
        "recorder_position": [position],
    }


_T = TypeVar("_T")


def _in_order(rows: dict[str, _T]) -> list[_T]:
    return [row for _, row in sorted(rows.items())]


async def tables(database: str) -> Tables:
    """Every table as it is."""
    connection = await connect(database)
    try:
        return {
            table: [
                tuple(row)
                for row in await connection.fetch(
                    f"select {', '.join(columns)} from {table} order by {', '.join(columns[:3])}"
                )
            ]
            for table, columns in _COLUMNS.items()
        }
    finally:
        await connection.close()


async def until_recorded(database: str, sequence: int, seconds: float = 200) -> None:
    """Wait for Postgres's position, through outages of Postgres as well."""
    async with asyncio.timeout(seconds):
        await _until(lambda: _has_recorded(database, sequence))


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await condition():
            return
        await asyncio.sleep(0.005)


async def _has_recorded(database: str, sequence: int) -> bool:
    try:
        connection = await asyncpg.connect(database)
    except (OSError, asyncpg.PostgresError):
        return False
    try:
        return bool(await connection.fetchval("select sequence >= $1 from recorder_position", sequence))
    except (OSError, asyncpg.PostgresError):
        return False
    finally:
        connection.terminate()


class Recorders:
    """Starts recorder processes; what they say is in `log`."""

    def __init__(self, environment: dict[str, str], log_file: Path) -> None:
        self._environment = environment
        self._log_file = log_file
        self._started: list[Process] = []

    @property
    def log(self) -> str:
        return self._log_file.read_text()

    async def start(self) -> Process:
        with self._log_file.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "recorder", env=os.environ | self._environment, stdout=output, stderr=output
            )
        self._started.append(process)
        return process

    async def until_said(self, text: str) -> None:
        async def said() -> bool:
            return text in self.log

        async with asyncio.timeout(60):
            await _until(said)

    async def refusal(self, process: Process) -> str:
        """Wait for the process to refuse to serve. Returns why."""
        async with asyncio.timeout(60):
            code = await process.wait()
        assert code == EXIT_REFUSED, self.log
        return next(line for line in reversed(self.log.splitlines()) if "refusing to serve: " in line)

    async def kill(self) -> None:
        """Whatever still runs."""
        for process in self._started:
            if process.returncode is None:
                process.kill()
            await process.wait()
