"""Orders wait for room, on a gateway with room for two and a matcher that is away.

Patience is without end where something is let in, and nearly none where it is not: so no outcome depends on the clock.
"""

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.support.gateways import Gateway, running_gateway
from tests.support.problems import problem
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack

LONG, SHORT = 60.0, 0.02
ORDER = {"side": "buy", "price": "100.00", "quantity": "1"}
HEALTH = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
ROOM = 2


def order(name: str, *lines: str, start: str = "POST /orders") -> bytes:
    body = json.dumps({**ORDER, "client_order_id": name}).encode()
    head = [f"{start} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *lines]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


class Client:
    """One connection, with no cleverness of an HTTP library."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, Any]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 60)).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        body = await self.reader.readexactly(length)
        return int(head[9:12]), json.loads(body)

    async def is_used(self) -> "Client":
        """Not new any more: its first request is behind it."""
        self.send(HEALTH)
        assert (await self.answer())[0] == 200
        return self


@asynccontextmanager
async def connected(gateway: Gateway) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", gateway.port))
    try:
        yield client
    finally:
        client.writer.close()


@asynccontextmanager
async def full_gateway(nats_server: NatsServer, patience_seconds: float, **more: Any) -> AsyncIterator[Gateway]:
    """Two orders are at work, as long as the matcher is away."""
    settings = {"requests_in_flight": ROOM, "command_timeout_seconds": 60.0, "command_retry_seconds": 0.1, **more}
    async with running_gateway(nats_server.url, **settings, order_wait_seconds=patience_seconds) as gateway:
        await gateway.has_its_streams()
        await gateway.placed()
        await gateway.matcher.go_away()
        working = [asyncio.create_task(gateway.place(client_order_id=f"working-{number}")) for number in range(ROOM)]
        await until_at_work(gateway)
        yield gateway
        await gateway.matcher.come_back()
        assert [(await each).status_code for each in working] == [201] * ROOM


async def until_at_work(gateway: Gateway) -> None:
    """Until all room is taken: requests over NATS do not wait, but are refused then."""
    answer = b""
    while b"overloaded" not in answer:
        answer = (await gateway.nats.request("orders.place", b"", timeout=30)).data


@pytest.fixture
async def patient(module_nats_server: NatsServer) -> AsyncIterator[Gateway]:
    async with full_gateway(module_nats_server, LONG) as gateway:
        yield gateway


async def seen(gateway: Gateway) -> None:
    """Return when the gateway has read what was sent to it before."""
    for _ in range(2):
        await gateway.http.get("/health/live")


async def whole_on_a_used_connection(client: Client, gateway: Gateway) -> None:
    await client.is_used()
    client.send(order("mine"))


async def as_the_first_of_a_connection(client: Client, gateway: Gateway) -> None:
    client.send(order("mine"))


async def head_and_body_apart(client: Client, gateway: Gateway) -> None:
    head, end, body = order("mine").partition(b"\r\n\r\n")
    client.send(head + end)
    await client.writer.drain()
    await seen(gateway)
    client.send(body)


async def in_chunks(client: Client, gateway: Gateway) -> None:
    head, end, body = order("mine").partition(b"\r\n\r\n")
    head = head.rpartition(b"\r\n")[0] + b"\r\nTransfer-Encoding: chunked"
    client.send(head + end + b"%x\r\n%b\r\n" % (len(body), body))
    await client.writer.drain()
    await seen(gateway)
    client.send(b"0\r\n\r\n")


WAYS = [whole_on_a_used_connection, as_the_first_of_a_connection, head_and_body_apart, in_chunks]
Way = Callable[[Client, Gateway], Awaitable[None]]


@pytest.mark.parametrize("way", WAYS)
async def test_an_order_waits_until_there_is_room(patient: Gateway, way: Way) -> None:
    async with connected(patient) as client:
        await way(client, patient)
        await seen(patient)
        await patient.matcher.come_back()
        status, placed = await client.answer()
        assert (status, placed["client_order_id"]) == (201, "mine")
        client.send(HEALTH)
        assert (await client.answer())[0] == 200


async def refusals(metrics_port: int) -> int:
    async with httpx.AsyncClient(trust_env=False) as http:
        shown = (await http.get(f"http://127.0.0.1:{metrics_port}/metrics", timeout=30)).text
    return int(float(shown.partition('pricetime_entry_refused_total{pool="trading"} ')[2].split()[0]))


@pytest.mark.parametrize("way", WAYS)
async def test_an_order_that_has_waited_in_vain_is_refused(module_nats_server: NatsServer, way: Way) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    full = full_gateway(module_nats_server, SHORT, metrics_fd=listener.detach())
    async with full as gateway, connected(gateway) as client:
        before = await refusals(port)
        await way(client, gateway)
        status, refused = await client.answer()
        assert (status, refused["code"]) == (503, "overloaded")
        assert refused["retry_after"] >= 1
        assert await refusals(port) == before + 1
        client.send(HEALTH)
        assert (await client.answer())[0] == 200
        response = await gateway.place()
        assert problem(response, 503, "overloaded")["retry_after"] >= 1


@pytest.mark.parametrize("way", WAYS)
async def test_what_an_order_waited_is_part_of_what_it_took(
    module_nats_server: NatsServer, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="gateway.observed")
    async with full_gateway(module_nats_server, LONG, log_requests=True) as gateway, connected(gateway) as client:
        await way(client, gateway)
        await seen(gateway)
        began = time.perf_counter()
        await asyncio.sleep(0.2)  # long beside what an order takes when it is let in
        waited = time.perf_counter() - began
        await gateway.matcher.come_back()
        order_id = (await client.answer())[1]["order_id"]
        (logged,) = [each for each in caplog.records if getattr(each, "order_id", 0) == order_id]
        assert vars(logged)["milliseconds"] >= 1000 * waited


@pytest.mark.parametrize("way", WAYS)
async def test_the_room_of_one_that_is_done_is_given_again(patient: Gateway, way: Way) -> None:
    await patient.matcher.come_back()
    for _ in range(ROOM + 1):
        async with connected(patient) as client:
            await way(client, patient)
            assert (await client.answer())[0] in (200, 201)


async def test_orders_are_carried_out_in_the_order_in_which_they_came(patient: Gateway) -> None:
    async with connected(patient) as first, connected(patient) as second, connected(patient) as third:
        for number, client in enumerate((first, second, third)):
            if number != 1:
                await client.is_used()
            client.send(order(f"order-{number}"))
            await client.writer.drain()
            await seen(patient)
        await patient.matcher.come_back()
        ids = [(await client.answer())[1]["order_id"] for client in (first, second, third)]
        assert ids == sorted(ids)


async def test_getting_out_does_not_stand_in_line(module_nats_server: NatsServer) -> None:
    settings = {"requests_in_flight": 4, "command_timeout_seconds": 60.0, "command_retry_seconds": 0.1}
    async with running_gateway(module_nats_server.url, **settings, order_wait_seconds=LONG) as gateway:
        resting = (await gateway.placed())["order_id"]
        await gateway.matcher.go_away()
        orders = [asyncio.create_task(gateway.place(client_order_id=f"name-{number}")) for number in range(4)]
        await until_at_work(gateway)
        orders += [asyncio.create_task(gateway.place(client_order_id=f"late-{number}")) for number in range(4)]
        await seen(gateway)
        cancels = [asyncio.create_task(gateway.http.delete(f"/orders/{resting}")) for _ in range(2)]
        (refused,), (let_in,) = await asyncio.wait(cancels, return_when=asyncio.FIRST_COMPLETED)
        problem(refused.result(), 503, "overloaded")
        await gateway.matcher.come_back()
        assert (await let_in).status_code == 200
        assert [(await each).status_code for each in orders] == [201] * 8


async def test_what_comes_behind_an_order_that_waits_is_answered_behind_it(patient: Gateway) -> None:
    async with connected(patient) as client:
        await client.is_used()
        client.send(order("mine"))
        await client.writer.drain()
        await seen(patient)
        client.send(HEALTH + order("behind") + HEALTH)
        await client.writer.drain()
        await seen(patient)
        await patient.matcher.come_back()
        assert [(await client.answer())[0] for _ in range(4)] == [201, 200, 201, 200]


async def test_what_is_behind_is_answered_when_the_first_is_refused(module_nats_server: NatsServer) -> None:
    async with full_gateway(module_nats_server, SHORT) as gateway, connected(gateway) as client:
        await client.is_used()
        client.send(order("mine"))
        await client.writer.drain()
        client.send(HEALTH + order("behind") + HEALTH)
        assert [(await client.answer())[0] for _ in range(4)] == [503, 200, 503, 200]


@pytest.mark.parametrize("way", WAYS[:2])
async def test_the_order_of_a_client_that_has_gone_is_not_placed(patient: Gateway, way: Way) -> None:
    async with connected(patient) as client:
        await way(client, patient)
        await client.writer.drain()
        await seen(patient)
        client.writer.transport.abort()
        await seen(patient)
        await patient.matcher.come_back()
        response = await patient.place(client_order_id="mine", price="99.00")
        assert (response.status_code, response.json()["price"]) == (201, "99.00")


@pytest.mark.parametrize("way", WAYS)
async def test_who_waits_is_answered_before_the_gateway_stops(module_nats_server: NatsServer, way: Way) -> None:
    settings = {"requests_in_flight": 1, "command_timeout_seconds": 0.3, "command_retry_seconds": 0.1}
    async with AsyncExitStack() as opened:
        async with running_gateway(module_nats_server.url, **settings, order_wait_seconds=0.3) as gateway:
            await gateway.placed()
            await gateway.matcher.go_away()
            at_work, waiting = [await opened.enter_async_context(connected(gateway)) for _ in range(2)]
            at_work.send(order("working"))
            await until_at_work(gateway)
            await way(waiting, gateway)
            await waiting.writer.drain()
            await seen(gateway)
        for client in (at_work, waiting):
            assert (await client.answer())[0] in (503, 504), "no matter which: that depends on when it stops"
            assert await client.reader.read() == b"", "and then the connection ends"
