"""The crowd on WebSockets and its listeners, against a server made by another hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve

from bench.client import WrongAnswer
from bench.crowd import NO_ANSWER
from bench.ws_crowd import Listener, WebSocketCrowd

LONG = "x" * 70_000


async def answer_each(connection: ServerConnection) -> None:
    """As the broadcaster answers; "refuse" is refused, "leave" ends it, and "tell" is no request with an answer."""
    async for message in connection:
        assert isinstance(message, str)
        head, _, rest = message.partition(",")
        if "leave" in rest:
            await connection.close(1001, "leaving")
        elif "refuse" in rest:
            await connection.send(f'{head},"type":"error","problem":{{"title":"No","status":503}}}}')
        elif "tell" in rest:
            for _ in range(3):
                await asyncio.wait_for(await connection.ping(), 5)
                await connection.send(LONG)
        else:
            await connection.send(f'{head},"type":"placed","padding":"{LONG}"}}')


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    async with serve(answer_each, "127.0.0.1", 0, compression=None) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_every_answer_is_counted_with_its_status() -> None:
    async with serving() as url:
        crowd, answers = WebSocketCrowd(), []
        crowd.on_answer = lambda number, answer: answers.append((number, len(answer)))
        await crowd.open(url, 3)
        numbers = await crowd.storm([b'"op":"place"}', b'"op":"refuse"}'], 200, 0.1)
        await crowd.settle()
        crowd.close()
        assert [crowd.tally.status[number] for number in numbers] == [200, 503] * 10
        assert sorted(number for number, _ in answers) == list(numbers)
        assert max(size for _, size in answers) > len(LONG)


async def test_what_has_no_answer_is_not_counted_as_answered() -> None:
    async with serving() as url:
        crowd = WebSocketCrowd()
        await crowd.open(url, 1)
        crowd.send(crowd.tally.begin(0.0), b'"op":"tell"}')
        crowd.send(second := crowd.tally.begin(0.0), b'"op":"place"}')
        async with asyncio.timeout(60):
            while not crowd.tally.settled:  # noqa: ASYNC110 (the crowd counts, it does not tell)
                await asyncio.sleep(0.01)
        crowd.close()
        assert (crowd.tally.status[0], crowd.tally.status[second]) == (NO_ANSWER, 200)


async def test_a_listener_counts_bytes_and_knows_when_it_was_cut_off() -> None:
    async with serving() as url:
        listener = Listener()
        await listener.open(url, [b'"op":"tell"}', b'"op":"leave"}'])
        async with asyncio.timeout(60):
            while listener.lost is None:  # noqa: ASYNC110 (likewise)
                await asyncio.sleep(0.01)
        listener.close()
        assert listener.received == 3 * len(LONG)
        assert "leaving" in listener.lost


async def test_what_is_no_websocket_is_refused() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        with pytest.raises(WrongAnswer, match="403"):
            await WebSocketCrowd().open(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", 1)
