"""Who may do what at /ws: keys at the door and later, private streams, keys that end."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from msgspec.structs import replace

from contracts.keys import ID_BYTES, SECRET_BYTES, KeyRecord, Scope, SignedRequest, format_key, hash_secret, sign
from runtime.clock import now
from runtime.connection import close, connect
from runtime.keys import KeyStore
from tests.support.streams import StreamExchange, check_frame, stream_exchange

pytestmark = pytest.mark.stack

ORDER = {"side": "buy", "price": "5.00", "quantity": "1"}


@pytest.fixture(scope="module")
def exchange() -> Iterator[StreamExchange]:
    with stream_exchange() as started:
        yield started


@asynccontextmanager
async def key_store(exchange: StreamExchange) -> AsyncIterator[KeyStore]:
    connection = await connect(exchange.nats.url, "test")
    try:
        yield KeyStore(connection)
    finally:
        await close(connection)


async def make_key(exchange: StreamExchange, *scopes: Scope, accounts: tuple[str, ...] | None, **more: Any) -> str:
    """A new key, which the broadcaster knows already."""
    key_id, secret = secrets.token_hex(ID_BYTES), secrets.token_hex(SECRET_BYTES)
    record = KeyRecord(
        id=key_id, secret_hash=hash_secret(secret), scopes=scopes, accounts=accounts, created_at=now(), **more
    )
    async with key_store(exchange) as store:
        await store.write(record)
    key = format_key(key_id, secret)
    async with asyncio.timeout(60):
        while True:
            if more.get("signed_only") or await is_admitted(exchange, key):
                return key
            await asyncio.sleep(0.02)


async def revoke(exchange: StreamExchange, key: str) -> None:
    key_id = key.split("_")[1]
    async with key_store(exchange) as store:
        [entry] = [each for each in await store.all() if each.id == key_id]
        assert entry.record is not None
        await store.write(replace(entry.record, revoked_at=now()), after=entry.sequence)


async def is_admitted(exchange: StreamExchange, key: str) -> bool:
    try:
        async with exchange.client(f"/ws?key={key}") as client:
            return bool((await client.request("ping"))["type"] == "pong")
    except websockets.ConnectionClosed:
        return False


@pytest.fixture
async def keys(exchange: StreamExchange) -> dict[str, str]:
    """One of each kind. From the first one on, nobody does anything without."""
    await exchange.until_served()
    return {
        "anna": await make_key(exchange, Scope.READ, Scope.TRADE, accounts=("anna",)),
        "both": await make_key(exchange, Scope.READ, accounts=("anna", "ben")),
        "ben": await make_key(exchange, Scope.TRADE, accounts=("ben",)),
        "admin": await make_key(exchange, Scope.ADMIN, accounts=None),
        "reader": await make_key(exchange, Scope.READ, accounts=None),
    }


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_a_private_stream_shows_its_own_accounts_only(exchange: StreamExchange, keys: dict[str, str]) -> None:
    """Goal: whatever is placed, nobody sees an order that the key does not cover, in snapshots and updates alike."""
    covered = {"anna": {"anna"}, "both": {"anna", "ben"}, "ben": {"ben"}, "admin": {"anna", "ben"}}
    async with (
        exchange.client(headers=bearer(keys["anna"])) as anna,
        exchange.client(headers=bearer(keys["ben"])) as ben,
        exchange.client(headers=bearer(keys["both"])) as both,
        exchange.client(headers=bearer(keys["admin"])) as admin,
        exchange.client(headers=bearer(keys["reader"])) as reader,
    ):
        clients = {"anna": anna, "ben": ben, "both": both, "admin": admin}
        before = [await client.request("place", **ORDER) for client in (anna, ben)]
        assert [answer["order"]["account"] for answer in before] == ["anna", "ben"]
        for name, client in clients.items():
            snapshot = await client.subscribe("orders")
            assert {order["account"] for order in snapshot["orders"]} == covered[name]
        await reader.subscribe("orders", account="ben")
        await anna.request("place", **ORDER | {"price": "6.00"})
        await ben.request("place", side="sell", price="6.00", quantity="2")
        for name, client in clients.items():
            await client.heartbeat()
            await client.heartbeat()
            updates = [each for each in client.seen if each.get("channel") == "orders" and each["type"] == "update"]
            assert {update["order"]["account"] for update in updates} == covered[name]
            assert len(updates) == {"anna": 2, "ben": 2, "both": 4, "admin": 4}[name]
        await reader.heartbeat()
        await reader.heartbeat()
        updates = [each for each in reader.seen if each.get("type") == "update"]
        assert {update["order"]["account"] for update in updates} == {"ben"}


@pytest.mark.parametrize(
    ("name", "op", "fields", "code"),
    [
        (None, "subscribe", {"channel": "orders"}, "unauthorized"),
        (None, "subscribe", {"channel": "orders", "account": "anna"}, "unauthorized"),
        (None, "place", ORDER, "unauthorized"),
        (None, "cancel", {"order_id": 1}, "unauthorized"),
        (None, "cancel_all", {}, "unauthorized"),
        (None, "cancel_on_disconnect", {}, "unauthorized"),
        (None, "batch", {"items": [{"place": ORDER}]}, "unauthorized"),
        (None, "cancel_all_after", {"seconds": 1}, "unauthorized"),
        ("anna", "subscribe", {"channel": "orders", "account": "ben"}, "forbidden"),
        ("anna", "place", ORDER | {"account": "ben"}, "forbidden"),
        ("anna", "cancel_all", {"account": "ben"}, "forbidden"),
        ("anna", "cancel_all_after", {"account": "ben", "seconds": 1}, "forbidden"),
        ("both", "place", ORDER | {"account": "anna"}, "forbidden"),
        ("both", "cancel", {"order_id": 1}, "forbidden"),
        ("both", "amend", {"order_id": 1, "price": "1"}, "forbidden"),
        ("both", "cancel_all", {}, "forbidden"),
        ("both", "cancel_on_disconnect", {}, "forbidden"),
        ("reader", "place", ORDER, "forbidden"),
        ("reader", "batch", {"items": [{"place": ORDER}]}, "forbidden"),
        ("reader", "cancel_all_after", {"seconds": 1}, "forbidden"),
    ],
)
async def test_what_a_key_may_not_do(
    exchange: StreamExchange, keys: dict[str, str], name: str | None, op: str, fields: dict[str, Any], code: str
) -> None:
    async with exchange.client(headers=bearer(keys[name]) if name else None) as client:
        assert (await client.refused(op, **fields))["code"] == code


async def test_orders_of_others_look_as_if_they_were_not_there(exchange: StreamExchange, keys: dict[str, str]) -> None:
    async with (
        exchange.client(headers=bearer(keys["anna"])) as anna,
        exchange.client(headers=bearer(keys["ben"])) as ben,
    ):
        order_id = (await anna.request("place", **ORDER, client_order_id=secrets.token_hex(8)))["order"]["order_id"]
        never = await ben.refused("cancel", order_id=10**9)
        for op, fields in (("cancel", {}), ("amend", {"price": "1.00"}), ("amend", {"price": "1.001"})):
            problem = await ben.refused(op, order_id=order_id, **fields)
            assert problem["code"] == never["code"] == "unknown_order"
        await anna.request("cancel", order_id=order_id)
        assert (await ben.refused("cancel", order_id=order_id))["code"] == "unknown_order"


async def test_market_data_needs_no_key(exchange: StreamExchange, keys: dict[str, str]) -> None:
    async with exchange.client() as client:
        await client.subscribe("book", symbol="BTC-USD")
        await client.subscribe("ticker", symbol="BTC-USD")
        await client.request("subscribe", channel="trades")


async def test_a_client_may_say_later_who_it_is(exchange: StreamExchange, keys: dict[str, str]) -> None:
    async with exchange.client() as client:
        answer = await client.request("auth", key=keys["both"])
        assert (answer["scopes"], answer["accounts"]) == (["read"], ["anna", "ben"])
        assert (await client.subscribe("orders", account="anna"))["accounts"] == ["anna"]
        assert (await client.refused("place", **ORDER))["code"] == "forbidden"
        await client.request("auth", key=keys["ben"])
        assert [each["channel"] for each in (await client.request("list"))["subscriptions"]] == []
        assert (await client.request("place", **ORDER))["order"]["account"] == "ben"


def signature(key: str, target: str) -> tuple[str, str, str]:
    """Id, timestamp and signature."""
    _, key_id, secret = key.split("_")
    timestamp = str(now() // 1000)
    return key_id, timestamp, sign(hash_secret(secret), SignedRequest(timestamp, "GET", target.encode(), b""))


async def test_signed(exchange: StreamExchange, keys: dict[str, str]) -> None:
    key = await make_key(exchange, Scope.READ, accounts=("anna",), signed_only=True)
    async with exchange.client() as client:
        async with asyncio.timeout(60):
            while True:
                key_id, timestamp, signed = signature(key, "/ws")
                message = {"key_id": key_id, "timestamp": timestamp, "signature": signed}
                answer = await client.request("auth", **message)
                if answer["type"] == "authenticated":
                    break
        assert answer["key_id"] == key_id
        assert "before" in (await client.refused("auth", **message))["detail"]
        assert "itself" in (await client.refused("auth", key=key))["detail"]
    key_id, timestamp, signed = signature(key, "/ws")
    headers = {"Pricetime-Key": f"pt_{key_id}", "Pricetime-Timestamp": timestamp, "Pricetime-Signature": signed}
    async with exchange.client(headers=headers) as client:
        await client.subscribe("orders", account="anna")


@pytest.mark.parametrize("how", ["header", "query"])
async def test_a_wrong_key_is_told_at_the_door(exchange: StreamExchange, keys: dict[str, str], how: str) -> None:
    wrong = keys["anna"][:-1] + ("0" if keys["anna"][-1] != "0" else "1")
    path, headers = ("/ws", bearer(wrong)) if how == "header" else (f"/ws?key={wrong}", None)
    url = f"ws://127.0.0.1:{exchange.port}{path}"
    async with websockets.connect(url, proxy=None, additional_headers=headers) as socket:
        told = json.loads(await socket.recv())
        check_frame(told)
        assert told["problem"]["code"] == "unauthorized"
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (4001, "unauthorized")


async def test_a_key_that_is_revoked_ends_its_connections_and_no_others(
    exchange: StreamExchange, keys: dict[str, str]
) -> None:
    key = await make_key(exchange, Scope.TRADE, accounts=("carl",))
    async with (
        exchange.client(headers=bearer(key)) as carl,
        exchange.client(headers=bearer(keys["anna"])) as anna,
        exchange.client() as somebody,
    ):
        await carl.subscribe("orders")
        await revoke(exchange, key)
        code, reason = await carl.until_closed()
        assert code == 4001
        assert reason.startswith("key_ended")
        assert carl.seen[-1]["problem"]["code"] == "key_ended"
        await anna.request("ping")
        await somebody.request("ping")
    assert not await is_admitted(exchange, key)


async def test_the_first_key_ends_connections_that_could_do_everything_without() -> None:
    with stream_exchange() as exchange:
        await exchange.until_served()
        async with exchange.client() as client:
            await client.request("place", **ORDER)
            await make_key(exchange, Scope.ADMIN, accounts=None)
            assert (await client.until_closed())[0] == 4001


async def test_a_key_has_its_rate(exchange: StreamExchange, keys: dict[str, str]) -> None:
    key = await make_key(exchange, Scope.TRADE, accounts=("dora",), rate=5)

    async with exchange.client(headers=bearer(key)) as one, exchange.client(headers=bearer(key)) as other:
        for _ in range(5):
            await one.request("place", **ORDER)
        batch = {"items": [{"place": ORDER}] * 100}  # more than a full bucket holds: let through, and then in debt
        while (await one.request("batch", **batch))["type"] == "error":
            pass
        for client in (one, other):
            problem = await client.refused("place", **ORDER)
            assert problem["code"] == "too_many_requests"
            assert "5 requests a second" in problem["detail"]
