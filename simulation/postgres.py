"""The simulated Postgres: the statements that the recorder sends, in transactions, on connections that can be lost.

What a transaction writes is seen by others once it is committed; whoever moves the position locks it until then. A
connection may be lost at any moment, that of a COMMIT included: then nobody knows whether it was carried out.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from random import Random
from types import TracebackType
from typing import Any

import asyncpg
from msgspec.structs import astuple

from contracts.commits import GENESIS_HASH
from contracts.messages import CancelReason, OrderStatus, Side
from contracts.orders import OPEN_STATUSES
from recorder import archive, store, tables
from recorder.rows import (
    AccountLimitsRow,
    CandleRow,
    CommitRow,
    DeadMansSwitchRow,
    Fold,
    InstrumentRow,
    KillSwitchRow,
    OpenOrderRow,
    OrderChange,
    OrderEventRow,
    OrderRow,
    PositionRow,
    SymbolLimitsRow,
    TradeRow,
)
from simulation.broker import Network, Pipe
from simulation.loop import Process, SimulatedLoop

Row = tuple[Any, ...]
Change = Callable[[], None]

COLUMNS: dict[str, tuple[str, ...]] = {
    "journal_commits": CommitRow._fields,
    "trades": TradeRow._fields,
    "orders": OrderRow.__struct_fields__,
    "open_orders": OpenOrderRow._fields,
    "order_events": OrderEventRow._fields,
    "positions": PositionRow._fields,
    "candles": CandleRow._fields,
    "instruments": InstrumentRow.__struct_fields__,
    "account_limits": AccountLimitsRow._fields,
    "symbol_limits": SymbolLimitsRow._fields,
    "kill_switches": KillSwitchRow._fields,
    "dead_mans_switches": DeadMansSwitchRow._fields,
}
_KEY_SIZE = {"order_events": 3, "positions": 2, "candles": 3, "symbol_limits": 2}
_KEY_COLUMNS = {"order_events": ("order_id", "sequence", "number")}


def expected_tables(fold: Fold) -> dict[str, list[Row]]:
    """What the tables hold once everything in a fold from the journal's beginning is recorded."""
    return {
        "journal_commits": [tuple(row) for row in fold.commits],
        "trades": [tuple(row) for row in fold.trades],
        "orders": [astuple(row) for row in fold.orders.values()],
        "open_orders": [tuple(row) for row in fold.open_orders()],
        "order_events": [tuple(row) for row in fold.order_events],
        "positions": [tuple(row) for row in fold.positions()],
        "candles": [tuple(row) for row in fold.candles()],
        "instruments": [astuple(row) for row in fold.listed()],
        "account_limits": [tuple(row) for row in fold.account_limits.values()],
        "symbol_limits": [tuple(row) for rows in fold.symbol_limits.values() for row in rows],
        "kill_switches": [tuple(row) for row in fold.kill_switches.values()],
        "dead_mans_switches": [tuple(row) for row in fold.dead_mans_switches.values()],
    }


