"""From a cold start to the right to write: replay the journal, write the barrier."""

import asyncio
import json
import logging
import secrets
import time

from nats.aio.client import Client
from nats.errors import Error as NatsError

from contracts.commits import JournalBroken, decode_commit, encode_commit
from contracts.subjects import JOURNAL_STREAM, RECORDER_STATUS
from matcher.broker import check_stream
from matcher.journal_writer import Fenced, JournalCut, write_commit
from matcher.replay import Replay
from matcher.sequencer import next_commit
from runtime.clock import now
from runtime.journal import JournalReader, journal_state
from runtime.service import Refused
from runtime.settings import Settings

log = logging.getLogger(__name__)

_PROGRESS_SECONDS = 2.0


async def take_over(connection: Client, settings: Settings, replay: Replay) -> None:
    """Lead a new `replay` to the end of the journal and become its only writer. Refused when that would be wrong."""
    recorded = await _ask_recorder(connection, settings.recorder_wait_seconds)
    await check_stream(connection, settings)
    try:
        await _follow_to_end(connection, replay, recorded)
        while not await _write_barrier(connection, replay):
            await _follow_to_end(connection, replay, recorded)
    except (JournalBroken, JournalCut) as error:
        raise Refused(
            f"{error}. Nothing was changed. Compare with the commits in Postgres (table journal_commits), and bring "
            "back the journal's files from a copy that reaches beyond this sequence"
        ) from error


async def _follow_to_end(connection: Client, replay: Replay, recorded: dict[str, object] | None) -> None:
    end = (await journal_state(connection)).last_seq
    _check_reaches(end, recorded)
    progress = _Progress(end)
    if replay.chain.sequence >= end:
        return
    async with JournalReader(connection, replay.chain.sequence + 1) as reader:
        async for messages in reader:
            for sequence, payload in messages:
                replay.follow(sequence, payload)
                _check_recorded(replay, recorded)
            progress.show(replay)
            if replay.chain.sequence >= end:
                return


async def _write_barrier(connection: Client, replay: Replay) -> bool:
    """True when ours is the last word in the journal; False when an older matcher got one more commit in."""
    barrier = next_commit(
        replay.chain,
        now(),
        barrier_state=replay.engine.state_hash(),
        journal_epoch=secrets.token_hex(8),
    )
    payload, digest = encode_commit(barrier)
    try:
        await write_commit(connection, barrier.sequence, payload)
    except Fenced:
        stored = await connection.jsm().get_msg(JOURNAL_STREAM, barrier.sequence)
        other, _ = decode_commit(barrier.sequence, stored.data or b"")
        if other.is_barrier:
            raise Refused(
                f"another matcher took over at journal sequence {barrier.sequence} (matcher epoch "
                f"{other.matcher_epoch}) while this one was starting; only one may serve"
            ) from None
        log.info("another matcher is still writing; reading on to take over from it")
        return False
    replay.chain.advance(barrier, digest)
    return True


async def _ask_recorder(connection: Client, wait_seconds: float) -> dict[str, object] | None:
    """How far Postgres has got, if the recorder answers in time. It must not be further than the journal."""
    deadline = time.monotonic() + wait_seconds
    while time.monotonic() < deadline:
        try:
            reply = await connection.request(RECORDER_STATUS, b"{}", timeout=0.5)
            status: dict[str, object] = json.loads(reply.data)
            return status
        except (NatsError, TimeoutError, ValueError):
            await asyncio.sleep(0.1)
    log.warning("the recorder does not answer: going on without comparing the journal with Postgres")
    return None


def _check_reaches(end: int, recorded: dict[str, object] | None) -> None:
    if recorded and int(str(recorded["sequence"])) > end:
        raise JournalBroken(
            end + 1, f"is missing: the journal ends at {end}, but Postgres holds commits up to {recorded['sequence']}"
        )


def _check_recorded(replay: Replay, recorded: dict[str, object] | None) -> None:
    if recorded and replay.chain.sequence == recorded["sequence"] and replay.chain.hash.hex() != recorded["hash"]:
        raise JournalBroken(replay.chain.sequence, "is not the commit that Postgres holds for this sequence")


class _Progress:
    """Says now and then how far a long replay has got."""

    def __init__(self, end: int) -> None:
        self._end = end
        self._started = self._shown = time.monotonic()

    def show(self, replay: Replay) -> None:
        now = time.monotonic()
        at = replay.chain.sequence
        if now - self._shown >= _PROGRESS_SECONDS or (at >= self._end and self._shown > self._started):
            self._shown = now
            log.info("replayed %d of %d commits (%d %%)", at, self._end, 100 * at // self._end)
