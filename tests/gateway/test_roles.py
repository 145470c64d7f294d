"""Every address of the REST interface against every role, on the whole running exchange: each gets what it must.

The table below is held against what the gateway really serves, so an address that is new must say who may use it. What
is refused must leave no trace, and whatever is answered to another account must not show that of anna.
"""

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import nats
import pytest

import gateway.service
from contracts.keys import Scope
from gateway.routes import Route
from gateway.site import served_files
from tests.support.gateways import running_gateway
from tests.support.keys import ADMIN, READ, TRADE, MadeKey, make_key, new_key, revoke_key
from tests.support.servers import NatsServer, run_apart, wait_until
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.stack

SYMBOL = "ROLES"
RULES = {"tick_size": "0.01", "lot_size": "0.001"}
PLACE = {"symbol": SYMBOL, "side": "buy", "price": "1.00", "quantity": "1", "account": "anna"}

NOT_GOOD = ("invalid key", "revoked key", "expired key", "signed-only key as bearer")
ROLES = ("no key", *NOT_GOOD, "read", "trade", "trade, signed", "trade of another account", "admin")


@dataclass(frozen=True)
class Endpoint:
    """`done`: the status for those who may. `other`: for one who may, but only for another account."""

    address: str
    scope: Scope | None
    done: int = 200
    other: int = 200
    query: str = ""
    body: Mapping[str, Any] | None = None

    @property
    def method(self) -> str:
        return self.address.split()[0]

    @property
    def path(self) -> str:
        return self.address.split()[1]


def public(*paths: str) -> list[Endpoint]:
    return [Endpoint(f"GET {path}", None) for path in paths]


ENDPOINTS = [
    *public("/health/live", "/health/ready"),
    *public("/", "/about", "/docs", "/docs/errors", "/docs/openapi.json", "/favicon.ico"),
    *(public(f"/static/{name}")[0] for name in served_files()),
    *public(
        "/config.json",
        "/limits",
        "/trades",
        "/instruments",
        "/instruments/{symbol}",
        "/market/{symbol}",
        "/market/{symbol}/depth",
    ),
    Endpoint("GET /market/{symbol}/candles", None, query="interval=1m"),
    Endpoint("GET /orders", Scope.READ),
    Endpoint("GET /orders/{order_id}", Scope.READ, other=404),
    Endpoint("GET /orders/{order_id}/history", Scope.READ, other=404),
    Endpoint("GET /orders/{order_id}/trades", Scope.READ, other=404),
    Endpoint("GET /orders/by-client-id/{client_order_id}", Scope.READ, other=404, query="account=anna"),
    Endpoint("GET /accounts/{account}", Scope.READ, other=403),
    Endpoint("GET /accounts/{account}/limits", Scope.READ, other=403),
    Endpoint("GET /accounts/{account}/orders", Scope.READ),
    Endpoint("GET /export/orders", Scope.READ),
    Endpoint("GET /export/trades", Scope.READ),
    Endpoint("GET /commands", Scope.READ, query="status=failed"),
    Endpoint("GET /commands/{command_id}", Scope.READ, other=404),
    Endpoint("POST /orders", Scope.TRADE, 201, 403, body=PLACE),
    Endpoint("DELETE /orders", Scope.TRADE, other=403, query="account=anna"),
    Endpoint("POST /orders/batch", Scope.TRADE, other=403, body={"items": [{"place": PLACE}], "all_or_nothing": True}),
    Endpoint("PUT /orders/{order_id}", Scope.TRADE, other=404, body={"quantity": "0.5"}),
    Endpoint("DELETE /orders/{order_id}", Scope.TRADE, other=404),
    Endpoint("POST /orders/{order_id}/replace", Scope.TRADE, 201, 403, body=PLACE),
    Endpoint(
        "PUT /orders/by-client-id/{client_order_id}", Scope.TRADE, other=403, query="account=anna", body={"price": "2"}
    ),
    Endpoint("DELETE /orders/by-client-id/{client_order_id}", Scope.TRADE, other=403, query="account=anna"),
    Endpoint("PUT /accounts/{account}/cancel-all-after", Scope.TRADE, other=403, body={"seconds": 3600}),
    Endpoint("PUT /accounts/{account}/limits", Scope.ADMIN, body={"max_open_orders": 1_000_000}),
    Endpoint("PUT /accounts/{account}/kill-switch", Scope.ADMIN, body={"engaged": False}),
    Endpoint("PUT /instruments/{symbol}", Scope.ADMIN, body=RULES),
    Endpoint("PUT /instruments/{symbol}/status", Scope.ADMIN, body={"status": "trading"}),
]


def expected(endpoint: Endpoint, role: str) -> int:
    if endpoint.path.startswith("/health/"):
        return endpoint.done
    if role in NOT_GOOD:
        return 401
    if endpoint.scope is None:
        return endpoint.done
    if role == "no key":
        return 401
    if role == "admin":
        return endpoint.done
    if endpoint.scope is Scope.ADMIN or (endpoint.scope is Scope.TRADE and role == "read"):
        return 403
    return endpoint.other if role == "trade of another account" else endpoint.done


