"""One client's WebSocket: uvicorn's sans-I/O protocol, opened up so that finished frames go straight to the transport.

ASGI's `send` encodes each message for each client and waits in that client's task. Writing the shared bytes of a whole
run of trades at once is many times cheaper (docs/decisions/0007), and it lets a client that does not read be told and
then cut off: ASGI has no way to end a connection whose buffer is full.
"""

from collections.abc import Callable

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from broadcaster.feed import Farewell

GRACE_SECONDS = 5.0
"""How long a client that was told goodbye may take to read what was sent before."""
STATE = "connection"


class Connection(WebSocketsSansIOProtocol):
    """An Outlet. The ASGI application finds it in scope["state"]."""

    on_ready: Callable[[], None] | None = None
    grace_seconds = GRACE_SECONDS

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.handshake_complete:  # else it was refused: no WebSocket handshake
            self.scope["state"][STATE] = self

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
        self.stop_keepalive()
        self.conn.send_close(farewell.close_code, farewell.code)
        self.transport.write(farewell.message + b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": farewell.close_code, "reason": farewell.code})
        self.close_timer = self.loop.call_later(self.grace_seconds, self.transport.abort)

    def handle_close(self, event: object) -> None:
        super().handle_close(event)  # type: ignore[arg-type]
        self._cut_later()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._cut_later()

    def _cut_later(self) -> None:
        """A closing transport waits for its buffer to empty: forever, if the other end has stopped reading."""
        if self.transport.get_write_buffer_size():
            self.loop.call_later(self.grace_seconds, self.transport.abort)

    def _is_over(self) -> bool:
        return self.close_sent or self.disconnected or self.transport.is_closing()
