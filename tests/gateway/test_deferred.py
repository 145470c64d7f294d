"""The 202 path over HTTP with a real nats-server and a played matcher: what is stored, what is refused at once, what
comes of it, and who is told."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import nats
import pytest
from nats.js.errors import NotFoundError

from contracts.keys import Access
from contracts.messages import PlaceOrder
from contracts.subjects import COMMAND_RESULTS, COMMANDS_STREAM
from entry.exchange import Exchange
from gateway import deferred_dispatch
from gateway.deferred_store import CONSUMER
from tests.support.deferral import ASYNC, ORDER, command, defer, settled
from tests.support.gateways import Gateway, running_gateway
from tests.support.servers import NatsServer, remove_stream
from tests.support.stack import Stack

pytestmark = pytest.mark.stack
# ruff: noqa: ASYNC110  # what is waited for is in another process, so there is no event to set


@pytest.fixture
async def broker(module_nats_server: NatsServer) -> NatsServer:
    """Without commands: what one test leaves behind must not be carried out in the next."""
    connection = await nats.connect(module_nats_server.url)
    await remove_stream(connection, COMMANDS_STREAM, f"KV_{COMMAND_RESULTS}")
    await connection.close()
    return module_nats_server


@pytest.fixture
async def gateway(broker: NatsServer) -> AsyncIterator[Gateway]:
    async with running_gateway(broker.url, command_timeout_seconds=0.3) as running:
        yield running


async def stored(gateway: Gateway) -> int:
    """How many commands wait."""
    try:
        return (await gateway.nats.jetstream().stream_info(COMMANDS_STREAM)).state.messages
    except NotFoundError:
        return 0


async def until_none_is_stored(gateway: Gateway) -> None:
    async with asyncio.timeout(60):
        while await stored(gateway):
            await asyncio.sleep(0.02)


async def completed(gateway: Gateway, accepted: dict[str, Any]) -> Any:
    """The result of a command that must succeed."""
    found = await settled(gateway.http, accepted["command_id"])
    assert found["status"] == "completed", found
    assert found["problem"] is None
    return found["result"]


async def failed(gateway: Gateway, accepted: dict[str, Any]) -> Any:
    """The problem of a command that must fail."""
    found = await settled(gateway.http, accepted["command_id"])
    assert found["status"] == "failed", found
    assert found["result"] is None
    assert found["http_status"] == found["problem"]["status"]
    return found["problem"]


def placed_ids(gateway: Gateway) -> list[str | None]:
    """The client order ids of all orders that the matcher was sent."""
    return [
        each.client_order_id
        for commands in gateway.matcher.requests
        for each in commands
        if isinstance(each, PlaceOrder)
    ]


# Stored, and carried out


async def test_an_order_is_stored_then_placed(gateway: Gateway) -> None:
    accepted = await defer(gateway.http, "POST", "/orders", ORDER)
    assert set(accepted) == {"command_id", "status", "created_at"}
    assert accepted["status"] == "pending"
    found = await settled(gateway.http, accepted["command_id"])
    assert (found["status"], found["http_status"], found["problem"]) == ("completed", 201, None)
    assert found["result"]["client_order_id"] == accepted["command_id"]
    assert found["result"]["price"] == "100.00"
    assert found["created_at"] == accepted["created_at"] <= found["completed_at"]
    assert found["request"] == {
        "method": "POST",
        "path": "/orders",
        "body": ORDER | {"client_order_id": accepted["command_id"]},
    }
    await until_none_is_stored(gateway)


async def test_its_sequence_is_in_the_header_for_reads_that_follow(gateway: Gateway) -> None:
    accepted = await defer(gateway.http, "POST", "/orders", ORDER)
    result = await completed(gateway, accepted)
    response = await gateway.http.get(f"/commands/{accepted['command_id']}")
    assert response.headers["journal-sequence"] == str(result["sequence"])


async def test_numbers_reach_the_exchange_as_they_were_written(gateway: Gateway) -> None:
    body = b'{"side": -1, "price": 1.0010e2, "quantity": 0.001, "client_order_id": "mine"}'
    headers = ASYNC | {"content-type": "application/json"}
    response = await gateway.http.post("/orders", content=body, headers=headers)
    result = await completed(gateway, response.json())
    assert (result["side"], result["price"], result["quantity"]) == ("sell", "100.10", "0.001")
    assert result["client_order_id"] == "mine"


async def test_every_address_that_can_be_deferred(gateway: Gateway) -> None:
    order_id = (await completed(gateway, await defer(gateway.http, "POST", "/orders", ORDER)))["order_id"]
    amended = await completed(gateway, await defer(gateway.http, "PUT", f"/orders/{order_id}", {"price": 99}))
    assert (amended["order_id"], amended["price"]) == (order_id, "99.00")
    replaced = await completed(gateway, await defer(gateway.http, "POST", f"/orders/{order_id}/replace", ORDER))
    assert replaced["canceled"]["order_id"] == order_id
    order_id = replaced["placed"]["order_id"]
    canceled = await completed(gateway, await defer(gateway.http, "DELETE", f"/orders/{order_id}"))
    assert (canceled["order_id"], canceled["status"]) == (order_id, "canceled")
    batch = {"items": [{"place": ORDER}, {"place": ORDER | {"price": "100.001"}}, {"place": ORDER}]}
    accepted = await defer(gateway.http, "POST", "/orders/batch", batch)
    items = (await completed(gateway, accepted))["items"]
    assert [item["status"] for item in items] == [201, 422, 201]
    named = [f"{accepted['command_id']}-{number}" for number in (0, 2)]
    assert [items[0]["order"]["client_order_id"], items[2]["order"]["client_order_id"]] == named
    everything = await completed(gateway, await defer(gateway.http, "DELETE", "/orders?side=buy"))
    assert everything["canceled"] == 2


async def test_an_order_can_be_changed_by_its_name_before_it_has_a_number(stack: Stack) -> None:
    """On the whole exchange: names are looked up in Postgres, which may not have the order yet."""
    async with httpx.AsyncClient(base_url=stack.http, timeout=30, trust_env=False) as http:
        for number in range(10):
            name = f"deferred-{number}"
            accepted = [
                await defer(http, "POST", "/orders", ORDER | {"account": "deferred"}, key=name),
                await defer(http, "PUT", f"/orders/by-client-id/{name}?account=deferred", {"price": "1.50"}),
                await defer(http, "DELETE", f"/orders/by-client-id/{name}?account=deferred"),
            ]
            found = [await settled(http, each["command_id"]) for each in accepted]
            assert [each["status"] for each in found] == ["completed"] * 3, found
            assert len({each["result"]["order_id"] for each in found}) == 1
            assert (found[2]["result"]["price"], found[2]["result"]["status"]) == ("1.50", "canceled")


@pytest.mark.parametrize("prefer", ["return=minimal", 'x="respond-async"', "wait=5"])
async def test_other_preferences_change_nothing(gateway: Gateway, prefer: str) -> None:
    response = await gateway.http.post("/orders", json=ORDER, headers={"prefer": prefer})
    assert response.status_code == 201
    assert "preference-applied" not in response.headers


async def test_where_it_is_not_offered_the_preference_is_passed_over(gateway: Gateway) -> None:
    rules = {"tick_size": "1", "lot_size": "1"}
    assert (await gateway.http.put("/instruments/TIN", json=rules, headers=ASYNC)).status_code == 201


# Refused at once


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/orders", '{"side": "buy"', 400, "malformed_json"),
        ("POST", "/orders", "[]", 400, "invalid_type"),
        ("POST", "/orders", '{"price": 1, "quantity": 1}', 400, "missing_field"),
        ("POST", "/orders", '{"side": "buy", "price": 1, "quantity": 1, "colour": 1}', 400, "unknown_field"),
        ("POST", "/orders", '{"side": "buy", "price": 1, "price": 2, "quantity": 1}', 400, "duplicate_field"),
        ("POST", "/orders", '{"side": "buy", "price": 1, "quantity": 1, "symbol": 1}', 400, "invalid_type"),
        ("POST", "/orders", '{"side": "buy", "price": "x", "quantity": 1}', 400, "not_a_decimal"),
        ("POST", "/orders", '{"side": "buy", "price": 1.001, "quantity": 1}', 422, "off_tick"),
        ("POST", "/orders", '{"side": "buy", "price": 1, "quantity": 1, "symbol": "NONE"}', 422, "unknown_symbol"),
        ("POST", "/orders", '{"side":"buy","price":1,"quantity":1,"account":"a b"}', 422, "invalid_account"),
        (
            "POST",
            "/orders",
            '{"side": "buy", "price": 1, "quantity": 1, "client_order_id": "!"}',
            422,
            "invalid_client_order_id",
        ),
        ("POST", "/orders?x=1", '{"side": "buy", "price": 1, "quantity": 1}', 400, "unknown_parameter"),
        ("POST", "/orders/batch", '{"items": 1}', 400, "invalid_type"),
        ("POST", "/orders/batch", '{"items": []}', 422, "invalid_batch"),
        ("PUT", "/orders/0", '{"price": 1}', 400, "invalid_parameter"),
        ("PUT", "/orders/1", '{"colour": 1}', 400, "unknown_field"),
        ("DELETE", "/orders/x", "", 400, "invalid_parameter"),
        ("DELETE", "/orders?side=up", "", 400, "invalid_value"),
    ],
)
async def test_what_needs_no_matcher_is_refused_at_once(
    gateway: Gateway, method: str, path: str, body: str, status: int, code: str
) -> None:
    headers = ASYNC | ({"content-type": "application/json"} if body else {})
    response = await gateway.http.request(method, path, content=body or None, headers=headers)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    at_once = await gateway.http.request(method, path, content=body or None, headers={**headers, "prefer": "x"})
    assert response.json() == at_once.json(), "the same as without the preference"
    assert await stored(gateway) == 0


async def test_bodies_are_read_as_ever(gateway: Gateway) -> None:
    response = await gateway.http.post("/orders", content=b"{}", headers=ASYNC)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    response = await gateway.http.post("/orders", json={"side": "x" * 2_000_000}, headers=ASYNC)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


async def test_what_only_the_matcher_can_refuse_fails_later(gateway: Gateway) -> None:
    problem = await failed(gateway, await defer(gateway.http, "POST", "/orders", ORDER | {"quantity": "100000"}))
    assert (problem["status"], problem["code"]) == (422, "quantity_out_of_range")
    problem = await failed(gateway, await defer(gateway.http, "DELETE", "/orders/12345"))
    assert (problem["status"], problem["code"]) == (404, "unknown_order")


# The matcher is away


async def test_it_is_stored_while_the_matcher_is_away_and_placed_once_it_is_back(gateway: Gateway) -> None:
    await gateway.placed()
    await gateway.matcher.go_away()
    accepted = await defer(gateway.http, "POST", "/orders", ORDER)
    await asyncio.sleep(1)  # longer than command_timeout_seconds: some attempts have failed
    assert (await command(gateway.http, accepted["command_id"]))["status"] == "pending"
    assert await stored(gateway) == 1
    await gateway.matcher.come_back()
    result = await completed(gateway, accepted)
    assert placed_ids(gateway).count(accepted["command_id"]) == 1
    assert result["order_id"] == 2


async def test_an_overloaded_matcher_is_asked_again(gateway: Gateway) -> None:
    gateway.matcher.overloaded = True
    accepted = await defer(gateway.http, "POST", "/orders", ORDER)
    async with asyncio.timeout(60):
        while len(gateway.matcher.requests) < 3:
            await asyncio.sleep(0.02)
    assert (await command(gateway.http, accepted["command_id"]))["status"] == "pending"
    gateway.matcher.overloaded = False
    assert (await completed(gateway, accepted))["order_id"] == 1


async def test_an_instrument_that_cannot_be_looked_up_is_no_obstacle(broker: NatsServer) -> None:
    """No matcher has ever been there: what needs the instrument is checked when it is carried out."""
    async with running_gateway(broker.url, matcher_too=False, command_timeout_seconds=0.3) as gateway:
        good = await defer(gateway.http, "POST", "/orders", ORDER)
        bad = await defer(gateway.http, "POST", "/orders", ORDER | {"price": "100.001"})
        unlisted = await defer(gateway.http, "POST", "/orders", ORDER | {"symbol": "NONE"})
        response = await gateway.http.post("/orders", json={"side": "buy", "colour": 1}, headers=ASYNC)
        assert response.status_code == 400, "what can be checked is"
        assert (await command(gateway.http, good["command_id"]))["status"] == "pending"
        await gateway.matcher.start()
        assert (await completed(gateway, good))["order_id"] == 1
        assert (await failed(gateway, bad))["code"] == "off_tick"
        assert (await failed(gateway, unlisted))["code"] == "unknown_symbol"


async def test_what_waits_too_long_fails(broker: NatsServer) -> None:
    async with running_gateway(broker.url, command_timeout_seconds=0.2, deferred_patience_seconds=0.5) as gateway:
        await gateway.matcher.go_away()
        accepted = await defer(gateway.http, "POST", "/orders", ORDER)
        assert (await failed(gateway, accepted))["code"] == "command_expired"
    async with running_gateway(broker.url, command_timeout_seconds=0.3) as patient:
        assert (await completed(patient, await defer(patient.http, "POST", "/orders", ORDER)))["order_id"] == 1
        assert accepted["command_id"] not in placed_ids(patient)


# Keys


async def test_the_same_key_and_body_is_the_same_command(gateway: Gateway) -> None:
    await gateway.matcher.go_away()
    first = await defer(gateway.http, "POST", "/orders", ORDER, key="k-1")
    body = dict(reversed(ORDER.items()))
    response = await gateway.http.post("/orders", json=body, headers=ASYNC | {"idempotency-key": '"k-1"'})
    assert (response.status_code, response.json()) == (202, first)
    assert response.headers["idempotent-replayed"] == "true"
    named = await defer(gateway.http, "POST", "/orders", ORDER | {"client_order_id": "k-1"})
    assert named == first, "the order's own id is its key"
    other = await defer(gateway.http, "POST", "/orders", ORDER | {"account": "other"}, key="k-1")
    assert other["command_id"] != first["command_id"], "each account has keys of its own"
    await gateway.matcher.come_back()
    result = await completed(gateway, first)
    again = await defer(gateway.http, "POST", "/orders", ORDER, key="k-1")
    assert again == first | {"status": "completed"}
    assert result["client_order_id"] == "k-1"
    await completed(gateway, other)
    assert placed_ids(gateway) == ["k-1", "k-1"]


@pytest.mark.parametrize("is_back", [False, True])
async def test_the_same_key_for_something_else_is_refused(gateway: Gateway, is_back: bool) -> None:
    if not is_back:
        await gateway.matcher.go_away()
    first = await defer(gateway.http, "POST", "/orders", ORDER, key="k-1")
    if is_back:
        await completed(gateway, first)
    for method, path, body in (
        ("POST", "/orders", ORDER | {"price": "101"}),
        ("POST", "/orders/batch", {"items": [{"place": ORDER}]}),
        ("DELETE", "/orders/1", None),
    ):
        response = await gateway.http.request(method, path, json=body, headers=ASYNC | {"idempotency-key": "k-1"})
        assert (response.status_code, response.json()["code"]) == (409, "idempotency_key_reused"), response.text


async def test_many_at_once_with_one_key_are_one_command(gateway: Gateway) -> None:
    accepted = await asyncio.gather(*(defer(gateway.http, "POST", "/orders", ORDER, key="k-1") for _ in range(20)))
    assert len({each["command_id"] for each in accepted}) == 1
    await completed(gateway, accepted[0])
    assert placed_ids(gateway) == ["k-1"]


async def test_of_different_requests_at_once_with_one_key_one_is_stored(gateway: Gateway) -> None:
    orders = [ORDER | {"price": str(100 + number)} for number in range(10)]
    headers = ASYNC | {"idempotency-key": "k-1"}
    responses = await asyncio.gather(*(gateway.http.post("/orders", json=each, headers=headers) for each in orders))
    statuses = [response.status_code for response in responses]
    assert sorted(statuses) == [202] + [409] * 9
    accepted = statuses.index(202)
    result = await completed(gateway, responses[accepted].json())
    assert result["price"] == f"{100 + accepted}.00"


@pytest.mark.parametrize(
    ("key", "body", "code"),
    [
        ("a b", ORDER, "invalid_client_order_id"),
        ("", ORDER, "invalid_client_order_id"),
        ("k" * 65, ORDER, "invalid_client_order_id"),
        ("k-1", ORDER | {"client_order_id": "k-2"}, "idempotency_key_mismatch"),
    ],
)
async def test_keys_that_cannot_be(gateway: Gateway, key: str, body: object, code: str) -> None:
    response = await gateway.http.post("/orders", json=body, headers=ASYNC | {"idempotency-key": key})
    assert (response.status_code, response.json()["code"]) == (422, code), response.text


async def test_without_a_key_each_request_is_a_command(gateway: Gateway) -> None:
    accepted = [await defer(gateway.http, "POST", "/orders", ORDER) for _ in range(2)]
    assert (await completed(gateway, accepted[0]))["order_id"] == 1
    assert (await completed(gateway, accepted[1]))["order_id"] == 2


# Looking for results


@pytest.mark.parametrize("command_id", ["0" * 32, "failed", "a.b", "*", "%3E", "x" * 100, "a%20b"])
async def test_an_unknown_command(gateway: Gateway, command_id: str) -> None:
    response = await gateway.http.get(f"/commands/{command_id}")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_command")


async def test_failures_are_listed_newest_first(gateway: Gateway) -> None:
    assert (await gateway.http.get("/commands?status=failed")).json() == {"items": []}
    await completed(gateway, await defer(gateway.http, "POST", "/orders", ORDER))
    accepted = [await defer(gateway.http, "DELETE", f"/orders/{number}") for number in (101, 102, 103)]
    for each in accepted:
        await failed(gateway, each)
    items = (await gateway.http.get("/commands?status=failed")).json()["items"]
    assert [item["request"]["path"] for item in items] == ["/orders/103", "/orders/102", "/orders/101"]
    assert items[0] == await command(gateway.http, accepted[2]["command_id"])
    limited = (await gateway.http.get("/commands?status=failed&limit=2")).json()["items"]
    assert limited == items[:2]


@pytest.mark.parametrize("query", ["", "?status=completed", "?status=failed&limit=0", "?status=failed&limit=1001"])
async def test_only_failures_are_listed(gateway: Gateway, query: str) -> None:
    response = await gateway.http.get(f"/commands{query}")
    assert (response.status_code, response.json()["code"]) == (400, "invalid_parameter")


# Mistakes of our own


async def test_a_poisonous_command_fails_and_stops_no_other(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[bytes] = []
    place = Exchange.place

    async def poisoned(self: Exchange, body: bytes, access: Access, **rest: Any) -> Any:
        if b"poison" in body and self._matcher.__class__.__name__ == "OnceMatcher":
            attempts.append(body)
            raise ZeroDivisionError
        return await place(self, body, access, **rest)

    monkeypatch.setattr(Exchange, "place", poisoned)
    accepted = await defer(gateway.http, "POST", "/orders", ORDER | {"client_order_id": "poison"})
    behind = await defer(gateway.http, "POST", "/orders", ORDER)
    problem = await failed(gateway, accepted)
    assert (problem["status"], problem["code"]) == (500, "internal_error")
    assert len(attempts) == deferred_dispatch.MAX_ERRORS
    assert (await completed(gateway, behind))["order_id"] == 1
    await until_none_is_stored(gateway)
    assert "ZeroDivisionError" in caplog.text


async def test_a_command_that_is_never_answered_fails_and_stops_no_other(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be what makes the matcher fail."""
    monkeypatch.setattr(deferred_dispatch, "MAX_UNANSWERED", 3)
    gateway.matcher.garbled = True
    accepted = await defer(gateway.http, "POST", "/orders", ORDER)
    behind = await defer(gateway.http, "POST", "/orders", ORDER)
    problem = await failed(gateway, accepted)
    assert (problem["status"], problem["code"]) == (504, "result_unknown")
    assert placed_ids(gateway)[:3] == [accepted["command_id"]] * 3
    gateway.matcher.garbled = False
    assert (await completed(gateway, behind))["order_id"] == 1


