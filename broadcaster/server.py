"""The listening socket and the uvicorn server on it."""

import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn

from broadcaster.application import Application
from broadcaster.connection import Connection
from broadcaster.feed import Farewell
from runtime.service import Refused
from runtime.settings import Settings

_PING_SECONDS = 20.0
_MAX_CLIENT_MESSAGE = 4096
"""Clients have nothing to say."""


def listening_socket(settings: Settings) -> socket.socket:
    """The socket inherited from the supervisor, or one of our own. Raises Refused when the port is taken."""
    if settings.ws_fd is not None:
        return socket.socket(fileno=settings.ws_fd)
    family = socket.AF_INET6 if ":" in settings.ws_host else socket.AF_INET
    try:
        return socket.create_server((settings.ws_host, settings.ws_port), family=family, backlog=1024)
    except OSError as error:
        raise Refused(f"cannot listen on {settings.ws_host}:{settings.ws_port}: {error.strerror}") from error


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: runtime.service has the only ones."""

    def dismiss(self, farewell: Farewell) -> None:
        """Say goodbye to every client."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection) and connection.handshake_complete:
                connection.goodbye(farewell)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def create_server(application: Application) -> Server:
    """No compression: frames are shared between clients. Zombies are found by pings."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # a line for each client is no news
    return Server(
        uvicorn.Config(
            application,
            http="httptools",
            ws=Connection,
            ws_per_message_deflate=False,
            ws_max_size=_MAX_CLIENT_MESSAGE,
            ws_ping_interval=_PING_SECONDS,
            ws_ping_timeout=_PING_SECONDS,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )
