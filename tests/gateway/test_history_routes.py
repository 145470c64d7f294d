"""What only the history can tell, over HTTP: the life of each order, accounts, candles, exports, and for whom.

Postgres is real and holds a random flow of everything, as the recorder has put it there; the answers are compared with
the journal's own fold.
"""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import httpx
import nats
import pytest

from contracts.candles import INTERVALS
from contracts.keys import OPEN, PUBLIC, Access, Scope
from contracts.subjects import MATCHER_STATUS
from contracts.views import format_time
from entry.instruments import Instruments
from entry.position import Position
from gateway.app import create_app
from gateway.export import Exports
from gateway.history import History, close_pool, open_pool
from gateway.history_routes import history_routes
from gateway.http import ACCESS
from gateway.reads import Reads
from gateway.routes import read_routes
from recorder.rows import Fold
from recorder.store import Store
from runtime.connection import respond
from tests.matcher.reference import ReferenceEngine
from tests.support.recorded import fold
from tests.support.rich_journals import rich_journal
from tests.support.servers import NatsServer, PostgresServer, start_postgres, temporary_folder

pytestmark = pytest.mark.stack

ANNA = Access(frozenset({Scope.READ}), ("anna",))
ANNA_AND_BEN = Access(frozenset({Scope.TRADE}), ("anna", "ben"))
ADMIN = Access(frozenset({Scope.ADMIN}))


@dataclass
class Recorded:
    """What is in Postgres, and how to ask the gateway for it with some access."""

    rows: Fold
    reference: ReferenceEngine
    http: Callable[[Access], httpx.AsyncClient]
    url: str

    async def get(self, path: str, access: Access = OPEN) -> Any:
        response = await self.http(access).get(path)
        assert response.status_code == 200, response.text
        return response.json()

    async def refusal(self, path: str, access: Access = OPEN) -> tuple[int, str]:
        response = await self.http(access).get(path)
        return response.status_code, response.json()["code"]

    async def all(self, path: str, access: Access = OPEN, **query: object) -> list[Any]:
        """Every page."""
        items: list[Any] = []
        parameters: dict[str, object] = {"limit": 7, **query}
        while True:
            response = await self.http(access).get(path, params=parameters)  # type: ignore[arg-type]
            page = response.json()
            items += page["items"]
            assert len(page["items"]) <= 7
            if page["next_cursor"] is None:
                return items
            parameters["cursor"] = page["next_cursor"]


@pytest.fixture(scope="module")
def module_postgres() -> Any:
    with temporary_folder() as folder:
        server: PostgresServer = start_postgres(folder)
        yield server
        server.stop()


@pytest.fixture(scope="module")
def module_database(module_postgres: PostgresServer) -> Any:
    """Filled once: these tests only read."""
    with module_postgres.fresh_database() as url:
        asyncio.run(_record(url))
        yield url


JOURNAL, REFERENCE = rich_journal(7, 2500)


async def _record(url: str) -> None:
    store = Store(url)
    await store.open()
    for at in range(0, len(JOURNAL.written), 50):
        await store.record(*fold(JOURNAL.written[at : at + 50], store.last_trade_id))
    store.close()


@pytest.fixture
async def recorded(module_nats_server: NatsServer, module_database: str) -> AsyncIterator[Recorded]:
    connection = await nats.connect(module_nats_server.url)
    pool = await open_pool(module_database)
    position = Position(reached=10**9)
    reads = Reads(connection, History(pool), Instruments(connection, 0.2), position, 0.2)
    app = create_app([*read_routes(reads), *history_routes(reads, Exports(module_database))])
    clients: list[httpx.AsyncClient] = []

    def http(access: Access) -> httpx.AsyncClient:
        async def with_access(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, ACCESS: access}, receive, send)

        clients.append(httpx.AsyncClient(transport=httpx.ASGITransport(with_access), base_url="http://gateway"))
        return clients[-1]

    yield Recorded(fold(JOURNAL.written)[0], REFERENCE, http, module_database)
    for client in clients:
        await client.aclose()
    await close_pool(pool)
    await connection.close()