async def test_a_message_that_nobody_can_read_fails(gateway: Gateway) -> None:
    await defer(gateway.http, "POST", "/orders", ORDER)
    await gateway.nats.jetstream().publish("commands.garbage", b"\xc1")
    async with asyncio.timeout(60):
        while (await gateway.http.get("/commands/garbage")).status_code == 404:
            await asyncio.sleep(0.02)
    problem = (await settled(gateway.http, "garbage"))["problem"]
    assert problem["code"] == "internal_error"
    await until_none_is_stored(gateway)


# Many, and too many


async def test_many_commands_are_carried_out_in_their_order(gateway: Gateway) -> None:
    await gateway.matcher.go_away()
    accepted = [await defer(gateway.http, "POST", "/orders", ORDER) for _ in range(300)]
    await gateway.matcher.come_back()
    results = [await completed(gateway, each) for each in accepted]
    assert [result["order_id"] for result in results] == list(range(1, 301))
    assert placed_ids(gateway) == [each["command_id"] for each in accepted]
    await until_none_is_stored(gateway)


async def test_cancels_keep_their_place_among_the_others(gateway: Gateway) -> None:
    order_id = (await gateway.placed())["order_id"]
    await gateway.matcher.go_away()
    amended = await defer(gateway.http, "PUT", f"/orders/{order_id}", {"price": "99"})
    canceled = await defer(gateway.http, "DELETE", "/orders")
    placed = await defer(gateway.http, "POST", "/orders", ORDER)
    await gateway.matcher.come_back()
    assert (await completed(gateway, amended))["price"] == "99.00"
    assert (await completed(gateway, canceled))["canceled"] == 1
    assert (await completed(gateway, placed))["status"] == "open"


