"""Every address against the whole running exchange: what one answers, the others show at once."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import nats
import pytest

from tests.support.servers import run_apart, wait_until
from tests.support.stack import Stack

pytestmark = pytest.mark.stack


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.http, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def symbol(http: httpx.Client) -> str:
    """An instrument of the test's own."""
    name = f"GW-{secrets.token_hex(4)}"
    rules = {"tick_size": "0.05", "lot_size": "0.001", "min_quantity": "0.01", "max_quantity": "1000"}
    assert http.put(f"/instruments/{name}", json=rules).status_code == 201
    return name


def account() -> str:
    return f"acc-{secrets.token_hex(4)}"


def placed(http: httpx.Client, symbol: str, **fields: Any) -> Any:
    response = http.post("/orders", json={"symbol": symbol, "side": "buy", "price": "100.00", "quantity": "1"} | fields)
    assert response.status_code == 201, response.text
    return response.json()


def found(http: httpx.Client, path: str, **parameters: Any) -> Any:
    response = http.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


def test_one_order_meets_another_and_everybody_sees_it(http: httpx.Client, symbol: str, stack: Stack) -> None:
    maker = placed(http, symbol, side="sell", price="100.10", quantity="10")
    taker = placed(http, symbol, side="buy", price=100.20, quantity=4)
    [trade] = taker["trades"]
    assert (trade["price"], trade["quantity"], trade["taker_side"]) == ("100.10", "4.000", "buy")
    assert (taker["status"], taker["average_price"]) == ("filled", "100.10")

    assert found(http, "/trades", symbol=symbol) == {"items": [trade], "next_cursor": None}
    for order_id in (maker["order_id"], taker["order_id"]):
        assert found(http, "/trades", order_id=order_id)["items"] == [trade]
    rest = found(http, f"/orders/{maker['order_id']}")
    assert (rest["status"], rest["filled_quantity"], rest["remaining_quantity"]) == (
        "partially_filled",
        "4.000",
        "6.000",
    )
    assert rest["sequence"] == taker["sequence"]
    del taker["trades"]
    assert found(http, f"/orders/{taker['order_id']}") == taker

    depth = found(http, f"/market/{symbol}/depth")
    assert (depth["bids"], depth["asks"]) == ([], [["100.10", "6.000"]])
    market = found(http, f"/market/{symbol}")
    assert (market["best_bid"], market["best_ask"]) == (None, "100.10")
    assert (market["last_price"], market["last_quantity"]) == ("100.10", "4.000")
    assert (market["last_trade_at"], market["volume_24h"]) == (trade["executed_at"], "4.000")
    assert run_apart(lambda: in_postgres(stack, trade["trade_id"])) == (symbol, 2002, 4000)


async def in_postgres(stack: Stack, trade_id: int) -> tuple[Any, ...]:
    connection = await asyncpg.connect(stack.postgres)
    row = await connection.fetchrow("SELECT symbol, price, quantity FROM trades WHERE trade_id = $1", trade_id)
    await connection.close()
    assert row is not None
    return tuple(row)


def test_reads_show_every_order_at_once(http: httpx.Client, symbol: str) -> None:
    name = account()
    for number in range(30):
        order = placed(http, symbol, account=name, client_order_id=f"n-{number}")
        assert found(http, "/orders", account=name, client_order_id=f"n-{number}")["items"][0]["status"] == "open"
        http.delete(f"/orders/{order['order_id']}")
        assert found(http, f"/orders/{order['order_id']}")["status"] == "canceled"
        assert found(http, f"/market/{symbol}")["best_bid"] is None


def test_lists_are_pages_newest_first(http: httpx.Client, symbol: str) -> None:
    name = account()
    orders = [placed(http, symbol, account=name, price=f"{50 + number}.00")["order_id"] for number in range(7)]
    pages: list[list[int]] = []
    cursor = None
    while cursor is not None or not pages:
        page = found(http, f"/accounts/{name}/orders", limit=3, **({"cursor": cursor} if cursor else {}))
        pages.append([item["order_id"] for item in page["items"]])
        cursor = page["next_cursor"]
    assert pages == [orders[:3:-1], orders[3:0:-1], orders[:1]]
    http.delete(f"/orders/{orders[0]}")
    for parameters, expected in (
        ({"status": "canceled"}, 1),
        ({"status": "open"}, 6),
        ({"side": "sell"}, 0),
        ({"side": "BUY", "symbol": symbol}, 7),
        ({"symbol": "BTC-USD"}, 0),
    ):
        assert len(found(http, "/orders", account=name, **parameters)["items"]) == expected


