"""The recorder as a process: follows the journal and keeps Postgres up with it.

Reading (receive, check, fold) and recording (one transaction) run side by side: while one run of commits is on its way
into Postgres, the next is folded. Between them is room for exactly one run, so a slow Postgres slows reading, and a
long outage costs no memory.
"""

import asyncio
import json
import logging
import os
from collections.abc import Iterator

from nats.errors import Error as NatsError
from nats.js.api import StreamState

from contracts.commits import Chain, JournalBroken
from contracts.subjects import RECORDER_POSITION, RECORDER_STATUS
from recorder.archive import Archive
from recorder.disks import Disks
from recorder.measures import RunMeasures, of_recorder
from recorder.nats_servers import NatsServers
from recorder.postgres_server import PostgresServer
from recorder.resume import check_journal
from recorder.runs import Runs
from recorder.store import Store
from runtime.clock import steady
from runtime.connection import close, connect, respond, watch
from runtime.journal import JournalReader, journal_state, wait_for_journal
from runtime.metrics import Measure
from runtime.metrics_server import Exposition, exposing
from runtime.nats_client import NatsClient
from runtime.service import Refused, first_of
from runtime.settings import Settings, named_folders
from runtime.tls import nats_tls

log = logging.getLogger(__name__)

_IDLE_SECONDS = 1.0


async def main(settings: Settings, stop: asyncio.Event) -> None:
    async with exposing(settings, "recorder") as shown:
        watched = (
            NatsServers(settings.nats_monitor_url, shown),
            PostgresServer(settings.postgres_url, shown),
            Disks(named_folders(settings.watched_folders), shown),
        )
        await first_of(_serve(settings, shown), stop.wait(), *(each.run() for each in watched))


async def _serve(settings: Settings, shown: Exposition) -> None:
    connection = await connect(settings.nats_url, "recorder", tls=nats_tls(settings))
    store, archive = Store(settings.postgres_url), Archive(settings.postgres_url)
    recorder = Recorder(connection, store, archive, settings)
    shown.add_connection(connection)
    shown.add(recorder.measures)
    try:
        await first_of(recorder.run(), watch(connection))
    finally:
        store.close()
        archive.close()
        await close(connection)


class Recorder:
    def __init__(self, connection: NatsClient, store: Store, archive: Archive, settings: Settings) -> None:
        self._connection = connection
        self._store = store
        self._archive = archive
        self._settings = settings
        self._runs = Runs()
        self._last_sequence = 0
        self._recorded = RunMeasures()
        self._journal: StreamState | None = None

    async def run(self) -> None:
        """Return never; raise Refused when going on would put something wrong into Postgres."""
        await self._store.open()
        self._last_sequence = self._store.position.sequence
        # Before the journal is there: a matcher that starts asks what Postgres holds before it creates one; and
        # before it is compared: what is trimmed from it is read here, whatever is wrong with the rest.
        await respond(self._connection, RECORDER_STATUS, self._status)
        await self._archive.serve(self._connection)
        chain = await self._resume()
        self._runs = Runs(self._store.last_trade_id)
        log.info("recording from journal sequence %d", chain.sequence + 1)
        await first_of(self._read(chain), self._record(), self._announce_when_idle())

    async def _resume(self) -> Chain:
        await wait_for_journal(self._connection)
        try:
            return await check_journal(self._connection, self._store)
        except Refused as error:
            await self._store.check_alone()  # else it may be missing because the other has it, and it was trimmed
            # A matcher that starts now must hear how far Postgres is, or it writes on where the journal was cut.
            log.error("refusing to serve, after giving the matcher time to ask: %s", error)
            await asyncio.sleep(self._settings.recorder_wait_seconds)
            raise

    async def _read(self, chain: Chain) -> None:
        try:
            async with JournalReader(self._connection, chain.sequence + 1, archived=False) as reader:
                async for messages in reader:
                    for sequence, payload in messages:
                        await self._runs.add(chain.follow(sequence, payload), payload, chain.hash)
        except JournalBroken as error:
            await self._runs.all_recorded()
            await self._store.check_alone()
            raise Refused(
                f"{error}. Postgres holds what came before, up to {self._store.position.sequence}. Stop, and run "
                "`pricetime rebuild journal`, or bring back the journal's files from a copy"
            ) from error

    async def _record(self) -> None:
        while True:
            run = await self._runs.take()
            started = steady()
            await self._store.record(run.fold, run.reached)
            self._recorded.add(run, steady() - started)
            self._runs.recorded()
            self._last_sequence = max(self._last_sequence, run.reached.sequence)
            await self._announce()
            await self._runs.pause(run)

    async def _announce_when_idle(self) -> None:
        while True:
            await asyncio.sleep(_IDLE_SECONDS)
            if not self._connection.is_connected:
                continue
            await self._announce()
            try:
                self._journal = await journal_state(self._connection)
                self._last_sequence = self._journal.last_seq
            except (NatsError, TimeoutError):
                pass  # the reader says what is wrong with the journal; here the figure just stays older

    async def _announce(self) -> None:
        await self._connection.publish(
            RECORDER_POSITION, json.dumps({"sequence": self._store.position.sequence}).encode()
        )

    def measures(self) -> Iterator[Measure]:
        yield from of_recorder(self._store, self._last_sequence, self._journal)
        yield from self._recorded.measures()

    async def _status(self, _: bytes) -> bytes:
        position = self._store.position
        return json.dumps(
            {
                "sequence": position.sequence,
                "hash": position.hash.hex(),
                "journal_epoch": position.journal_epoch,
                "last_sequence": max(self._last_sequence, position.sequence),
                "pid": os.getpid(),
            }
        ).encode()
