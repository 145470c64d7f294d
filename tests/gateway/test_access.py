"""Who asks, and how often, over HTTP: keys, signatures and rate limits at the gateway's door."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import nats
import pytest

from entry import keys as entry_keys
from entry.problems import CODES
from tests.support.gateways import Gateway, running_gateway
from tests.support.keys import ADMIN, READ, TRADE, MadeKey, make_key, new_key, revoke_key
from tests.support.servers import NatsServer, remove_stream

pytestmark = pytest.mark.stack

ORDER = {"side": "buy", "price": "100.00", "quantity": "1"}
BODY = json.dumps(ORDER).encode()
JSON = {"content-type": "application/json"}


@pytest.fixture
async def gateway(module_nats_server: NatsServer) -> AsyncIterator[Gateway]:
    """One that begins without keys."""
    connection = await nats.connect(module_nats_server.url)
    await remove_stream(connection, "KV_KEYS")
    await connection.close()
    async with running_gateway(module_nats_server.url) as running:
        yield running


def problem(response: httpx.Response, status: int, code: str) -> str:
    assert response.headers["content-type"] == "application/problem+json", response.text
    found = response.json()
    assert (response.status_code, found["status"], found["code"]) == (status, status, code), response.text
    assert found["title"] == CODES[code].title
    if status == 401:
        assert response.headers["www-authenticate"] == "Bearer"
    return str(found["detail"])


async def eventually(ask: Callable[[], Awaitable[httpx.Response]], status: int) -> httpx.Response:
    """The first answer with this status: that a key was made or revoked is known within a moment."""
    async with asyncio.timeout(60):
        while (response := await ask()).status_code != status:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return response


async def known(gateway: Gateway, *arguments: Any, **fields: Any) -> MadeKey:
    """A key that the gateway knows already."""
    made = await make_key(gateway.nats, *arguments, **fields)
    await eventually(lambda: gateway.http.get("/limits", headers=made.signed("GET", "/limits")), 200)
    return made


async def test_everything_is_open_until_the_first_key_is_made(gateway: Gateway) -> None:
    order_id = (await gateway.placed(account="anybody"))["order_id"]
    made = await make_key(gateway.nats)
    refused = await eventually(lambda: gateway.place(account="anna"), 401)
    assert "pricetime keys create" in problem(refused, 401, "unauthorized")
    placed = await gateway.http.post("/orders", json=ORDER | {"account": "anna"}, headers=made.bearer)
    assert placed.status_code == 201
    foreign = await gateway.http.delete(f"/orders/{order_id}", headers=made.bearer)
    problem(foreign, 404, "unknown_order")
    assert (await gateway.http.get("/instruments")).status_code == 200  # public all the same


async def test_revoking_the_last_key_opens_nothing(gateway: Gateway) -> None:
    made = await known(gateway)
    await revoke_key(gateway.nats, made)
    refused = await eventually(lambda: gateway.http.get("/instruments", headers=made.bearer), 401)
    assert "revoked" in problem(refused, 401, "unauthorized")
    problem(await gateway.place(), 401, "unauthorized")


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer pt_1", "Basic cHQ6eA==", new_key().key, f"Bearer {new_key().key}"],
    ids=["empty", "no key", "too short", "basic", "without Bearer", "unknown"],
)
async def test_a_key_that_is_none_is_refused_even_where_none_is_needed(gateway: Gateway, authorization: str) -> None:
    """With or without keys: who sends one expects it to be looked at."""
    headers = {"authorization": authorization}
    for _ in range(2):
        for path in ("/instruments", "/orders", "/"):
            problem(await gateway.http.get(path, headers=headers), 401, "unauthorized")
        await known(gateway)


async def test_the_scheme_is_read_in_any_case(gateway: Gateway) -> None:
    made = await known(gateway)
    for scheme in ("bearer", "BEARER"):
        response = await gateway.http.get("/limits", headers={"authorization": f"{scheme} {made.key}"})
        assert response.status_code == 200


async def test_health_is_told_to_anybody_and_never_limited(gateway: Gateway) -> None:
    await known(gateway)
    response = await gateway.http.get("/health/live", headers={"authorization": "Bearer nonsense"})
    assert response.status_code == 200
    assert "ratelimit-limit" not in response.headers


async def test_a_scope_that_is_missing_is_named(gateway: Gateway) -> None:
    made = await known(gateway, READ)
    refused = await gateway.http.post("/orders", json=ORDER, headers=made.bearer)
    assert "scope trade" in problem(refused, 403, "forbidden")
    trader = await known(gateway, TRADE)
    refused = await gateway.http.post("/orders", json=ORDER | {"account": "ben"}, headers=trader.bearer)
    assert "anna" in problem(refused, 403, "forbidden")


async def test_an_order_without_account_is_for_the_only_one_of_the_key(gateway: Gateway) -> None:
    made = await known(gateway)
    placed = await gateway.http.post("/orders", json=ORDER, headers=made.bearer)
    assert placed.json()["account"] == "anna"


async def test_an_expired_key_says_so(gateway: Gateway) -> None:
    made = await make_key(gateway.nats, expires_at=1)
    refused = await eventually(lambda: gateway.http.get("/orders"), 401)
    assert "expired" not in problem(refused, 401, "unauthorized")
    assert "expired" in problem(await gateway.http.get("/orders", headers=made.bearer), 401, "unauthorized")


# Signed requests


async def test_a_signed_order_is_placed_once(gateway: Gateway) -> None:
    made = await known(gateway, signed_only=True)
    headers = JSON | made.signed("POST", "/orders", BODY)
    placed = await gateway.http.post("/orders", content=BODY, headers=headers)
    assert placed.status_code == 201, placed.text
    assert placed.json()["account"] == "anna"
    again = await gateway.http.post("/orders", content=BODY, headers=headers)
    problem(again, 401, "signature_repeated")
    assert sum(len(commands) for commands in gateway.matcher.requests) == 1


async def test_a_retry_is_signed_anew_and_recognised_by_its_client_order_id(gateway: Gateway) -> None:
    made = await known(gateway, signed_only=True)
    body = json.dumps(ORDER | {"client_order_id": "mine"}).encode()
    first, second = [
        await gateway.http.post(
            "/orders", content=body, headers=JSON | made.signed("POST", "/orders", body, milliseconds=ms)
        )
        for ms in (int(time.time() * 1000), int(time.time() * 1000) + 1)
    ]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert second.headers["idempotent-replayed"] == "true"


async def test_what_is_signed_is_what_was_sent(gateway: Gateway) -> None:
    made = await known(gateway, signed_only=True)
    target = "/orders/by-client-id/a%2Db?account=anna"
    response = await gateway.http.delete(target, headers=made.signed("DELETE", target))
    problem(response, 503, "history_unavailable")  # beyond the door, where there is no Postgres
    for other in ("/orders/by-client-id/a-b?account=anna", "/orders/by-client-id/a%2Db", "/orders?account=anna"):
        response = await gateway.http.delete(target, headers=made.signed("DELETE", other))
        problem(response, 401, "signature_invalid")
    response = await gateway.http.delete(target, headers=made.signed("PUT", target))
    problem(response, 401, "signature_invalid")
    response = await gateway.http.post(
        "/orders", content=BODY, headers=JSON | made.signed("POST", "/orders", BODY + b" ")
    )
    problem(response, 401, "signature_invalid")
    assert gateway.matcher.requests == []


async def test_a_key_made_for_signing_is_not_taken_itself(gateway: Gateway) -> None:
    made = await known(gateway, signed_only=True)
    refused = await gateway.http.get("/orders", headers=made.bearer)
    assert "sign" in problem(refused, 401, "unauthorized")
    other = await known(gateway)
    assert (await gateway.http.get("/limits", headers=other.signed("GET", "/limits"))).status_code == 200


@pytest.mark.parametrize("off_seconds", [-6, 6, -3600])
async def test_a_timestamp_outside_the_window_is_refused(gateway: Gateway, off_seconds: int) -> None:
    made = await known(gateway)
    headers = made.signed("GET", "/limits", milliseconds=int((time.time() + off_seconds) * 1000))
    problem(await gateway.http.get("/limits", headers=headers), 401, "timestamp_outside_window")


async def test_half_a_signature_is_refused(gateway: Gateway) -> None:
    made = await known(gateway)
    headers = made.signed("GET", "/limits")
    for missing in headers:
        rest = {name: value for name, value in headers.items() if name != missing}
        problem(await gateway.http.get("/limits", headers=rest), 401, "unauthorized")
    problem(await gateway.http.get("/limits", headers=headers | made.bearer), 401, "unauthorized")
    twice = [*headers.items(), ("pricetime-key", f"pt_{made.id}")]
    problem(await gateway.http.get("/limits", headers=twice), 401, "unauthorized")
    stranger = new_key().signed("GET", "/limits")
    problem(await gateway.http.get("/limits", headers=stranger), 401, "unauthorized")
    nonsense = headers | {"pricetime-key": "anna"}
    problem(await gateway.http.get("/limits", headers=nonsense), 401, "unauthorized")


async def test_a_signed_body_that_is_too_large_is_not_read_into_memory(module_nats_server: NatsServer) -> None:
    async with running_gateway(module_nats_server.url, max_body_bytes=1000) as gateway:
        made = await known(gateway)
        body = b" " * 1001
        refused = await gateway.http.post("/orders", content=body, headers=JSON | made.signed("POST", "/orders", body))
        problem(refused, 413, "body_too_large")


# Rate limits


@dataclass
class Clock:
    """Of the rates: it stands still, so that what is left does not depend on how fast this machine is."""

    nanoseconds: int = 0

    def monotonic_ns(self) -> int:
        return self.nanoseconds

    def pass_seconds(self, seconds: int) -> None:
        self.nanoseconds += seconds * 10**9


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(entry_keys, "time", clock)
    return clock


def limit_headers(response: httpx.Response) -> list[int]:
    return [int(response.headers[f"ratelimit-{name}"]) for name in ("limit", "remaining", "reset")]


async def test_without_a_limit_nothing_is_said_of_one(gateway: Gateway) -> None:
    response = await gateway.http.get("/instruments")
    assert not [name for name in response.headers if name.startswith("ratelimit")]


async def test_a_key_has_its_own_rate_and_every_answer_tells_what_is_left(gateway: Gateway, clock: Clock) -> None:
    made, other = await known(gateway, rate=3), await known(gateway)
    clock.pass_seconds(1)  # until its bucket is full again: making sure that it is known took from it
    told = [await gateway.http.get(path, headers=made.bearer) for path in ("/limits", "/nowhere", "/orders/0")]
    assert [response.status_code for response in told] == [200, 404, 400]
    assert [limit_headers(response) for response in told] == [[3, 2, 1], [3, 1, 1], [3, 0, 1]]
    assert {response.headers["ratelimit-policy"] for response in told} == {"3;w=1"}
    refused = await gateway.http.post("/orders", json=ORDER, headers=made.bearer)
    assert "3 requests a second" in problem(refused, 429, "rate_limited")
    assert int(refused.headers["retry-after"]) == 1
    assert limit_headers(refused)[:2] == [3, 0]
    assert gateway.matcher.requests == []
    assert (await gateway.http.get("/limits", headers=other.bearer)).status_code == 200
    clock.pass_seconds(int(refused.headers["retry-after"]))
    assert (await gateway.http.get("/limits", headers=made.bearer)).status_code == 200


def batch_of(number: int) -> dict[str, Any]:
    return {"items": [{"place": ORDER}] * number}


@pytest.mark.parametrize("prefer", [{}, {"prefer": "respond-async"}])
async def test_a_batch_counts_as_its_items(gateway: Gateway, clock: Clock, prefer: dict[str, str]) -> None:
    made = await known(gateway, rate=10)
    clock.pass_seconds(1)
    headers = made.bearer | prefer
    done = await gateway.http.post("/orders/batch", json=batch_of(8), headers=headers)
    assert done.status_code == (202 if prefer else 200), done.text
    assert limit_headers(done)[:2] == [10, 2]
    refused = await gateway.http.post("/orders/batch", json=batch_of(8), headers=headers)
    problem(refused, 429, "rate_limited")
    assert int(refused.headers["retry-after"]) == 1
    if not prefer:
        assert sum(len(commands) for commands in gateway.matcher.requests) == 8


async def test_the_setting_limits_each_who_brings_no_key_and_each_key_without_a_rate(
    module_nats_server: NatsServer, gateway: Gateway, clock: Clock
) -> None:
    async with running_gateway(module_nats_server.url, matcher_too=False, rate_limit=5) as limited:
        statuses = [(await limited.http.get("/limits")).status_code for _ in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        made = await make_key(gateway.nats)
        fast = await make_key(gateway.nats, ADMIN, rate=1000)
        await eventually(lambda: limited.http.get("/limits", headers=fast.bearer), 200)  # so the one before is known
        statuses = [(await limited.http.get("/limits", headers=made.bearer)).status_code for _ in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        statuses = [(await limited.http.get("/limits", headers=fast.bearer)).status_code for _ in range(20)]
        assert set(statuses) == {200}
