"""The gateway over HTTP, with a played matcher: each address that commands, and each refusal once."""

import asyncio
import json
from typing import Any

import pytest

from contracts.messages import CancelOrder
from tests.support.gateways import Gateway, running_gateway
from tests.support.problems import problem
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack

JSON = {"content-type": "application/json"}


async def test_an_order_is_answered_with_its_trades(gateway: Gateway) -> None:
    maker = await gateway.placed(side="sell", price="100.10", quantity="10", client_order_id="m-1", account="bob")
    response = await gateway.place(side="BUY", price=100.20, quantity=4)
    taker = response.json()
    assert response.headers["location"] == f"/orders/{taker['order_id']}"
    assert response.headers["journal-sequence"] == str(taker["sequence"])
    assert maker["status"] == "open"
    assert maker["trades"] == []
    assert taker == {
        "order_id": 2,
        "client_order_id": None,
        "account": "default",
        "symbol": "BTC-USD",
        "side": "buy",
        "type": "limit",
        "time_in_force": "GTC",
        "post_only": False,
        "price": "100.20",
        "quantity": "4.000",
        "filled_quantity": "4.000",
        "remaining_quantity": "0.000",
        "average_price": "100.10",
        "status": "filled",
        "reason": None,
        "created_at": "2023-11-14T22:13:20.000003Z",
        "updated_at": "2023-11-14T22:13:20.000003Z",
        "sequence": 3,
        "stop_price": None,
        "triggered": False,
        "display_quantity": None,
        "protection_price": None,
        "notional": None,
        "expires_at": None,
        "self_trade_prevention": "none",
        "trades": [
            {
                "trade_id": 1,
                "symbol": "BTC-USD",
                "price": "100.10",
                "quantity": "4.000",
                "taker_side": "buy",
                "maker_order_id": 1,
                "taker_order_id": 2,
                "executed_at": "2023-11-14T22:13:20.000003Z",
                "sequence": 1,
            }
        ],
    }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"type": "market", "price": None}, "no_liquidity"),
        ({"time_in_force": "IOC"}, "immediate_or_cancel"),
        ({"time_in_force": "FOK"}, "fill_or_kill"),
    ],
)
async def test_an_order_that_finds_nothing_and_may_not_rest(
    gateway: Gateway, fields: dict[str, Any], reason: str
) -> None:
    placed = await gateway.placed(**fields)
    assert (placed["status"], placed["reason"], placed["remaining_quantity"]) == ("canceled", reason, "0.000")


async def test_amend_and_cancel(gateway: Gateway) -> None:
    order_id = (await gateway.placed(quantity="5"))["order_id"]
    amended = await gateway.http.put(f"/orders/{order_id}", json={"price": "99.5", "quantity": 3})
    assert amended.status_code == 200
    assert (amended.json()["price"], amended.json()["quantity"]) == ("99.50", "3.000")
    assert int(amended.headers["journal-sequence"]) == amended.json()["sequence"]
    canceled = await gateway.http.delete(f"/orders/{order_id}")
    assert canceled.status_code == 200
    assert (canceled.json()["status"], canceled.json()["reason"]) == ("canceled", "requested")
    assert canceled.json()["trades"] == []
    assert int(canceled.headers["journal-sequence"]) == canceled.json()["sequence"]


async def test_an_amended_price_may_trade(gateway: Gateway) -> None:
    await gateway.placed(side="sell", price="101")
    order_id = (await gateway.placed(price="100"))["order_id"]
    amended = await gateway.http.put(f"/orders/{order_id}", json={"price": "101.00"})
    assert [trade["price"] for trade in amended.json()["trades"]] == ["101.00"]
    assert amended.json()["status"] == "filled"


async def test_instruments_are_listed_and_changed(gateway: Gateway) -> None:
    rules = {"tick_size": 0.5, "lot_size": "1", "max_quantity": "100"}
    listed = await gateway.http.put("/instruments/TIN", json=rules)
    assert (listed.status_code, listed.headers["location"]) == (201, "/instruments/TIN")
    expected = {"symbol": "TIN", "tick_size": "0.5", "lot_size": "1", "min_quantity": "1", "max_quantity": "100"}
    bands = {"lowest_price": None, "highest_price": None, "band_basis_points": None}
    assert listed.json() == expected | bands | {"status": "trading"}
    changed = await gateway.http.put("/instruments/TIN", json=rules | {"max_quantity": 50})
    assert (changed.status_code, changed.json()["max_quantity"]) == (200, "50")
    assert int(changed.headers["journal-sequence"]) > int(listed.headers["journal-sequence"])
    assert (await gateway.placed(symbol="TIN", price="1.5"))["price"] == "1.5"
    found = problem(await gateway.place(symbol="TIN", quantity=51), 422, "quantity_out_of_range")
    assert "from 1 to 50" in found["detail"]


