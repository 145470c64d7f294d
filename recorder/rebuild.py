"""How do new columns learn of the past? All rows are made anew from Postgres's own copy of the journal.

Used by migrations, in their transaction: either all of it is there afterwards or nothing has changed. It takes about as
long as recording the journal took, and a constant amount of memory.
"""

import logging

import asyncpg

from contracts.commits import JournalBroken, decode_commit
from recorder.rows import Fold
from recorder.tables import write_rows
from runtime.service import Refused

log = logging.getLogger(__name__)

_COMMITS_AT_ONCE = 500
_COMMITS_PER_REPORT = 100_000


async def rebuild(connection: asyncpg.Connection) -> None:
    """Fill the tables, which must be empty. Called within a transaction, on a connection of recorder/tables.py."""
    commits = await connection.cursor("select sequence, payload from journal_commits order by sequence")
    last_trade_id = done = 0
    while rows := await commits.fetch(_COMMITS_AT_ONCE):
        fold = Fold(last_trade_id)
        for sequence, payload in rows:
            _add(fold, sequence, payload)
        await write_rows(connection, fold)
        last_trade_id = fold.last_trade_id
        done += len(rows)
        if done % _COMMITS_PER_REPORT == 0:
            log.info("migrating the database: %d commits of the journal are done", done)


def _add(fold: Fold, sequence: int, payload: bytes) -> None:
    try:
        commit, digest = decode_commit(sequence, payload)
    except JournalBroken as error:
        raise Refused(
            f"Postgres's own copy of the journal is damaged (journal_commits): {error}. Stop, and run "
            "`pricetime rebuild postgres`"
        ) from error
    fold.add(commit, payload, digest)