async def test_the_table_has_every_address_with_its_scope(
    module_nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Route] = []
    create_app = gateway.service.create_app
    monkeypatch.setattr(gateway.service, "create_app", lambda routes: create_app(served.extend(routes) or served))
    async with running_gateway(module_nats_server.url):
        found = {f"{route.method} {re.sub(r':[a-z]+', '', route.path)}": route.scope for route in served}
    assert found == {endpoint.address: endpoint.scope for endpoint in ENDPOINTS}


# The exchange, with a key for each role


@dataclass
class Exchange:
    http: httpx.Client
    keys: dict[str, MadeKey] = field(default_factory=dict)

    def ask(self, role: str, method: str, target: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        content = b"" if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"content-type": "application/json"}
        if role == "trade, signed":
            headers |= self.keys["trade"].signed(method, target, content)
        elif role != "no key":
            headers |= self.keys[role].bearer
        return self.http.request(method, target, content=content, headers=headers)

    def done(self, role: str, method: str, target: str, body: Mapping[str, Any] | None = None) -> Any:
        response = self.ask(role, method, target, body)
        assert response.is_success, response.text
        return response.json()

    def journal_sequence(self) -> int:
        sequence: int = self.http.get("/health/ready").json()["checks"]["matcher"]["sequence"]
        return sequence


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """One with keys, which the stack that all tests share must not have."""
    with running_stack() as started:
        yield started


@pytest.fixture(scope="module")
def exchange(stack: Stack) -> Iterator[Exchange]:
    keys = run_apart(lambda: make_keys(stack.nats))
    with httpx.Client(base_url=stack.http, timeout=30, trust_env=False) as http:
        exchange = Exchange(http, keys)
        assert wait_until(lambda: "revoked" in exchange.ask("revoked key", "GET", "/limits").text)
        exchange.done("admin", "PUT", f"/instruments/{SYMBOL}", RULES)
        yield exchange


async def make_keys(nats_url: str) -> dict[str, MadeKey]:
    connection = await nats.connect(nats_url)
    keys = {
        "read": await make_key(connection, READ),
        "trade": await make_key(connection, TRADE),
        "admin": await make_key(connection, ADMIN),
        "trade of another account": await make_key(connection, TRADE, ("zoe",)),
        "signed-only key as bearer": await make_key(connection, ADMIN, signed_only=True),
        "expired key": await make_key(connection, ADMIN, expires_at=1),
        "invalid key": new_key(ADMIN),
        "revoked key": await make_key(connection, ADMIN),
    }
    await revoke_key(connection, keys["revoked key"])
    await connection.close()
    return keys


@pytest.fixture(scope="module")
def command_id(exchange: Exchange) -> str:
    """A request of anna's that was carried out later."""
    headers = exchange.keys["trade"].bearer | {"prefer": "respond-async"}
    stored = exchange.http.post("/orders", json=PLACE, headers=headers)
    assert stored.status_code == 202, stored.text
    found: str = stored.json()["command_id"]
    assert wait_until(lambda: exchange.done("trade", "GET", f"/commands/{found}")["status"] == "completed")
    return found


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.address)
def test_each_role_gets_what_it_must(endpoint: Endpoint, role: str, exchange: Exchange, command_id: str) -> None:
    name = f"annas-{secrets.token_hex(6)}"
    order = exchange.done("admin", "POST", "/orders", PLACE | {"client_order_id": name})
    path = endpoint.path.format(
        symbol=SYMBOL, account="anna", order_id=order["order_id"], client_order_id=name, command_id=command_id
    )
    target = f"{path}?{endpoint.query}" if endpoint.query else path
    before = exchange.journal_sequence()
    response = exchange.ask(role, endpoint.method, target, endpoint.body)
    assert response.status_code == expected(endpoint, role), response.text
    if response.is_error:
        codes = {401: "unauthorized", 403: "forbidden"}
        assert response.json()["code"] == codes.get(response.status_code, response.json()["code"])
        assert exchange.journal_sequence() == before
        after = exchange.done("admin", "GET", f"/orders/{order['order_id']}")
        assert after == {field: value for field, value in order.items() if field != "trades"}
    elif endpoint.scope in (Scope.TRADE, Scope.ADMIN):
        assert exchange.journal_sequence() > before
    if role not in ("read", "trade", "trade, signed", "admin") and name not in path:
        assert name not in response.text


# What a key's lists show


def placed(exchange: Exchange, account: str, **fields: Any) -> Any:
    given = {"account": account, "client_order_id": f"{account}s-{secrets.token_hex(6)}"}
    return exchange.done("admin", "POST", "/orders", PLACE | given | fields)


