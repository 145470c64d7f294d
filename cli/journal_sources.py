"""Where `pricetime journal` reads commits: from a running exchange, or from the files of one that is stopped."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from cli.errors import CommandError
from cli.stream_files import SavedCommits, journal_folders
from contracts.commits import decode_commit
from contracts.messages import DefineInstrument
from contracts.subjects import MATCHER_INSTRUMENTS
from contracts.views import Instrument, defined_instrument
from runtime.archive import journal_message
from runtime.connection import close, connect
from runtime.journal import JournalReader, journal_state
from runtime.tls import NatsTls

_ANSWER_SECONDS = 1.0

Take = Callable[[int, bytes], None]


class Range(NamedTuple):
    """What was asked for; without a last one, there is no end to it."""

    first: int
    last: int | None


class Span(NamedTuple):
    """From `first` to `last`, both included; empty if `last` is before `first`."""

    first: int
    last: int


class Source(Protocol):
    async def instruments(self) -> list[Instrument]:
        """As far as they are known before any commit is read."""

    async def bounds(self) -> Span:
        """The first commit that can be had, and the last."""

    async def at(self, sequence: int) -> bytes | None:
        """One journal message."""

    async def read(self, span: Span | Range, take: Take) -> None:
        """Each of the span, in order; without end, if it has none."""


class _Listed(msgspec.Struct):
    items: list[Instrument]


class Running:
    """Asked over `connection`; read over another one, which goes on when nats-server is started again meanwhile."""

    def __init__(self, connection: Client, url: str, tls: NatsTls) -> None:
        self._connection = connection
        self._url = url
        self._tls = tls

    async def instruments(self) -> list[Instrument]:
        """None while no matcher serves: what the journal itself says of them is then what there is."""
        try:
            answer = await self._connection.request(MATCHER_INSTRUMENTS, b"{}", timeout=_ANSWER_SECONDS)
            return msgspec.json.decode(answer.data, type=_Listed).items
        except (NatsError, TimeoutError, msgspec.MsgspecError):
            return []

    async def bounds(self) -> Span:
        """What is trimmed from the stream's beginning can be had from Postgres."""
        try:
            return Span(1, (await journal_state(self._connection)).last_seq)
        except NotFoundError as error:
            raise CommandError("there is no journal yet: no matcher has served on this exchange") from error

    async def at(self, sequence: int) -> bytes | None:
        return await journal_message(self._connection, sequence)

    async def read(self, span: Span | Range, take: Take) -> None:
        if span.last is not None and span.last < span.first:
            return
        connection = await connect(self._url, "journal", tls=self._tls)
        try:
            async with JournalReader(connection, span.first) as reader:
                async for messages in reader:
                    for sequence, payload in messages:
                        take(sequence, payload)
                        if sequence == span.last:
                            return
                    sys.stdout.flush()
        finally:
            await close(connection)


def stores(data: Path) -> list[Path]:
    """The folders of nats-server, or of the nodes of its cluster, that hold a journal."""
    return journal_folders([data / "nats", *sorted(data.glob("nats-[0-9]"))])


class Files:
    """What nats-server has left on disk. Commits before the first whole one may be in Postgres alone."""

    def __init__(self, folders: list[Path]) -> None:
        self._saved = SavedCommits(folders)

    async def instruments(self) -> list[Instrument]:
        """Nobody can be asked; so every commit is looked at that may define one."""
        every = (self._first_of(sequence) for sequence in range(self._saved.first, self._saved.last + 1))
        commits = (decode_commit(0, payload)[0] for payload in every if payload and b"instrument" in payload)
        found = (command for commit in commits for command in commit.commands if isinstance(command, DefineInstrument))
        return [defined_instrument(command) for command in found]

    def _first_of(self, sequence: int) -> bytes | None:
        return next(iter(self._saved.at(sequence)), None)

    async def bounds(self) -> Span:
        if not self._saved.last:
            raise CommandError("nats-server's files there hold no commit")
        return Span(self._saved.first, self._saved.last)

    async def at(self, sequence: int) -> bytes | None:
        return self._first_of(sequence)

    async def read(self, span: Span | Range, take: Take) -> None:
        assert span.last is not None, "nothing comes to files"
        for sequence in range(span.first, span.last + 1):
            if (payload := self._first_of(sequence)) is not None:
                take(sequence, payload)
            else:
                print(f"{sequence}  is missing there; `pricetime rebuild journal` may find it", file=sys.stderr)
