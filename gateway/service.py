"""The gateway as a process: everything plugged together, and started and stopped in the right order."""

import asyncio
import json
import logging
from importlib import metadata

from litestar.types import ASGIApp
from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts.subjects import RECORDER_POSITION
from entry.admission import Admission
from entry.exchange import Exchange
from entry.first_answers import journal_commits
from entry.instruments import Instruments
from entry.keys import RateLimits
from entry.matcher_client import MatcherClient
from entry.origins import Origins
from entry.position import Position
from gateway.access import AccessControl
from gateway.admission import admitting
from gateway.app import create_app
from gateway.command_routes import command_routes
from gateway.deferred import Deferral
from gateway.direct import DirectRoutes
from gateway.export import Exports
from gateway.health import Health
from gateway.history import History, open_pool
from gateway.history_routes import history_routes
from gateway.limits import limits_routes
from gateway.measures import DeferredWaiting, of_gateway
from gateway.observed import Observed, RequestCounts
from gateway.people import answer_people
from gateway.places import config_routes, socket_url
from gateway.reads import Reads
from gateway.routes import Route, health_routes, read_routes
from gateway.security import Security, headers
from gateway.server import address, create_server, limits, serve
from gateway.site import site_routes
from gateway.waiting import WaitingLine
from runtime import metrics
from runtime.connection import close, connect, watch
from runtime.intake import connect_intake, watch_intake
from runtime.keys import Keys, check_binding
from runtime.metrics import Histogram
from runtime.metrics_server import Exposition, exposing
from runtime.server import listening_socket
from runtime.service import first_of
from runtime.settings import Settings
from runtime.tls import nats_tls, server_context
from runtime.tracing import Tracing, tracing

log = logging.getLogger(__name__)


async def main(settings: Settings, stop: asyncio.Event) -> None:
    async with exposing(settings, "gateway") as shown, tracing(settings, "gateway") as traces:
        await _serve(settings, stop, shown, traces)


async def _serve(settings: Settings, stop: asyncio.Event, shown: Exposition, traces: Tracing | None) -> None:
    tls, origins = server_context(settings), Origins(settings.allowed_hosts, settings.cors_origins)
    listener = listening_socket(settings.http_fd, settings.http_host, settings.http_port)
    connection = await connect(settings.nats_url, "gateway", tls=nats_tls(settings))
    intake = await connect_intake(settings.nats_url, "gateway", nats_tls(settings))
    position = Position()
    instruments = Instruments(connection, settings.command_timeout_seconds)
    history = History(await open_pool(settings.postgres_url))
    reads = Reads(connection, history, instruments, position, settings.read_wait_seconds)
    read_commit = journal_commits(connection, settings.read_wait_seconds)
    matcher = MatcherClient(
        connection, settings.command_timeout_seconds, settings.backlog_commands, settings.command_retry_seconds
    )

    def exchange_on(matcher: MatcherClient, instruments: Instruments) -> Exchange:
        return Exchange(
            matcher,
            instruments,
            position,
            settings.default_instrument,
            find_order=reads.find_order,
            find_named=reads.find_named,
            read_commit=read_commit,
        )

    def routes_on(matcher: MatcherClient, instruments: Instruments) -> list[Route]:
        return command_routes(exchange_on(matcher, instruments), settings.max_body_bytes)

    exchange = exchange_on(matcher, instruments)
    deferral = Deferral(connection, settings, position, matcher, instruments, routes_on)
    routes = [
        *deferral.routes(command_routes(exchange, settings.max_body_bytes)),
        *read_routes(reads),
        *history_routes(reads, Exports(settings.postgres_url)),
        *health_routes(Health(connection)),
        *limits_routes(settings),
        *config_routes(settings, metadata.version("pricetime")),
        *site_routes(settings.default_instrument, socket_url(settings)),
    ]
    keys = Keys(connection, settings)
    admission = Admission(settings.requests_in_flight)
    app = DirectRoutes(create_app(routes), routes)
    known = AccessControl(app, keys, RateLimits(settings.rate_limit), settings.max_body_bytes)
    guarded = Security(known, keys, origins)
    observed = _observed(guarded, settings, shown, traces)
    matcher.is_traced = traces is not None
    if shown.is_on:
        matcher.round_trips = Histogram()
        shown.add_connection(connection)
        shown.add_connection(intake, "intake")
        shown.add(lambda: of_gateway(matcher, admission, history))
    waiting = DeferredWaiting(connection, shown)
    try:
        await first_of(stop.wait(), keys.start())
        if stop.is_set():
            return
        check_binding(listener, settings, keys)
        await matcher.start()
        await _follow_recorder(connection, position)
        await answer_people(intake, exchange, admission)
        position.tell(await reads.latest_sequence() or 0)
        log.info("serving on %s", address(listener, tls))
        protocol = admitting(admission, WaitingLine(admission, settings.order_wait_seconds))
        server = create_server(observed, protocol, tls=tls, limits=limits(settings), headers=headers(settings))
        shown.add(lambda: [metrics.GATEWAY_CONNECTIONS.of(len(server.server_state.connections))])
        ways_in = (serve(server, listener, stop), deferral.run(), watch_intake(intake))
        await first_of(*ways_in, matcher.run(), keys.run(), watch(connection), waiting.run())
    finally:
        await history.close()
        await close(intake)
        await close(connection)


def _observed(app: ASGIApp, settings: Settings, shown: Exposition, traces: Tracing | None) -> ASGIApp:
    """The application itself where nobody wants to know what it is asked."""
    if not (shown.is_on or traces or settings.log_requests):
        return app
    counts = RequestCounts()
    shown.add(counts.measures)
    return Observed(app, counts if shown.is_on else None, traces, logs=settings.log_requests)


async def _follow_recorder(connection: Client, position: Position) -> None:
    async def on_position(message: Msg) -> None:
        position.announce(json.loads(message.data)["sequence"])

    await connection.subscribe(RECORDER_POSITION, cb=on_position)
