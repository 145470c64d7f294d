"""Is the journal still the one that Postgres was recorded from? Answered before a single commit is recorded on top."""

import asyncio
import logging

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import StreamState
from nats.js.errors import NotFoundError

from contracts.commits import Chain, JournalBroken, decode_commit
from contracts.subjects import JOURNAL_STREAM
from recorder.store import Position, Store
from runtime.journal import journal_state_reaching
from runtime.service import Refused

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.2
_ADVICE = (
    "Nothing was changed. Stop, and run `pricetime rebuild journal`: it makes the journal anew from Postgres and what "
    "is left of the files; or bring back the journal's files from a copy that reaches that far"
)


async def check_journal(connection: Client, store: Store) -> Chain:
    """The chain at Postgres's position, ready to go on. Raises Refused when the journal does not continue it."""
    position = store.position
    journal = JournalMessages(connection)
    if position.sequence == 0:
        await _refuse_trimmed(journal)
        return Chain()
    chain = _chain(position, await store.payload(position.sequence))
    state = await journal.state(reaching=position.sequence)
    if state.last_seq >= position.sequence and await _agree(journal, store, position.sequence):
        return chain
    if state.first_seq > position.sequence:
        raise Refused(
            f"journal sequence {position.sequence} is missing: the journal begins only at {state.first_seq}, and "
            f"Postgres ends at {position.sequence}. Where the journal is trimmed, that is too old a copy of Postgres: "
            f"bring back one that reaches that far. Where it is not, the journal was cut. {_ADVICE}"
        )
    await _refuse_other_epoch(journal, state, position)
    first = await _first_difference(journal, store, state, position.sequence)
    if first > state.last_seq:
        raise Refused(
            f"journal sequence {first} is missing: the journal ends at {state.last_seq}, but Postgres holds commits up "
            f"to {position.sequence}. The journal was cut. {_ADVICE}"
        )
    raise Refused(f"journal sequence {first} is not the commit that Postgres holds for it. {_ADVICE}")


async def _refuse_trimmed(journal: "JournalMessages") -> None:
    first = (await journal.state(0)).first_seq
    if first > 1:
        raise Refused(
            f"journal sequence 1 is missing: the journal begins only at {first}, and Postgres is empty. What has been "
            "trimmed from the journal was in Postgres alone: bring back a copy of Postgres that reaches that far"
        )


class JournalMessages:
    """Single journal messages, asked for until the server answers."""

    def __init__(self, connection: Client) -> None:
        self._manager = connection.jsm()
        self._connection = connection

    async def state(self, reaching: int) -> StreamState:
        """Of the journal, which should reach as far as that."""
        return await journal_state_reaching(self._connection, reaching)

    async def payload(self, sequence: int) -> bytes | None:
        """None when there is no such message."""
        while True:
            try:
                return (await self._manager.get_msg(JOURNAL_STREAM, sequence)).data
            except NotFoundError:
                return None
            except (NatsError, TimeoutError) as error:
                await _try_again(error)


async def _try_again(error: Exception) -> None:
    log.warning("journal: cannot read yet (%s)", str(error) or type(error).__name__)
    await asyncio.sleep(_RETRY_SECONDS)


def _chain(position: Position, payload: bytes | None) -> Chain:
    chain = Chain()
    try:
        commit, digest = decode_commit(position.sequence, payload or b"")
    except JournalBroken as error:
        raise Refused(
            f"Postgres's own copy of the journal is damaged (journal_commits): {error}. Stop, and run "
            "`pricetime rebuild postgres`"
        ) from error
    if digest != position.hash:
        raise Refused(
            f"journal_commits and recorder_position disagree about commit {position.sequence}. "
            "Stop, and run `pricetime rebuild postgres`"
        )
    chain.advance(commit, digest)
    return chain


async def _agree(journal: JournalMessages, store: Store, sequence: int) -> bool:
    return await journal.payload(sequence) == await store.payload(sequence)


async def _refuse_other_epoch(journal: JournalMessages, state: StreamState, position: Position) -> None:
    payload = await journal.payload(min(state.last_seq, position.sequence)) if state.last_seq else None
    if payload is None:
        return
    try:
        commit, _ = decode_commit(position.sequence, payload)
    except JournalBroken:
        return  # damaged: the search for the first difference names it
    if commit.journal_epoch != position.journal_epoch:
        raise Refused(
            f"Postgres was recorded from journal {position.journal_epoch}, but NATS holds journal "
            f"{commit.journal_epoch}: these data do not belong together. Use the journal of this database, or an "
            "empty database"
        )


async def _first_difference(journal: JournalMessages, store: Store, state: StreamState, recorded: int) -> int:
    """The first sequence whose commits differ. Halving finds it: each commit vouches for all before it."""
    same, different = max(state.first_seq - 1, 0), min(state.last_seq, recorded) + 1
    while different - same > 1:
        middle = (same + different) // 2
        if await _agree(journal, store, middle):
            same = middle
        else:
            different = middle
    return different