async def test_a_full_stream_refuses(broker: NatsServer) -> None:
    async with running_gateway(broker.url, command_timeout_seconds=0.3, deferred_commands=3) as gateway:
        await gateway.matcher.go_away()
        accepted = [await defer(gateway.http, "POST", "/orders", ORDER, key=f"k-{number}") for number in range(3)]
        response = await gateway.http.post("/orders", json=ORDER, headers=ASYNC | {"idempotency-key": "k-3"})
        assert (response.status_code, response.json()["code"]) == (503, "too_many_deferred")
        assert int(response.headers["retry-after"]) >= 1
        assert await defer(gateway.http, "POST", "/orders", ORDER, key="k-1") == accepted[1], "known ones are known"
        await gateway.matcher.come_back()
        for each in accepted:
            await completed(gateway, each)
        await completed(gateway, await defer(gateway.http, "POST", "/orders", ORDER, key="k-3"))
        assert placed_ids(gateway) == ["k-0", "k-1", "k-2", "k-3"]


# Several gateways, and no broker


async def test_two_gateways_share_the_work_and_keep_the_order(broker: NatsServer) -> None:
    async with running_gateway(broker.url, command_timeout_seconds=0.3) as first:
        await first.matcher.go_away()
        async with running_gateway(broker.url, matcher_too=False, command_timeout_seconds=0.3) as second:
            gateways = [first.http, second.http]
            accepted = [await defer(gateways[number % 2], "POST", "/orders", ORDER) for number in range(50)]
            await asyncio.sleep(0.5)
            assert await command(second.http, accepted[0]["command_id"]) == await command(
                first.http, accepted[0]["command_id"]
            )
        await first.matcher.come_back()
        results = [await completed(first, each) for each in accepted]
        assert [result["order_id"] for result in results] == list(range(1, 51))


