"""The crowd against servers of the test's own: it sends on schedule, and whatever becomes of a request is counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from nats.aio.msg import Msg

from bench.client import post_request
from bench.crowd import NO_ANSWER, NOT_SENT, Crowd, HttpCrowd, NatsCrowd, _NatsConnection
from runtime.connection import close, connect
from tests.support.servers import NatsServer

REQUEST = post_request("/orders", "127.0.0.1", b"{}")


@asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[str]:
    """Answers each request with this; with nothing if it is empty."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while await reader.read(len(REQUEST)):
            writer.write(answer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()


def statuses(crowd: Crowd, numbers: range) -> list[int]:
    return [crowd.tally.status[number] for number in numbers]


async def test_it_sends_on_schedule_and_counts_every_answer() -> None:
    async with serving(b"HTTP/1.1 503 x\r\ncontent-length: 2\r\n\r\n{}") as url:
        crowd = HttpCrowd(10)
        await crowd.open(url)
        first = await crowd.storm([REQUEST], 500, 0.2)
        second = await crowd.storm([REQUEST], 100, 0.1)
        await crowd.settle()
        crowd.close()
        assert statuses(crowd, first) == [503] * 100
        assert statuses(crowd, second) == [503] * 10
        due = [crowd.tally.due[number] for number in first]
        assert [later - earlier for earlier, later in pairwise(due)] == pytest.approx([0.002] * 99)
        assert all(crowd.tally.seconds[number] > 0 for number in first)


async def test_pressing_keeps_so_many_in_flight() -> None:
    async with serving(b"HTTP/1.1 201 x\r\ncontent-length: 2\r\n\r\n{}") as url:
        crowd = HttpCrowd(10)
        await crowd.open(url)
        numbers = await crowd.press([REQUEST], 4, 0.1)
        crowd.close()
        assert len(numbers) > 4
        assert statuses(crowd, numbers) == [201] * len(numbers)


async def test_without_an_answer_or_a_free_connection_it_is_counted_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.crowd._LAST_SECONDS", 0.1)
    async with serving(b"") as url:
        crowd = HttpCrowd(2)
        await crowd.open(url)
        numbers = await crowd.storm([REQUEST], 100, 0.1)
        await crowd.settle()
        crowd.close()
        assert statuses(crowd, numbers) == [NO_ANSWER] * 2 + [NOT_SENT] * 8


@pytest.mark.stack
async def test_over_nats(nats_server: NatsServer) -> None:
    connection = await connect(nats_server.url, "test")
    answers = [(b"fine", None), (b"", {"Nats-Service-Error": "overloaded", "Nats-Service-Error-Code": "503"})]

    async def answer(message: Msg) -> None:
        content, headers = answers[int(message.data)]
        await connection.publish(message.reply, content, headers=headers)

    await connection.subscribe("orders.place", cb=answer)
    await connection.flush()
    crowd, nobody = NatsCrowd("orders.place"), NatsCrowd("orders.nowhere")
    await crowd.open(nats_server.url)
    await nobody.open(nats_server.url)
    assert statuses(crowd, await crowd.press([b"0"], 3, 0.05))[:3] == [200] * 3
    numbers = await crowd.storm([b"0", b"1"], 1000, 0.1)
    await crowd.settle()
    found = statuses(crowd, numbers)
    assert sorted(found) == [200] * 50 + [503] * 50
    numbers = await nobody.storm([b"0"], 100, 0.05)
    await nobody.settle()
    assert statuses(nobody, numbers) == [503] * 5
    crowd.close()
    nobody.close()
    await close(connection)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_messages_of_nats_in_pieces(size: int) -> None:
    class Told(NatsCrowd):
        def on_message(self, subject: bytes, headers: bytes, content: bytes) -> None:
            told.append((subject, headers, content))

        def pong(self) -> None:
            told.append("pong")

    told: list[object] = []
    connection = _NatsConnection(Told("orders.place"))
    sent = b"INFO {}\r\nPONG\r\nMSG a.1 1 6\r\n1\r\n\r\n2\r\nPING\r\nHMSG a.2 1 3 5\r\nhhhcc\r\nMSG a.3 1 0\r\n\r\n"
    for start in range(0, len(sent), size):
        connection.data_received(sent[start : start + size])
    assert told == [(b"a.1", b"", b"1\r\n\r\n2"), "pong", (b"a.2", b"hhh", b"cc"), (b"a.3", b"", b"")]


async def test_a_connection_that_was_closed_meanwhile_is_passed_over() -> None:
    async with serving(b"HTTP/1.1 201 x\r\ncontent-length: 2\r\n\r\n{}") as url:
        crowd = HttpCrowd(3)
        await crowd.open(url)
        for connection in crowd._all[:2]:
            connection.close()
        await asyncio.sleep(0)
        numbers = await crowd.storm([REQUEST], 100, 0.1)
        await crowd.settle()
        crowd.close()
        assert statuses(crowd, numbers) == [201] * 10
