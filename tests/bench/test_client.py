"""The HTTP client against a server that sends what the test wants, in the pieces that the test wants; the WebSocket
client against the server of a library."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve

from bench.client import HttpPool, WebSocketPool, WrongAnswer, answer_length, post_request
from bench.frames import frame_bounds, text_frame

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


async def test_a_connection_that_was_closed_while_idle_is_opened_anew() -> None:
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with served(answer_once, connections=1) as pool:
        for _ in range(3):
            assert await pool.ask(post_request("/orders", "here", b"{}"))
            async with asyncio.timeout(60):
                while not pool.is_closed:  # noqa: ASYNC110
                    await asyncio.sleep(0)


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


# WebSocket

Answer = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def websockets_to(answer: Answer, connections: int) -> AsyncIterator[WebSocketPool]:
    async with serve(answer, "127.0.0.1", 0, compression=None) as server:
        pool = WebSocketPool()
        await pool.open("127.0.0.1", next(iter(server.sockets)).getsockname()[1], connections)
        try:
            yield pool
        finally:
            pool.close()


_LONG = "x" * 1_000  # with 65,000 more, a length of eight bytes


async def test_answers_are_told_apart_by_their_id_in_whatever_order_they_come() -> None:
    async def backwards(connection: ServerConnection) -> None:
        for _ in range(2):
            asked = [json.loads(await connection.recv()) for _ in range(5)]
            await connection.send('{"type":"heartbeat","sequence":7}')
            for request in reversed(asked):
                await (await connection.ping())  # the client answers it
                await connection.send(f'{{"id":{request["id"]},"text":"{request["text"]}","more":"{_LONG}"}}')

    texts = ["x" * size for size in (0, 1, 99, 100, 126, 127, 5_000, 65_000, 2, 3)] + [str(each) for each in range(10)]
    async with websockets_to(backwards, connections=2) as pool:
        answers = await asyncio.gather(*(pool.ask(b'"text":"%s"}' % text.encode()) for text in texts))
    assert [json.loads(answer)["text"] for answer in answers] == texts


async def test_a_websocket_that_ends_fails_what_waits() -> None:
    async def leave(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.close(1001, "going away")

    async with websockets_to(leave, connections=1) as pool:
        with pytest.raises(WrongAnswer, match="going away"):
            await pool.ask(b'"op":"ping"}')


async def test_what_is_no_websocket_server_is_an_error() -> None:
    async def not_found(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(not_found, "127.0.0.1", 0) as server:
        pool = WebSocketPool()
        with pytest.raises(WrongAnswer, match="404 Not Found"):
            await pool.open("127.0.0.1", server.sockets[0].getsockname()[1], 1)
        pool.close()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535])
def test_the_bounds_of_a_frame(size: int) -> None:
    """Those of a server have no mask, so no four bytes of zeros between head and payload."""
    masked = text_frame(b"x" * size)
    head = masked.index(b"\0\0\0\0") if size else 2
    frame = bytes((masked[0], masked[1] & 0x7F)) + masked[2:head] + b"x" * size
    assert frame_bounds(b"before" + frame + b"after", 6) == (6 + head, 6 + len(frame))
    assert all(frame_bounds(frame[:end], 0) is None for end in range(len(frame)) if end < 12 or end > len(frame) - 3)
