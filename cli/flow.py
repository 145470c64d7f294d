"""What a recorded order flow means for an exchange: which of its events are orders to place and to cancel.

The file knows orders by its own ids. An order created becomes a limit order, an order deleted with volume left is
canceled; everything else happens by itself (fills) or cannot be done here, and is counted. Pure: reads and sends
nothing.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from contracts.decimals import Step
from contracts.messages import RejectReason, Side

COLUMNS = ("id", "timestamp", "exchange.timestamp", "price", "volume", "action", "direction")
VOLUME_UNIT = Step.of("0.00000001")

_SIDES = {"bid": Side.BUY, "ask": Side.SELL}
_GONE = (RejectReason.UNKNOWN_ORDER.value, "order_not_resting")


class BadRow(ValueError):
    """The row is not an order-flow event; the message says which value is wrong."""


class Kind(str, Enum):
    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """One row. `volume` is what remains of the order, in hundred-millionths."""

    reference: str
    milliseconds: int
    price: str
    volume: int
    kind: Kind
    side: Side


def parse_row(row: list[str]) -> FlowEvent:
    """An event from a row's values in the order of COLUMNS. Raises BadRow."""
    if len(row) != len(COLUMNS):
        raise BadRow(f"{len(row)} values instead of {len(COLUMNS)}")
    reference, milliseconds, _, price, volume, action, direction = row
    if not (milliseconds.isdecimal() and volume.isdecimal()):
        raise BadRow(f"timestamp {milliseconds!r} or volume {volume!r} is not a whole number")
    if direction not in _SIDES:
        raise BadRow(f"direction {direction!r} is neither bid nor ask")
    try:
        kind = Kind(action)
    except ValueError as error:
        raise BadRow(f"action {action!r} is none of created, changed, deleted") from error
    return FlowEvent(reference, int(milliseconds), price, int(volume), kind, _SIDES[direction])


@dataclass(frozen=True, slots=True)
class Place:
    reference: str
    side: Side
    price: str
    quantity: str


@dataclass(frozen=True, slots=True)
class Cancel:
    reference: str
    order_id: int


@dataclass(frozen=True, slots=True)
class Wish:
    """A cancel of an order that the file knows; `Flow.cancel` makes a command of it when the order's id is known."""

    reference: str


@dataclass(frozen=True, slots=True)
class Done:
    """The exchange did it: as the commit `sequence`, with so many trades."""

    order_id: int
    sequence: int
    trades: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    reason: str
    order_id: int | None = None


Action = Place | Cancel
Result = Done | Refused


class Exchange(Protocol):
    """Where actions are sent: each gets its result, in order, however long that takes."""

    async def send(self, actions: list[Action]) -> list[Result]: ...


@dataclass(slots=True)
class Tally:
    """What happened, in numbers."""

    events: int = 0
    placed: int = 0
    placed_before: int = 0
    """Refused because this account has an order of that id already: the file was being replayed before."""
    trades: int = 0
    canceled: int = 0
    gone_before: int = 0
    """Cancels that came when the order was filled, or canceled, already."""
    refused: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    first_sequence: int | None = None
    last_sequence: int | None = None

    @property
    def sent(self) -> int:
        done = self.placed + self.placed_before + self.canceled + self.gone_before
        return done + sum(self.refused.values())


class Flow:
    """Follows the file and the exchange's answers: give it each event, do what it says, record the results."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._order_ids: dict[str, int | None] = {}
        """Of the orders placed; None when the exchange refused it."""
        self._unanswered: set[str] = set()
        self._deleted_early: set[str] = set()

    def plan(self, event: FlowEvent) -> list[Place | Wish]:
        """What the event asks for, in this order."""
        self.tally.events += 1
        if event.kind is Kind.CREATED:
            return self._plan_created(event)
        if event.kind is Kind.DELETED and event.volume:
            return self._plan_deleted(event)
        self.tally.skipped["changed" if event.kind is Kind.CHANGED else "filled at its source"] += 1
        return []

    def _plan_created(self, event: FlowEvent) -> list[Place | Wish]:
        if not event.volume:
            self.tally.skipped["created without volume"] += 1
            return []
        if event.reference in self._order_ids or event.reference in self._unanswered:
            self.tally.skipped["created twice"] += 1
            return []
        self._unanswered.add(event.reference)
        place = Place(event.reference, event.side, event.price, VOLUME_UNIT.format(event.volume))
        if event.reference not in self._deleted_early:
            return [place]
        self._deleted_early.remove(event.reference)
        self.tally.skipped["never created here"] -= 1
        return [place, Wish(event.reference)]

    def _plan_deleted(self, event: FlowEvent) -> list[Place | Wish]:
        if event.reference in self._order_ids or event.reference in self._unanswered:
            return [Wish(event.reference)]
        self._deleted_early.add(event.reference)  # events come slightly out of order: it may be created yet
        self.tally.skipped["never created here"] += 1
        return []

    def must_wait(self, wish: Wish) -> bool:
        """The order was sent, but its id is not known yet."""
        return wish.reference in self._unanswered

    def cancel(self, wish: Wish) -> Cancel | None:
        """None when there is nothing to cancel, because the exchange did not take the order."""
        order_id = self._order_ids[wish.reference]
        if order_id is None:
            self.tally.skipped["deleted, but refused when placed"] += 1
            return None
        return Cancel(wish.reference, order_id)

    def record(self, action: Action, result: Result) -> None:
        if isinstance(action, Place):
            self._record_place(action, result)
        else:
            self._record_cancel(result)
        if isinstance(result, Done):
            self.tally.trades += result.trades
            self.tally.first_sequence = self.tally.first_sequence or result.sequence
            self.tally.last_sequence = result.sequence

    def _record_place(self, place: Place, result: Result) -> None:
        self._unanswered.discard(place.reference)
        self._order_ids[place.reference] = result.order_id
        if isinstance(result, Done):
            self.tally.placed += 1
        elif result.reason == RejectReason.DUPLICATE_CLIENT_ORDER_ID.value:
            self.tally.placed_before += 1
        else:
            self.tally.refused[result.reason] += 1

    def _record_cancel(self, result: Result) -> None:
        if isinstance(result, Done):
            self.tally.canceled += 1
        elif result.reason in _GONE:
            self.tally.gone_before += 1
        else:
            self.tally.refused[result.reason] += 1
