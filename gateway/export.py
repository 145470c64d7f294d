"""Orders and trades as files, however many: CSV or NDJSON, in the words of the REST interface.

Postgres writes the lines itself (COPY) and hands them over as fast as the client takes them, so an export costs the
gateway hardly any time and no memory that grows with it: what a slow client has not read yet stays in Postgres. It is
one moment of the exchange, named in the header Journal-Sequence. Exports have connections of their own, so that
whoever reads one slowly keeps nobody from the history.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
from litestar.types import Receive, Scope, Send
from msgspec.structs import fields

from contracts.views import OrderView, TradeView
from entry.commands import choice
from entry.problems import declined
from gateway.history import DOWN, unavailable
from gateway.http import Headers, HttpAnswer
from gateway.pages import Query, moment, name_filter, symbol_filter

log = logging.getLogger(__name__)

FILTERS = ("format", "symbol", "account", "from", "to")
MAX_EXPORTS = 4
"""At the same time, by one gateway."""
_WAIT_SECONDS = 2.0
_STALLED_SECONDS = 60.0
"""A client that takes nothing for so long is left: its export holds a connection and a snapshot of Postgres."""

_CONTENT_TYPES = {"csv": b"text/csv; charset=utf-8; header=present", "ndjson": b"application/x-ndjson"}
_FORMATS = {name: name for name in _CONTENT_TYPES}
_ONE_COLUMN = {"format": "csv", "quote": "\x01", "delimiter": "\x02"}
"""COPY leaves the JSON in a line as it is: JSON has these characters in escaped form only."""
_SESSION = {
    "application_name": "pricetime export",
    "default_transaction_read_only": "on",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}


def _time(column: str) -> str:
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


@dataclass(frozen=True, slots=True)
class Table:
    """What can be exported. `columns`: SQL over the view for what is not a plain column of it."""

    name: str
    view: str
    key: str
    first_since: str
    names: tuple[str, ...]
    columns: dict[str, str]
    of_account: str
    of_accounts: str

    def select(self, *, booleans_as_text: bool) -> str:
        columns = {name: self.columns.get(name, name) for name in self.names}
        if booleans_as_text:  # COPY would write t and f
            columns |= {name: f"{name}::text" for name in ("post_only", "triggered") if name in columns}
        return ", ".join(f"{sql} AS {name}" for name, sql in columns.items())


def _decimals(*names: str) -> dict[str, str]:
    return {name: f"{name}::text" for name in names}


_A_PARTY = "EXISTS (SELECT FROM orders o WHERE o.order_id IN (maker_order_id, taker_order_id) AND o.account {})"
_ORDER_DECIMALS = ("price", "quantity", "filled_quantity", "remaining_quantity", "average_price", "stop_price")
_ORDER_TIMES = ("created_at", "updated_at", "expires_at")

ORDERS = Table(
    name="orders",
    view="orders_decimal",
    key="order_id",
    first_since="first_order_since",
    names=tuple(field.name for field in fields(OrderView) if field.required),  # the others are in answers to commands
    columns=_decimals(*_ORDER_DECIMALS, "display_quantity", "protection_price", "notional")
    | {name: _time(name) for name in _ORDER_TIMES},
    of_account="account = ?",
    of_accounts="account = ANY(?)",
)
TRADES = Table(
    name="trades",
    view="trades_decimal",
    key="trade_id",
    first_since="first_trade_since",
    names=TradeView.__struct_fields__,
    columns=_decimals("price", "quantity") | {"executed_at": _time("executed_at"), "sequence": "trade_id"},
    of_account=_A_PARTY.format("= ?"),
    of_accounts=_A_PARTY.format("= ANY(?)"),
)


@dataclass(frozen=True, slots=True)
class Export:
    """What is asked for. `conditions`: SQL with a question mark for the value."""

    table: Table
    format: str
    conditions: tuple[tuple[str, object], ...]
    filename: str

    def visible_to(self, accounts: Sequence[str] | None) -> "Export":
        """Only what concerns these accounts; None for everything."""
        if accounts is None:
            return self
        return replace(self, conditions=(*self.conditions, (self.table.of_accounts, list(accounts))))

    @property
    def statement(self) -> str:
        clauses = [clause.replace("?", f"${number}") for number, (clause, _) in enumerate(self.conditions, 1)]
        where = f"WHERE {' AND '.join(clauses)}" if clauses else ""
        columns = self.table.select(booleans_as_text=self.format == "csv")
        rows = f"SELECT {columns} FROM {self.table.view} {where} ORDER BY {self.table.key}"
        return rows if self.format == "csv" else f"SELECT row_to_json(line) FROM ({rows}) line"

    @property
    def arguments(self) -> list[object]:
        return [value for _, value in self.conditions]

    @property
    def headers(self) -> Headers:
        return (
            (b"content-type", _CONTENT_TYPES[self.format]),
            (b"content-disposition", f'attachment; filename="{self.filename}"'.encode()),
            (b"cache-control", b"no-store"),
        )


def export(table: Table, query: Query) -> Export:
    """Raises Declined when a parameter cannot be right."""
    form = choice(query.get("format", "csv"), _FORMATS, "format")
    conditions: list[tuple[str, object]] = []
    if "symbol" in query:
        conditions.append(("symbol = ?", symbol_filter(query["symbol"])))
    if "account" in query:
        conditions.append((table.of_account, name_filter(query["account"], "account")))
    if start := moment(query, "from"):
        conditions.append((f"{table.key} >= {table.first_since}(?)", start))
    if end := moment(query, "to"):
        conditions.append((f"{table.key} < {table.first_since}(?)", end))
    named = "-".join(("pricetime", table.name, *(query[name] for name in ("symbol", "account") if name in query)))
    return Export(table, form, tuple(conditions), f"{named}.{form}")


class Exports:
    """Opens exports, so many at a time. Raises Declined when there are too many, or Postgres is away."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free = asyncio.Semaphore(MAX_EXPORTS)

    async def open(self, asked: Export) -> "OpenExport":
        try:
            await asyncio.wait_for(self._free.acquire(), _WAIT_SECONDS)
        except TimeoutError:
            raise declined(
                "overloaded", f"{MAX_EXPORTS} exports are being read already; try again when one is done."
            ) from None
        try:
            return await self._open(asked)
        except BaseException:
            self._free.release()
            raise

    async def _open(self, asked: Export) -> "OpenExport":
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                connection = await asyncpg.connect(self._url, server_settings=_SESSION)
                await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                sequence = await connection.fetchval("SELECT sequence FROM recorder_position")
                await connection.prepare(asked.statement)  # what is wrong with it shows now, not in the answer's middle
        except DOWN as error:
            log.warning("postgres: %s", error or type(error).__name__)
            raise unavailable() from error
        return OpenExport(asked, connection, sequence, self._free.release)


