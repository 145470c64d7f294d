"""From a cold start to the right to write: replay the journal, write the barrier."""

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager

from nats.aio.client import Client
from nats.errors import Error as NatsError

from contracts.commits import JournalBroken, decode_commit, encode_commit
from contracts.subjects import JOURNAL_STREAM, RECORDER_STATUS
from matcher.apart import SOON_HASHED
from matcher.broker import check_stream
from matcher.journal_writer import Fenced, JournalCut, write_commit
from matcher.replay import Replay
from matcher.sequencer import next_commit
from runtime.clock import now, steady
from runtime.journal import JournalReader, journal_state_reaching
from runtime.service import Refused
from runtime.settings import Settings

log = logging.getLogger(__name__)

_PROGRESS_SECONDS = 2.0
_TURN_SECONDS = 0.01

Recorded = dict[str, object]
"""What the recorder says of itself: how far Postgres has got."""


async def take_over(connection: Client, settings: Settings, replay: Replay, *, patient: bool = True) -> None:
    """Lead `replay` on to the end of the journal and become its only writer. Refused when that would be wrong.

    `patient`: wait for the recorder. One that stood by has done so, and is in a hurry.
    """
    asking = ask_recorder(connection, settings.recorder_wait_seconds) if patient else _ask_recorder_once(connection)
    recorded = await asking
    await check_stream(connection, settings)
    with refusing_what_does_not_fit():
        await follow_to_end(connection, replay, recorded)
        while not await _write_barrier(connection, replay):
            await follow_to_end(connection, replay, recorded)


@contextmanager
def refusing_what_does_not_fit() -> Iterator[None]:
    try:
        yield
    except (JournalBroken, JournalCut) as error:
        raise Refused(
            f"{error}. Nothing was changed. Stop, and run `pricetime rebuild journal`: it makes the journal anew from "
            "Postgres and what is left of the files; or bring back the files from a copy that reaches that far"
        ) from error


async def follow_to_end(connection: Client, replay: Replay, recorded: Recorded | None) -> None:
    """Lead `replay` to where the journal ends when this is called."""
    end = await _journal_end(connection, recorded)
    if replay.chain.sequence >= end:
        return
    async with aclosing(_followed(connection, replay, recorded, end)) as followed:
        async for sequence in followed:
            if sequence >= end:
                return


async def follow_forever(
    connection: Client, replay: Replay, recorded: Recorded | None, passed: Callable[[], None]
) -> None:
    """Lead `replay` along the journal without end. `passed` is called after each commit."""
    end = await _journal_end(connection, recorded)
    async with aclosing(_followed(connection, replay, recorded, end)) as followed:
        async for _ in followed:
            passed()


async def _followed(
    connection: Client, replay: Replay, recorded: Recorded | None, end: int
) -> AsyncGenerator[int, None]:
    """Each sequence once `replay` has passed it. Others get their turn now and then, however much there is to read."""
    progress, turn_ends = _Progress(end), steady() + _TURN_SECONDS
    async with JournalReader(connection, replay.chain.sequence + 1) as reader:
        async for messages in reader:
            for sequence, payload in messages:
                replay.apply(sequence, payload)
                _check_recorded(replay, recorded)
                if sequence == messages[-1][0]:
                    progress.show(replay)  # before the last one is told: whoever waited for it does not come back
                yield sequence
                if steady() > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = steady() + _TURN_SECONDS


async def _write_barrier(connection: Client, replay: Replay) -> bool:
    """True when ours is the last word in the journal; False when an older matcher got one more commit in."""
    barrier = next_commit(
        replay.chain,
        now(),
        barrier_state=replay.engine.state_hash() if replay.engine.size <= SOON_HASHED else b"",
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


async def ask_recorder(connection: Client, wait_seconds: float) -> Recorded | None:
    """How far Postgres has got, if the recorder answers in time. It must not be further than the journal."""
    deadline = steady() + wait_seconds
    while steady() < deadline:
        if recorded := await _ask_recorder_once(connection):
            return recorded
        await asyncio.sleep(0.1)
    log.warning("the recorder does not answer: going on without comparing the journal with Postgres")
    return None


async def _ask_recorder_once(connection: Client) -> Recorded | None:
    try:
        recorded: Recorded = json.loads((await connection.request(RECORDER_STATUS, b"{}", timeout=0.5)).data)
        return recorded
    except (NatsError, TimeoutError, ValueError):
        return None


async def _journal_end(connection: Client, recorded: Recorded | None) -> int:
    """The journal's last sequence. It must not be before what the recorder has written to Postgres."""
    reaching = int(str(recorded["sequence"])) if recorded else 0
    end = (await journal_state_reaching(connection, reaching)).last_seq
    if end < reaching:
        raise JournalBroken(
            end + 1, f"is missing: the journal ends at {end}, but Postgres holds commits up to {reaching}"
        )
    return end


def _check_recorded(replay: Replay, recorded: Recorded | None) -> None:
    if recorded and replay.chain.sequence == recorded["sequence"] and replay.chain.hash.hex() != recorded["hash"]:
        raise JournalBroken(replay.chain.sequence, "is not the commit that Postgres holds for this sequence")


class _Progress:
    """Says now and then how far a long replay has got."""

    def __init__(self, end: int) -> None:
        self._end = end
        self._started = self._shown = steady()
        self._over = False

    def show(self, replay: Replay) -> None:
        """Until it has reached the end that the journal had at the start; what comes after that is no replay."""
        if self._over:
            return
        now = steady()
        at = replay.chain.sequence
        self._over = at >= self._end
        if now - self._shown >= _PROGRESS_SECONDS or (self._over and self._shown > self._started):
            self._shown = now
            end = max(at, self._end)
            log.info("replayed %d of %d commits (%d %%)", at, end, 100 * at // end)
