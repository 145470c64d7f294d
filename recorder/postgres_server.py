"""How Postgres itself is: asked now and then, where somebody reads metrics.

On a connection of its own, which nothing waits for: the recorder's may be in the middle of a transaction, or hang. Of
sessions of other users Postgres tells how long their transactions last to members of `pg_monitor` only.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import asyncpg

from runtime import metrics
from runtime.metrics import Measure
from runtime.metrics_server import Exposition

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
_ANSWER_SECONDS = 5.0
_SESSION = {"application_name": "pricetime-watch", "default_transaction_read_only": "on", "jit": "off"}
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
STATES = ("active", "idle", "idle in transaction", "other")

_SERVER = """
select extract(epoch from pg_postmaster_start_time())::float8 as started,
       pg_database_size(current_database()) as bytes,
       (select sum(case name when 'max_connections' then setting::int else -setting::int end) from pg_settings
        where name in ('max_connections', 'superuser_reserved_connections', 'reserved_connections')) as room,
       (select max(age(datfrozenxid)) from pg_database) as ids_used,
       xact_commit as committed, xact_rollback as rolled_back, deadlocks
from pg_stat_database where datname = current_database()
"""
_SESSIONS = """
select case when state in ('active', 'idle') then state
            when state like 'idle in transaction%' then 'idle in transaction' else 'other' end as state,
       count(*) as connections,
       count(*) filter (where wait_event_type = 'Lock') as waiting,
       coalesce(max(extract(epoch from clock_timestamp() - xact_start))
                filter (where pid <> pg_backend_pid()), 0)::float8 as oldest
from pg_stat_activity where backend_type = 'client backend' group by 1
"""


class Figures(NamedTuple):
    server: asyncpg.Record
    sessions: Sequence[asyncpg.Record]


class PostgresServer:
    """The one that the settings name. Asks nothing unless metrics are shown."""

    def __init__(self, url: str, shown: Exposition) -> None:
        self._url = url
        self._is_wanted = shown.is_on
        self._connection: asyncpg.Connection | None = None
        self._was_asked = False
        self._found: Figures | None = None
        shown.add(self.measures)

    async def run(self) -> None:
        """Without end."""
        if not self._is_wanted:
            await asyncio.Event().wait()
        try:
            while True:
                self._found = await self._look()
                self._was_asked = True
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._drop()

    async def _look(self) -> Figures | None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(self._url, server_settings=_SESSION)
                server = await self._connection.fetchrow(_SERVER)
                assert server is not None
                return Figures(server, await self._connection.fetch(_SESSIONS))
        except _AWAY as error:
            if self._found is not None or not self._was_asked:
                log.warning("Postgres does not say how it is: %s", str(error) or type(error).__name__)
            self._drop()
            return None

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def measures(self) -> Iterator[Measure]:
        if self._was_asked:
            yield metrics.POSTGRES_UP.of(self._found is not None)
        if self._found is not None:
            yield from _of_server(self._found.server)
            yield from _of_sessions(self._found.sessions)


def _of_server(server: asyncpg.Record) -> Iterator[Measure]:
    yield metrics.POSTGRES_STARTED.of(server["started"])
    yield metrics.POSTGRES_BYTES.of(server["bytes"])
    yield metrics.POSTGRES_ROOM.of(server["room"])
    yield metrics.POSTGRES_IDS_USED.of(server["ids_used"])
    yield metrics.POSTGRES_TRANSACTIONS.of(server["committed"], "committed")
    yield metrics.POSTGRES_TRANSACTIONS.of(server["rolled_back"], "rolled back")
    yield metrics.POSTGRES_DEADLOCKS.of(server["deadlocks"])


def _of_sessions(sessions: Sequence[asyncpg.Record]) -> Iterator[Measure]:
    counts = {each["state"]: each["connections"] for each in sessions}
    for state in STATES:
        yield metrics.POSTGRES_CONNECTIONS.of(counts.get(state, 0), state)
    yield metrics.POSTGRES_WAITING.of(sum(each["waiting"] for each in sessions))
    yield metrics.POSTGRES_OLDEST.of(max((each["oldest"] for each in sessions), default=0))
