"""The broadcaster's parts, plugged together: WebSocket server, snapshot, journal, public subjects, requests."""

import asyncio
import logging
import resource
import socket
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broadcaster.access import Doorkeeper
from broadcaster.account_updates import AccountUpdates
from broadcaster.application import Application
from broadcaster.feed import GOING_AWAY
from broadcaster.follower import beat, follow, refresh, show_books, show_tickers_and_candles
from broadcaster.live import Live
from broadcaster.measures import of_broadcaster
from broadcaster.messages import GoingAway
from broadcaster.observed import ObservedTrading
from broadcaster.recent_history import keep_recent_history
from broadcaster.requests import answer_requests
from broadcaster.server import BroadcastServer, create_server, limits
from broadcaster.session import Counter as Desk
from broadcaster.session import Limits
from broadcaster.snapshot import keep_saving, newest_good, save, snapshot_files
from broadcaster.trading import LiveHistory, LiveInstruments, Trading
from contracts.commits import JournalBroken
from entry.admission import Admission
from entry.exchange import Exchange
from entry.first_answers import journal_commits
from entry.matcher_client import MatcherClient
from entry.measures import of_admission, of_matcher_client
from entry.origins import Origins
from entry.position import Position
from runtime.clock import steady
from runtime.connection import close, connect, watch
from runtime.journal import wait_for_journal
from runtime.keys import Keys, check_binding
from runtime.metrics import Histogram
from runtime.metrics_server import Exposition, exposing
from runtime.nats_client import NatsClient
from runtime.server import listening_socket
from runtime.service import Refused, first_of, run
from runtime.settings import Settings
from runtime.snapshot_files import SnapshotFiles
from runtime.tls import nats_tls, server_context
from runtime.tracing import Tracing, tracing

log = logging.getLogger(__name__)

