"""Requests that come faster than they can be answered: on a real nats-server."""

import asyncio
import time
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError

import runtime.intake
from runtime.connection import ConnectionLost, close, connect, respond
from runtime.intake import connect_intake, watch_intake
from runtime.micro import Failure, failure
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack

MANY = 500


async def nothing(question: bytes) -> bytes | Failure:
    return b"answered"


async def asked_until_nobody_responds(asker: Client) -> list[Any]:
    """More with each turn of the event loop than one turn can answer. What became of all of them."""
    asking: set[asyncio.Task[Any]] = set()
    nobody = asyncio.Event()

    async def ask() -> Any:
        try:
            return await asker.request("orders.place", b"", timeout=30)
        except NoRespondersError as error:
            nobody.set()
            return error

    while not nobody.is_set():
        asking |= {asyncio.create_task(ask()) for _ in range(MANY)}
        await asyncio.sleep(0.01)
    return await asyncio.gather(*asking)


async def test_what_waits_too_long_is_answered_and_meanwhile_nobody_responds(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow door: a fraction of what comes in can be judged. Whoever asks hears something, all the same."""
    monkeypatch.setattr(runtime.intake, "LATE_SECONDS", 0.05)
    intake, asker = await connect_intake(nats_server.url, "gateway"), await connect(nats_server.url, "asker")
    refused = failure(503, "overloaded")

    def slow_door(subject: str, question: bytes) -> Failure | None:
        time.sleep(0.0002)
        return refused

    await respond(intake, "orders.place", nothing, queue="gateway", let_in=slow_door)
    await respond(intake, "orders.cancel", nothing, queue="gateway")
    await intake.flush()
    watching = asyncio.create_task(watch_intake(intake))
    answers = await asyncio.wait_for(asked_until_nobody_responds(asker), 60)
    assert all(isinstance(each, NoRespondersError) or b"overloaded" in each.data for each in answers), set(answers)
    while True:
        try:
            answer = await asker.request("orders.cancel", b"", timeout=5)
            break
        except NoRespondersError:
            await asyncio.sleep(0.01)
    assert answer.data == b"answered"
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await close(asker)
    await close(intake)


async def test_a_closed_connection_is_noticed(nats_server: NatsServer) -> None:
    intake = await connect_intake(nats_server.url, "gateway")
    await close(intake)
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(watch_intake(intake), 10)
