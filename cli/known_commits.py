"""The journal put together again from all that there is of it: Postgres's copy, and what nats-server left on disk.

Each commit must follow the one before it, by its hash; so what comes out is the journal, wherever a commit was found.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import asyncpg

from cli.stream_files import SavedCommits
from contracts.commits import Chain, JournalBroken
from contracts.messages import Commit
from recorder.archive import read_commits


class Source(Protocol):
    """Somewhere that commits are kept."""

    @property
    def name(self) -> str: ...

    @property
    def last(self) -> int:
        """The last sequence there is."""

    async def at(self, sequence: int) -> list[bytes]:
        """What is there under this sequence; what to believe first comes first."""


class InPostgres:
    """The table journal_commits. What cannot be read in it is not there."""

    name = "Postgres"

    def __init__(self, connection: asyncpg.Connection, last: int) -> None:
        self._connection = connection
        self._read: dict[int, bytes] = {}
        self.last = last

    async def at(self, sequence: int) -> list[bytes]:
        if sequence > self.last:
            return []
        if sequence not in self._read:
            self._read = await self._read_from(sequence)
        return [self._read[sequence]] if sequence in self._read else []

    async def _read_from(self, sequence: int) -> dict[int, bytes]:
        for end in (self.last, sequence):  # alone, if one after it is what cannot be read
            try:
                return dict(await read_commits(self._connection, sequence, end))
            except asyncpg.PostgresError:
                continue
        return {}


class OnDisk:
    """The files of the stream."""

    name = "nats-server's files"

    def __init__(self, saved: SavedCommits) -> None:
        self._saved = saved
        self.last = saved.last

    async def at(self, sequence: int) -> list[bytes]:
        return self._saved.at(sequence)


class Known(NamedTuple):
    commit: Commit
    payload: bytes
    hash: bytes


@dataclass
class KnownCommits:
    """Iterate over `all()`; then the rest tells how it went."""

    sources: list[Source]
    """Asked in this order."""
    first_on_disk: int = 0
    chain: Chain = field(default_factory=Chain)
    taken: dict[str, int] = field(default_factory=dict)
    """How many commits each source gave."""
    why: str = ""
    """Why no more commits follow."""

    @property
    def last(self) -> int:
        """The last sequence of which anything is left."""
        return max((source.last for source in self.sources), default=0)

    async def all(self) -> AsyncIterator[Known]:
        """From the first one on, until none follows any more."""
        while (known := await self._next()) is not None:
            yield known

    async def _next(self) -> Known | None:
        sequence = self.chain.sequence + 1
        self.why = f"journal sequence {sequence}: is missing"
        for source in self.sources:
            for payload in await source.at(sequence):
                try:
                    commit, digest = self.chain.check(sequence, payload)
                except JournalBroken as error:
                    self.why = f"{error} (in {source.name})"
                    continue
                self.chain.advance(commit, digest)
                self.taken[source.name] = self.taken.get(source.name, 0) + 1
                return Known(commit, payload, digest)
        return None