_MANY_FILES = 65_536
GOING_AWAY_SECONDS = 0.5
"""Between the word of it and the end, unless all have gone before: for answers that are still to come."""
_LOOK_SECONDS = 0.02
RECONNECT_AFTER_MS = 1_000
SETTLE_SECONDS = 1.0


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until stopped. The port is open from the start: clients wait there until the journal has been read."""
    _allow_many_clients()
    with listening_socket(settings.ws_fd, settings.ws_host, settings.ws_port) as listening:
        connecting = asyncio.create_task(connect(settings.nats_url, "broadcaster", tls=nats_tls(settings)))
        await first_of(stop.wait(), connecting)
        if not stop.is_set():
            async with exposing(settings, "broadcaster") as shown, tracing(settings, "broadcaster") as traces:
                await _serve(settings, listening, connecting.result(), stop, Watched(shown, traces))


@dataclass(frozen=True, slots=True)
class Watched:
    """What somebody who looks after the exchange is shown of this process."""

    shown: Exposition
    traces: Tracing | None


async def _serve(
    settings: Settings, listening: socket.socket, connection: NatsClient, stop: asyncio.Event, watched: Watched
) -> None:
    live, farewells = Live(), Counter({"slow_consumer": 0})  # there from the start, or its first would be no increase
    snapshots = snapshot_files(Path(settings.data_dir, "broadcaster"))
    origins = Origins(settings.allowed_hosts, settings.cors_origins)
    application = Application(live, settings.default_instrument, lambda: refresh(live, connection), origins)
    tls = server_context(settings)
    server = create_server(application, settings.max_body_bytes, tls=tls, limits=limits(settings), farewells=farewells)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    market = _Market(settings, live, snapshots, connection)
    counter = _Counter(settings, live, connection, listening, watched)
    if watched.shown.is_on:
        live.delays = Histogram()
        watched.shown.add_connection(connection)
        watched.shown.add(lambda: of_broadcaster(live, farewells))
    try:
        await first_of(
            _until_stopped(stop, live, server, counter),
            asyncio.shield(serving),
            watch(connection),
            market.show(),
            counter.serve(application),
        )
    except JournalBroken as broken:
        raise Refused(f"the journal cannot be trusted: {broken}") from broken
    finally:
        server.dismiss(GOING_AWAY)
        if stop.is_set():
            save(snapshots, live)
        server.should_exit = True
        await serving
        await close(connection)


async def _until_stopped(stop: asyncio.Event, live: Live, server: BroadcastServer, counter: "_Counter") -> None:
    """Then tell the clients, and do what they are owed, while everything is still running."""
    await stop.wait()
    if live.sessions:
        live.tell_all(GoingAway(reconnect_after_ms=RECONNECT_AFTER_MS, sequence=live.position.sequence))
        until = steady() + GOING_AWAY_SECONDS
        while live.sessions and steady() < until:  # noqa: ASYNC110 (each tells nobody but the server when it goes)
            await asyncio.sleep(_LOOK_SECONDS)
    server.dismiss(GOING_AWAY)
    await counter.settle(live)


@dataclass(frozen=True, slots=True)
class _Market:
    """What the journal says, shown."""

    settings: Settings
    live: Live
    snapshots: SnapshotFiles
    connection: NatsClient

    async def show(self) -> None:
        live, connection = self.live, self.connection
        await answer_requests(live, connection, self.settings.read_wait_seconds)
        await wait_for_journal(connection)
        live.restore(*await newest_good(self.snapshots, connection))
        accounts = AccountUpdates(connection)
        await first_of(
            follow(live, connection, accounts),
            accounts.run(),
            show_books(live, connection),
            show_tickers_and_candles(live, connection),
            beat(live, self.settings.ws_heartbeat_seconds),
            keep_recent_history(connection),
            keep_saving(self.snapshots, live),
        )


class _Counter:
    """Where orders are taken."""

    def __init__(
        self, settings: Settings, live: Live, connection: NatsClient, listening: socket.socket, watched: Watched
    ) -> None:
        self._settings = settings
        self._watched = watched
        self._live = live
        self._connection = connection
        self._listening = listening
        self._trading: Trading | None = None

    async def serve(self, application: Application) -> None:
        """From when it is known which keys there are."""
        settings, live, connection = self._settings, self._live, self._connection
        keys = Keys(connection, settings)
        await keys.start()
        check_binding(self._listening, settings, keys)
        matcher = MatcherClient(
            connection, settings.command_timeout_seconds, settings.backlog_commands, settings.command_retry_seconds
        )
        await matcher.start()
        exchange, admission = _exchange(settings, live, connection, matcher), Admission(settings.requests_in_flight)
        self._trading = self._observed_trading(live, exchange, matcher, settings.rate_limit, admission)
        self._watch(matcher, admission)
        doorkeeper = Doorkeeper(keys)
        limits = Limits(settings.ws_subscriptions, settings.ws_requests_per_second)
        keys.listeners.append(live.check_access)
        application.open_counter(Desk(self._trading, doorkeeper, limits))
        await first_of(matcher.run(), keys.run())

    def _observed_trading(self, *parts: Any) -> Trading:
        watched = self._watched
        if not watched.shown.is_on and watched.traces is None:
            return Trading(*parts)
        trading = ObservedTrading(*parts)
        trading.tracing = watched.traces
        watched.shown.add(trading.measures)
        return trading

    def _watch(self, matcher: MatcherClient, admission: Admission) -> None:
        matcher.is_traced = self._watched.traces is not None
        shown = self._watched.shown
        if shown.is_on:
            matcher.round_trips = Histogram()
            shown.add(lambda: of_matcher_client(matcher))
            shown.add(lambda: of_admission(admission))

    async def settle(self, live: Live) -> None:
        """Wait, a moment at most, until the clients have gone, and their orders where they wanted that."""
        if self._trading is not None:
            for _ in range(20):
                if not live.sessions:
                    break
                await asyncio.sleep(0.01)
            await self._trading.settled(SETTLE_SECONDS)


def _exchange(settings: Settings, live: Live, connection: NatsClient, matcher: MatcherClient) -> Exchange:
    position = Position()
    history = LiveHistory(live, position)
    return Exchange(
        matcher,
        LiveInstruments(live, connection, settings.command_timeout_seconds),
        position,
        settings.default_instrument,
        find_order=history.find_order,
        find_named=history.find_named,
        read_commit=journal_commits(connection, settings.command_timeout_seconds),
    )


def _allow_many_clients() -> None:
    """Each client is an open file; the usual soft limit is about a thousand."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY_FILES if hard == resource.RLIM_INFINITY else min(_MANY_FILES, hard)
    if soft not in (wanted, resource.RLIM_INFINITY) and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    run("broadcaster", main)
