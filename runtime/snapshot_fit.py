"""Is a snapshot one of this journal? Asked before anything is built on it."""

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from contracts.commits import Chain, JournalBroken, decode_commit
from contracts.subjects import JOURNAL_STREAM
from runtime.journal import journal_state
from runtime.snapshot_files import Unusable


class OtherJournal(Unusable):
    """It was taken of another journal."""


class LostCommits(Unusable):
    """It was taken of this journal, which has not all the commits any more that it had then."""


async def check_fits(position: Chain, connection: Client) -> None:
    """The commit that it was taken after must be the journal's; if that is trimmed, the next says what it follows.

    Raises Unusable. What lies between a snapshot and a journal that begins later still is read from elsewhere, and
    chains or is refused then.
    """
    try:
        journal = await journal_state(connection)
    except NotFoundError as error:
        raise LostCommits(f"there is no journal, but a snapshot of its commit {position.sequence}") from error
    if journal.last_seq < position.sequence:
        raise LostCommits(f"the journal ends at {journal.last_seq}, this was taken after commit {position.sequence}")
    first = max(journal.first_seq, position.sequence)
    if first <= min(position.sequence + 1, journal.last_seq):
        await _compare(position, connection, first)


async def _compare(position: Chain, connection: Client, sequence: int) -> None:
    """With the commit `sequence`: the snapshot's own or the next. Not with direct get, which may be stale."""
    try:
        message = await connection.jsm().get_msg(JOURNAL_STREAM, sequence)
        commit, digest = decode_commit(sequence, message.data or b"")
    except NotFoundError as error:
        raise Unusable(f"the journal has no commit {sequence}") from error
    except JournalBroken as error:
        raise Unusable(str(error)) from error
    if commit.journal_epoch != position.journal_epoch:
        raise OtherJournal(f"it is of journal {position.journal_epoch}, this is journal {commit.journal_epoch}")
    if (digest if sequence == position.sequence else commit.previous_hash) != position.hash:
        raise LostCommits(f"the journal has another commit {position.sequence}")