@pytest.fixture(scope="module")
def orders(exchange: Exchange) -> dict[str, list[Any]]:
    """Open, canceled and traded orders of both, some of them with each other."""
    orders: dict[str, list[Any]] = {"anna": [], "zoe": []}
    for account, other in (("anna", "zoe"), ("zoe", "anna")):
        orders[account] += [placed(exchange, account), placed(exchange, account, time_in_force="IOC")]
        orders[account].append(placed(exchange, account, price="50.00"))
        orders[other].append(placed(exchange, other, side="sell", price="50.00"))
    return orders


LISTS = [
    "/orders",
    "/orders?limit=2",
    "/orders?account=anna",
    "/orders?account=anna&status=open",
    "/orders?symbol=ROLES&side=buy",
    "/orders?status=filled",
    "/orders?client_order_id={name}",
    "/orders?client_order_id={name}&account=anna",
    "/accounts/anna/orders",
    "/accounts/anna/orders?status=canceled",
    "/accounts/zoe/orders",
    "/export/orders?format=ndjson",
    "/export/orders?format=csv",
    "/export/orders?format=csv&account=anna",
    "/export/orders?format=ndjson&account=zoe",
    "/commands?status=failed",
    "/accounts/zoe",
    "/trades",
    "/export/trades?format=csv",
    "/export/trades?format=csv&account=anna",
]


@pytest.mark.parametrize("target", LISTS)
def test_a_keys_lists_never_show_another_accounts_orders(
    target: str, exchange: Exchange, orders: dict[str, list[Any]]
) -> None:
    name = orders["anna"][0]["client_order_id"]
    response = exchange.ask("trade of another account", "GET", target.format(name=name))
    assert response.status_code in (200, 403), response.text
    assert "annas-" not in response.text.replace(name, "") if name in target else "annas-" not in response.text
    if response.is_success and target.startswith(("/orders", "/accounts/anna")):
        assert {order["account"] for order in response.json()["items"]} <= {"zoe"}


def test_its_own_orders_are_all_there(exchange: Exchange, orders: dict[str, list[Any]]) -> None:
    shown = exchange.done("trade of another account", "GET", "/orders?limit=1000")["items"]
    assert {order["order_id"] for order in shown} == {order["order_id"] for order in orders["zoe"]}
    exported = exchange.ask("trade of another account", "GET", "/export/orders?format=ndjson").text.splitlines()
    assert {json.loads(line)["order_id"] for line in exported} == {order["order_id"] for order in orders["zoe"]}


def test_pages_of_a_list_go_through_ones_own_orders_only(exchange: Exchange, orders: dict[str, list[Any]]) -> None:
    shown, cursor = [], ""
    while True:
        page = exchange.done("trade of another account", "GET", f"/orders?limit=1{cursor}")
        shown += [order["order_id"] for order in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert shown == sorted((order["order_id"] for order in orders["zoe"]), reverse=True)


def test_canceling_all_is_all_of_ones_own(exchange: Exchange) -> None:
    anna, zoe = placed(exchange, "anna"), placed(exchange, "zoe")
    exchange.done("trade of another account", "DELETE", "/orders")
    assert exchange.done("admin", "GET", f"/orders/{anna['order_id']}")["status"] == "open"
    assert exchange.done("admin", "GET", f"/orders/{zoe['order_id']}")["status"] == "canceled"


def test_in_a_batch_and_a_replacement_anothers_order_is_not_there(exchange: Exchange) -> None:
    order_id = placed(exchange, "anna")["order_id"]
    role, own = "trade of another account", PLACE | {"account": "zoe"}
    replaced = exchange.ask(role, "POST", f"/orders/{order_id}/replace", own)
    assert (replaced.status_code, replaced.json()["code"]) == (404, "unknown_order")
    items = [{"cancel": {"order_id": order_id}}, {"amend": {"order_id": order_id, "price": "2"}}, {"place": PLACE}]
    done = exchange.done(role, "POST", "/orders/batch", {"items": items})
    assert [item["status"] for item in done["items"]] == [404, 404, 403]
    assert exchange.done("admin", "GET", f"/orders/{order_id}")["status"] == "open"


def test_what_is_carried_out_later_is_carried_out_for_whoever_sent_it(exchange: Exchange) -> None:
    order_id = placed(exchange, "anna")["order_id"]
    role = "trade of another account"
    headers = exchange.keys[role].bearer | {"prefer": "respond-async"}
    response = exchange.http.delete(f"/orders/{order_id}", headers=headers)
    assert response.status_code in (202, 404), response.text
    if response.status_code == 202:
        target = f"/commands/{response.json()['command_id']}"
        assert wait_until(lambda: exchange.done(role, "GET", target)["status"] != "pending")
        assert exchange.done(role, "GET", target)["problem"]["code"] == "unknown_order"
    assert exchange.done("admin", "GET", f"/orders/{order_id}")["status"] == "open"
