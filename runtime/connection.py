"""The NATS connection of a service: notices a dead server within seconds, never gives up, never lingers broken."""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from contracts.subjects import JOURNAL_STREAM
from runtime.clock import steady
from runtime.leadership import is_followed
from runtime.metrics import Histogram
from runtime.micro import Failure, LetIn, Service
from runtime.nats_client import NatsClient, Untrusted
from runtime.service import Refused
from runtime.tls import SCHEME, NatsTls, why_refused

log = logging.getLogger(__name__)

_WATCHDOG_SECONDS = 2.0
_CLOSE_SECONDS = 1.0
_ALONE_SECONDS = 12.0
_MOST_ALONE_SECONDS = 120.0
_RECONNECT_SECONDS: Any = 0.1  # nats-py says int, and sleeps a float as well


class ConnectionLost(Exception):
    """The connection is closed for good, or its read loop has died: the process must end and be started anew."""


async def connect(
    url: str, name: str, *, inbox_prefix: str | None = None, tls: NatsTls | None = None, outstanding_pings: int = 2
) -> NatsClient:
    """Connect as the service `name`, waiting for the server as long as it takes.

    Raises Refused when it, or we, cannot prove who that is: that does not get better by waiting.
    """
    connecting = True

    async def on_error(error: Exception) -> None:
        if connecting:
            _check_trusted(url, error)
        log.warning("nats: %s", error or type(error).__name__)

    async def on_disconnect() -> None:
        if not connection.is_closed:
            log.warning("nats: disconnected")

    async def on_reconnect() -> None:
        log.info("nats: connected again")

    connection, secure = _client(url, tls)
    servers = servers_of(url)
    random.shuffle(servers)  # once: nats-py would at each reconnect, and take the node that is to be left again
    await connection.open(
        servers,
        dont_randomize=True,
        name=name,
        **secure,
        error_cb=on_error,
        disconnected_cb=on_disconnect,
        reconnected_cb=on_reconnect,
        ping_interval=1,
        max_outstanding_pings=outstanding_pings,
        max_reconnect_attempts=-1,
        reconnect_time_wait=_RECONNECT_SECONDS,
        connect_timeout=2,
        flush_timeout=5,
        pending_size=16 * 1024 * 1024,
        inbox_prefix=inbox_prefix or inbox_of(url) or f"_INBOX_{name}",
    )
    connecting = False
    return connection


async def dial(url: str, tls: NatsTls | None = None, **options: Any) -> Client:
    """nats-py's `connect`, with TLS where that is wanted, for those who do not stay. Raises Refused as ours does."""

    async def on_error(error: Exception) -> None:
        _check_trusted(url, error)  # nats-py would try without end

    connection, secure = _client(url, tls)
    await connection.open(servers_of(url), error_cb=on_error, **secure, **options)
    return connection


def _check_trusted(url: str, error: Exception) -> None:
    """Raises Refused if the error says that one of the two ends cannot prove who it is."""
    why = str(error) if isinstance(error, Untrusted) else why_refused(error)
    if why is not None:
        raise Refused(f"nats-server at {without_password(url)}: {why} (PRICETIME_NATS_TLS_...: docs/security.md)")


def _client(url: str, tls: NatsTls | None) -> tuple[NatsClient, dict[str, Any]]:
    """One that is yet to connect, with these options. Raises Refused for files that are not good."""
    connection, tls = NatsClient(), tls or NatsTls()
    connection.wants_tls = tls.is_wanted or f"{SCHEME}://" in url
    connection.has_certificate = tls.cert is not None
    return connection, {"tls": tls.context()} if connection.wants_tls else {}


def servers_of(url: str) -> list[str]:
    """The addresses in a setting. Several have commas between; the login and scheme of the first go for those without.

    `nats://matcher:secret@one:4222,two:4222,three:4222` is three times the user matcher.
    """
    first, *others = [each.strip() for each in url.split(",")]
    scheme, _, address = first.partition("://")
    login, at, _ = address.rpartition("@")
    return [first, *(each if "://" in each else f"{scheme}://{login}{at}{each}" for each in others)]


def inbox_of(url: str) -> str | None:
    """Where the user in the address may be answered (nats/accounts.conf); None if it names no user."""
    user = urlsplit(servers_of(url)[0]).username
    return f"_INBOX_{user}" if user else None


def without_password(url: str) -> str:
    """The address, or addresses, as they may be shown and logged."""
    parts = [urlsplit(each) for each in servers_of(url)]
    return ",".join(urlunsplit(each._replace(netloc=each.netloc.rpartition("@")[2])) for each in parts)