class SimulatedPostgres:
    """The server. `up` while it serves; what is committed outlives it."""

    def __init__(self, loop: SimulatedLoop, network: Network, random: Random) -> None:
        self.loop = loop
        self.network = network
        self.random = random
        self.process = Process(loop, "postgres")
        self.up = True
        self.held_until = 0.0
        self.on_statement: Callable[[], bool] | None = None
        """Asked before each statement: does the server die now?"""
        self.tables: dict[str, dict[Any, Row]] = {name: {} for name in COLUMNS}
        self.position: Row = (0, GENESIS_HASH, None)
        self.sessions: list[SimulatedSession] = []
        self.locked_by: SimulatedSession | None = None
        self.waiting: list[tuple[SimulatedSession, Callable[[], None]]] = []

    async def connect(self, url: str, session: dict[str, str] | None = None, **_: Any) -> "SimulatedSession":
        await asyncio.sleep(self.network.delay())
        while self.up and (wait := self.held_until - self.loop.time()) > 0:  # noqa: ASYNC110 (it may grow)
            await asyncio.sleep(wait)
        if not self.up:
            raise ConnectionRefusedError("postgres is not there")
        made = SimulatedSession(self, self.loop.current)
        self.sessions.append(made)
        return made

    def crash(self) -> None:
        if not self.up:
            return
        self.up = False
        self.process.kill()
        for session in list(self.sessions):
            session.lose(asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"))
        self.waiting.clear()
        self.locked_by = None

    def start(self) -> None:
        if not self.up:
            self.process = Process(self.loop, "postgres")
            self.up = True

    def terminate_backends(self) -> None:
        """pg_terminate_backend for each."""
        for session in list(self.sessions):
            session.lose(asyncpg.AdminShutdownError("terminating connection due to administrator command"))

    def end(self, session: "SimulatedSession") -> None:
        """The server's end of a session: what it had not committed is gone."""
        if session in self.sessions:
            self.sessions.remove(session)
        session.staged.clear()
        self.waiting = [(who, go) for who, go in self.waiting if who is not session]
        self.unlock(session)

    def unlock(self, session: "SimulatedSession") -> None:
        if self.locked_by is session:
            self.locked_by = None
            if self.waiting:
                who, go = self.waiting.pop(0)
                self.locked_by = who
                go()

    def insert(self, table: str, row: Row) -> None:
        key = key_of(table, row)
        if key in self.tables[table]:
            raise asyncpg.UniqueViolationError(f'duplicate key value violates unique constraint "{table}_pkey" {key}')
        self.tables[table][key] = row

    def upsert(self, table: str, row: Row, merge: Callable[[Row, Row], Row]) -> None:
        key = key_of(table, row)
        old = self.tables[table].get(key)
        self.tables[table][key] = row if old is None else merge(old, row)


def key_of(table: str, row: Row) -> Any:
    if table in _KEY_COLUMNS:
        return tuple(row[COLUMNS[table].index(name)] for name in _KEY_COLUMNS[table])
    size = _KEY_SIZE.get(table, 1)
    return row[0] if size == 1 else row[:size]


class _Transaction:
    """`async with connection.transaction()`."""

    def __init__(self, session: "SimulatedSession") -> None:
        self._session = session

    async def __aenter__(self) -> None:
        await self._session.execute("begin")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._session.is_closed():
            await self._session.execute("commit" if error is None else "rollback")


class SimulatedSession:
    """What asyncpg.Connection is, as far as the recorder uses it."""

    def __init__(self, server: SimulatedPostgres, process: Process) -> None:
        self._server = server
        self._loop = server.loop
        self._process = process
        self._up = Pipe(server.network, server.process)
        self._closed = False
        self._under_way: asyncio.Future[Any] | None = None
        self.staged: list[Change] = []
        self.moved: Row | None = None
        self.in_transaction = False
        self.broken = False
        """An error in a transaction: everything up to its rollback fails."""
        process.on_death.append(self._hang_up)

    # The client's side

    def is_closed(self) -> bool:
        return self._closed

    def terminate(self) -> None:
        if not self._closed:
            self._closed = True
            self._hang_up()

    async def close(self, timeout: float | None = None) -> None:
        self.terminate()

    async def set_type_codec(self, *_: Any, **__: Any) -> None:
        return

    def transaction(self, **_: Any) -> _Transaction:
        return _Transaction(self)

    async def execute(self, statement: str, *arguments: Any) -> Any:
        return await self._ask(lambda: self._carry_out(statement, arguments))

    async def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        listed = list(rows)

        def all_of_them() -> None:
            for row in listed:
                self._carry_out(statement, row)

        await self._ask(all_of_them)

    async def fetchval(self, statement: str, *arguments: Any) -> Any:
        return await self._ask(lambda: self._carry_out(statement, arguments))

    async def fetchrow(self, statement: str, *arguments: Any) -> Any:
        return await self._ask(lambda: self._carry_out(statement, arguments))

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        return await self._ask(lambda: self._carry_out(statement, arguments))

    async def copy_records_to_table(self, table: str, *, columns: Sequence[str], records: Iterable[Row]) -> None:
        rows = [_completed(table, columns, record) for record in records]

        def copy() -> None:
            for row in rows:
                if key_of(table, row) in self._server.tables[table]:
                    raise asyncpg.UniqueViolationError(f'duplicate key in "{table}": {key_of(table, row)}')
                self._stage(partial(self._server.insert, table, row))

        await self._ask(copy)

    async def _ask(self, work: Callable[[], Any]) -> Any:
        if self._closed:
            raise asyncpg.InterfaceError("connection is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._under_way = future
        self._up.held_until = max(self._up.held_until, self._server.held_until)
        self._up.send(self._serve, work, future)
        return await future

    def _hang_up(self) -> None:
        """The server works on what has reached it, and then finds nobody there."""
        late = self._server.random.random() < 0.3
        if late:
            self._up.held_until = self._loop.time() + self._server.random.random() * 2
        self._up.send(self._server.end, self)

    def lose(self, error: Exception) -> None:
        """The connection breaks; the client hears of it a moment later."""
        self._server.end(self)
        self._up.is_cut = True
        self._loop.call_at(self._loop.time() + self._server.network.delay(), self._lost, error, process=self._process)

    def _lost(self, error: Exception) -> None:
        self._closed = True
        if self._under_way is not None and not self._under_way.done():
            self._under_way.set_exception(error)

    # The server's side

    def _serve(self, work: Callable[[], Any], future: "asyncio.Future[Any]") -> None:
        if self._server.on_statement is not None and self._server.on_statement():
            return
        try:
            answer = work()
        except _Wait:
            self._server.waiting.append((self, lambda: self._serve(work, future)))
            return
        except asyncpg.PostgresError as error:
            self.broken = self.in_transaction
            self._reply(future, None, error)
            return
        if not self.in_transaction:
            self._apply()
        self._reply(future, answer, None)

    def _reply(self, future: "asyncio.Future[Any]", answer: Any, error: Exception | None) -> None:
        when = max(self._loop.time(), self._server.held_until) + self._server.network.delay()
        self._loop.call_at(when, self._arrive, future, answer, error, process=self._process)

    def _arrive(self, future: "asyncio.Future[Any]", answer: Any, error: Exception | None) -> None:
        if future.done() or self._closed:
            return
        if error is None:
            future.set_result(answer)
        else:
            future.set_exception(error)

    def _stage(self, change: Change) -> None:
        self.staged.append(change)

    def _apply(self) -> None:
        staged, self.staged = self.staged, []
        for change in staged:
            change()
        if self.moved is not None:
            self._server.position = self.moved
            self.moved = None
        self._server.unlock(self)

    def _lock(self) -> None:
        if self._server.locked_by not in (None, self):
            raise _Wait
        self._server.locked_by = self

    def _carry_out(self, statement: str, arguments: Sequence[Any]) -> Any:
        text = statement.strip()
        if text == "rollback":
            self.staged.clear()
            self.moved, self.in_transaction, self.broken = None, False, False
            self._server.unlock(self)
            return "ROLLBACK"
        if self.broken:
            raise asyncpg.InFailedSQLTransactionError("current transaction is aborted")
        if text == "begin":
            self.in_transaction = True
            return "BEGIN"
        if text == "commit":
            self.in_transaction = False
            self._apply()
            return "COMMIT"
        handler = _STATEMENTS.get(statement) or _STATEMENTS.get(text)
        if handler is None:
            raise asyncpg.UndefinedFunctionError(f"not simulated: {text}")
        return handler(self, *arguments)

    def _move_position(self, sequence: int, digest: bytes, epoch: str, old_sequence: int, old_digest: bytes) -> Any:
        self._lock()
        if self._server.position[:2] != (old_sequence, old_digest):
            if not self.in_transaction:
                self._server.unlock(self)
            return None
        self.moved = (sequence, digest, epoch)
        return True

    def _read_position(self) -> Row:
        self._lock()
        row = self._server.position
        if not self.in_transaction:
            self._server.unlock(self)
        return row

    def _last_trade(self) -> int:
        return max(self._server.tables["trades"], default=0)

    def _payload(self, sequence: int) -> bytes | None:
        row = self._server.tables["journal_commits"].get(sequence)
        return None if row is None else row[2]

    def _commits(self, first: int, last: int) -> list[tuple[int, bytes]]:
        rows = self._server.tables["journal_commits"]
        return [(sequence, rows[sequence][2]) for sequence in sorted(rows) if first <= sequence <= last]

    def _hash_of(self, sequence: int) -> bytes | None:
        row = self._server.tables["journal_commits"].get(sequence)
        return None if row is None else row[1]

    def _holds(self, first: int, last: int) -> bool:
        rows = self._server.tables["journal_commits"]
        return all(sequence in rows for sequence in range(first, last + 1))

    def _change_orders(self, *columns: Sequence[Any]) -> int:
        fields = len(OrderChange.__struct_fields__)
        changes = [OrderChange(*values) for values in _as_fields(columns[:fields])]
        known = [change for change in changes if change.order_id in self._server.tables["orders"]]
        for change in known:
            self._stage(partial(self._change_order, change))
        for row in _as_fields(columns[fields : fields + 1]):
            self._stage(partial(self._server.insert, "open_orders", row))
        for row in _as_fields(columns[fields + 1 :]):
            self._stage(partial(self._server.upsert, "positions", row, _added))
        return len(known)

    def _change_order(self, change: OrderChange) -> None:
        orders = self._server.tables["orders"]
        order = OrderRow(*orders[change.order_id])
        if change.quantity is not None:
            if order.placed_quantity is None:
                order.placed_price, order.placed_stop_price = order.price, order.stop_price
                order.placed_quantity = order.quantity
            order.quantity = change.quantity
        order.price = order.price if change.price is None else change.price
        order.stop_price = order.stop_price if change.stop_price is None else change.stop_price
        order.triggered = order.triggered or change.triggered
        order.filled_quantity += change.added_quantity
        order.filled_notional += change.added_notional
        order.status = _status(order, change)
        order.reason, order.updated_at, order.sequence = change.reason, change.updated_at, change.sequence
        orders[change.order_id] = astuple(order)
        if order.status not in OPEN_STATUSES:
            self._server.tables["open_orders"].pop(change.order_id, None)
        if change.added_quantity:
            signed = change.added_quantity if order.side == Side.BUY else -change.added_quantity
            self._server.upsert("positions", (order.account, order.symbol, signed), _added)

    def _add_candles(self, *columns: Sequence[Any]) -> None:
        for row in zip(*columns, strict=True):
            self._stage(partial(self._server.upsert, "candles", row, _longer))

    def _define_instrument(self, *row: Any) -> None:
        self._stage(lambda: self._server.upsert("instruments", _listed(row), lambda old, _: _defined(old, row)))

    def _change_status(self, symbol: str, status: str, sequence: int) -> str:
        if symbol not in self._server.tables["instruments"]:
            return "UPDATE 0"

        def change() -> None:
            row = self._server.tables["instruments"][symbol]
            self._server.tables["instruments"][symbol] = (*row[:5], status, sequence, *row[7:])

        self._stage(change)
        return "UPDATE 1"

    def _delete_symbol_limits(self, accounts: Sequence[str]) -> None:
        def delete() -> None:
            limits = self._server.tables["symbol_limits"]
            for key in [key for key in limits if key[0] in accounts]:
                del limits[key]

        self._stage(delete)

    def _replace_in(self, table: str) -> Callable[..., None]:
        return lambda *row: self._stage(lambda: self._server.upsert(table, row, lambda _, new: new))


class _Wait(Exception):
    """Another transaction holds the row."""


def _completed(table: str, columns: Sequence[str], record: Row) -> Row:
    """All columns, in order; those not given have their defaults."""
    if tuple(columns) == COLUMNS[table]:
        return tuple(record)
    given = dict(zip(columns, record, strict=True))
    assert table == "orders", "only orders are copied in part"
    return astuple(OrderRow(**given))


def _as_fields(columns: Sequence[Sequence[Any]]) -> Iterable[Row]:
    return zip(*columns, strict=True)


def _status(order: OrderRow, change: OrderChange) -> OrderStatus:
    if change.reason == CancelReason.EXPIRED:
        return OrderStatus.EXPIRED
    if change.reason is not None:
        return OrderStatus.CANCELED
    if order.filled_quantity == order.quantity:
        return OrderStatus.FILLED
    return OrderStatus.PARTIALLY_FILLED if order.filled_quantity > 0 else OrderStatus.OPEN


def _added(old: Row, new: Row) -> Row:
    return (*old[:2], old[2] + new[2])


def _longer(old: Row, new: Row) -> Row:
    return (*old[:4], max(old[4], new[4]), min(old[5], new[5]), new[6], old[7] + new[7], old[8] + new[8])


def _listed(row: Row) -> Row:
    return (*row[:5], row[5] or "trading", *row[6:])


def _defined(old: Row, new: Row) -> Row:
    return (*new[:5], new[5] or old[5], *new[6:])


def _replace_statement(table: str) -> str:
    """As recorder/tables.py writes it."""
    columns = COLUMNS[table]
    values = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns[1:])
    insert = f"insert into {table} ({', '.join(columns)}) values ({values})"
    return f"{insert} on conflict ({columns[0]}) do update set {changes}"


def _replacing(table: str) -> Callable[..., Any]:
    return lambda session, *row: session._replace_in(table)(*row)


_STATEMENTS: dict[str, Callable[..., Any]] = {
    store._MOVE_POSITION: SimulatedSession._move_position,
    "select sequence, hash, journal_epoch from recorder_position for update": SimulatedSession._read_position,
    "select coalesce(max(trade_id), 0) from trades": SimulatedSession._last_trade,
    "select payload from journal_commits where sequence = $1": SimulatedSession._payload,
    archive._COMMITS.strip(): SimulatedSession._commits,
    archive._HASH: SimulatedSession._hash_of,
    archive._WHOLE.strip(): SimulatedSession._holds,
    archive._DURABLE.strip(): lambda _: True,
    tables._CHANGE_ORDERS: SimulatedSession._change_orders,
    tables._ADD_CANDLES: SimulatedSession._add_candles,
    tables._DEFINE_INSTRUMENTS: SimulatedSession._define_instrument,
    tables._CHANGE_STATUSES: SimulatedSession._change_status,
    "delete from symbol_limits where account = any($1)": SimulatedSession._delete_symbol_limits,
    **{
        _replace_statement(table): _replacing(table)
        for table in ("account_limits", "kill_switches", "dead_mans_switches")
    },
}
