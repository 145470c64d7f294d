"""The uvicorn server of the WebSocket port."""

import logging
import ssl
from collections import Counter

import msgspec
import uvicorn

from broadcaster.application import SESSIONS, Application
from broadcaster.connection import Connection
from broadcaster.feed import Farewell
from runtime.server import NO_LIMITS, Limits, Server, http_answer, http_connection
from runtime.settings import Settings

_PING_SECONDS = 20.0
_MAX_CLIENT_MESSAGE = 4096
"""Clients of /ws/trades and /ws/orderbook have nothing to say."""


_HEADERS = [("x-content-type-options", "nosniff"), ("cross-origin-resource-policy", "same-origin")]


class BroadcastServer(Server):
    def dismiss(self, farewell: Farewell) -> None:
        """Say goodbye to every client."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection) and connection.handshake_complete:
                connection.goodbye(farewell)


def limits(settings: Settings) -> Limits:
    """Of connections, and how long one may take to come in."""
    detail = "This server has as many connections as it may have, or as many from your address; come again in a moment."
    body = msgspec.json.encode({"type": "error", "code": "too_many_connections", "detail": detail})
    refusal = http_answer("503 Service Unavailable", "application/json", body, "retry-after: 1\r\n")
    return Limits.of(settings, settings.ws_connections, refusal)


def create_server(
    application: Application,
    max_request_bytes: int = 1_000_000,
    *,
    tls: ssl.SSLContext | None = None,
    limits: Limits = NO_LIMITS,
    farewells: Counter[str] | None = None,
) -> BroadcastServer:
    """No compression: frames are shared between clients. Zombies are found by pings.

    `max_request_bytes`: of one message to /ws. `farewells` counts the clients that were told to go, by why.
    """
    attributes = {"limits": limits, "max_sizes": {SESSIONS: max_request_bytes}, "farewells": farewells}
    connection = type("Connection", (Connection,), attributes)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # a line for each client is no news
    return BroadcastServer(
        uvicorn.Config(
            application,
            http=http_connection(limits),
            ws=connection,
            ws_per_message_deflate=False,
            ws_max_size=_MAX_CLIENT_MESSAGE,
            ws_ping_interval=_PING_SECONDS,
            ws_ping_timeout=_PING_SECONDS,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # uvicorn would trust whoever is on this machine; runtime/proxies.py does it
            server_header=False,
            headers=_HEADERS,
            timeout_graceful_shutdown=1,
        ),
        tls,
        limits.request_seconds,
    )
