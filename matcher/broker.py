"""Whether the broker may be trusted with the journal: it syncs every write, and its stream forgets nothing.

Of a cluster every node that can be asked must sync, and more than half must be there to be asked: what two of three
nodes have on disk is what an acknowledgement means (docs/decisions/0024).
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import httpx
from nats.aio.client import Client
from nats.errors import Error as NatsError

from runtime.clock import steady
from runtime.connection import servers_of, without_password
from runtime.journal import ensure_stream
from runtime.service import Refused
from runtime.settings import Settings

log = logging.getLogger(__name__)

_ALONE_SECONDS = 5.0
_NODE_SECONDS = 2.0
"""A node that hangs must not hold up a take-over for long; the others tell enough."""
_LOOK_SECONDS = 5.0
_NOTICE_SECONDS = 0.5
_PROBE_SECONDS = 2
_RETRY_SECONDS = 0.2


class MonitorUnreachable(Refused):
    """nats-server's monitoring port does not answer, or those of too few nodes."""


class _Silent(Exception):
    """One node cannot be asked; the message says why."""


async def check_broker(connection: Client, settings: Settings) -> None:
    """Refuse a broker that would acknowledge what a power cut can take back (docs/decisions/0002)."""
    addresses = servers_of(settings.nats_monitor_url)
    if len(addresses) < settings.replicas:
        raise Refused(
            f"PRICETIME_REPLICAS is {settings.replicas}, but PRICETIME_NATS_MONITOR_URL names {len(addresses)} "
            "nats-server: name every node of the cluster, with commas between"
        )
    reconnects = connection.stats["reconnects"]
    asked = await _ask_all(addresses)
    found = {address: each for address, each in asked.items() if not isinstance(each, _Silent)}
    silent = [each for each in asked.values() if isinstance(each, _Silent)]
    _check_synced(found.values())
    if 2 * len(found) <= len(addresses):
        raise MonitorUnreachable(
            f"{silent[0]}: set PRICETIME_NATS_MONITOR_URL to where nats-server answers its monitoring port"
        )
    answers = True
    if not _is_among(connection, found):
        await asyncio.sleep(_NOTICE_SECONDS)  # started again, perhaps, and the connection does not know yet
        answers = await _answers(connection)
    was_away = not answers or connection.stats["reconnects"] != reconnects
    _check_connected(connection, settings, found, silent, was_away)
    _check_together(found)
    for each in silent:
        log.warning("%s: whether it syncs every write is looked at when it is back", each)


async def watch_brokers(connection: Client, settings: Settings) -> None:
    """Return never; raise Refused when a node comes back that does not sync every write."""
    addresses = servers_of(settings.nats_monitor_url)
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if len(addresses) > 1:
            asked = await _ask_all(addresses)
            _check_synced(each for each in asked.values() if not isinstance(each, _Silent))


async def check_stream(connection: Client, settings: Settings) -> None:
    """Create the journal's stream if there is none; refuse one that may forget or lose messages.

    Waits as long as nobody answers for it, or too few nodes are there to make it.
    """
    next_word = steady() + _LOOK_SECONDS
    while True:
        try:
            wrong = await ensure_stream(connection, settings.replicas)
            break
        except (NatsError, TimeoutError) as error:
            if steady() >= next_word:
                log.warning("the journal's stream cannot be had yet (%s)", error or type(error).__name__)
                next_word = steady() + _LOOK_SECONDS
        await asyncio.sleep(_RETRY_SECONDS)
    if wrong:
        raise Refused(f"stream JOURNAL cannot be trusted: {'; '.join(wrong)}. Mend it with `nats stream edit JOURNAL`")


async def _ask_all(addresses: list[str]) -> dict[str, "dict[str, Any] | _Silent"]:
    patience = _ALONE_SECONDS if len(addresses) == 1 else _NODE_SECONDS
    async with httpx.AsyncClient(timeout=patience, trust_env=False) as client:
        answers = await asyncio.gather(*(_ask(client, each) for each in addresses))
    return dict(zip(addresses, answers, strict=True))


async def _ask(client: httpx.AsyncClient, address: str) -> "dict[str, Any] | _Silent":
    """What one server says of itself."""
    try:
        server: dict[str, Any] = (await client.get(f"{address}/varz")).json()
        return server
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return _Silent(f"cannot read {address}/varz ({error or type(error).__name__})")


def _check_synced(servers: Iterable[dict[str, Any]]) -> None:
    for server in servers:
        if server.get("jetstream", {}).get("config", {}).get("sync_always") is not True:
            raise Refused(
                f"nats-server {server.get('server_name')} does not sync every write: an acknowledged order could be "
                "lost. Put `sync_interval: always` into its jetstream block (nats/pricetime.conf has it)"
            )


def _is_among(connection: Client, found: dict[str, dict[str, Any]]) -> bool:
    ours = connection._server_info.get("server_id")
    return any(server.get("server_id") == ours for server in found.values())


async def _answers(connection: Client) -> bool:
    """Whether somebody is at the other end. A server that died while nothing came through seems to be there still."""
    if not connection.is_connected:
        return False
    try:
        await connection.flush(timeout=_PROBE_SECONDS)
    except (NatsError, TimeoutError):
        return False
    return connection.is_connected


def _check_connected(
    connection: Client, settings: Settings, found: dict[str, dict[str, Any]], silent: list[_Silent], was_away: bool
) -> None:
    """What was asked must be what we are connected to."""
    if _is_among(connection, found):
        return
    if was_away:
        raise MonitorUnreachable("the connection was lost while nats-server was asked: it may have been started again")
    if silent:
        raise MonitorUnreachable(f"{silent[0]}, and we are connected to a node that the other addresses do not know")
    names = ", ".join(str(server.get("server_name")) for server in found.values())
    raise Refused(
        f"{settings.nats_monitor_url} belongs to nats-server {names}, not to the one at "
        f"{without_password(settings.nats_url)}: make PRICETIME_NATS_MONITOR_URL and PRICETIME_NATS_URL agree"
    )


def _check_together(found: dict[str, dict[str, Any]]) -> None:
    """Nodes of different clusters, or one that is named twice, would make the count of those that answer a lie."""
    clusters = {server.get("cluster", {}).get("name") for server in found.values()}
    if len(found) > 1 and (len(clusters) > 1 or None in clusters):
        raise Refused(
            f"{', '.join(found)} are not one cluster: PRICETIME_NATS_MONITOR_URL must name the nodes of one cluster"
        )
    if len({server.get("server_id") for server in found.values()}) < len(found):
        raise Refused(f"{', '.join(found)} are not different nodes: name each once in PRICETIME_NATS_MONITOR_URL")
