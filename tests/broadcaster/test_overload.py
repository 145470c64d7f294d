"""Orders by WebSocket when as many are at work as may be: the matcher is stopped, so what is let in stays."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.streams import StreamClient, StreamExchange, stream_exchange

pytestmark = pytest.mark.stack

ROOM = 4
ORDER = {"side": "buy", "price": "1.00", "quantity": "1"}


@pytest.fixture(scope="module")
def exchange() -> Iterator[StreamExchange]:
    with stream_exchange(requests_in_flight=ROOM, command_timeout_seconds=60) as started:
        yield started


@contextmanager
def stopped_matcher(exchange: StreamExchange) -> Iterator[None]:
    pid = exchange.matchers.started[-1].process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_what_is_beyond_is_refused_and_cancelations_get_in(exchange: StreamExchange) -> None:
    await exchange.until_served()
    await exchange.list("A-B")
    async with exchange.client() as client, exchange.client() as other:
        order_id = (await client.request("place", symbol="A-B", **ORDER))["order"]["order_id"]
        with stopped_matcher(exchange):
            placing = [await client.send("place", symbol="A-B", **ORDER) for _ in range(ROOM)]
            await client.request("ping")  # what was sent before it has been begun with
            for each in (client, other):
                problem = await each.refused("place", symbol="A-B", **ORDER)
                assert (problem["code"], problem["status"], problem["retry_after"]) == ("overloaded", 503, 1)
            canceling = await other.send("cancel", order_id=order_id)
            await other.request("ping")
            assert (await client.refused("cancel", order_id=order_id))["code"] == "overloaded"
        assert [(await client.answer(each))["type"] for each in placing] == ["placed"] * ROOM
        assert (await other.answer(canceling))["type"] == "canceled"
        await room_was_given_back(client)


async def room_was_given_back(client: StreamClient) -> None:
    for _ in range(3 * ROOM):
        assert (await client.request("place", symbol="A-B", **ORDER))["type"] == "placed"
        assert (await client.request("cancel", order_id=10**9))["type"] == "error"
