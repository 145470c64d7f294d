"""The commands beyond one plain order, over HTTP and NATS, with a played matcher that runs the real engine."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from contracts.messages import MAX_COMMANDS, CancelOrder, PlaceOrder
from tests.support.gateways import Gateway, running_gateway
from tests.support.problems import problem
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack


async def batch(gateway: Gateway, *items: Any, all_or_nothing: bool = False) -> httpx.Response:
    return await gateway.http.post("/orders/batch", json={"items": items, "all_or_nothing": all_or_nothing})


def order(**fields: Any) -> dict[str, Any]:
    return {"place": {"side": "buy", "price": "100.00", "quantity": "1"} | fields}


# Idempotency


async def test_the_same_order_again_gets_the_first_answer(gateway: Gateway) -> None:
    await gateway.placed(side="sell", price="99", quantity="1")
    first = await gateway.place(client_order_id="mine", quantity="2")
    await gateway.placed(side="sell", quantity="1")  # changes the order meanwhile
    again = await gateway.place(client_order_id="mine", quantity="2.0", self_trade_prevention="none")
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert len(first.json()["trades"]) == 1
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    for name in ("location", "journal-sequence"):
        assert again.headers[name] == first.headers[name]


async def test_another_order_with_the_same_name_is_refused(gateway: Gateway) -> None:
    first = await gateway.placed(client_order_id="mine")
    for change in ({"quantity": "2"}, {"side": "sell"}, {"post_only": True}, {"self_trade_prevention": "cancel_both"}):
        again = problem(await gateway.place(client_order_id="mine", **change), 409, "duplicate_client_order_id")
        assert again["order_id"] == first["order_id"]


async def test_a_repeat_is_answered_whatever_has_changed_since(gateway: Gateway) -> None:
    first = await gateway.place(client_order_id="mine")
    await gateway.http.put("/instruments/BTC-USD/status", json={"status": "halted"})
    problem(await gateway.place(), 422, "instrument_halted")
    assert (await gateway.place(client_order_id="mine")).content == first.content


async def test_the_header_idempotency_key_is_the_client_order_id(gateway: Gateway) -> None:
    body = {"side": "buy", "price": "100.00", "quantity": "1"}
    first = await gateway.http.post("/orders", json=body, headers={"idempotency-key": "key-1"})
    assert first.json()["client_order_id"] == "key-1"
    again = await gateway.http.post("/orders", json=body, headers={"idempotency-key": '"key-1"'})
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert (await gateway.place(client_order_id="key-1")).content == first.content
    both = await gateway.http.post(
        "/orders", json=body | {"client_order_id": "other"}, headers={"idempotency-key": "key-1"}
    )
    problem(both, 422, "idempotency_key_mismatch")
    bad = await gateway.http.post("/orders", json=body, headers={"idempotency-key": "a b"})
    assert problem(bad, 422, "invalid_client_order_id")["field"] == "Idempotency-Key"


async def test_a_first_answer_that_cannot_be_read_is_not_made_up(gateway: Gateway) -> None:
    first = await gateway.placed(client_order_id="mine")
    await gateway.nats.jsm().purge_stream("JOURNAL")
    found = problem(await gateway.place(client_order_id="mine"), 503, "journal_unavailable")
    assert (found["order_id"], found["sequence"]) == (first["order_id"], first["sequence"])
    problem(await batch(gateway, order(client_order_id="mine"), all_or_nothing=True), 503, "journal_unavailable")


# Answers that get lost


async def test_a_lost_answer_is_asked_for_again_where_that_is_safe(module_nats_server: NatsServer) -> None:
    async with running_gateway(module_nats_server.url, command_retry_seconds=0.1) as gateway:
        gateway.matcher.loses_answers = 2
        placed = await gateway.place(client_order_id="mine")
        assert placed.status_code == 201
        assert "idempotent-replayed" not in placed.headers  # this client is told for the first time
        order_id = placed.json()["order_id"]
        gateway.matcher.loses_answers = 1
        amended = await gateway.http.put(f"/orders/{order_id}", json={"quantity": "3"})
        assert (amended.status_code, amended.json()["quantity"]) == (200, "3.000")
        gateway.matcher.loses_answers = 1
        halted = await gateway.http.put("/instruments/BTC-USD/status", json={"status": "cancel_only"})
        assert (halted.status_code, halted.json()["status"]) == (200, "cancel_only")
        places = [command for request in gateway.matcher.requests for command in request]
        assert sum(isinstance(command, PlaceOrder) for command in places) == 3
        assert gateway.matcher.engine.resting_orders == 1


async def test_lost_answers_to_batches(module_nats_server: NatsServer) -> None:
    async with running_gateway(module_nats_server.url, command_retry_seconds=0.1) as gateway:
        gateway.matcher.loses_answers = 1
        items = [order(client_order_id="b-1"), order(), order(client_order_id="b-2")]
        done = (await batch(gateway, *items)).json()["items"]
        assert [item["status"] for item in done] == [201, 504, 201]
        gateway.matcher.loses_answers = 1
        items = [{"cancel": {"order_id": done[0]["order"]["order_id"]}}, order(client_order_id="b-3")]
        all_of_it = await batch(gateway, *items, all_or_nothing=True)
        assert [item["status"] for item in all_of_it.json()["items"]] == [200, 201]
        assert "idempotent-replayed" not in all_of_it.headers
        assert gateway.matcher.engine.resting_orders == 3


async def test_a_repeated_batch_reads_each_commit_once(gateway: Gateway) -> None:
    asked = await gateway.nats.subscribe("$JS.API.STREAM.MSG.GET.JOURNAL")
    items = [order(client_order_id=f"b-{number}") for number in range(60)]
    first, again = await batch(gateway, *items), await batch(gateway, *items)
    assert again.json()["items"] == first.json()["items"]
    await gateway.nats.flush()
    assert asked.pending_msgs == 2  # the request was split into two commits


async def test_an_order_without_a_name_is_never_sent_twice(module_nats_server: NatsServer) -> None:
    async with running_gateway(module_nats_server.url, command_retry_seconds=0.05) as gateway:
        gateway.matcher.loses_answers = 1
        problem(await gateway.place(), 504, "result_unknown")
        gateway.matcher.loses_answers = 1
        problem(await gateway.http.delete("/orders"), 504, "result_unknown")
        assert len(gateway.matcher.requests) == 2


async def test_retries_end_and_pause_longer_each_time(module_nats_server: NatsServer) -> None:
    async with running_gateway(module_nats_server.url, command_retry_seconds=0.1) as gateway:
        gateway.matcher.answers = False
        problem(await gateway.place(client_order_id="mine"), 504, "result_unknown")
        assert 2 <= len(gateway.matcher.requests) <= 4  # after 0, 0.1, 0.3 and 0.7 of 1 second, at the earliest


async def test_a_retry_that_is_turned_away_is_not_nothing_done(module_nats_server: NatsServer) -> None:
    async with running_gateway(module_nats_server.url, command_retry_seconds=0.2) as gateway:
        gateway.matcher.loses_answers = 1
        placing = asyncio.create_task(gateway.place(client_order_id="mine"))
        await gateway.matcher.worked.wait()
        gateway.matcher.overloaded = True
        problem(await placing, 504, "result_unknown")
        assert len(gateway.matcher.requests) > 1


async def test_after_a_reconnection_an_answer_is_not_waited_for(nats_server: NatsServer) -> None:
    async with running_gateway(nats_server.url, command_timeout_seconds=20.0, command_retry_seconds=60.0) as gateway:
        gateway.matcher.loses_answers = 1
        placing = asyncio.create_task(gateway.place(client_order_id="mine"))
        await gateway.matcher.worked.wait()
        await gateway.has_its_streams()
        nats_server.kill()
        nats_server.start()
        assert (await placing).status_code == 201
        assert gateway.matcher.engine.resting_orders == 1


# Kinds of orders


async def test_a_stop_order_waits_and_is_amended(gateway: Gateway) -> None:
    stop = await gateway.placed(side="sell", type="stop_limit", price="95", stop_price="96", quantity="2")
    assert (stop["status"], stop["stop_price"], stop["triggered"]) == ("open", "96.00", False)
    amended = await gateway.http.put(f"/orders/{stop['order_id']}", json={"stop_price": "97"})
    assert (amended.json()["stop_price"], amended.json()["priority_kept"]) == ("97.00", False)
    smaller = await gateway.http.put(f"/orders/{stop['order_id']}", json={"quantity": "1"})
    assert smaller.json()["priority_kept"] is True


async def test_an_order_by_notional(gateway: Gateway) -> None:
    await gateway.placed(side="sell", price="100", quantity="5")
    bought = await gateway.placed(type="market", price=None, quantity=None, notional="250")
    assert (bought["notional"], bought["quantity"], bought["status"]) == ("250.00000", "2.500", "filled")
    for fields, code in (
        ({"notional": "0.05"}, "notional_too_small"),
        ({"notional": "1", "quantity": "1"}, "notional_not_allowed"),
        ({"notional": "1", "type": "limit", "price": "1"}, "notional_not_allowed"),
        ({"notional": "1", "side": "sell"}, "no_liquidity"),
    ):
        written = {"type": "market", "price": None, "quantity": None} | fields
        problem(await gateway.place(**written), 422, code)


async def test_an_order_until_a_moment(gateway: Gateway) -> None:
    placed = await gateway.placed(time_in_force="GTD", expires_at="2030-01-31T13:00:00+01:00")
    assert placed["expires_at"] == "2030-01-31T12:00:00.000000Z"
    today = await gateway.placed(time_in_force="DAY")
    assert today["expires_at"] == "2023-11-15T00:00:00.000000Z"
    past = await gateway.place(time_in_force="GTD", expires_at="2020-01-31T12:00:00Z")
    assert problem(past, 422, "expiry_in_the_past")["field"] == "expires_at"


async def test_a_refusal_carries_the_band(gateway: Gateway) -> None:
    rules = {"tick_size": "0.01", "lot_size": "0.001", "lowest_price": "90", "highest_price": "110"}
    await gateway.http.put("/instruments/BTC-USD", json=rules)
    found = problem(await gateway.place(price="111"), 422, "price_outside_band")
    assert (found["lowest_price"], found["highest_price"], found["field"]) == ("90.00", "110.00", "price")
    assert "from 90.00 up to 110.00" in found["detail"]


# Many orders


async def test_a_batch_has_a_result_for_each_item(gateway: Gateway) -> None:
    one, two, three = [(await gateway.placed(price=price))["order_id"] for price in ("98", "97", "96")]
    response = await batch(
        gateway,
        order(client_order_id="b-1"),
        {"cancel": {"order_id": one}},
        {"amend": {"order_id": two, "quantity": "3"}},
        {"cancel": {"order_id": 999}},
        order(price="100.001"),
        {"amend": {"order_id": three, "price": "0"}},
        order(quantity=None, symbol="NONE"),
        {"place": {}, "cancel": {}},
        "cancel",
        order(side="sell", price="100", quantity="2"),
    )
    body = response.json()
    assert response.status_code == 200, body
    assert [item["status"] for item in body["items"]] == [201, 200, 200, 404, 422, 422, 422, 400, 400, 201]
    assert [item.get("problem", {}).get("code") for item in body["items"]][3:9] == [
        *("unknown_order", "off_tick", "price_out_of_range", "unknown_symbol", "invalid_value", "invalid_type"),
    ]
    assert [len(item["order"]["trades"]) for item in (body["items"][0], body["items"][-1])] == [0, 1]
    assert body["items"][1]["order"]["status"] == "canceled"
    assert body["items"][2]["order"]["priority_kept"] is False
    assert response.headers["journal-sequence"] == str(body["sequence"])
    # in one request, in the order of the items
    assert [type(command).__name__ for command in gateway.matcher.requests[-1]] == [
        *("PlaceOrder", "CancelOrder", "AmendOrder", "CancelOrder", "PlaceOrder"),
    ]


async def test_the_same_batch_again(gateway: Gateway) -> None:
    items = [order(client_order_id="b-1"), order(client_order_id="b-2", side="sell", quantity="0.5")]
    first, again = await batch(gateway, *items), await batch(gateway, *items)
    assert again.json()["items"] == first.json()["items"]
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    mixed = await batch(gateway, *items, order())
    assert [item["status"] for item in mixed.json()["items"]] == [201, 201, 201]
    assert "idempotent-replayed" not in mixed.headers


async def test_all_or_nothing(gateway: Gateway) -> None:
    gone, amended = [(await gateway.placed(price=price))["order_id"] for price in ("98", "97")]
    done = await batch(
        gateway,
        order(side="sell", price="90", quantity="0.25", client_order_id="b-1"),
        {"cancel": {"order_id": gone}},
        {"amend": {"order_id": amended, "price": "96"}},
        all_or_nothing=True,
    )
    items = done.json()["items"]
    assert [item["status"] for item in items] == [201, 200, 200], items
    # cancels first, then amendments, then orders: so the order met the amended price
    assert [trade["price"] for trade in items[0]["order"]["trades"]] == ["96.00"]
    assert items[2]["order"]["filled_quantity"] == "0.250"
    assert {item["order"]["sequence"] for item in items} == {done.json()["sequence"]}


async def test_nothing_of_a_batch_with_one_bad_item(gateway: Gateway) -> None:
    kept = (await gateway.placed())["order_id"]
    sequence = gateway.matcher.sequence
    cancel = {"cancel": {"order_id": kept}}
    for bad, status, code in (
        (order(price="100.001"), 422, "off_tick"),
        (order(type="market"), 422, "price_not_allowed"),
        ({"cancel": {"order_id": 999}}, 404, "unknown_order"),
        ({"amend": {"order_id": kept}}, 422, "same_order_twice"),
        ({"amend": {"order": kept}}, 400, "unknown_field"),
        (order(post_only=True, side="sell", price="99"), 422, "post_only_would_trade"),
        ({}, 400, "invalid_value"),
        (None, 400, "invalid_type"),
    ):
        refused = await batch(gateway, cancel, bad, all_or_nothing=True)
        assert problem(refused, status, code)["item"] == 1
    assert gateway.matcher.sequence == sequence


async def test_an_all_or_nothing_batch_again(gateway: Gateway) -> None:
    kept = (await gateway.placed())["order_id"]
    items = [{"cancel": {"order_id": kept}}, order(client_order_id="b-1"), order(client_order_id="b-2")]
    first = await batch(gateway, *items, all_or_nothing=True)
    await gateway.http.delete("/orders")
    again = await batch(gateway, *items, all_or_nothing=True)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    other = await batch(gateway, *items[1:], all_or_nothing=True)  # the same orders, but not the same batch
    found = problem(other, 409, "duplicate_client_order_id")
    assert (found["item"], found["order_id"]) == (0, first.json()["items"][1]["order"]["order_id"])
    alone = await gateway.place(client_order_id="b-1")
    assert (alone.json(), alone.headers["idempotent-replayed"]) == (first.json()["items"][1]["order"], "true")


async def test_batches_that_cannot_be(gateway: Gateway) -> None:
    post = gateway.http.post
    problem(await post("/orders/batch", json={}), 400, "missing_field")
    problem(await post("/orders/batch", json={"items": {}}), 400, "invalid_type")
    problem(await post("/orders/batch", json={"items": []}), 422, "invalid_batch")
    problem(await post("/orders/batch", json={"items": [order()] * (MAX_COMMANDS + 1)}), 422, "invalid_batch")
    problem(await post("/orders/batch", json={"items": [order()], "all_or_nothing": 1}), 400, "invalid_type")
    problem(await post("/orders/batch", json={"items": [order()], "atomic": True}), 400, "unknown_field")
    assert gateway.matcher.requests == []


async def test_the_largest_batch(gateway: Gateway) -> None:
    for all_or_nothing in (False, True):
        done = await batch(gateway, *[order()] * MAX_COMMANDS, all_or_nothing=all_or_nothing)
        assert [item["status"] for item in done.json()["items"]] == [201] * MAX_COMMANDS


async def test_a_batch_without_a_matcher_is_nothing_done(gateway: Gateway) -> None:
    await gateway.placed()
    await gateway.matcher.go_away()
    problem(await batch(gateway, order(), order(price="0")), 503, "matcher_unavailable")
    problem(await batch(gateway, order(), all_or_nothing=True), 503, "matcher_unavailable")


async def test_an_unanswered_batch_says_of_each_item_how_to_find_out(gateway: Gateway) -> None:
    gateway.matcher.answers = False
    done = await batch(gateway, order(), {"cancel": {"order_id": 5}}, order(price="0"))
    assert [item["problem"]["code"] for item in done.json()["items"]] == [
        *("result_unknown", "result_unknown", "price_out_of_range"),
    ]
    problem(await batch(gateway, order(), all_or_nothing=True), 504, "result_unknown")


async def test_replacing_an_order(gateway: Gateway) -> None:
    first = await gateway.placed()
    body = {"side": "buy", "price": "101", "quantity": "2", "client_order_id": "r-1"}
    replaced = await gateway.http.post(f"/orders/{first['order_id']}/replace", json=body)
    done = replaced.json()
    assert replaced.status_code == 201, done
    assert (done["canceled"]["order_id"], done["canceled"]["status"]) == (first["order_id"], "canceled")
    assert (done["placed"]["price"], done["placed"]["status"]) == ("101.00", "open")
    assert replaced.headers["location"] == f"/orders/{done['placed']['order_id']}"
    again = await gateway.http.post(f"/orders/{first['order_id']}/replace", json=body)
    assert (again.content, again.headers["idempotent-replayed"]) == (replaced.content, "true")
    gone = await gateway.http.post(f"/orders/{first['order_id']}/replace", json=body | {"client_order_id": "r-2"})
    assert problem(gone, 404, "unknown_order")["item"] == 0
    bad = await gateway.http.post(f"/orders/{done['placed']['order_id']}/replace", json=body | {"type": "market"})
    assert problem(bad, 409, "duplicate_client_order_id")["item"] == 1


async def test_canceling_all_that_fits(gateway: Gateway) -> None:
    await gateway.http.put("/instruments/TIN", json={"tick_size": "1", "lot_size": "1"})
    for account in ("anna", "ben"):
        await gateway.placed(account=account)
        await gateway.placed(account=account, side="sell", price="101")
        await gateway.placed(account=account, symbol="TIN")
    delete = gateway.http.delete
    assert (await delete("/orders?account=anna&side=sell")).json()["canceled"] == 1
    canceled = await delete("/orders?symbol=TIN")
    assert canceled.json() == {"canceled": 2, "sequence": gateway.matcher.sequence}
    assert canceled.headers["journal-sequence"] == str(gateway.matcher.sequence)
    assert (await delete("/orders")).json()["canceled"] == 3
    assert (await delete("/orders")).json()["canceled"] == 0
    for path, status, code in (
        ("/orders?acount=anna", 400, "unknown_parameter"),
        ("/orders?side=both", 400, "invalid_value"),
        ("/orders?account=a.b", 422, "invalid_account"),
        ("/orders?symbol=NONE", 422, "unknown_symbol"),
    ):
        problem(await delete(path), status, code)


# Switches and limits


async def test_the_dead_mans_switch(gateway: Gateway) -> None:
    path = "/accounts/anna/cancel-all-after"
    armed = await gateway.http.put(path, json={"seconds": 1.5})
    assert armed.json() == {"account": "anna", "deadline": "2023-11-14T22:13:21.500002Z", "sequence": 2}
    disarmed = await gateway.http.put(path, json={"seconds": 0})
    assert (disarmed.status_code, disarmed.json()["deadline"]) == (200, None)
    problem(await gateway.http.put(path, json={"seconds": 86401}), 422, "invalid_delay")
    problem(await gateway.http.put("/accounts/a.b/cancel-all-after", json={"seconds": 1}), 422, "invalid_account")


async def test_the_kill_switch(gateway: Gateway) -> None:
    await gateway.placed(account="anna")
    engaged = await gateway.http.put("/accounts/anna/kill-switch", json={"engaged": True})
    assert engaged.json() == {"account": "anna", "engaged": True}
    assert gateway.matcher.engine.resting_orders == 0
    assert problem(await gateway.place(account="anna"), 422, "kill_switch_engaged")["field"] == "account"
    await gateway.placed(account="ben")
    await gateway.http.put("/accounts/anna/kill-switch", json={"engaged": False})
    await gateway.placed(account="anna")


async def test_limits_of_an_account(gateway: Gateway) -> None:
    symbols = {"BTC-USD": {"max_order_quantity": 2, "max_order_notional": "150", "max_position": None}}
    put = await gateway.http.put("/accounts/anna/limits", json={"max_open_orders": 1, "symbols": symbols})
    limits = {"max_order_quantity": "2.000", "max_order_notional": "150.00000", "max_position": None}
    assert put.json() == {"account": "anna", "max_open_orders": 1, "symbols": {"BTC-USD": limits}}
    assert problem(await gateway.place(account="anna", quantity="3"), 422, "max_order_quantity")["limit"] == "2.000"
    assert problem(await gateway.place(account="anna", quantity="2"), 422, "max_order_notional")["limit"] == "150.00000"
    await gateway.placed(account="anna")
    assert problem(await gateway.place(account="anna"), 422, "max_open_orders")["limit"] == "1"
    unknown = await gateway.http.put("/accounts/anna/limits", json={"symbols": {"NONE": {}}})
    problem(unknown, 422, "unknown_symbol")


async def test_the_life_of_an_instrument(gateway: Gateway) -> None:
    order_id = (await gateway.placed())["order_id"]
    path = "/instruments/BTC-USD/status"
    for status, code in (("halted", "instrument_halted"), ("cancel_only", "instrument_cancel_only")):
        changed = await gateway.http.put(path, json={"status": status})
        assert (changed.status_code, changed.json()["status"]) == (200, status)
        problem(await gateway.place(), 422, code)
        problem(await gateway.http.put(f"/orders/{order_id}", json={"quantity": "2"}), 422, code)
    assert (await gateway.http.put(path, json={"status": "delisted"})).json()["status"] == "delisted"
    assert gateway.matcher.engine.resting_orders == 0
    problem(await gateway.http.put(path, json={"status": "trading"}), 422, "instrument_delisted")
    problem(await gateway.http.put("/instruments/NONE/status", json={"status": "halted"}), 404, "unknown_symbol")
    rules = {"tick_size": "0.01", "lot_size": "0.001"}
    problem(await gateway.http.put("/instruments/BTC-USD", json=rules), 422, "instrument_delisted")


async def test_the_limits_of_the_exchange_are_told(gateway: Gateway) -> None:
    limits = (await gateway.http.get("/limits")).json()
    assert (limits["max_batch_items"], limits["max_body_bytes"]) == (MAX_COMMANDS, 1_000_000)
    assert limits["client_order_id_window"] == 1_000_000
    assert all(type(value) in (int, float) for value in limits.values())


# Over NATS


async def ask(gateway: Gateway, subject: str, body: object) -> Any:
    return json.loads((await gateway.nats.request(subject, json.dumps(body).encode(), timeout=10)).data)


async def test_many_orders_over_nats(gateway: Gateway) -> None:
    done = await ask(gateway, "orders.batch", {"items": [order(), order(price="x")]})
    assert [item["status"] for item in done["items"]] == [201, 400]
    assert (await ask(gateway, "orders.cancel_all", {"side": "buy"}))["canceled"] == 1
    assert (await ask(gateway, "orders.cancel_all", {"colour": "red"}))["code"] == "unknown_field"


async def test_requests_for_one_account_over_nats(gateway: Gateway) -> None:
    foreign = await gateway.placed(account="ben")
    own = await ask(gateway, "accounts.anna.orders.place", order()["place"])
    assert own["account"] == "anna"
    refused = await ask(gateway, "accounts.anna.orders.place", order(account="ben")["place"])
    assert (refused["status"], refused["code"], refused["field"]) == (403, "forbidden", "account")
    for request, body in (
        ("cancel", {}),
        ("amend", {"quantity": "2"}),
        ("amend", {"price": "1.001"}),
        ("amend", {"stop_price": "1"}),
    ):
        hidden = await ask(gateway, f"accounts.anna.orders.{request}", {"order_id": foreign["order_id"]} | body)
        assert (hidden["status"], hidden["code"]) == (404, "unknown_order"), (request, body, hidden)
    assert (await ask(gateway, "accounts.anna.orders.cancel_all", {}))["canceled"] == 1
    assert (await ask(gateway, "accounts.anna.orders.cancel_all", {"account": "ben"}))["code"] == "forbidden"
    assert (await ask(gateway, "accounts.anna.orders.batch", {"items": [order(account="ben")]}))["items"][0][
        "status"
    ] == 403
    assert (await ask(gateway, "accounts.anna.orders.steal", {}))["code"] == "not_found"
    assert gateway.matcher.engine.resting_orders == 1
    commands = [command for request in gateway.matcher.requests for command in request]
    assert all(command.accounts == ("anna",) for command in commands if isinstance(command, CancelOrder))
