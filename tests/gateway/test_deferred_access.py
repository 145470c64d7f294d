"""Whose deferred commands are whose: carried out with the access they came with, seen by those they concern only."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from tests.support.deferral import ASYNC, ORDER, command, defer, settled
from tests.support.gateways import Gateway, running_gateway
from tests.support.keys import ADMIN, READ, TRADE, make_key, revoke_key
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack

KEYS: dict[str, tuple[Any, Any]] = {
    "anna": (TRADE, ("anna",)),
    "anna's reader": (READ, ("anna",)),
    "ben": (TRADE, ("ben",)),
    "both": (TRADE, ("anna", "ben")),
    "admin": (ADMIN, None),
}


class People:
    """HTTP clients, each with a key of its own."""

    def __init__(self, gateway: Gateway, clients: dict[str, httpx.AsyncClient]) -> None:
        self.gateway = gateway
        self._clients = clients

    def __getitem__(self, name: str) -> httpx.AsyncClient:
        return self._clients[name]


@pytest.fixture
async def people(module_nats_server: NatsServer) -> AsyncIterator[People]:
    async with running_gateway(module_nats_server.url) as gateway, AsyncExitStack() as clients:
        made = {name: await make_key(gateway.nats, *given) for name, given in KEYS.items()}

        def client(headers: dict[str, str]) -> httpx.AsyncClient:
            return httpx.AsyncClient(base_url=gateway.http.base_url, headers=headers, trust_env=False, timeout=30)

        opened = {name: await clients.enter_async_context(client(each.bearer)) for name, each in made.items()}
        opened["nobody"] = gateway.http
        for name in KEYS:
            await until(opened[name], "/orders/x", lambda status: status != 401)
        yield People(gateway, opened)
        for each in made.values():
            await revoke_key(gateway.nats, each)


async def until(http: httpx.AsyncClient, path: str, condition: Callable[[int], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition((await http.get(path)).status_code):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def sees(http: httpx.AsyncClient, command_id: str) -> bool:
    response = await http.get(f"/commands/{command_id}")
    listed = await http.get("/commands?status=failed&limit=1000")
    if response.status_code == 200:
        assert command_id in [item["command_id"] for item in listed.json()["items"]]
        return True
    if response.status_code == 404:
        assert response.json()["code"] == "unknown_command"
        assert command_id not in [item["command_id"] for item in listed.json()["items"]]
    return False


@pytest.mark.parametrize(
    ("sender", "readers"),
    [
        ("anna", {"anna", "anna's reader", "both", "admin"}),
        ("ben", {"ben", "both", "admin"}),
        ("both", {"both", "admin"}),
        ("admin", {"admin"}),
    ],
)
async def test_a_command_is_seen_by_those_whose_accounts_it_could_touch(
    people: People, sender: str, readers: set[str]
) -> None:
    accepted = await defer(people[sender], "DELETE", "/orders/999")
    found = await settled(people[sender], accepted["command_id"])
    assert found["problem"]["code"] == "unknown_order"
    assert {name for name in (*KEYS, "nobody") if await sees(people[name], accepted["command_id"])} == readers


async def test_it_acts_for_whoever_sent_it(people: People) -> None:
    """By then the gateway acts by itself, and must not cancel for Ben what only he may not see."""
    accepted = await defer(people["anna"], "POST", "/orders", ORDER)
    placed = (await settled(people["anna"], accepted["command_id"]))["result"]
    assert placed["account"] == "anna", "the only account of the key"
    for method, path, body in (
        ("DELETE", f"/orders/{placed['order_id']}", None),
        ("PUT", f"/orders/{placed['order_id']}", {"price": "99"}),
        ("POST", f"/orders/{placed['order_id']}/replace", ORDER),
    ):
        found = await settled(people["ben"], (await defer(people["ben"], method, path, body))["command_id"])
        assert (found["status"], found["problem"]["code"]) == ("failed", "unknown_order"), (method, found)
    everything = await settled(people["ben"], (await defer(people["ben"], "DELETE", "/orders"))["command_id"])
    assert everything["result"]["canceled"] == 0
    everything = await settled(people["anna"], (await defer(people["anna"], "DELETE", "/orders"))["command_id"])
    assert everything["result"]["canceled"] == 1


@pytest.mark.parametrize(
    ("name", "status", "code"), [("nobody", 401, "unauthorized"), ("anna's reader", 403, "forbidden")]
)
async def test_who_may_not_trade_is_refused_at_once(people: People, name: str, status: int, code: str) -> None:
    for method, path, body in (("POST", "/orders", ORDER), ("DELETE", "/orders", None)):
        response = await people[name].request(method, path, json=body, headers=ASYNC)
        assert (response.status_code, response.json()["code"]) == (status, code)


async def test_another_account_is_refused_at_once(people: People) -> None:
    response = await people["ben"].post("/orders", json=ORDER | {"account": "anna"}, headers=ASYNC)
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


async def test_each_has_keys_of_its_own(people: People) -> None:
    """The same Idempotency-Key of two people names two commands, and tells neither of the other's."""
    anna = await defer(people["anna"], "POST", "/orders", ORDER, key="k")
    ben = await defer(people["ben"], "POST", "/orders", ORDER | {"price": "98"}, key="k")
    assert anna["command_id"] != ben["command_id"]
    for name, accepted in (("anna", anna), ("ben", ben)):
        found = await settled(people[name], accepted["command_id"])
        assert (found["status"], found["result"]["account"]) == ("completed", name)


async def test_a_key_revoked_after_the_202_does_not_take_it_back(people: People) -> None:
    gateway = people.gateway
    made = await make_key(gateway.nats, TRADE, ("carl",))
    carl = httpx.AsyncClient(base_url=gateway.http.base_url, headers=made.bearer, trust_env=False, timeout=30)
    async with carl:
        await until(carl, "/orders/x", lambda status: status != 401)
        await gateway.matcher.go_away()
        accepted = await defer(carl, "POST", "/orders", ORDER)
        await revoke_key(gateway.nats, made)
        await until(carl, "/orders/x", lambda status: status == 401)
        await gateway.matcher.come_back()
    assert (await settled(people["admin"], accepted["command_id"]))["result"]["account"] == "carl"
    assert (await command(people["admin"], accepted["command_id"]))["status"] == "completed"