async def test_an_instrument_listed_elsewhere_is_found(gateway: Gateway, module_nats_server: NatsServer) -> None:
    async with running_gateway(module_nats_server.url, matcher_too=False) as other:
        await other.http.put("/instruments/ZINC", json={"tick_size": "1", "lot_size": "1"})
        assert (await gateway.placed(symbol="ZINC"))["symbol"] == "ZINC"


BAD_ORDERS = [
    ('{"side": "buy"', 400, "malformed_json"),
    ('{"side": "buy", "price": NaN, "quantity": 1}', 400, "malformed_json"),
    ('{"price": 1, "quantity": 1}', 400, "missing_field"),
    ('{"side": "buy", "price": 1, "quantity": 1, "colour": 1}', 400, "unknown_field"),
    ('{"side": "buy", "price": 1, "price": 2, "quantity": 1}', 400, "duplicate_field"),
    ('{"side": [], "price": 1, "quantity": 1}', 400, "invalid_type"),
    ('{"side": "hold", "price": 1, "quantity": 1}', 400, "invalid_value"),
    ('{"side": "buy", "price": "0.1.2", "quantity": 1}', 400, "not_a_decimal"),
    ('{"side": "buy", "price": 1e400, "quantity": 1}', 422, "price_out_of_range"),
    ('{"side": "buy", "price": 1.001, "quantity": 1}', 422, "off_tick"),
    ('{"side": "buy", "price": 1, "quantity": "0.0001"}', 422, "off_lot"),
    ('{"side": "buy", "price": 1, "quantity": 0}', 422, "quantity_out_of_range"),
    ('{"side": "buy", "price": 1, "quantity": 1e9}', 422, "quantity_out_of_range"),
    ('{"side": "buy", "quantity": 1}', 422, "price_required"),
    ('{"side": "buy", "type": "market", "price": 1, "quantity": 1}', 422, "price_not_allowed"),
    ('{"side": "buy", "type": "market", "post_only": true, "quantity": 1}', 422, "post_only_not_allowed"),
    ('{"side": "buy", "symbol": "NONE", "price": 1, "quantity": 1}', 422, "unknown_symbol"),
    ('{"side": "buy", "symbol": "A.B", "price": 1, "quantity": 1}', 422, "invalid_symbol"),
    ('{"side": "buy", "symbol": "A\\u0000", "price": 1, "quantity": 1}', 422, "invalid_symbol"),
    ('{"side": "buy", "symbol": ">", "price": 1, "quantity": 1}', 422, "invalid_symbol"),
    ('{"side": "buy", "account": "*", "price": 1, "quantity": 1}', 422, "invalid_account"),
    ('{"side": "buy", "client_order_id": "a b", "price": 1, "quantity": 1}', 422, "invalid_client_order_id"),
]


async def test_a_bad_order_is_refused_and_changes_nothing(gateway: Gateway) -> None:
    for body, status, code in BAD_ORDERS:
        problem(await gateway.http.post("/orders", content=body, headers=JSON), status, code)
    assert gateway.matcher.sequence == 1


async def test_a_client_order_id_is_taken_once(gateway: Gateway) -> None:
    first = await gateway.placed(client_order_id="mine")
    again = await gateway.place(client_order_id="mine", quantity=7)
    found = problem(again, 409, "duplicate_client_order_id")
    assert (found["order_id"], again.headers["location"]) == (first["order_id"], f"/orders/{first['order_id']}")
    assert again.headers["journal-sequence"] == str(first["sequence"])
    await gateway.placed(client_order_id="mine", account="other")


async def test_post_only_does_not_trade(gateway: Gateway) -> None:
    await gateway.placed(side="sell")
    problem(await gateway.place(side="buy", post_only=True), 422, "post_only_would_trade")


async def test_an_order_that_never_was(gateway: Gateway) -> None:
    problem(await gateway.http.delete("/orders/77"), 404, "unknown_order")
    problem(await gateway.http.put("/orders/77", json={}), 404, "unknown_order")


