"""One client's WebSocket: uvicorn's sans-I/O protocol, opened up so that finished frames go straight to the transport.

ASGI's `send` encodes each message for each client and waits in that client's task. Writing the shared bytes of a whole
run of trades at once is many times cheaper (docs/decisions/0007), and it lets a client that does not read be told and
then cut off: ASGI has no way to end a connection whose buffer is full.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode
from websockets.http11 import Request

from broadcaster.feed import Farewell, frame
from broadcaster.messages import ErrorMessage, encode
from entry.stream_codes import StreamDeclined

GRACE_SECONDS = 5.0
"""How long a client that was told goodbye may take to read what was sent before."""
STATE = "connection"


class Connection(WebSocketsSansIOProtocol):
    """An Outlet. The ASGI application finds it in scope["state"]."""

    on_ready: Callable[[], None] | None = None
    grace_seconds = GRACE_SECONDS
    max_sizes: Mapping[str, int] = {}
    """The largest message by path, where it is another than the server's."""
    farewells: "Counter[str] | None" = None
    """How many clients were told to go, by why."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.handshake_complete:  # else it was refused: no WebSocket handshake
            self.scope["state"][STATE] = self
            self.conn.max_message_size = self.max_sizes.get(self.scope["path"], self.conn.max_message_size)

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
        if not self._is_over():
            self.transport.write(frames)

    def goodbye(self, farewell: Farewell) -> None:
        """The last message and the close frame follow what is already on its way; after the grace period it is cut."""
        if self._is_over():
            return
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


def _too_large(most: int) -> bytes:
    """The frame that says so."""
    detail = f"A message may have {most} bytes. The connection is closed (1009); nothing of the message was done."
    return frame(encode(ErrorMessage(problem=StreamDeclined("message_too_large", detail).view)))
