"""Reading journal messages that are no longer in the stream: the recorder hands them out from Postgres.

The recorder itself never reads here: it would ask itself.
"""

import asyncio
import json
import logging
import time

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from contracts.commits import JournalBroken
from contracts.subjects import JOURNAL_STREAM, RECORDER_COMMITS
from runtime.micro import is_failure

log = logging.getLogger(__name__)

_ANSWER_SECONDS = 35.0
_RETRY_SECONDS = 0.2
_WORD_SECONDS = 10.0
_decoder = msgspec.msgpack.Decoder(list[tuple[int, bytes]])


class ArchiveUnavailable(Exception):
    """The recorder does not answer, or Postgres does not answer it."""


async def ask_archive(
    connection: Client, start: int, end: int, seconds: float = _ANSWER_SECONDS
) -> list[tuple[int, bytes]]:
    """Journal messages from `start` on, as many as fit into an answer, none after `end`; empty if there is no such.

    Raises ArchiveUnavailable.
    """
    question = json.dumps({"from": start, "to": end}).encode()
    try:
        answer = await connection.request(RECORDER_COMMITS, question, timeout=seconds)
    except (NatsError, TimeoutError) as error:
        raise ArchiveUnavailable(f"the recorder does not answer ({error or type(error).__name__})") from error
    if is_failure(answer):
        raise ArchiveUnavailable(f"the recorder answers {answer.data.decode(errors='replace')[:300]}")
    return _decoder.decode(answer.data)


async def read_archive(connection: Client, start: int, end: int) -> list[tuple[int, bytes]]:
    """At least one journal message from `start` on. Waits for the recorder as long as it takes, saying so.

    Raises JournalBroken when Postgres does not hold them.
    """
    next_word = time.monotonic()
    while True:
        try:
            found = await ask_archive(connection, start, end)
        except ArchiveUnavailable as error:
            if time.monotonic() >= next_word:
                log.warning(
                    "commits %d to %d are trimmed from the journal; waiting for Postgres: %s", start, end, error
                )
                next_word = time.monotonic() + _WORD_SECONDS
            await asyncio.sleep(_RETRY_SECONDS)
            continue
        if [sequence for sequence, _ in found] != list(range(start, start + len(found))) or not found:
            raise JournalBroken(_first_missing(found, start), "is trimmed from the journal, and Postgres lacks it")
        return found


def _first_missing(found: list[tuple[int, bytes]], start: int) -> int:
    return next((at for at, (sequence, _) in enumerate(found, start) if at != sequence), start)


async def journal_message(connection: Client, sequence: int) -> bytes | None:
    """One message: from the stream, or from Postgres if it is trimmed from it; None if it is not there.

    Not by direct get, which may be stale. Raises NatsError, TimeoutError or ArchiveUnavailable while it cannot be told.
    """
    manager = connection.jsm()
    try:
        return (await manager.get_msg(JOURNAL_STREAM, sequence)).data
    except NotFoundError:
        if sequence >= (await manager.stream_info(JOURNAL_STREAM)).state.first_seq:
            return None
    found = await ask_archive(connection, sequence, sequence)
    return found[0][1] if found else None