async def test_amending_nothing(gateway: Gateway) -> None:
    order_id = (await gateway.placed())["order_id"]
    problem(await gateway.http.put(f"/orders/{order_id}", json={"price": None}), 422, "nothing_to_amend")
    problem(await gateway.http.put(f"/orders/{order_id}", json={"price": "1.001"}), 422, "off_tick")


async def test_an_instrument_that_cannot_be(gateway: Gateway) -> None:
    put = gateway.http.put
    problem(await put("/instruments/A.B", json={"tick_size": 1, "lot_size": 1}), 422, "invalid_symbol")
    problem(await put("/instruments/A", json={"tick_size": 0, "lot_size": 1}), 422, "invalid_instrument")
    limits = {"min_quantity": 2, "max_quantity": 1}
    problem(await put("/instruments/A", json={"tick_size": 1, "lot_size": 1} | limits), 422, "invalid_instrument")
    found = problem(
        await put("/instruments/BTC-USD", json={"tick_size": 1, "lot_size": 1}), 422, "instrument_rules_fixed"
    )
    assert "0.01 and 0.001" in found["detail"]


BAD_READS = [
    ("/orders/0", "invalid_parameter"),
    ("/orders/abc", "invalid_parameter"),
    ("/orders/9223372036854775808", "invalid_parameter"),
    ("/orders?colour=red", "unknown_parameter"),
    ("/orders?symbol=A.B", "invalid_parameter"),
    ("/orders?account=a%00b", "invalid_parameter"),
    ("/orders?account=%ff", "invalid_parameter"),
    ("/orders?account=a&account=b", "invalid_parameter"),
    ("/orders?status=dead", "invalid_value"),
    ("/orders?side=hold", "invalid_value"),
    ("/orders?limit=0", "invalid_parameter"),
    ("/orders?limit=1001", "invalid_parameter"),
    ("/orders?limit=ten", "invalid_parameter"),
    ("/orders?limit=", "invalid_parameter"),
    ("/orders?cursor=abc", "invalid_cursor"),
    ("/trades?cursor=", "invalid_cursor"),
    ("/trades?order_id=x", "invalid_parameter"),
    ("/accounts/a.b/orders", "invalid_parameter"),
    ("/market/BTC-USD/depth?levels=0", "invalid_parameter"),
    ("/market/BTC-USD/depth?levels=1001", "invalid_parameter"),
    ("/health/live/x", "not_found"),
    ("/nowhere", "not_found"),
]


async def test_a_read_that_cannot_be(gateway: Gateway) -> None:
    for path, code in BAD_READS:
        problem(await gateway.http.get(path), 404 if code == "not_found" else 400, code)


async def test_the_header_journal_sequence(gateway: Gateway) -> None:
    bad = await gateway.http.get("/orders", headers={"journal-sequence": "x"})
    assert problem(bad, 400, "invalid_parameter")["field"] == "Journal-Sequence"
    beyond = await gateway.http.get("/orders", headers={"journal-sequence": "1000"})
    assert "ends at 1" in problem(beyond, 422, "unknown_sequence")["detail"]


