"""One client's WebSocket: uvicorn's sans-I/O protocol, opened up so that finished frames go straight to the transport.

ASGI's `send` encodes each message for each client and waits in that client's task. Writing the shared bytes of a whole
run of trades at once is many times cheaper (docs/decisions/0007), and it lets a client that does not read be told and
then cut off: ASGI has no way to end a connection whose buffer is full.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, apply_mask  # type: ignore[attr-defined]  # of C where that is built
from websockets.http11 import Request

from broadcaster.feed import Farewell, frame
from broadcaster.messages import ErrorMessage, encode
from entry.stream_codes import StreamDeclined
from runtime.server import NO_LIMITS, Limits

GRACE_SECONDS = 5.0
"""How long a client that was told goodbye may take to read what was sent before."""
STATE = "connection"


class Connection(WebSocketsSansIOProtocol):
    """An Outlet. The ASGI application finds it in scope["state"]."""

    limits: Limits = NO_LIMITS
    on_ready: Callable[[], None] | None = None
    grace_seconds = GRACE_SECONDS
    max_sizes: Mapping[str, int] = {}
    """The largest message by path, where it is another than the server's."""
    farewells: "Counter[str] | None" = None
    """How many clients were told to go, by why."""
    _take: Callable[[bytes], bool] | None = None
    _cut = b""
    """The beginning of a frame whose end is still to come, while texts are taken."""
    _is_early = False
    """The client has sent something before it was let in."""
    _gathered: list[bytes] | None = None
    """What is written at the end of this turn of the event loop."""

    def handle_connect(self, event: Request) -> None:
        peer, forwarded = self.client, event.headers.get_all("X-Forwarded-For")
        self.client = self.limits.client_of(self, (value.encode("ascii", "replace") for value in forwarded))
        if self.client != peer and self.limits.are_exceeded_by(self):
            self._refuse()  # only now: when the connection came, it was a proxy's, which may have any number
            return
        super().handle_connect(event)
        if not self.handshake_complete:  # else it was refused: no WebSocket handshake
            self.scope["state"][STATE] = self
            self.conn.max_message_size = self.max_sizes.get(self.scope["path"], self.conn.max_message_size)

    def _refuse(self) -> None:
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        self.transport.write(self.limits.refusal)
        self.transport.close()

    def take_texts(self, take: Callable[[bytes], bool]) -> None:
        """From now on text messages are offered to `take`, as they are read and while none wait for ASGI's `receive`.

        Those that it does not take, and all that is not whole text frames, go the usual way.
        """
        if not self._is_early:  # else the library may be in the middle of a frame
            self._take = take

    def data_received(self, data: bytes) -> None:
        if self._take is None:
            self._is_early |= self.handshake_initiated
            super().data_received(data)
            return
        received = self._cut + data if self._cut else data
        rest = self._hand_over(received, self._take)
        self._cut = received[rest:]

    def _hand_over(self, received: bytes, take: Callable[[bytes], bool]) -> int:
        """Whole frames: the texts at the front to `take`, all from the first other one on to the library.

        Returns where the frame begins whose end is still to come.
        """
        at = begin = 0
        most = self.conn.max_message_size or 0
        takes = self.queue.empty() and self.conn.current_size is None
        while (header := _header(received, at)) is not None:
            start, end = header
            if end - start > most or not received[at + 1] & _MASKED:
                self._take = None  # the library says what is wrong with it, and closes
                super().data_received(received[begin:])
                return len(received)
            if end > len(received):
                break
            if takes and received[at] == _WHOLE_TEXT and take(_unmasked(received, start, end)):
                begin = end
            else:
                takes = False
            at = end
        if begin < at:
            super().data_received(received[begin:at])
        return at

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.close_sent:  # uvicorn complains of an unfinished handshake when one was refused with a page
            self.handshake_complete = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.on_ready = None
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.on_ready is not None:
            self.on_ready()

    def is_ready(self) -> bool:
        return self.writable.is_set() and not self._is_over()

    def write(self, frames: bytes) -> None:
        self._write_gathered()
        if not self._is_over():
            self.transport.write(frames)

    def write_soon(self, frames: bytes) -> None:
        """As `write`, in one piece with what else is written soon in this turn of the event loop."""
        if self._gathered is None:
            self._gathered = []
            self.loop.call_soon(self._write_gathered)
        self._gathered.append(frames)

    def _write_gathered(self) -> None:
        if self._gathered is not None:
            gathered, self._gathered = b"".join(self._gathered), None
            if not self._is_over():
                self.transport.write(gathered)

    def goodbye(self, farewell: Farewell) -> None:
        """The last message and the close frame follow what is already on its way; after the grace period it is cut."""
        if self._is_over():
            return
        self._write_gathered()
        if self.farewells is not None:
            self.farewells[farewell.code] += 1
        self.stop_keepalive()
        self.conn.send_close(farewell.close_code, farewell.close_reason)
        self.transport.write(farewell.message + b"".join(self.conn.data_to_send()))
        self.close_sent = True
        code, reason = farewell.close_code, farewell.close_reason
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.close_timer = self.loop.call_later(self.grace_seconds, self.transport.abort)

    def handle_close(self, event: object) -> None:
        super().handle_close(event)  # type: ignore[arg-type]
        self._cut_later()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._cut_later()

    def handle_parser_exception(self) -> None:
        """The client broke the protocol. A message that is too large is a mistake of its program: say it in words."""
        too_large = self.conn.close_sent is not None and self.conn.close_sent.code == CloseCode.MESSAGE_TOO_BIG
        if too_large and self.scope["path"] in self.max_sizes:
            self.transport.write(_too_large(self.conn.max_message_size or 0))
        super().handle_parser_exception()

    def _cut_later(self) -> None:
        """A closing transport waits for its buffer to empty: forever, if the other end has stopped reading."""
        if self.transport.get_write_buffer_size():
            self.loop.call_later(self.grace_seconds, self.transport.abort)

    def _is_over(self) -> bool:
        return self.close_sent or self.disconnected or self.transport.is_closing()


_WHOLE_TEXT, _MASKED = 0x81, 0x80
_NO_MASK = bytes(4)


def _header(received: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the client's frame at `at` begins and ends; None while its header is not complete."""
    if len(received) < at + 6:
        is_masked = len(received) < at + 2 or received[at + 1] & _MASKED
        return None if is_masked else (at, at)
    length, start = received[at + 1] & 0x7F, at + 6
    if length < 126:
        return start, start + length
    size = 2 if length == 126 else 8
    start += size
    if len(received) < start:
        return None
    return start, start + int.from_bytes(received[at + 2 : at + 2 + size], "big")


def _unmasked(received: bytes, start: int, end: int) -> bytes:
    """The payload of a frame, which the mask comes right before."""
    mask, payload = received[start - 4 : start], received[start:end]
    return payload if mask == _NO_MASK else bytes(apply_mask(payload, mask))


def _too_large(most: int) -> bytes:
    """The frame that says so."""
    detail = f"A message may have {most} bytes. The connection is closed (1009); nothing of the message was done."
    return frame(encode(ErrorMessage(problem=StreamDeclined("message_too_large", detail).view)))
