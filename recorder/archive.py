"""The journal as Postgres keeps it, handed out over NATS: what has been trimmed from the stream is read here.

Never in the way of recording: a connection of its own, one question at a time, refused while Postgres is away.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import asyncpg
import msgspec
from nats.aio.client import Client

from contracts.subjects import RECORDER_COMMITS, RECORDER_HOLDS
from runtime.connection import respond
from runtime.micro import Failure, failure

MAX_BYTES = 2 * 1024 * 1024
MAX_COMMITS = 5_000
"""An answer holds at most this much, or a single commit: one is smaller than 1 MB, and a message may have 8 MB."""
_QUESTION_SECONDS = 30
_SESSION = {"application_name": "pricetime-archive", "default_transaction_read_only": "on", "jit": "off"}

# octet_length reads no payload, only how long it is. A commit holds the hash of the one before it near its beginning.
_COMMITS = f"""
select sequence, payload from (
    select sequence, payload, row_number() over (order by sequence) as number,
           sum(octet_length(payload)) over (order by sequence) as bytes
    from journal_commits where sequence between $1 and $2 order by sequence limit {MAX_COMMITS}
) as next
where bytes <= {MAX_BYTES} or number = 1 order by sequence
"""
_HASH = "select hash from journal_commits where sequence = $1"
_WHOLE = """
select count(*) = $2::bigint - $1::bigint + 1 and coalesce(bool_and(fits), false) from (
    select sequence, coalesce(
        hash = substring(payload for 32) and hash = sha256(substring(payload from 33))
        and (sequence = 1 or position(lag(hash) over (order by sequence) in substring(payload for 256)) > 32), false
    ) as fits
    from journal_commits where sequence between $1 - 1 and $2
) as commits where sequence >= $1
"""
_DURABLE = """
select current_setting('fsync') = 'on' and current_setting('full_page_writes') = 'on'
   and current_setting('synchronous_commit') <> 'off'
"""

_Sequence = Annotated[int, msgspec.Meta(ge=1, le=2**62)]


class _CommitsQuestion(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """The commits from `from` on, as many as fit into an answer, none after `to`."""

    start: _Sequence
    end: _Sequence = 2**62


class _HoldsQuestion(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """Are these commits all there, whole, and one the next of the other?"""

    start: _Sequence
    end: _Sequence


_Question = TypeVar("_Question")


class Archive:
    """Answers from Postgres. The connection is made when it is first needed, and anew after it was lost."""

    def __init__(self, postgres_url: str) -> None:
        self._url = postgres_url
        self._connection: asyncpg.Connection | None = None
        self._free = asyncio.Lock()

    async def serve(self, connection: Client) -> None:
        await respond(connection, RECORDER_COMMITS, self.commits)
        await respond(connection, RECORDER_HOLDS, self.holds)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def commits(self, question: bytes) -> bytes | Failure:
        """MessagePack: pairs of sequence and journal message, in order; none when there is no such commit."""
        return await self._answer(question, _CommitsQuestion, _read_commits)

    async def holds(self, question: bytes) -> bytes | Failure:
        """JSON: `whole`, the `hash` of the last one, and whether Postgres is set up to be `durable`."""
        return await self._answer(question, _HoldsQuestion, _read_holds)

    async def _answer(
        self,
        question: bytes,
        kind: type[_Question],
        read: Callable[[asyncpg.Connection, _Question], Awaitable[bytes]],
    ) -> bytes | Failure:
        try:
            asked = msgspec.json.decode(question, type=kind)
        except msgspec.MsgspecError as error:
            return failure(400, "invalid_question", detail=str(error))
        async with self._free:
            try:
                async with asyncio.timeout(_QUESTION_SECONDS):
                    return await read(await self._connected(), asked)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self.close()
                return failure(503, "archive_unavailable", detail=str(error) or type(error).__name__)

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self._url, timeout=5, server_settings=_SESSION)
        return self._connection


async def read_commits(connection: asyncpg.Connection, start: int, end: int) -> list[tuple[int, bytes]]:
    """Pairs of sequence and journal message, in order: as many as are read at once, none when there is no such."""
    return [(row[0], row[1]) for row in await connection.fetch(_COMMITS, start, end)]


async def _read_commits(connection: asyncpg.Connection, asked: _CommitsQuestion) -> bytes:
    return msgspec.msgpack.encode(await read_commits(connection, asked.start, asked.end))


async def _read_holds(connection: asyncpg.Connection, asked: _HoldsQuestion) -> bytes:
    digest: bytes | None = await connection.fetchval(_HASH, asked.end)
    return msgspec.json.encode(
        {
            "whole": await connection.fetchval(_WHOLE, asked.start, asked.end),
            "hash": digest.hex() if digest else None,
            "durable": await connection.fetchval(_DURABLE),
        }
    )
