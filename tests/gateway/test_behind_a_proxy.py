"""Clients behind a proxy, over real HTTP: each has its own address in limits and logs, and none has another's."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import nats
import pytest

from entry import keys
from tests.support.gateways import Gateway, running_gateway
from tests.support.servers import NatsServer, remove_stream

pytestmark = pytest.mark.stack

ANNA, BEN = "203.0.113.7", "2001:db8::7"
SECONDS = 20


@asynccontextmanager
async def gateway_on(server: NatsServer, **settings: Any) -> AsyncIterator[Gateway]:
    """One without keys, to which the test itself is the proxy."""
    connection = await nats.connect(server.url)
    await remove_stream(connection, "KV_KEYS")
    await connection.close()
    async with running_gateway(server.url, **settings) as running:
        yield running


async def ask(gateway: Gateway, *forwarded: str, path: str = "/limits") -> httpx.Response:
    return await gateway.http.get(path, headers=[("X-Forwarded-For", each) for each in forwarded])


async def seen(gateway: Gateway, caplog: pytest.LogCaptureFixture, *forwarded: str) -> str:
    """The client's address as the log has it."""
    caplog.clear()
    await ask(gateway, *forwarded)
    [record] = [each for each in caplog.records if each.name == "gateway.observed"]
    return str(record.__dict__["client"])


async def test_the_log_names_the_client_and_not_the_proxy(
    module_nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.observed")
    async with gateway_on(module_nats_server, trusted_proxies="127.0.0.0/8,10.0.0.0/8", log_requests=True) as gateway:
        assert await seen(gateway, caplog, ANNA) == ANNA
        assert await seen(gateway, caplog, f"[{BEN}]:5000") == BEN  # by the same connection
        assert await seen(gateway, caplog) == "127.0.0.1"
        assert await seen(gateway, caplog, "198.51.100.1", f"{ANNA}, 10.0.0.1") == ANNA
        assert await seen(gateway, caplog, "unknown") == "127.0.0.1"


async def test_nobodys_word_is_taken_unless_it_was_said_whose(
    module_nats_server: NatsServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default, and where others are trusted."""
    caplog.set_level(logging.INFO, "gateway.observed")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own switch
    for trusted in ("", "10.0.0.0/8"):
        async with gateway_on(module_nats_server, trusted_proxies=trusted, log_requests=True) as gateway:
            assert await seen(gateway, caplog, ANNA) == "127.0.0.1"


async def test_each_client_behind_the_proxy_has_a_rate_of_its_own(
    module_nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "time", SimpleNamespace(monotonic_ns=lambda: 0))  # nothing is ever filled up again
    async with gateway_on(module_nats_server, trusted_proxies="127.0.0.1", rate_limit=2) as gateway:
        statuses = [(await ask(gateway, ANNA)).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert (await ask(gateway, BEN)).headers["ratelimit-remaining"] == "1"
        for made_up in ("198.51.100.1", BEN, "127.0.0.1", "garbage", ""):
            assert (await ask(gateway, made_up, ANNA)).status_code == 429
            assert (await ask(gateway, f"{made_up}, {ANNA}:4711")).status_code == 429
        assert (await ask(gateway, BEN)).headers["ratelimit-remaining"] == "0", "somebody used up what was Ben's"


async def test_without_a_proxy_who_makes_up_addresses_has_one_rate(
    module_nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "time", SimpleNamespace(monotonic_ns=lambda: 0))
    async with gateway_on(module_nats_server, trusted_proxies="10.0.0.1", rate_limit=2) as gateway:
        statuses = [(await ask(gateway, f"203.0.113.{number}")).status_code for number in range(3)]
        assert statuses == [200, 200, 429]


async def test_a_proxy_may_have_any_number_of_connections_and_others_may_not(module_nats_server: NatsServer) -> None:
    for trusted, last in (("127.0.0.1", b"200"), ("10.0.0.1", b"503")):
        async with (
            gateway_on(module_nats_server, trusted_proxies=trusted, connections_per_address=3) as gateway,
            AsyncExitStack() as stack,
        ):
            statuses = [await _status(stack, gateway.port) for _ in range(5)]
            assert (statuses[0], statuses[-1]) == (b"200", last)


async def _status(stack: AsyncExitStack, port: int) -> bytes:
    """Of a request by a connection that stays."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stack.push_async_callback(writer.wait_closed)
    stack.callback(writer.close)
    writer.write(b"GET /limits HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: %s\r\n\r\n" % ANNA.encode())
    async with asyncio.timeout(SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
    return head.split(b" ")[1]
