"""The gateway as a process: everything plugged together, and started and stopped in the right order."""

import asyncio
import json
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from litestar import Litestar
from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts.subjects import RECORDER_POSITION
from gateway.app import create_app
from gateway.exchange import Exchange
from gateway.health import Health
from gateway.history import History, close_pool, open_pool
from gateway.instruments import Instruments
from gateway.matcher_client import MatcherClient
from gateway.people import answer_people
from gateway.position import Position
from gateway.reads import Reads
from gateway.routes import command_routes, health_routes, read_routes
from gateway.site import site_routes
from runtime.connection import connect, watch
from runtime.service import first_of
from runtime.settings import Settings

log = logging.getLogger(__name__)

_GRACE_SECONDS = 2
_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048


async def main(settings: Settings, stop: asyncio.Event) -> None:
    listener = _listen(settings)
    connection = await connect(settings.nats_url, "gateway")
    pool = await open_pool(settings.postgres_url)
    position = Position()
    instruments = Instruments(connection, settings.command_timeout_seconds)
    reads = Reads(connection, History(pool), instruments, position, settings.read_wait_seconds)
    matcher = MatcherClient(connection, settings.command_timeout_seconds, settings.backlog_commands)
    exchange = Exchange(matcher, instruments, reads, position, settings.default_instrument)
    app = create_app(
        [
            *command_routes(exchange, settings.max_body_bytes),
            *read_routes(reads),
            *health_routes(Health(connection)),
            *site_routes(settings.default_instrument),
        ]
    )
    try:
        await matcher.start()
        await _follow_recorder(connection, position)
        await answer_people(connection, exchange)
        position.tell(await reads.latest_sequence() or 0)
        log.info("serving on %s", _address(listener))
        await first_of(_serve(app, listener, stop), matcher.run(), watch(connection))
    finally:
        await close_pool(pool)
        await connection.close()


def _listen(settings: Settings) -> socket.socket:
    if settings.http_fd is not None:
        return socket.socket(fileno=settings.http_fd)
    family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET
    return socket.create_server((settings.http_host, settings.http_port), family=family, backlog=_BACKLOG)


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"


async def _follow_recorder(connection: Client, position: Position) -> None:
    async def on_position(message: Msg) -> None:
        position.announce(json.loads(message.data)["sequence"])

    await connection.subscribe(RECORDER_POSITION, cb=on_position)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to runtime.service, which sets the stop event."""
        yield


async def _serve(app: Litestar, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop`, then finish what is being answered."""
    server = _Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            loop="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="error",
            server_header=False,
            headers=[("x-content-type-options", "nosniff")],
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.should_exit = True
    await serving
