"""One commit at a time onto the journal, fenced, and never in doubt: a write ends when its result is certain."""

import asyncio
import logging

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError

from contracts.subjects import JOURNAL, JOURNAL_STREAM
from runtime.journal import journal_state
from runtime.leadership import certain_stream_info

log = logging.getLogger(__name__)

WRONG_LAST_SEQUENCE = 10071
_ACK_TIMEOUT_SECONDS = 2.0
_RETRY_ACK_TIMEOUT_SECONDS = 0.5
"""Once one was lost the journal's leader has perhaps gone, and the next is to be found soon. Trying is harmless."""
_RETRY_SECONDS = 0.1
_ANSWER_SECONDS = 1.0


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = "refused"


class _Acknowledgement(msgspec.Struct):
    """JetStream's, as far as it is looked at."""

    seq: int = 0
    error: _Error | None = None


_decoder = msgspec.json.Decoder(_Acknowledgement)


class Fenced(Exception):
    """The journal goes on with a commit that is not ours: another matcher writes it."""

    def __init__(self, sequence: int) -> None:
        super().__init__(f"another matcher took over: it wrote journal sequence {sequence}")
        self.sequence = sequence


class JournalCut(Exception):
    """The journal ends before the commit that we know to be durable."""


def fence(sequence: int) -> dict[str, str]:
    """Headers by which JetStream stores commit `sequence` only if the one before it is the last there is."""
    return {"Nats-Expected-Last-Sequence": str(sequence - 1)}


async def write_commit(connection: Client, sequence: int, payload: bytes) -> None:
    """Return once commit `sequence` is durable. Raises Fenced or JournalCut; anything less certain is tried again.

    A lost acknowledgement says nothing, so the same bytes go out again with the same expected sequence, for as long
    as it takes. nats-py may also send buffered copies after a reconnect: the fence makes all but one of them bounce.
    """
    attempt = 0
    while True:
        attempt += 1
        timeout = _ACK_TIMEOUT_SECONDS if attempt == 1 else _RETRY_ACK_TIMEOUT_SECONDS
        error = await _attempt(connection, sequence, payload, timeout)
        if error is None:
            return
        if attempt in (1, 10) or attempt % 100 == 0:
            ids = {"journal_sequence": sequence}
            log.warning("commit %d is not acknowledged yet (%s); trying again", sequence, error, extra=ids)
        await asyncio.sleep(_RETRY_SECONDS)


async def confirm_end(connection: Client, sequence: int) -> None:
    """Return once it is certain that the journal ends with `sequence`. Raises Fenced or JournalCut."""
    while True:
        error = await _compare_end(connection, sequence, certainly=True)
        if error is None:
            return
        log.warning("the end of the journal cannot be read yet (%s); trying again", error)
        await asyncio.sleep(_RETRY_SECONDS)


async def _compare_end(connection: Client, sequence: int, *, certainly: bool = False) -> str | None:
    """None if the journal ends with `sequence`, or why that is not known. Raises Fenced or JournalCut.

    A leader that was replaced unawares shows what is stored, but not what has come since. `certainly`: as the journal
    is now. That it is too short is only ever concluded so.
    """
    try:
        last = (await journal_state(connection, timeout=_ANSWER_SECONDS)).last_seq
        if last < sequence or (certainly and last == sequence):
            last = (await certain_stream_info(connection, JOURNAL_STREAM)).state.last_seq
    except NotFoundError as error:
        raise JournalCut(f"stream {JOURNAL_STREAM} is gone, but its commit {sequence} was durable") from error
    except (NatsError, TimeoutError) as error:
        return str(error) or type(error).__name__
    if last > sequence:
        raise Fenced(sequence + 1)
    if last < sequence:
        raise JournalCut(f"the journal ends at {last}, but commit {sequence} was durable")
    return None


async def _attempt(connection: Client, sequence: int, payload: bytes, timeout: float) -> str | None:
    """Publish once. None when durable, else why that is not known."""
    if not connection.is_connected:
        return "not connected"
    try:
        reply = await connection.request(JOURNAL, payload, timeout=timeout, headers=fence(sequence))
        acknowledgement = _decoder.decode(reply.data)
    except NoRespondersError:
        return await _check_end(connection, sequence)
    except (NatsError, TimeoutError, msgspec.DecodeError) as error:
        return str(error) or type(error).__name__
    if acknowledgement.error is None:
        if acknowledgement.seq != sequence:
            raise JournalCut(f"commit {sequence} was stored as sequence {acknowledgement.seq}")
        return None
    if acknowledgement.error.err_code == WRONG_LAST_SEQUENCE:
        return await _compare(connection, sequence, payload)
    return acknowledgement.error.description


async def _compare(connection: Client, sequence: int, payload: bytes) -> str | None:
    """The fence bounced us: is what stands at our sequence our own commit?"""
    try:
        stored = await connection.jsm(timeout=_ANSWER_SECONDS).get_msg(JOURNAL_STREAM, sequence)
    except NotFoundError:
        return await _check_end(connection, sequence)
    except (NatsError, TimeoutError) as error:
        return str(error) or type(error).__name__
    if stored.data != payload:
        raise Fenced(sequence)
    return None


async def _check_end(connection: Client, sequence: int) -> str:
    """Nothing stands at our sequence yet: does the journal still reach up to it?"""
    try:
        error = await _compare_end(connection, sequence - 1)
    except Fenced:
        error = None  # it was written this moment; the next try tells by whom
    return error or f"sequence {sequence} is expected but not there yet"
