"""One command to the matcher and its decision: outcomes come back, everything else is raised as a problem."""

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from contracts.keys import OPEN, Access
from contracts.messages import (
    AmendOrder,
    CancelOrder,
    ClientCommand,
    InstrumentStatus,
    Refusal,
    RejectReason,
    SetInstrumentStatus,
)
from contracts.views import Instrument, OrderView
from entry.first_answers import ReadCommit, of_repeated
from entry.matcher_client import Decided, MatcherClient
from entry.position import Position
from entry.problems import Declined
from entry.refusals import closed, not_found, not_resting, refused, result_unknown

FindOrder = Callable[[int], Awaitable[tuple[OrderView, Instrument] | None]]
"""An order and its instrument from the history. Raises Declined when that cannot be asked."""


class Submission:
    def __init__(
        self, matcher: MatcherClient, find_order: FindOrder, position: Position, read_commit: ReadCommit
    ) -> None:
        self._matcher = matcher
        self._find_order = find_order
        self._position = position
        self._read_commit = read_commit

    async def submit(
        self, command: ClientCommand, instrument: Instrument | None = None, access: Access = OPEN
    ) -> Decided:
        """The decision unless it is a refusal. `instrument`: the one it is about, for the words of a refusal."""
        return await self.accepted(command, await self.decide(command), instrument, access)

    async def decide(self, command: ClientCommand) -> Decided:
        """The decision, whatever it is; raises Declined if there is none."""
        sent_after = self._position.told
        try:
            return self.decided(command, await self._matcher.submit(command), sent_after)
        except Declined as error:
            raise _undecided(command, error) from None

    def decided(self, command: ClientCommand, decision: Decided | Declined, sent_after: int) -> Decided:
        """The same for a command that was submitted with others. `sent_after`: the journal sequence known before."""
        if isinstance(decision, Declined):
            raise _undecided(command, decision)
        self._position.tell(decision.part.sequence)
        return replace(decision, sent_after=sent_after) if decision.retried else decision

    async def accepted(
        self, command: ClientCommand, decided: Decided, instrument: Instrument | None, access: Access
    ) -> Decided:
        """The decision unless it is a refusal."""
        if not isinstance(decided.result, Refusal):
            return decided
        if decided.retried and (first := await self._done_before(command, decided)):
            return first
        raise await self.refused(command, decided.result, decided.part.sequence, instrument, access)

    async def refused(
        self,
        command: ClientCommand,
        refusal: Refusal,
        sequence: int,
        instrument: Instrument | None = None,
        access: Access = OPEN,
    ) -> Declined:
        if refusal.reason is RejectReason.UNKNOWN_ORDER and isinstance(command, CancelOrder | AmendOrder):
            return await self.not_resting(command.order_id, sequence, access)
        return refused(command, refusal, sequence, instrument)

    async def not_resting(self, order_id: int, sequence: int, access: Access) -> Declined:
        """An order that never was, or one that is closed? Only the history can tell. A foreign one never was."""
        try:
            found = await self._find_order(order_id)
        except Declined:
            return not_resting(order_id, sequence)
        if found is None or not access.covers(found[0].account):
            return not_found(order_id, sequence)
        return closed(order_id, found[0].status, sequence)

    async def _done_before(self, command: ClientCommand, decided: Decided) -> Decided | None:
        """The outcome of an attempt that got no answer, if the refusal of this one is due to it."""
        if isinstance(command, CancelOrder | AmendOrder):
            return await self._canceled_or_amended_before(command, decided.sent_after)
        assert isinstance(decided.result, Refusal)
        if (
            isinstance(command, SetInstrumentStatus)
            and command.status is InstrumentStatus.DELISTED
            and decided.result.reason is RejectReason.INSTRUMENT_DELISTED
        ):
            return decided
        return None

    async def _canceled_or_amended_before(self, command: CancelOrder | AmendOrder, sent_after: int) -> Decided | None:
        """The commit of the order's last change tells whether it was this command that made it.

        One that was known before this was sent is another's.
        """
        try:
            found = await self._find_order(command.order_id)
            if found is None or found[0].sequence <= sent_after:
                return None
            first = of_repeated(await self._read_commit(found[0].sequence), command)
        except Declined:
            return None
        return None if first is None else Decided(first.part, first.outcome, retried=True)


def _undecided(command: ClientCommand, error: Declined) -> Declined:
    return result_unknown(command) if error.problem.code == "result_unknown" else error