class OpenExport(HttpAnswer):
    """An answer whose body comes from Postgres while it is sent. Must be called, to be closed."""

    def __init__(
        self, asked: Export, connection: asyncpg.Connection, sequence: int, on_close: Callable[[], None]
    ) -> None:
        super().__init__(200, b"", [*asked.headers, (b"journal-sequence", b"%d" % sequence)])
        self._asked = asked
        self._connection = connection
        self._on_close = on_close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope.get("method") == "HEAD"
        try:
            await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
            if is_head or await self._copied(receive, send):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._connection.terminate()
            self._on_close()

    async def _copied(self, receive: Receive, send: Send) -> bool:
        """False when the end was not reached: then the answer is left unfinished, and the client notices."""
        copying = asyncio.create_task(self._copy(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait((copying, leaving), return_when=asyncio.FIRST_COMPLETED)
            if copying.done():
                await copying
                return True
        except TimeoutError:
            log.warning("export: a client took nothing for %d seconds and is left", _STALLED_SECONDS)
        except DOWN as error:
            log.warning("export: postgres: %s", error or type(error).__name__)
        finally:
            copying.cancel()
            leaving.cancel()
            await asyncio.gather(copying, leaving, return_exceptions=True)
        return False

    async def _copy(self, send: Send) -> None:
        is_csv = self._asked.format == "csv"

        async def write(lines: bytes) -> None:
            body = lines.replace(b"\n", b"\r\n") if is_csv else lines  # as RFC 4180 wants it; no value has a line break
            async with asyncio.timeout(_STALLED_SECONDS):
                await send({"type": "http.response.body", "body": body, "more_body": True})

        form: dict[str, Any] = {"format": "csv", "header": True} if is_csv else _ONE_COLUMN
        await self._connection.copy_from_query(self._asked.statement, *self._asked.arguments, output=write, **form)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
