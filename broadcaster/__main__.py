"""The broadcaster's parts, plugged together: WebSocket server, snapshot, journal, public subjects, requests."""

import asyncio
import logging
import resource
import socket
from pathlib import Path

from nats.aio.client import Client

from broadcaster.application import Application
from broadcaster.feed import GOING_AWAY
from broadcaster.follower import follow, refresh, show_books
from broadcaster.live import Live
from broadcaster.requests import answer_requests
from broadcaster.server import create_server
from broadcaster.snapshot import SnapshotFolder, keep_saving, newest_good, save
from contracts.commits import JournalBroken
from runtime.connection import close, connect, watch
from runtime.journal import wait_for_journal
from runtime.server import listening_socket
from runtime.service import Refused, first_of, run
from runtime.settings import Settings

log = logging.getLogger(__name__)

_MANY_FILES = 65_536


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until stopped. The port is open from the start: clients wait there until the journal has been read."""
    _allow_many_clients()
    with listening_socket(settings.ws_fd, settings.ws_host, settings.ws_port) as listening:
        connecting = asyncio.create_task(connect(settings.nats_url, "broadcaster"))
        await first_of(stop.wait(), connecting)
        if not stop.is_set():
            await _serve(settings, listening, connecting.result(), stop)


async def _serve(settings: Settings, listening: socket.socket, connection: Client, stop: asyncio.Event) -> None:
    live = Live()
    folder = SnapshotFolder(Path(settings.data_dir, "broadcaster"))
    application = Application(live, settings.default_instrument, lambda: refresh(live, connection))
    server = create_server(application)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        market = _show_market(settings, live, folder, connection)
        await first_of(stop.wait(), asyncio.shield(serving), watch(connection), market)
    except JournalBroken as broken:
        raise Refused(f"the journal cannot be trusted: {broken}") from broken
    finally:
        server.dismiss(GOING_AWAY)
        if stop.is_set():
            save(folder, live)
        server.should_exit = True
        await serving
        await close(connection)


async def _show_market(settings: Settings, live: Live, folder: SnapshotFolder, connection: Client) -> None:
    await answer_requests(live, connection, settings.read_wait_seconds)
    await wait_for_journal(connection)
    live.restore(*await newest_good(folder, connection))
    await first_of(follow(live, connection), show_books(live, connection), keep_saving(folder, live))


def _allow_many_clients() -> None:
    """Each client is an open file; the usual soft limit is about a thousand."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY_FILES if hard == resource.RLIM_INFINITY else min(_MANY_FILES, hard)
    if soft not in (wanted, resource.RLIM_INFINITY) and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    run("broadcaster", main)