def test_trades_are_pages_too(http: httpx.Client, symbol: str) -> None:
    for _ in range(3):
        placed(http, symbol, side="sell")
    trades = [trade["trade_id"] for trade in placed(http, symbol, quantity="3")["trades"]]
    first = found(http, "/trades", symbol=symbol, limit=2)
    second = found(http, "/trades", symbol=symbol, limit=2, cursor=first["next_cursor"])
    assert [item["trade_id"] for item in first["items"] + second["items"]] == trades[::-1]
    assert second["next_cursor"] is None


def test_amend_and_cancel_and_then_it_is_closed(http: httpx.Client, symbol: str) -> None:
    order = placed(http, symbol, quantity="5")
    path = f"/orders/{order['order_id']}"
    amended = http.put(path, json={"price": "99.95", "quantity": 3}).json()
    assert (amended["price"], amended["quantity"]) == ("99.95", "3.000")
    assert found(http, f"/market/{symbol}/depth")["bids"] == [["99.95", "3.000"]]
    assert http.delete(path).json()["status"] == "canceled"
    for closed in (http.delete(path), http.put(path, json={"quantity": 1})):
        assert (closed.status_code, closed.json()["code"]) == (409, "order_not_resting")
        assert closed.json()["order_status"] == "canceled"
    for never in (http.delete("/orders/999999999"), http.get("/orders/999999999")):
        assert (never.status_code, never.json()["code"]) == (404, "unknown_order")


def test_a_client_order_id_is_taken_once(http: httpx.Client, symbol: str) -> None:
    name = account()
    order = placed(http, symbol, account=name, client_order_id="once")
    again = http.post(
        "/orders",
        json={"symbol": symbol, "side": "buy", "price": 1, "quantity": 1, "account": name, "client_order_id": "once"},
    )
    assert (again.status_code, again.json()["code"]) == (409, "duplicate_client_order_id")
    assert again.headers["location"] == f"/orders/{order['order_id']}"


def test_the_same_order_again_gets_the_first_answer(http: httpx.Client, symbol: str) -> None:
    body = {"symbol": symbol, "side": "buy", "price": "100", "quantity": "2", "account": account()}
    first = http.post("/orders", json=body, headers={"idempotency-key": "once"})
    placed(http, symbol, side="sell", price="100")
    again = http.post("/orders", json=body, headers={"idempotency-key": "once"})
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    named = found(http, "/orders/by-client-id/once", account=body["account"])
    assert (named["order_id"], named["filled_quantity"]) == (first.json()["order_id"], "1.000")


def test_an_order_goes_by_the_name_that_its_account_gave_it(http: httpx.Client, symbol: str) -> None:
    name = account()
    order = placed(http, symbol, account=name, client_order_id="mine", quantity="5")
    path = f"/orders/by-client-id/mine?account={name}"
    amended = http.put(path, json={"quantity": "3"}).json()
    assert (amended["order_id"], amended["quantity"], amended["priority_kept"]) == (order["order_id"], "3.000", True)
    assert http.delete(path).json()["status"] == "canceled"
    closed = http.delete(path)
    assert (closed.status_code, closed.json()["code"]) == (409, "order_not_resting")
    for missing in (http.get(f"/orders/by-client-id/other?account={name}"), http.delete("/orders/by-client-id/mine")):
        assert (missing.status_code, missing.json()["code"]) == (404, "unknown_order")


def test_many_orders_at_once(http: httpx.Client, symbol: str) -> None:
    name = account()
    order = {"symbol": symbol, "side": "buy", "price": "99", "quantity": "1", "account": name}
    items = [{"place": order | {"client_order_id": f"n-{number}"}} for number in range(50)]
    for all_or_nothing in (False, True):
        done = http.post("/orders/batch", json={"items": items, "all_or_nothing": all_or_nothing})
        if not all_or_nothing:
            assert [item["status"] for item in done.json()["items"]] == [201] * 50
            assert len(found(http, "/orders", account=name, status="open")["items"]) == 50
    assert (done.status_code, done.json()["code"]) == (409, "duplicate_client_order_id")  # they came another way before
    assert http.delete(f"/orders?account={name}").json()["canceled"] == 50
    assert found(http, "/orders", account=name, status="open")["items"] == []