def order_with(rows: Fold, *events: str) -> int:
    """The first order to which all of this has happened."""
    happened: dict[int, set[str]] = {}
    for event in rows.order_events:
        happened.setdefault(event.order_id, set()).add(event.event)
    return next(order_id for order_id, names in happened.items() if names >= set(events))


async def test_an_orders_life_page_by_page(recorded: Recorded) -> None:
    order_id = max(recorded.rows.orders, key=lambda each: _events_of(recorded.rows, each))
    items = await recorded.all(f"/orders/{order_id}/history", limit=2)
    order = await recorded.get(f"/orders/{order_id}")
    row = recorded.rows.orders[order_id]
    assert len(items) == 1 + _events_of(recorded.rows, order_id)
    assert len(items) > 4
    assert (items[0]["event"], items[0]["status"], items[0]["sequence"]) == ("accepted", "open", row.placed_sequence)
    assert items[0]["filled_quantity"] == "0.000"
    assert [item["sequence"] for item in items] == sorted(item["sequence"] for item in items)
    last = items[-1]
    for name in ("status", "price", "quantity", "filled_quantity", "remaining_quantity", "stop_price", "reason"):
        assert last[name] == order[name], name
    assert (last["sequence"], last["time"]) == (order["sequence"], order["updated_at"])


def _events_of(rows: Fold, order_id: int) -> int:
    trades = sum(order_id in (each.maker_order_id, each.taker_order_id) for each in rows.trades)
    closed = rows.orders[order_id].status.value in ("canceled", "expired")
    return trades + closed + sum(each.order_id == order_id for each in rows.order_events)


async def test_a_triggered_stop_order_names_the_trade(recorded: Recorded) -> None:
    order_id = order_with(recorded.rows, "triggered")
    (event,) = [each for each in recorded.rows.order_events if each.order_id == order_id and each.event == "triggered"]
    items = (await recorded.get(f"/orders/{order_id}/history"))["items"]
    (triggered,) = [item for item in items if item["event"] == "triggered"]
    assert triggered["trade"]["trade_id"] == event.trade_id
    assert triggered["stop_price"] is not None


async def test_an_amendment_says_whether_priority_was_kept(recorded: Recorded) -> None:
    order_id = order_with(recorded.rows, "amended")
    expected = [each.priority_kept for each in recorded.rows.order_events if each.order_id == order_id]
    items = (await recorded.get(f"/orders/{order_id}/history"))["items"]
    assert [item["priority_kept"] for item in items if item["priority_kept"] is not None] == expected
    assert items[0]["priority_kept"] is None


async def test_the_trades_of_an_order(recorded: Recorded) -> None:
    order_id = max(recorded.rows.trades, key=lambda trade: trade.trade_id).taker_order_id
    items = await recorded.all(f"/orders/{order_id}/trades", limit=1)
    expected = [t.trade_id for t in recorded.rows.trades if order_id in (t.maker_order_id, t.taker_order_id)]
    assert [item["trade_id"] for item in items] == expected[::-1]


async def test_orders_as_people_see_them_have_all_their_terms(recorded: Recorded) -> None:
    shown = {item["order_id"]: item for item in await recorded.all("/orders")}
    assert shown.keys() == recorded.rows.orders.keys()
    for order_id, row in recorded.rows.orders.items():
        item = shown[order_id]
        assert item["expires_at"] == (None if row.expires_at is None else format_time(row.expires_at))
        assert item["notional"] == (None if row.notional is None else f"{row.notional / 10**5:.5f}")
        assert item["stop_price"] == (None if row.stop_price is None else f"{row.stop_price / 100:.2f}")
        assert item["display_quantity"] == (
            None if row.display_quantity is None else f"{row.display_quantity / 1000:.3f}"
        )
        prevention = row.self_trade_prevention
        assert item["self_trade_prevention"] == ("none" if prevention is None else prevention.value)
        assert item["triggered"] == row.triggered
    expired = await recorded.all("/orders", status="expired")
    assert expired
    assert {item["order_id"] for item in expired} == {
        order_id for order_id, row in recorded.rows.orders.items() if row.status.value == "expired"
    }


