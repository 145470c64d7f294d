"""The exchange as deferred commands meet it: asked whether a request has the right shape, and told to do it once.

Both are the matcher's client with another `submit`, so everything before and after it is what an immediate request
goes through. What happened to a command whose gateway died, or whose answer got lost, the journal tells.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from contracts.commits import decode_commit
from contracts.messages import (
    AmendOrder,
    AnswerPart,
    ClientCommand,
    Command,
    Commit,
    Event,
    OrderAmended,
    OrderCanceled,
    Outcome,
    Refusal,
)
from contracts.subjects import JOURNAL_STREAM
from contracts.views import Instrument
from entry.instruments import Instruments
from entry.matcher_client import Decided, MatcherClient
from entry.problems import Declined
from runtime.journal import JournalReader
from runtime.leadership import certain_stream_info


class WouldBeSent(Exception):
    """The request is well-formed: here the command would go to the matcher."""


class CheckingMatcher(MatcherClient):
    """Takes nothing: what comes this far has the right shape."""

    def __init__(self) -> None:
        """It needs no connection."""

    async def submit(self, command: ClientCommand) -> Decided:
        raise WouldBeSent

    async def submit_all(self, commands: Sequence[ClientCommand]) -> list[Decided | Declined]:
        raise WouldBeSent


@dataclass
class Attempt:
    """One try to carry a command out. `uncertain`: an earlier one may have been carried out, unseen."""

    connection: Client
    journal_sequence: int
    uncertain: bool
    _seen: dict[Command, Decided] = field(default_factory=dict)

    async def find(self, command: Command) -> Decided | None:
        """What the command led to, if the journal has it since it was stored. Reads what was not read before."""
        await self._read_on()
        return self._seen.get(command)

    async def outcome_of_amending(self, order_id: int) -> Outcome | None:
        await self._read_on()
        for command, decided in self._seen.items():
            if isinstance(command, AmendOrder) and command.order_id == order_id:
                assert isinstance(decided.result, Outcome)
                return decided.result
        return None

    async def _read_on(self) -> None:
        try:
            end = (await certain_stream_info(self.connection, JOURNAL_STREAM)).state.last_seq
        except NotFoundError:
            return  # no matcher has ever been here
        if self.journal_sequence >= end:
            return
        async with JournalReader(self.connection, self.journal_sequence + 1) as journal:
            async for messages in journal:
                for sequence, payload in messages:
                    self._remember(decode_commit(sequence, payload)[0])
                    self.journal_sequence = sequence
                if self.journal_sequence >= end:
                    return

    def _remember(self, commit: Commit) -> None:
        for command, outcome in zip(commit.commands, commit.outcomes, strict=True):
            part = AnswerPart(commit.sequence, commit.time, (outcome,))
            self._seen.setdefault(command, Decided(part, outcome))


_attempt: ContextVar[Attempt] = ContextVar("attempt")


@contextmanager
def attempting(attempt: Attempt) -> Iterator[None]:
    token = _attempt.set(attempt)
    try:
        yield
    finally:
        _attempt.reset(token)


class OnceMatcher(MatcherClient):
    """Looks whether an earlier attempt was carried out before it sends a command again, and once more if it is refused.

    A command that is equal to one of somebody else's meanwhile counts as done as well: for a cancelation or an
    amendment of the same order to the same values that is the truth, and orders have a client_order_id of their own.
    """

    def __init__(self, matcher: MatcherClient) -> None:
        self._matcher = matcher

    async def submit(self, command: ClientCommand) -> Decided:
        attempt = _attempt.get()
        found = await attempt.find(command) if attempt.uncertain else None
        return found or await self._looked_at_again(attempt, command, await self._matcher.submit(command))

    async def submit_all(self, commands: Sequence[ClientCommand]) -> list[Decided | Declined]:
        attempt = _attempt.get()
        if attempt.uncertain:
            return [await self._submit_one(command) for command in commands]
        decided = await self._matcher.submit_all(commands)
        return [
            each if isinstance(each, Declined) else await self._looked_at_again(attempt, command, each)
            for command, each in zip(commands, decided, strict=True)
        ]

    async def _submit_one(self, command: ClientCommand) -> Decided | Declined:
        try:
            return await self.submit(command)
        except Declined as error:
            return error

    async def _looked_at_again(self, attempt: Attempt, command: ClientCommand, decided: Decided) -> Decided:
        """What an earlier attempt led to, if this one is refused because of it."""
        if isinstance(decided.result, Refusal) and (attempt.uncertain or decided.retried):
            return await attempt.find(command) or decided
        return decided


class OnceInstruments(Instruments):
    """Knows the instrument of an order that an earlier attempt has amended, and that is closed by now."""

    async def of_order(self, order_id: int) -> tuple[Instrument | None, int]:
        instrument, sequence = await super().of_order(order_id)
        attempt = _attempt.get(None)
        if instrument is None and attempt is not None and attempt.uncertain:
            outcome = await attempt.outcome_of_amending(order_id)
            if outcome is not None:
                instrument = await self.get(_symbol(outcome.events[0]))
        return instrument, sequence


def _symbol(event: Event) -> str:
    assert isinstance(event, OrderAmended | OrderCanceled)
    return event.order.symbol