async def test_methods(gateway: Gateway) -> None:
    patched = await gateway.http.patch("/orders")
    problem(patched, 405, "method_not_allowed")
    assert patched.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, POST"
    options = await gateway.http.options("/orders/1")
    assert (options.status_code, options.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, PUT")
    head = await gateway.http.head("/")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
async def test_a_body_says_that_it_is_json(gateway: Gateway, content_type: str) -> None:
    response = await gateway.http.post("/orders", content="{}", headers={"content-type": content_type})
    problem(response, 415, "unsupported_media_type")
    problem(await gateway.http.post("/orders"), 415, "unsupported_media_type")


async def test_json_with_a_charset_is_json(gateway: Gateway) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    body = '{"side": "buy", "price": 1, "quantity": 1}'
    assert (await gateway.http.post("/orders", content=body, headers=headers)).status_code == 201


async def test_a_body_of_10_mb(gateway: Gateway) -> None:
    body = b'{"side": "' + b"a" * 10_000_000 + b'"}'
    problem(await gateway.http.post("/orders", content=body, headers=JSON), 413, "body_too_large")

    async def chunks() -> Any:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    problem(await gateway.http.post("/orders", content=chunks(), headers=JSON), 413, "body_too_large")


async def test_a_body_without_end_is_cut_off(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"40000\r\n" + b"a" * 0x40000 + b"\r\n"
    reading = asyncio.create_task(reader.read())
    while not reading.done():
        writer.write(chunk)
        try:
            await writer.drain()
        except ConnectionError:
            break
        await asyncio.sleep(0)
    await asyncio.wait([reading])
    assert reading.exception() is not None or reading.result().startswith(b"HTTP/1.1 413")
    writer.close()


async def test_a_large_body_is_refused_before_it_is_sent_when_asked(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 10000000\r\nExpect: 100-continue\r\n\r\n"
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()


async def test_without_a_matcher_nothing_is_done(gateway: Gateway) -> None:
    await gateway.matcher.go_away()
    problem(await gateway.place(), 503, "matcher_unavailable")
    assert gateway.matcher.requests == []


async def test_a_matcher_that_comes_back_in_time_is_waited_for(gateway: Gateway) -> None:
    await gateway.matcher.go_away()
    placing = asyncio.create_task(gateway.place())
    await asyncio.sleep(0.2)
    await gateway.matcher.come_back()
    assert (await placing).status_code == 201
    assert len(gateway.matcher.requests) == 1


async def test_an_unanswered_command_is_unknown_and_says_how_to_find_out(gateway: Gateway) -> None:
    order_id = (await gateway.placed())["order_id"]
    gateway.matcher.answers = False
    named, unnamed, canceled, amended, defined = await asyncio.gather(
        gateway.place(client_order_id="lost-1", account="bob"),
        gateway.place(account="bob"),
        gateway.http.delete(f"/orders/{order_id}"),
        gateway.http.put(f"/orders/{order_id}", json={"quantity": 2}),
        gateway.http.put("/instruments/X", json={"tick_size": 1, "lot_size": 1}),
    )
    for response, hint in (
        (named, "GET /orders?account=bob&client_order_id=lost-1"),
        (unnamed, "GET /orders?account=bob"),
        (canceled, f"GET /orders/{order_id}"),
        (amended, f"GET /orders/{order_id}"),
        (defined, "GET /instruments"),
    ):
        assert hint in problem(response, 504, "result_unknown")["detail"]


async def test_an_unreadable_answer_is_unknown_too(gateway: Gateway) -> None:
    gateway.matcher.garbled = True
    problem(await gateway.place(), 504, "result_unknown")


async def test_an_overloaded_matcher(gateway: Gateway) -> None:
    gateway.matcher.overloaded = True
    problem(await gateway.place(), 503, "overloaded")


async def test_the_gateway_waits_for_a_bounded_number_of_answers(module_nats_server: NatsServer) -> None:
    async with running_gateway(module_nats_server.url, backlog_commands=3) as gateway:
        gateway.matcher.answers = False
        answers = await asyncio.gather(*(gateway.place() for _ in range(5)))
        codes = sorted(answer.json()["code"] for answer in answers)
        assert codes == ["overloaded"] * 2 + ["result_unknown"] * 3


async def test_orders_at_the_same_time_share_requests_and_get_their_own_answers(gateway: Gateway) -> None:
    prices = [f"{90 + number}.00" for number in range(40)]
    answers = await asyncio.gather(*(gateway.place(price=price) for price in prices))
    assert [answer.json()["price"] for answer in answers] == prices
    assert len({answer.json()["order_id"] for answer in answers}) == len(prices)


async def test_cancels_travel_apart_from_orders(gateway: Gateway) -> None:
    orders = [await gateway.placed() for _ in range(5)]
    cancels = [gateway.http.delete(f"/orders/{order['order_id']}") for order in orders]
    await asyncio.gather(*cancels, *(gateway.place() for _ in range(5)))
    assert gateway.matcher.cancels() == 5
    for commands in gateway.matcher.requests:
        assert len({type(command) is CancelOrder for command in commands}) == 1


async def test_without_postgres_reads_fail_and_orders_go_on(gateway: Gateway) -> None:
    for path in ("/orders", "/orders/1", "/trades", "/accounts/default/orders"):
        problem(await gateway.http.get(path), 503, "history_unavailable")
    order_id = (await gateway.placed())["order_id"]
    assert (await gateway.http.put(f"/orders/{order_id}", json={"quantity": 2})).status_code == 200
    assert (await gateway.http.delete(f"/orders/{order_id}")).status_code == 200
    again = problem(await gateway.http.delete(f"/orders/{order_id}"), 404, "unknown_order")
    assert "cannot be looked up now" in again["detail"]
    unknown = problem(await gateway.http.put("/orders/99", json={"quantity": 2}), 404, "unknown_order")
    assert "cannot be looked up now" in unknown["detail"]


async def test_without_postgres_the_matcher_lists_the_instruments(gateway: Gateway) -> None:
    listed = (await gateway.http.get("/instruments")).json()
    assert [each["symbol"] for each in listed["items"]] == ["BTC-USD"]
    assert (await gateway.http.get("/instruments/BTC-USD")).json() == listed["items"][0]
    problem(await gateway.http.get("/instruments/NONE"), 404, "unknown_symbol")


async def test_without_a_broadcaster_there_is_no_market_data(gateway: Gateway) -> None:
    problem(await gateway.http.get("/market/BTC-USD"), 503, "market_data_unavailable")
    problem(await gateway.http.get("/market/BTC-USD/depth"), 503, "market_data_unavailable")
    problem(await gateway.http.get("/market/A.B"), 404, "unknown_symbol")


async def test_alive_but_not_ready(gateway: Gateway) -> None:
    assert (await gateway.http.get("/health/live")).json() == {"status": "live"}
    ready = await gateway.http.get("/health/ready")
    assert ready.status_code == 503
    checks = ready.json()["checks"]
    assert checks["nats"] == {"ok": True}
    assert checks["matcher"] == {"ok": True, "sequence": 1}
    assert not checks["recorder"]["ok"]
    assert not checks["broadcaster"]["ok"]


async def test_a_lost_broker_is_told_without_sending_anything(nats_server: NatsServer) -> None:
    """nats-py would keep what is published while disconnected, and send it long after the client was told."""
    async with running_gateway(nats_server.url) as gateway:
        await gateway.placed()
        await gateway.has_its_streams()
        nats_server.kill()
        while (await gateway.http.get("/health/ready")).json()["checks"]["nats"]["ok"]:
            pass
        problem(await gateway.place(), 503, "matcher_unavailable")
        nats_server.start()
        while not (answer := await gateway.place(quantity="2")).is_success:
            problem(answer, 503, "matcher_unavailable")
        placed = [command for commands in gateway.matcher.requests for command in commands]
        assert len(placed) == 2


async def test_a_mistake_of_ours_is_logged_and_admitted(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("entry.commands.place_order", stumble)
    problem(await gateway.place(), 500, "internal_error")
    assert "ZeroDivisionError" in caplog.text


async def test_security_headers(gateway: Gateway) -> None:
    answer = await gateway.http.get("/health/live")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers
    page = await gateway.http.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]


async def request(gateway: Gateway, subject: str, body: object) -> Any:
    written = body if isinstance(body, bytes) else json.dumps(body).encode()
    return json.loads((await gateway.nats.request(subject, written, timeout=10)).data)


async def test_the_same_over_nats(gateway: Gateway) -> None:
    placed = await request(gateway, "orders.place", {"side": "buy", "price": "100", "quantity": 2})
    assert (placed["price"], placed["status"]) == ("100.00", "open")
    amended = await request(gateway, "orders.amend", {"order_id": placed["order_id"], "quantity": 1})
    assert amended["quantity"] == "1.000"
    canceled = await request(gateway, "orders.cancel", {"order_id": placed["order_id"]})
    assert canceled["status"] == "canceled"
    refused = await request(gateway, "orders.place", b"{")
    assert (refused["status"], refused["code"]) == (400, "malformed_json")
    unknown = await request(gateway, "orders.cancel", {"order_id": 99})
    assert (unknown["status"], unknown["code"]) == (404, "unknown_order")


async def test_an_order_published_over_nats_needs_no_answer(gateway: Gateway) -> None:
    await gateway.nats.publish("orders.place", b'{"side": "buy", "price": "100", "quantity": 2}')
    async with asyncio.timeout(60):
        while not gateway.matcher.requests:
            await gateway.nats.flush()


async def test_half_a_body_is_never_acted_on(gateway: Gateway) -> None:
    """The order is complete, its chunked body is not: the sender may have meant to say more."""
    body = b'{"side": "buy", "price": 1, "quantity": 1}'
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n" % (len(body), body)
    )
    await writer.drain()
    writer.close()
    await gateway.placed()  # comes after it
    assert sum(len(commands) for commands in gateway.matcher.requests) == 1
