"""A WebSocket's client as far as the measurements need one: text frames both ways, pings answered, no extensions.

It costs little, so that the machine's time goes to what is measured: no task for reading, frames found by their length,
and what is sent is under a mask of zeros.
"""

import asyncio
from typing import cast

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10


class WrongAnswer(Exception):
    """A request was not answered as it must be. Nothing that is refused may count as work done."""


class FrameConnection(asyncio.Protocol):
    """`opened` is done when the server has agreed, or has not. Those who derive from it hear texts and the end."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._received = b""
        self._is_open = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_text(self, payload: bytes) -> None:
        raise NotImplementedError

    def on_end(self, why: str) -> None:
        """The server has said why it closes, or the connection is gone; perhaps one after the other."""
        raise NotImplementedError

    def send_text(self, payload: bytes) -> None:
        self.transport.write(text_frame(payload))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not instances of it
        self.transport.write(
            b"GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cHJpY2V0aW1lYmVuY2htIQ==\r\n\r\n" % self._host.encode()
        )

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        at = 0 if self._is_open else self._read_head(received)
        while self._is_open and (bounds := frame_bounds(received, at)) is not None:
            self._on_frame(received[at] & 0x0F, received[bounds[0] : bounds[1]])
            at = bounds[1]
        self._received = received[at:]

    def _read_head(self, received: bytes) -> int:
        """Where frames begin; 0 while the answer to the handshake has not come in whole."""
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return 0
        if received.startswith(b"HTTP/1.1 101 "):
            self._is_open = True
            self.opened.set_result(None)
        else:
            self._end(f"no WebSocket: {received[:200]!r}")
        return end + 4

    def _on_frame(self, opcode: int, payload: bytes) -> None:
        if opcode == _TEXT:
            self.on_text(payload)
        elif opcode == _PING:
            self.transport.write(_masked(_PONG, payload))
        elif opcode == _CLOSE:
            self._end(f"the server said {payload[:500]!r}")

    def connection_lost(self, error: Exception | None) -> None:
        self._end(f"the connection was closed ({error or 'by the server'})")

    def _end(self, why: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(WrongAnswer(why))
        self.on_end(why)


def text_frame(payload: bytes) -> bytes:
    return _masked(_TEXT, payload)


def _masked(opcode: int, payload: bytes) -> bytes:
    """Under a mask of zeros, which servers must take and which costs nothing."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, 0x80 | size, 0, 0, 0, 0)) + payload
    assert size < 1 << 16
    return bytes((0x80 | opcode, 0xFE, size >> 8, size & 0xFF, 0, 0, 0, 0)) + payload


def frame_bounds(received: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the frame that begins at `at` begins and ends; None while it is not complete."""
    if len(received) < at + 2:
        return None
    size, start = received[at + 1], at + 2
    if size >= 126:
        extended = 2 if size == 126 else 8
        size, start = int.from_bytes(received[start : start + extended], "big"), start + extended
    return (start, start + size) if len(received) >= start + size else None
