"""uvicorn, started and stopped by us, on a socket of our own or the supervisor's."""

import asyncio
import socket
import ssl
from collections.abc import Sequence

import uvicorn
from litestar.types import ASGIApp

from entry.problems import Problem
from gateway.http import problem_answer
from gateway.security import HEADERS
from runtime.server import BACKLOG, NO_LIMITS, HttpConnection, Limits, Server, http_answer, http_connection
from runtime.settings import Settings

_GRACE_SECONDS = 2
_KEEP_ALIVE_SECONDS = 75


def address(listener: socket.socket, tls: ssl.SSLContext | None = None) -> str:
    host, port = listener.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def limits(settings: Settings) -> Limits:
    """Of connections, and how long one may take over a request."""
    detail = "This server has as many connections as it may have, or as many from your address; come again in a moment."
    answer = problem_answer(Problem(code="too_many_connections", detail=detail))
    more = "".join(f"{name.decode()}: {value.decode()}\r\n" for name, value in answer.headers[1:])
    refusal = http_answer("503 Service Unavailable", "application/problem+json", answer.body, more)
    return Limits.of(settings, settings.http_connections, refusal)


def create_server(
    app: ASGIApp,
    protocol: type[HttpConnection] = HttpConnection,
    *,
    tls: ssl.SSLContext | None = None,
    limits: Limits = NO_LIMITS,
    headers: Sequence[tuple[str, str]] = HEADERS,
) -> Server:
    """`protocol`: what uvicorn makes connections of."""
    return Server(
        uvicorn.Config(
            app,
            http=http_connection(limits, protocol),
            ws="none",
            loop="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="error",
            proxy_headers=False,
            server_header=False,
            headers=list(headers),
            backlog=BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        ),
        tls,
        limits.request_seconds,
    )


async def serve(server: Server, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop`, then finish what is being answered."""
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.should_exit = True
    await serving
