"""The floor of what is durable: messages that nats-server syncs to disk, in a stream like the journal."""

from collections.abc import Awaitable
from dataclasses import dataclass

from nats.aio.client import Client
from nats.js.api import StreamConfig

from bench.client import NatsAsker, WrongAnswer
from contracts.subjects import JOURNAL_STREAM

_STREAM = "FLOOR"
_SUBJECT = "floor.publish"


@dataclass(frozen=True, slots=True)
class Commits:
    """What the journal got for a number of commands, on average."""

    size: int
    commands: float


class FloorStream:
    def __init__(self, connection: Client, asker: NatsAsker) -> None:
        self._connection = connection
        self._asker = asker

    async def create(self) -> None:
        await self._connection.jetstream().add_stream(StreamConfig(name=_STREAM, subjects=[_SUBJECT]))

    async def store(self, payload: bytes) -> bytes:
        """Returns when it is on disk."""
        answer = await self._asker.ask(_SUBJECT, payload)
        if b'"error"' in answer:
            raise WrongAnswer(f"a message of the floor was not stored: {answer!r}")
        return answer

    async def clear(self) -> None:
        await self._connection.jsm().purge_stream(_STREAM)


async def commits_of(connection: Client, commands: int, sending: Awaitable[object]) -> Commits:
    """What the journal gets for so many commands while `sending` is awaited and nobody else sends any."""
    before = (await connection.jsm().stream_info(JOURNAL_STREAM)).state
    await sending
    after = (await connection.jsm().stream_info(JOURNAL_STREAM)).state
    messages = after.messages - before.messages
    return Commits((after.bytes - before.bytes) // messages, commands / messages)
