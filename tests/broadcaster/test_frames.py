"""Texts are taken as they are read, however the bytes are cut; what else is sent goes the library's way, in order.

Method: a random conversation of texts, binary messages, fragments and pings, each frame under a mask of its own, comes
in pieces of random sizes. All messages must arrive once and in order, whoever takes them, and each ping be answered.
"""

import asyncio
import random
import struct
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.utils import apply_mask

from broadcaster.connection import Connection
from broadcaster.feed import GOING_AWAY

TEXT, BINARY, CONT, PING, FIN = 1, 2, 0, 9, 0x80
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MOST = 70_000


class Pipe(asyncio.Transport):
    """The server's end of a connection: keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Heard:
    """An application that writes down what it hears. Texts that begin with "no" are not taken as they come."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.taken = 0
        self.is_busy = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        scope["state"]["connection"].take_texts(self.take)
        while (message := await receive())["type"] != "websocket.disconnect":
            if message["type"] == "websocket.receive":
                self.is_busy = True
                await asyncio.sleep(0)
                self.messages.append(message["text"] if message.get("text") is not None else message["bytes"])
                self.is_busy = False

    def take(self, text: bytes) -> bool:
        if self.is_busy or text.startswith(b"no"):
            return False
        self.messages.append(text.decode())
        self.taken += 1
        return True


def accepted(heard: Heard) -> tuple[Connection, Pipe]:
    """It has said that it wants a WebSocket."""
    config = uvicorn.Config(
        heard, ws_max_size=MOST, ws_per_message_deflate=False, ws_ping_interval=None, log_config=None
    )
    connection, pipe = Connection(config, ServerState(), {}), Pipe()
    connection.connection_made(pipe)
    connection.data_received(HANDSHAKE)
    return connection, pipe


async def connected(heard: Heard) -> tuple[Connection, Pipe]:
    connection, pipe = accepted(heard)
    await settle()
    assert pipe.written.startswith(b"HTTP/1.1 101 ")
    pipe.written = b""
    return connection, pipe


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def over(connection: Connection) -> None:
    connection.connection_lost(None)
    await settle()
    assert not connection.tasks


def frame(first: int, payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 1 << 16:
        length = b"\xfe" + struct.pack("!H", size)
    else:
        length = b"\xff" + struct.pack("!Q", size)
    return bytes([first]) + length + mask + apply_mask(payload, mask)


def conversation(chance: random.Random) -> Iterator[tuple[bytes, str | bytes | None]]:
    """Frames, and the message that each completes."""
    for number in range(chance.randint(1, 60)):
        mask = chance.choice([bytes(4), chance.randbytes(4)])
        size = chance.choice([0, 1, 100, 125, 126, 127, 500, 65_535, 65_536])
        text = f"{chance.choice(['yes', 'yes', 'no'])} {number} ä ".encode().ljust(size, b".")
        kind = chance.randint(0, 9)
        if kind < 6:
            yield frame(FIN | TEXT, text, mask), text.decode()
        elif kind == 6:
            yield frame(FIN | BINARY, text, mask), text
        elif kind == 7:
            yield frame(FIN | PING, b"%d" % number, mask), None
        else:
            at = chance.randint(0, len(text))
            yield frame(TEXT, text[:at], mask), None
            if chance.random() < 0.5:
                yield frame(FIN | PING, b"between", mask), None
            yield frame(FIN | CONT, text[at:], mask), text.decode()


@pytest.mark.parametrize("seed", range(40))
async def test_however_it_is_cut_everything_arrives_in_order(seed: int) -> None:
    chance = random.Random(seed)
    heard = Heard()
    connection, pipe = await connected(heard)
    sent = list(conversation(chance))
    stream, at = b"".join(encoded for encoded, _ in sent), 0
    while at < len(stream):
        size = chance.choice([1, 2, 3, 7, 100, 5_000, 200_000])
        connection.data_received(stream[at : at + size])
        at += size
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    await settle()
    for _ in sent:
        await settle()
    assert heard.messages == [message for _, message in sent if message is not None]
    pings = sum(encoded[0] == FIN | PING for encoded, _ in sent)
    assert pipe.written.count(b"\x8a") >= pings
    await over(connection)


async def test_what_is_written_soon_leaves_together_and_before_what_is_written_after_it() -> None:
    connection, pipe = await connected(Heard())
    connection.write_soon(b"one")
    connection.write_soon(b"two")
    assert pipe.written == b""
    connection.write(b"three")
    connection.write_soon(b"four")
    connection.goodbye(GOING_AWAY)
    assert pipe.written.startswith(b"onetwothreefour\x88")
    connection.write_soon(b"five")
    await settle()
    assert b"five" not in pipe.written
    await over(connection)


async def test_whole_texts_are_taken_at_once() -> None:
    heard = Heard()
    connection, _ = await connected(heard)
    connection.data_received(frame(FIN | TEXT, b"one", b"abcd") + frame(FIN | TEXT, b"two", bytes(4))[:5])
    assert heard.messages == ["one"]
    connection.data_received(frame(FIN | TEXT, b"two", bytes(4))[5:])
    assert (heard.messages, heard.taken) == (["one", "two"], 2)
    await over(connection)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"\x81\x01a", 1002),
        (b"\x81\x00", 1002),
        (frame(FIN | 0x40 | TEXT, b"x", bytes(4)), 1002),
        (frame(FIN | CONT, b"x", bytes(4)), 1002),
        (frame(FIN | TEXT, b"\xff", bytes(4)), 1007),
        (frame(FIN | TEXT, b"x" * (MOST + 1), bytes(4))[:20], 1009),
    ],
    ids=[
        "not masked",
        "not masked, and empty",
        "a reserved bit",
        "a continuation of nothing",
        "not UTF-8",
        "too large",
    ],
)
async def test_a_frame_that_is_wrong_ends_the_connection_and_what_came_before_it_counts(bad: bytes, code: int) -> None:
    heard = Heard()
    heard.take = lambda text: text != b"\xff" and Heard.take(heard, text)  # type: ignore[method-assign]
    connection, pipe = await connected(heard)
    connection.data_received(frame(FIN | TEXT, b"before", bytes(4)) + bad)
    await settle()
    assert heard.messages == ["before"]
    assert pipe.is_closed
    assert pipe.written[2:4] == struct.pack("!H", code)
    await over(connection)


async def test_a_text_between_fragments_is_wrong() -> None:
    heard = Heard()
    connection, pipe = await connected(heard)
    connection.data_received(frame(TEXT, b"half", bytes(4)))
    connection.data_received(frame(FIN | TEXT, b"yes", bytes(4)))
    await settle()
    assert heard.messages == []
    assert pipe.written[2:4] == struct.pack("!H", 1002)
    await over(connection)


async def test_of_a_client_that_sends_before_it_is_let_in_everything_goes_the_usual_way() -> None:
    heard = Heard()
    connection, _ = accepted(heard)
    early = frame(FIN | TEXT, b"early", b"\x81\x85ab")  # the mask looks like the beginning of a frame
    connection.data_received(early[:2])
    await settle()
    connection.data_received(early[2:] + frame(FIN | TEXT, b"later", bytes(4)))
    await settle()
    assert (heard.messages, heard.taken) == (["early", "later"], 0)
    await over(connection)