# Accounts


async def test_an_account_as_a_whole(recorded: Recorded) -> None:
    for account in ("anna", "ben", "cleo"):
        found = await recorded.get(f"/accounts/{account}")
        positions = {
            symbol: f"{position / 1000:.3f}"
            for symbol in recorded.rows.instruments
            if (position := recorded.reference.position(account, symbol))
        }
        assert found["positions"] == positions
        assert found["kill_switch"] == (account in recorded.reference.killed)
        deadline = recorded.reference.deadlines.get(account)
        assert found["deadline"] == (None if deadline is None else format_time(deadline))
        limits = recorded.reference.account_limits.get(account)
        assert found["limits"]["max_open_orders"] == (limits.max_open_orders if limits else None)
        shown = {symbol: each["max_order_quantity"] for symbol, each in found["limits"]["symbols"].items()}
        assert shown == {
            each.symbol: None if each.max_order_quantity is None else f"{each.max_order_quantity / 1000:.3f}"
            for each in (limits.symbols if limits else ())
        }
        assert await recorded.get(f"/accounts/{account}/limits") == found["limits"]


async def test_an_account_that_nobody_used_yet(recorded: Recorded) -> None:
    limits = {"account": "new", "max_open_orders": None, "symbols": {}}
    expected = {"account": "new", "kill_switch": False, "deadline": None, "limits": limits, "positions": {}}
    assert await recorded.get("/accounts/new") == expected
    assert await recorded.refusal("/accounts/a.b") == (400, "invalid_parameter")


# Candles