async def test_the_one_that_stops_hands_over_what_it_has_not_done(broker: NatsServer) -> None:
    async with running_gateway(broker.url, command_timeout_seconds=0.3) as first:
        await completed(first, await defer(first.http, "POST", "/orders", ORDER))
        await first.matcher.go_away()
        accepted = [await defer(first.http, "POST", "/orders", ORDER) for _ in range(10)]
    async with running_gateway(broker.url, command_timeout_seconds=0.3) as second:
        results = [await completed(second, each) for each in accepted]
        assert [result["order_id"] for result in results] == list(range(1, 11))
        assert placed_ids(second) == [each["command_id"] for each in accepted]


@pytest.mark.parametrize("lost", ["consumer", "streams"])
async def test_what_somebody_deletes_is_made_again(gateway: Gateway, lost: str) -> None:
    await completed(gateway, await defer(gateway.http, "POST", "/orders", ORDER))
    manager = gateway.nats.jsm()
    if lost == "consumer":
        await manager.delete_consumer(COMMANDS_STREAM, CONSUMER)
    else:
        await manager.delete_stream(COMMANDS_STREAM)
        await manager.delete_stream(f"KV_{COMMAND_RESULTS}")
    result = await completed(gateway, await defer(gateway.http, "POST", "/orders", ORDER))
    assert result["order_id"] == 2


async def test_a_broker_that_is_killed_has_lost_nothing(nats_server: NatsServer) -> None:
    async with running_gateway(nats_server.url, command_timeout_seconds=0.3) as gateway:
        done = await defer(gateway.http, "POST", "/orders", ORDER)
        result = await completed(gateway, done)
        await gateway.matcher.go_away()
        waiting = [await defer(gateway.http, "POST", "/orders", ORDER) for _ in range(5)]
        nats_server.kill()
        response = await gateway.http.post("/orders", json=ORDER, headers=ASYNC)
        assert response.json()["code"] in ("commands_unavailable", "result_unknown"), response.text
        assert response.status_code in (503, 504)
        nats_server.start()
        async with asyncio.timeout(60):
            while (await gateway.http.get(f"/commands/{done['command_id']}")).status_code != 200:
                await asyncio.sleep(0.05)
        assert (await command(gateway.http, done["command_id"]))["result"] == result
        await gateway.matcher.come_back()
        results = [await completed(gateway, each) for each in waiting]
        assert sorted(result["client_order_id"] for result in results) == sorted(each["command_id"] for each in waiting)
        ids = placed_ids(gateway)
        assert all(ids.count(each["command_id"]) == 1 for each in waiting)
