"""The uvicorn server of the WebSocket port."""

import logging

import uvicorn

from broadcaster.application import SESSIONS, Application
from broadcaster.connection import Connection
from broadcaster.feed import Farewell
from runtime.server import Server

_PING_SECONDS = 20.0
_MAX_CLIENT_MESSAGE = 4096
"""Clients of /ws/trades and /ws/orderbook have nothing to say."""


class BroadcastServer(Server):
    def dismiss(self, farewell: Farewell) -> None:
        """Say goodbye to every client."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection) and connection.handshake_complete:
                connection.goodbye(farewell)


def create_server(application: Application, max_request_bytes: int = 1_000_000) -> BroadcastServer:
    """No compression: frames are shared between clients. Zombies are found by pings.

    `max_request_bytes`: of one message to /ws.
    """
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # a line for each client is no news
    return BroadcastServer(
        uvicorn.Config(
            application,
            http="httptools",
            ws=type("Connection", (Connection,), {"max_sizes": {SESSIONS: max_request_bytes}}),
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
