"""The HTTP client against a server that sends what the test wants, in the pieces that the test wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bench.client import HttpPool, WrongAnswer, answer_length, post_request

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(handler: Handler, connections: int) -> AsyncIterator[HttpPool]:
    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except asyncio.IncompleteReadError:
            pass  # the client has closed
        finally:
            writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    pool = HttpPool(connections)
    await pool.open("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        yield pool
    finally:
        pool.close()
        server.close()
        await server.wait_closed()


async def echo_in_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        body = await read_request(reader)
        answer = b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        for piece in (answer[:9], answer[9:40], answer[40:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


async def test_each_request_gets_its_own_answer_over_few_connections() -> None:
    async with served(echo_in_pieces, connections=3) as pool:
        bodies = [b"order %d" % number for number in range(50)]
        answers = await asyncio.gather(*(pool.ask(post_request("/orders", "here", body)) for body in bodies))
    assert [answer.split(b"\r\n\r\n")[1] for answer in answers] == bodies


async def test_a_closed_connection_is_an_error_not_an_answer() -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)

    async with served(close, connections=1) as pool:
        with pytest.raises(WrongAnswer, match="closed"):
            await pool.ask(post_request("/orders", "here", b"{}"))


@pytest.mark.parametrize(
    ("received", "length"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 43),
        (b"HTTP/1.1 200 OK\r\ncontent-length:5\r\nx: y\r\n\r\nhello and more", 48),
    ],
)
def test_answer_length(received: bytes, length: int | None) -> None:
    assert answer_length(received) == length


def test_an_answer_without_a_length_is_an_error() -> None:
    with pytest.raises(WrongAnswer, match="without a length"):
        answer_length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
