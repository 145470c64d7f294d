"""Reads wait for what the client was told; closed and unknown orders are told apart.

NATS and Postgres are real, the recorder and the broadcaster are played: what they do and when is up to each test.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import pytest
from nats.aio.msg import Msg

from recorder.schema import migrate
from tests.support.gateways import Gateway, running_gateway
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack


@pytest.fixture
async def writer(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    await migrate(connection)
    await connection.execute(
        "INSERT INTO instruments (symbol, tick_size, lot_size, min_quantity, max_quantity, status, sequence) "
        "VALUES ('BTC-USD', '0.01', '0.001', 1, 1000000, 'trading', 1)"
    )
    yield connection
    await connection.close()


@pytest.fixture
async def gateway(module_nats_server: NatsServer, database: str, writer: asyncpg.Connection) -> AsyncIterator[Gateway]:
    async with running_gateway(module_nats_server.url, database) as running:
        await writer.execute("UPDATE recorder_position SET sequence = 1")
        await running.matcher.record()
        yield running


async def record(gateway: Gateway, writer: asyncpg.Connection, order: dict[str, Any], **changes: Any) -> None:
    """Put an order that was answered into Postgres, as the recorder would, and say so."""
    now = datetime.now(UTC)
    await writer.execute(
        "INSERT INTO orders (order_id, client_order_id, account, symbol, side, type, time_in_force, post_only, price, "
        "quantity, filled_quantity, filled_notional, status, created_at, updated_at, sequence, placed_sequence) "
        "VALUES ($1, $2, $3, 'BTC-USD', 'buy', 'limit', 'GTC', false, 10000, 1000, 0, 0, $4, $5, $5, $6, $6)",
        order["order_id"],
        order["client_order_id"],
        order["account"],
        changes.get("status", order["status"]),
        now,
        order["sequence"],
    )
    await writer.execute("UPDATE recorder_position SET sequence = $1", gateway.matcher.sequence)
    await gateway.matcher.record()


def code(response: httpx.Response) -> str:
    found: str = response.json()["code"]
    return found


async def test_a_read_waits_until_the_order_can_be_seen(gateway: Gateway, writer: asyncpg.Connection) -> None:
    order = await gateway.placed()
    reading = asyncio.create_task(gateway.http.get(f"/orders/{order['order_id']}"))
    await asyncio.sleep(0.1)
    assert not reading.done()
    await record(gateway, writer, order)
    found = (await reading).json()
    del order["trades"]
    assert {**found, "created_at": "", "updated_at": ""} == {**order, "created_at": "", "updated_at": ""}


async def test_a_history_that_stays_behind_is_not_shown(gateway: Gateway) -> None:
    await gateway.placed()
    for path in (
        *("/orders/1", "/orders", "/trades", "/accounts/default/orders", "/accounts/default", "/orders/1/history"),
        *("/orders/1/trades", "/market/BTC-USD/candles", "/export/orders", "/export/trades"),
    ):
        response = await gateway.http.get(path)
        assert (response.status_code, code(response)) == (503, "reads_behind")
        assert response.headers["retry-after"]


async def test_a_lost_announcement_costs_a_wait_and_nothing_else(gateway: Gateway, writer: asyncpg.Connection) -> None:
    await gateway.placed()
    await writer.execute("UPDATE recorder_position SET sequence = $1", gateway.matcher.sequence)
    assert (await gateway.http.get("/orders")).status_code == 200


async def test_what_was_told_elsewhere_is_waited_for(gateway: Gateway) -> None:
    gateway.matcher.sequence = 7  # by way of another gateway
    assert (await gateway.http.get("/orders")).status_code == 200
    told = await gateway.http.get("/orders", headers={"Journal-Sequence": "7"})
    assert (told.status_code, code(told)) == (503, "reads_behind")
    beyond = await gateway.http.get("/orders", headers={"Journal-Sequence": "8"})
    assert (beyond.status_code, code(beyond)) == (422, "unknown_sequence")


async def test_a_gateway_that_starts_waits_for_what_was_told_before(
    module_nats_server: NatsServer, database: str, gateway: Gateway
) -> None:
    """Its predecessor may have told somebody of anything that is in the journal."""
    gateway.matcher.sequence = 9
    async with running_gateway(module_nats_server.url, database, matcher_too=False) as fresh:
        assert code(await fresh.http.get("/orders")) == "reads_behind"


async def test_a_closed_order_is_not_an_unknown_one(gateway: Gateway, writer: asyncpg.Connection) -> None:
    order = await gateway.placed()
    path = f"/orders/{order['order_id']}"
    await gateway.http.delete(path)
    await record(gateway, writer, order, status="canceled")
    for response in (await gateway.http.delete(path), await gateway.http.put(path, json={"quantity": 5})):
        found = response.json()
        assert (response.status_code, found["code"]) == (409, "order_not_resting")
        assert (found["order_id"], found["order_status"]) == (order["order_id"], "canceled")
    never = await gateway.http.delete("/orders/99")
    assert (never.status_code, code(never)) == (404, "unknown_order")
    assert (await gateway.http.get("/orders/99")).status_code == 404


async def test_an_order_of_another_gateway_can_be_amended(
    module_nats_server: NatsServer, database: str, gateway: Gateway, writer: asyncpg.Connection
) -> None:
    order = await gateway.placed(client_order_id="c-1")
    await record(gateway, writer, order)
    async with running_gateway(module_nats_server.url, database, matcher_too=False) as other:
        assert (await other.http.put("/orders/99", json={"price": "99.00"})).status_code == 404
        amended = await other.http.put(f"/orders/{order['order_id']}", json={"price": "99.00"})
        assert (amended.status_code, amended.json()["price"]) == (200, "99.00")


async def test_an_unknown_result_is_found_by_its_client_order_id(gateway: Gateway, writer: asyncpg.Connection) -> None:
    order = await gateway.placed(client_order_id="c-1", account="bob")
    await record(gateway, writer, order)
    for path in ("/orders?account=bob&client_order_id=c-1", "/accounts/bob/orders?client_order_id=c-1"):
        found = (await gateway.http.get(path)).json()
        assert [item["order_id"] for item in found["items"]] == [order["order_id"]]
        assert found["next_cursor"] is None


async def answer(gateway: Gateway, subject: str, found: object) -> list[Any]:
    """Play the broadcaster on `subject`; returns the questions as they come in."""
    questions: list[Any] = []

    async def on_question(message: Msg) -> None:
        questions.append(json.loads(message.data))
        await gateway.nats.publish(message.reply, json.dumps(found).encode())

    await gateway.nats.subscribe(subject, cb=on_question)
    await gateway.nats.flush()
    return questions


async def test_depth_is_asked_for_as_of_what_was_told(gateway: Gateway) -> None:
    depth = {"symbol": "BTC-USD", "sequence": 2, "bids": [["100.00", "1.000"]], "asks": []}
    questions = await answer(gateway, "broadcaster.depth", depth)
    order = await gateway.placed()
    assert (await gateway.http.get("/market/BTC-USD/depth?levels=3")).json() == depth
    assert (await gateway.http.get("/market/BTC-USD/depth")).json() == depth
    told = order["sequence"]
    assert questions == [
        {"symbol": "BTC-USD", "min_sequence": told, "levels": 3},
        {"symbol": "BTC-USD", "min_sequence": told, "levels": 10},
    ]


async def test_a_broadcaster_that_is_behind(gateway: Gateway) -> None:
    await answer(gateway, "broadcaster.market", {"error": "behind", "sequence": 0})
    response = await gateway.http.get("/market/BTC-USD")
    assert (response.status_code, code(response)) == (503, "reads_behind")


async def test_a_market_that_is_not_there(gateway: Gateway) -> None:
    await answer(gateway, "broadcaster.market", {"error": "unknown_symbol"})
    response = await gateway.http.get("/market/NONE")
    assert (response.status_code, code(response)) == (404, "unknown_symbol")