async def close(connection: Client) -> None:
    """Send what is left and close. Takes a moment at most, and never fails.

    nats-py may do both when the server has gone, and even seem to be canceled: so each step is a task of its own.
    """
    for step in (connection.flush, connection.close) if connection.is_connected else (connection.close,):
        task = asyncio.ensure_future(step())
        await asyncio.wait([task], timeout=_CLOSE_SECONDS)
        if not task.done():
            task.cancel()
        if not task.done() or task.cancelled() or task.exception():
            log.warning("nats: closed without knowing that everything was sent")
    _services.pop(connection, None)


async def watch(connection: Client) -> None:
    """Return never; raise ConnectionLost once the connection can no longer come back by itself.

    nats-py's tasks can end without a word, and most server errors close the client for good: so each turn asks for a
    round trip while connected, and for signs of life while not.
    """
    failures = 0
    node = _Node(connection)
    while True:
        await asyncio.sleep(_WATCHDOG_SECONDS)
        if connection.is_closed:
            raise ConnectionLost("the NATS connection was closed")
        try:
            await _check(connection)
            await node.leave_if_alone()
            failures = 0
        except Exception as error:  # whatever it is, a connection that fails three times in a row is dead
            failures += 1
            log.warning("nats: the connection is not well (%s)", error or type(error).__name__)
            if failures >= 3:
                raise ConnectionLost("the NATS connection no longer answers") from error


class _Node:
    """The node of a cluster that we are connected to. One that has lost the others answers, but can store nothing."""

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        self._alone_since: float | None = None
        self._patience = _ALONE_SECONDS

    async def leave_if_alone(self) -> None:
        """For another node, when this one has been without the journal for longer than a new leader takes to be found.

        The pause grows with each try: when no node has the journal, moving helps nobody.
        """
        if len(self._connection._server_pool) < 2 or not self._connection.is_connected:
            return
        if await self._has_journal():
            self._alone_since, self._patience = None, _ALONE_SECONDS
            return
        if self._alone_since is None:
            self._alone_since = steady()
        if steady() - self._alone_since >= self._patience:
            log.warning("nats: nothing can be stored through this node; trying another")
            self._alone_since, self._patience = None, min(2 * self._patience, _MOST_ALONE_SECONDS)
            await self._connection.force_reconnect()

    async def _has_journal(self) -> bool:
        try:
            return is_followed(await self._connection.jsm(timeout=_WATCHDOG_SECONDS).stream_info(JOURNAL_STREAM))
        except NotFoundError:
            return True  # not made yet, which somebody has to know
        except (NatsError, TimeoutError):
            return False


async def _check(connection: Client) -> None:
    if not connection.is_connected:
        if _has_ended(connection._reconnection_task):
            raise ConnectionLost("nothing tries to connect again any more")
        return
    if _has_ended(connection._reading_task):  # flush would then return at once, as if all were well
        raise ConnectionLost("nothing reads from the connection any more")
    await connection.flush(timeout=math.ceil(2 * _WATCHDOG_SECONDS))


def _has_ended(task: "asyncio.Task[None] | None") -> bool:
    return task is None or task.done()


_services: dict[Client, Service] = {}
"""Until `close`."""


async def respond(
    connection: Client,
    subject: str,
    answer: Callable[[bytes], Awaitable[bytes | Failure]],
    *,
    queue: str = "",
    let_in: LetIn | None = None,
) -> None:
    """Answer requests on `subject`, any number at once. Of all responders with the same `queue`, one gets each.

    It becomes an endpoint of the process's NATS service (runtime.micro).
    """

    async def by_content(message: Msg) -> bytes | Failure:
        return await answer(message.data)

    await (await service_of(connection)).add(subject, by_content, queue, let_in)


async def stop_responding(connection: Client, *subjects: str) -> None:
    """Undo `respond`. Returns when every request that came is answered."""
    for subject in subjects:
        await (await service_of(connection)).remove(subject)


async def respond_by_subject(
    connection: Client,
    subject: str,
    answer: Callable[[str, bytes], Awaitable[bytes | Failure]],
    *,
    queue: str = "",
    let_in: LetIn | None = None,
) -> None:
    """`respond` for a subject with wildcards: `answer` is also given the subject that was asked."""

    async def by_subject(message: Msg) -> bytes | Failure:
        return await answer(message.subject, message.data)

    await (await service_of(connection)).add(subject, by_subject, queue, let_in)


def request_counts(connection: Client) -> list[tuple[str, int, int, Histogram]]:
    """Of each subject that is answered: the subject, requests, those refused, and how long each let in took."""
    service = _services.get(connection)
    return [] if service is None else service.counts


async def service_of(connection: Client) -> Service:
    service = _services.get(connection)
    if service is None:
        service = _services[connection] = Service(connection, connection.options["name"] or "service")
        await service.start()
    return service
