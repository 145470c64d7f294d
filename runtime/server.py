"""What the services with a port of their own share: the listening socket, and uvicorn on it, within limits.

uvicorn waits without end for a client that sends half a request, or reads half an answer. Here each second one look at
every connection finds those; what is in order pays nothing for it (docs/decisions/0026).
"""

import asyncio
import fcntl
import socket
import ssl
import sys
import termios
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runtime.proxies import FORWARDED_FOR, NOBODY, TrustedProxies
from runtime.service import Refused
from runtime.settings import Settings

BACKLOG = 2048
_HANDSHAKE_SECONDS = 10.0
_LOOK_EVERY = 10
"""Turns of uvicorn's main loop, each a tenth of a second."""


def listening_socket(inherited_fd: int | None, host: str, port: int) -> socket.socket:
    """The socket inherited from the supervisor, or one of our own. Raises Refused when the port is taken."""
    if inherited_fd is not None:
        return socket.socket(fileno=inherited_fd)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Refused(f"cannot listen on {host}:{port}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one server. `refusal` is the whole HTTP answer to one connection too many."""

    connections: int = 100_000
    per_address: int = 0
    request_seconds: float = 30.0
    refusal: bytes = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    proxies: TrustedProxies = NOBODY
    """Many clients come by each of them: of its connections no number is too many."""

    @classmethod
    def of(cls, settings: Settings, connections: int, refusal: bytes) -> "Limits":
        return cls(
            connections,
            settings.connections_per_address,
            settings.request_seconds,
            refusal,
            TrustedProxies(settings.trusted_proxies),
        )

    def are_exceeded_by(self, connection: Any) -> bool:
        """Whether there are too many of the address that this one of the server's connections comes from."""
        most, address = self.per_address, address_of(connection)
        if most == 0 or self.proxies.trust(address):
            return False
        return sum(address_of(each) == address for each in connection.connections) > most

    def client_of(self, connection: Any, forwarded: Iterable[bytes]) -> tuple[str, int] | None:
        """Who sends what came on this connection, which may be a proxy's."""
        peer: tuple[str, int] | None = connection.client
        if peer is None or not self.proxies.trust(peer[0]):
            return peer
        return self.proxies.client_behind(peer[0], forwarded), 0


NO_LIMITS = Limits()


def http_answer(status: str, content_type: str, body: bytes, more: str = "") -> bytes:
    """A whole answer, after which the connection ends: for where there is no request yet."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n{more}"
    return f"{head}connection: close\r\n\r\n".encode() + body


class _PatientFlow(FlowControl):
    """Reads no further while requests that were read wait for their turn.

    uvicorn reads on with each answer: one who sends requests without end, and waits for none, then fills the memory.
    """

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class HttpConnection(HttpToolsProtocol):
    """uvicorn's, which is one of a limited number."""

    limits = NO_LIMITS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _PatientFlow(transport, self.pipeline)
        if len(self.connections) > self.limits.connections or self.limits.are_exceeded_by(self):
            transport.write(self.limits.refusal)
            transport.close()

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():  # else it was refused, and may have sent before it knew
            super().data_received(data)

    def on_headers_complete(self) -> None:
        if self.limits.proxies:
            forwarded = [value for name, value in self.headers if name == FORWARDED_FOR]
            self.scope["client"] = self.limits.client_of(self, forwarded)
        super().on_headers_complete()

    @property
    def unfinished(self) -> object | None:
        """What stands for the request that has not come in whole; None if there is none."""
        cycle, scope = self.cycle, self.scope
        if cycle is None or scope is not cycle.scope or cycle.more_body:
            return self if scope is None else scope
        return None

    @property
    def unread(self) -> int:
        """Bytes of answers that the client has not taken, if more of them wait here; else 0."""
        waiting = self.transport.get_write_buffer_size()
        if waiting == 0:
            return 0
        outgoing = bytearray(4)
        fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, outgoing)
        return waiting + int.from_bytes(outgoing, sys.byteorder)


def http_connection(limits: Limits, base: type[HttpConnection] = HttpConnection) -> type[HttpConnection]:
    """The class that uvicorn makes connections of."""
    return type(base.__name__, (base,), {"limits": limits})


def address_of(connection: Any) -> str | None:
    return connection.client[0] if connection.client else None


@dataclass(slots=True)
class _Waiting:
    """What a connection is behind with, and since when."""

    behind_with: object
    since: float


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: runtime.service has the only ones."""

    def __init__(
        self, config: uvicorn.Config, tls: ssl.SSLContext | None = None, request_seconds: float = 30.0
    ) -> None:
        super().__init__(config)
        self._tls = tls
        self._patience = request_seconds
        self._waiting: dict[Any, _Waiting] = {}

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, for sockets that listen already; a TLS handshake may not take forever either."""
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                self._connection,
                sock=each,
                ssl=self._tls,
                backlog=self.config.backlog,
                ssl_handshake_timeout=None if self._tls is None else _HANDSHAKE_SECONDS,
            )
            for each in sockets or ()
        ]
        self.started = True

    def _connection(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        connection: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return connection

    async def on_tick(self, counter: int) -> bool:
        if counter % _LOOK_EVERY == 0:
            self.end_the_slow(time.monotonic())
        return await super().on_tick(counter)

    def end_the_slow(self, now: float) -> None:
        """End the connections that have been behind with the same for too long."""
        waiting: dict[Any, _Waiting] = {}
        for connection in list(self.server_state.connections):
            behind_with = _behind_with(connection)
            if behind_with is None:
                continue
            before = self._waiting.get(connection)
            if before is None or not _same(before.behind_with, behind_with):
                before = _Waiting(behind_with, now)
            if now - before.since >= self._patience:
                connection.transport.abort()
            else:
                waiting[connection] = before
        self._waiting = waiting


def _behind_with(connection: Any) -> object | None:
    """The answer that it does not read, as the number of bytes that wait; or the request that it does not finish.

    Readers of a WebSocket are looked after by the broadcaster, which knows what it owes each.
    """
    if not isinstance(connection, HttpConnection):
        return None
    return connection.unread or connection.unfinished


def _same(before: object, after: object) -> bool:
    return before == after if isinstance(after, int) else before is after