def test_a_dead_mans_switch_goes_off(http: httpx.Client, symbol: str) -> None:
    name = account()
    order = placed(http, symbol, account=name)
    armed = http.put(f"/accounts/{name}/cancel-all-after", json={"seconds": 0.05}).json()
    assert wait_until(lambda: found(http, f"/orders/{order['order_id']}")["status"] == "canceled")
    canceled = found(http, f"/orders/{order['order_id']}")
    assert canceled["reason"] == "dead_mans_switch"
    assert canceled["updated_at"] >= armed["deadline"]


def test_limits_and_switches_show_in_the_account(http: httpx.Client, symbol: str) -> None:
    name = account()
    limits = {"max_order_quantity": "2.000", "max_order_notional": None, "max_position": "5.000"}
    put = http.put(f"/accounts/{name}/limits", json={"max_open_orders": 3, "symbols": {symbol: limits}})
    assert found(http, f"/accounts/{name}/limits") == put.json()
    placed(http, symbol, side="sell", price="98")
    placed(http, symbol, account=name, price="98")
    http.put(f"/accounts/{name}/kill-switch", json={"engaged": True})
    shown = found(http, f"/accounts/{name}")
    assert (shown["kill_switch"], shown["limits"], shown["positions"]) == (True, put.json(), {symbol: "1.000"})


def test_instruments(http: httpx.Client, symbol: str) -> None:
    listed = found(http, "/instruments")
    assert {"BTC-USD", symbol} <= {item["symbol"] for item in listed["items"]}
    changed = http.put(f"/instruments/{symbol}", json={"tick_size": 0.05, "lot_size": 0.001})
    assert (changed.status_code, changed.json()["min_quantity"]) == (200, "0.001")
    assert found(http, f"/instruments/{symbol}") == changed.json()
    fixed = http.put(f"/instruments/{symbol}", json={"tick_size": "0.01", "lot_size": "0.001"})
    assert (fixed.status_code, fixed.json()["code"]) == (422, "instrument_rules_fixed")


def test_refusals_change_nothing(http: httpx.Client, symbol: str) -> None:
    sequence = placed(http, symbol)["sequence"]
    for fields, code in (
        ({"price": "100.01"}, "off_tick"),
        ({"quantity": "0.0001"}, "off_lot"),
        ({"quantity": "0.005"}, "quantity_out_of_range"),
        ({"quantity": "1000.001"}, "quantity_out_of_range"),
        ({"price": None}, "price_required"),
        ({"symbol": "NONE"}, "unknown_symbol"),
        ({"type": "market"}, "price_not_allowed"),
    ):
        body = {"symbol": symbol, "side": "sell", "price": "100.00", "quantity": "1"} | fields
        refused = http.post("/orders", json=body)
        assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert placed(http, symbol)["sequence"] == sequence + 1


def test_ready_with_every_part(http: httpx.Client) -> None:
    checks = found(http, "/health/ready")["checks"]
    assert {name: check["ok"] for name, check in checks.items()} == dict.fromkeys(
        ("nats", "matcher", "recorder", "broadcaster"), True
    )


def test_the_pages_for_people(http: httpx.Client) -> None:
    for path in ("/", "/docs", "/docs/errors", "/static/vendor/swagger-ui/swagger-ui-bundle.js", "/static/home.js"):
        page = http.get(path)
        assert page.status_code == 200
        assert http.get(path, headers={"if-none-match": page.headers["etag"]}).status_code == 304
    assert found(http, "/docs/openapi.json")["openapi"] == "3.1.0"


def test_json_over_nats(http: httpx.Client, symbol: str, stack: Stack) -> None:
    body = json.dumps({"symbol": symbol, "side": "sell", "price": "101", "quantity": 2}).encode()

    async def ask() -> Any:
        connection = await nats.connect(stack.nats)
        try:
            return json.loads((await connection.request("orders.place", body, timeout=10)).data)
        finally:
            await connection.close()

    order = run_apart(ask)
    assert (order["price"], order["status"]) == ("101.00", "open")
    told = http.get(f"/orders/{order['order_id']}", headers={"Journal-Sequence": str(order["sequence"])})
    assert told.json()["order_id"] == order["order_id"]
