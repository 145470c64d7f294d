"""What a client can wish for, from the JSON it sends to the answer it gets: the same over REST and NATS."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from msgspec import Struct

from contracts.keys import OPEN, Access
from contracts.messages import (
    AmendOrder,
    CancelOrder,
    Command,
    OrderAmended,
    OrderCanceled,
    Outcome,
    Refusal,
    RejectReason,
)
from contracts.views import Instrument, InstrumentView, OrderView, answer_view, instrument_view
from entry import commands
from entry.bodies import Fields, read_fields
from entry.instruments import Instruments
from entry.matcher_client import Decided, MatcherClient
from entry.position import Position
from entry.problems import Declined, declined
from entry.refusals import closed, not_found, not_resting, refused, result_unknown


@dataclass(frozen=True, slots=True)
class Done:
    """A command carried out: what it led to, and the journal sequence that holds it."""

    view: OrderView
    sequence: int


class Listed(Struct, frozen=True):
    view: InstrumentView
    sequence: int
    is_new: bool


FindOrder = Callable[[int], Awaitable[tuple[OrderView, Instrument] | None]]
"""An order and its instrument from the history. Raises Declined when that cannot be asked."""


class Exchange:
    """Every method raises Declined when the answer is no, or not known."""

    def __init__(
        self,
        matcher: MatcherClient,
        instruments: Instruments,
        find_order: FindOrder,
        position: Position,
        default_symbol: str,
    ) -> None:
        self._matcher = matcher
        self._instruments = instruments
        self._find_order = find_order
        self._position = position
        self._default_symbol = default_symbol

    async def place(self, body: bytes, access: Access = OPEN, *, idempotency_key: str | None = None) -> Done:
        fields = read_fields(body, commands.PLACE_FIELDS)
        symbol = commands.order_symbol(fields, self._default_symbol)
        instrument = self._instruments.known(symbol) or await self._instruments.get(symbol)
        command = commands.place_order(fields, instrument)
        return self._done(command, await self._submit(command, instrument), instrument)

    async def cancel(self, order_id: int, access: Access = OPEN) -> Done:
        command = CancelOrder(order_id)
        decided = await self._submit(command, None)
        return self._done(command, decided, await self._instrument_in(decided))

    async def amend(self, order_id: int, body: bytes, access: Access = OPEN) -> Done:
        return await self._amend(order_id, read_fields(body, commands.AMEND_FIELDS))

    async def cancel_named(self, body: bytes, access: Access = OPEN) -> Done:
        """The order is named in the body: NATS has no paths."""
        return await self.cancel(commands.order_number(read_fields(body, ("order_id",))))

    async def amend_named(self, body: bytes, access: Access = OPEN) -> Done:
        fields = read_fields(body, ("order_id", *commands.AMEND_FIELDS))
        return await self._amend(commands.order_number(fields), fields)

    async def define_instrument(self, symbol: str, body: bytes, access: Access = OPEN) -> Listed:
        fields = read_fields(body, commands.INSTRUMENT_FIELDS)
        command = commands.define_instrument(symbol, fields)
        before = await self._instruments.find(symbol)
        decided = await self._submit(command, before)
        instrument = Instrument(
            symbol=symbol,
            tick_size=command.tick_size,
            lot_size=command.lot_size,
            min_quantity=command.min_quantity,
            max_quantity=command.max_quantity,
        )
        self._instruments.learn(instrument)
        return Listed(instrument_view(instrument), decided.part.sequence, before is None)

    async def _amend(self, order_id: int, fields: Fields) -> Done:
        if commands.amends_nothing(fields):
            command, instrument = AmendOrder(order_id), None
        else:
            instrument = await self._instrument_of(order_id)
            command = commands.amend_order(order_id, fields, instrument)
        decided = await self._submit(command, instrument)
        assert instrument is not None  # the engine refuses to amend nothing
        return self._done(command, decided, instrument)

    async def _instrument_of(self, order_id: int) -> Instrument:
        """Prices and quantities are only numbers without it."""
        instrument, sequence = await self._instruments.of_order(order_id)
        self._position.tell(sequence)
        if instrument is None:
            raise await self._not_resting(order_id, sequence)
        return instrument

    async def _submit(self, command: Command, instrument: Instrument | None) -> Decided:
        """The decision if it is an outcome; a refusal is raised."""
        try:
            decided = await self._matcher.submit(command)
        except Declined as error:
            raise result_unknown(command) if error.problem.code == "result_unknown" else error from None
        self._position.tell(decided.part.sequence)
        if isinstance(decided.result, Refusal):
            raise await self._refused(command, decided.result, decided.part.sequence, instrument)
        return decided

    async def _refused(
        self, command: Command, refusal: Refusal, sequence: int, instrument: Instrument | None
    ) -> Declined:
        if refusal.reason is RejectReason.UNKNOWN_ORDER and isinstance(command, CancelOrder | AmendOrder):
            return await self._not_resting(command.order_id, sequence)
        return refused(command, refusal, sequence, instrument)

    async def _not_resting(self, order_id: int, sequence: int) -> Declined:
        """An order that never was, or one that is closed? Only the history can tell."""
        try:
            found = await self._find_order(order_id)
        except Declined:
            return not_resting(order_id, sequence)
        if found is None:
            return not_found(order_id, sequence)
        return closed(order_id, found[0].status, sequence)

    async def _instrument_in(self, decided: Decided) -> Instrument:
        """The instrument of the order that an outcome is about."""
        assert isinstance(decided.result, Outcome)
        event = decided.result.events[0]
        assert isinstance(event, OrderCanceled | OrderAmended)
        try:
            return await self._instruments.get(event.order.symbol)
        except Declined as error:
            raise declined(
                "result_unknown",
                f"It was done, as journal sequence {decided.part.sequence}, but cannot be shown now: "
                f"GET /orders/{event.order.order_id} later.",
            ) from error

    def _done(self, command: Command, decided: Decided, instrument: Instrument) -> Done:
        assert isinstance(decided.result, Outcome)
        return Done(answer_view(decided.part, command, decided.result.events, instrument), decided.part.sequence)