def _expected_candles(rows: Fold, symbol: str, interval: str) -> list[tuple[object, ...]]:
    length = INTERVALS[interval]
    trades: dict[int, list[tuple[int, int]]] = {}
    for each in rows.trades:
        if each.symbol == symbol:
            trades.setdefault(each.executed_at // length * length, []).append((each.price, each.quantity))
    return [
        (
            format_time(start),
            format_time(start + length),
            *(f"{price / 100:.2f}" for price in (of[0][0], max(of)[0], min(of)[0], of[-1][0])),
            f"{sum(quantity for _, quantity in of) / 1000:.3f}",
            len(of),
        )
        for start, of in sorted(trades.items())
    ]


def _shown(item: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(item[name] for name in ("open_time", "close_time", "open", "high", "low", "close", "volume", "trades"))


@pytest.mark.parametrize("interval", INTERVALS)
async def test_candles_of_every_interval(recorded: Recorded, interval: str) -> None:
    for symbol in recorded.rows.instruments:
        expected = _expected_candles(recorded.rows, symbol, interval)
        found = (await recorded.get(f"/market/{symbol}/candles?interval={interval}&limit=1000"))["items"]
        assert [_shown(item) for item in found] == expected
        assert {(item["symbol"], item["interval"]) for item in found} <= {(symbol, interval)}
        newest = (await recorded.get(f"/market/{symbol}/candles?interval={interval}&limit=3"))["items"]
        assert [_shown(item) for item in newest] == expected[-3:]


async def test_candles_from_a_time_on_begin_there(recorded: Recorded) -> None:
    symbol = recorded.rows.trades[-1].symbol
    expected = _expected_candles(recorded.rows, symbol, "5s")
    assert len(expected) > 6
    path = f"/market/{symbol}/candles?interval=5s"
    seen: list[tuple[object, ...]] = []
    start = "2020-01-01"
    while items := (await recorded.get(f"{path}&limit=2&from={start}"))["items"]:
        seen += [_shown(item) for item in items]
        start = items[-1]["close_time"]
    assert seen == expected
    opened, later = str(expected[2][0]), str(expected[4][0])
    between = (await recorded.get(f"{path}&from={opened}&to={later}"))["items"]
    assert [_shown(item) for item in between] == expected[2:4]
    middle = opened.replace(".000000Z", ".000001Z")
    assert _shown((await recorded.get(f"{path}&from={middle}"))["items"][0]) == expected[3], "none is cut"
    assert _shown((await recorded.get(f"{path}&to={middle}"))["items"][-1]) == expected[2], "none is cut"


async def test_only_the_last_candle_can_be_incomplete(recorded: Recorded) -> None:
    symbol = recorded.rows.trades[-1].symbol
    last_commit = JOURNAL.written[-1].commit.time
    for interval, length in INTERVALS.items():
        items = (await recorded.get(f"/market/{symbol}/candles?interval={interval}"))["items"]
        for item in items:
            closes = datetime.fromisoformat(item["close_time"]).timestamp() * 1_000_000
            assert item["is_complete"] == (closes <= last_commit), (interval, length)


@pytest.mark.parametrize(("ahead", "is_complete"), [(0, True), (1, False)])
async def test_in_a_quiet_market_the_last_candle_is_complete_after_a_while(
    recorded: Recorded, module_nats_server: NatsServer, ahead: int, is_complete: bool
) -> None:
    """Its trades are of 2023. Only a commit that is not recorded yet could add to it."""
    matcher = await nats.connect(module_nats_server.url)

    async def status(_: bytes) -> bytes:
        return json.dumps({"sequence": len(JOURNAL.written) + ahead}).encode()

    await respond(matcher, MATCHER_STATUS, status)
    await matcher.flush()
    symbol = recorded.rows.trades[-1].symbol
    items = (await recorded.get(f"/market/{symbol}/candles?interval=1d"))["items"]
    assert items[-1]["is_complete"] == is_complete
    await matcher.close()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("interval=2m", "interval"),
        ("interval=", "interval"),
        ("from=yesterday", "from"),
        ("from=2025-01-01T00:00:00", "from"),
        ("from=2025-02-30", "from"),
        ("from=2025-01-01T00:00:00+02:00", "from"),
        ("to=1700000000", "to"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
    ],
)
async def test_impossible_parameters(recorded: Recorded, query: str, field: str) -> None:
    response = await recorded.http(OPEN).get(f"/market/A/candles?{query}")
    assert (response.status_code, response.json()["code"], response.json()["field"]) == (
        400,
        "invalid_parameter",
        field,
    )


@pytest.mark.parametrize("query", ["from=0001-01-01", "to=9999-12-31", "to=9999-12-31T23:59:59.999999-14:00"])
async def test_extreme_times(recorded: Recorded, query: str) -> None:
    response = await recorded.http(OPEN).get(f"/market/A/candles?interval=1d&{query}")
    assert response.status_code in (200, 400)


async def test_candles_of_a_symbol_that_is_not_listed(recorded: Recorded) -> None:
    assert await recorded.refusal("/market/GOLD/candles") == (404, "unknown_symbol")


# Exports


async def _csv(recorded: Recorded, path: str, access: Access = OPEN) -> list[dict[str, str]]:
    response = await recorded.http(access).get(path)
    assert response.status_code == 200, response.text
    assert response.content.count(b"\n") == response.content.count(b"\r\n")
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


async def _ndjson(recorded: Recorded, path: str, access: Access = OPEN) -> list[Any]:
    response = await recorded.http(access).get(path)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


@pytest.mark.parametrize("name", ["orders", "trades"])
async def test_an_export_holds_what_the_lists_show(recorded: Recorded, name: str) -> None:
    listed = (await recorded.all(f"/{name}"))[::-1]
    assert await _ndjson(recorded, f"/export/{name}?format=ndjson") == listed
    rows = await _csv(recorded, f"/export/{name}")
    assert [list(row) for row in rows] == [list(item) for item in listed]
    for row, item in zip(rows, listed, strict=True):
        assert row == {key: _as_csv(value) for key, value in item.items()}


def _as_csv(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


async def test_an_exports_headers(recorded: Recorded) -> None:
    response = await recorded.http(OPEN).get("/export/trades?symbol=A&account=anna&format=CSV")
    assert response.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert response.headers["content-disposition"] == 'attachment; filename="pricetime-trades-A-anna.csv"'
    assert response.headers["journal-sequence"] == str(len(JOURNAL.written))
    head = await recorded.http(OPEN).head("/export/orders?format=ndjson")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-disposition"] == 'attachment; filename="pricetime-orders.ndjson"'


async def test_filters_of_exports(recorded: Recorded) -> None:
    rows = recorded.rows
    middle = rows.commits[len(rows.commits) // 2].time
    at = format_time(middle)
    orders = await _ndjson(recorded, f"/export/orders?format=ndjson&account=ben&symbol=A&from={at}")
    assert [order["order_id"] for order in orders] == [
        row.order_id
        for row in rows.orders.values()
        if row.account == "ben" and row.symbol == "A" and row.created_at >= middle
    ]
    trades = await _ndjson(recorded, f"/export/trades?format=ndjson&account=ben&to={at}")
    assert [trade["trade_id"] for trade in trades] == [
        row.trade_id
        for row in rows.trades
        if row.executed_at < middle
        and "ben" in (rows.orders[row.maker_order_id].account, rows.orders[row.taker_order_id].account)
    ]
    assert trades
    assert await _csv(recorded, "/export/trades?symbol=NONE") == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("format=xml", "invalid_value"),
        ("symbol=a.b", "invalid_parameter"),
        ("account=a%27b", "invalid_parameter"),
        ("from=x", "invalid_parameter"),
        ("limit=5", "unknown_parameter"),
    ],
)
async def test_impossible_exports(recorded: Recorded, query: str, code: str) -> None:
    assert await recorded.refusal(f"/export/orders?{query}") == (400, code)


# Who sees what


async def test_another_accounts_order_looks_as_if_it_were_not_there(recorded: Recorded) -> None:
    rows = recorded.rows.orders.values()
    own = next(row.order_id for row in rows if row.account == "anna")
    foreign = next(row.order_id for row in rows if row.account == "ben")
    for path in ("/orders/{}", "/orders/{}/history", "/orders/{}/trades"):
        assert (await recorded.http(ANNA).get(path.format(own))).status_code == 200
        response = await recorded.http(ANNA).get(path.format(foreign))
        missing = await recorded.http(ANNA).get(path.format(10**9))
        assert (response.status_code, missing.status_code) == (404, 404)
        assert response.text == missing.text.replace(str(10**9), str(foreign))
        assert await recorded.refusal(path.format(own), PUBLIC) == (401, "unauthorized")


async def test_exports_hold_ones_own_orders(recorded: Recorded) -> None:
    for access, accounts in ((ANNA, {"anna"}), (ANNA_AND_BEN, {"anna", "ben"}), (ADMIN, {"anna", "ben", "cleo"})):
        orders = await _ndjson(recorded, "/export/orders?format=ndjson", access)
        assert [order["order_id"] for order in orders] == [
            row.order_id for row in recorded.rows.orders.values() if row.account in accounts
        ]
    assert len(await _ndjson(recorded, "/export/trades?format=ndjson", ANNA)) == len(recorded.rows.trades)


async def test_what_is_refused_to_whom(recorded: Recorded) -> None:
    for path in ("/accounts/ben", "/accounts/ben/limits", "/export/orders?account=ben", "/export/trades?account=ben"):
        assert await recorded.refusal(path, ANNA) == (403, "forbidden")
        assert await recorded.refusal(path, PUBLIC) == (401, "unauthorized")
        assert (await recorded.http(ANNA_AND_BEN).get(path)).status_code == 200
        assert (await recorded.http(ADMIN).get(path)).status_code == 200
    for path in ("/export/orders", "/export/trades"):
        assert await recorded.refusal(path, PUBLIC) == (401, "unauthorized")
    assert (await recorded.http(PUBLIC).get("/market/A/candles")).status_code == 200


async def test_the_database_is_only_read(recorded: Recorded) -> None:
    """Whatever a filter's value is, it is a value."""
    connection = await asyncpg.connect(recorded.url)
    before = await connection.fetchval("select count(*) from orders")
    await recorded.http(OPEN).get("/export/orders", params={"account": "x'; delete from orders; --"})
    assert await connection.fetchval("select count(*) from orders") == before
    await connection.close()
