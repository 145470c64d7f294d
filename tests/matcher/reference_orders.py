"""What the reference keeps: orders and instruments, and what one of them alone can say."""

from dataclasses import dataclass
from enum import Enum

from msgspec.structs import replace

from contracts.messages import (
    CLIENT_ORDER_ID_WINDOW,
    DAY,
    MAX_COMMANDS,
    MAX_EVENTS,
    MAX_FILLS,
    MAX_RESTING_ORDERS,
    DefineInstrument,
    InstrumentStatus,
    OrderState,
    OrderType,
    PlaceOrder,
    SelfTradePrevention,
    Side,
    Terms,
    TimeInForce,
)

Level = tuple[str, Side, int]

LIMIT_TYPES = (OrderType.LIMIT, OrderType.STOP_LIMIT)
STOP_TYPES = (OrderType.STOP, OrderType.STOP_LIMIT)
RESTING = (TimeInForce.GTC, TimeInForce.GTD, TimeInForce.DAY)
"""The times in force of an order that may stay."""


@dataclass
class Limits:
    """The constants of contracts/messages.py, so that a test can make them small."""

    max_fills: int = MAX_FILLS
    max_events: int = MAX_EVENTS
    max_commands: int = MAX_COMMANDS
    max_resting_orders: int = MAX_RESTING_ORDERS
    client_order_id_window: int = CLIENT_ORDER_ID_WINDOW


class Where(Enum):
    NOWHERE = "not open: a taker, or closed"
    BOOK = "rests in the book"
    STOPS = "a stop order that no trade has reached"
    TRIGGERED = "a stop order that waits for its turn"


@dataclass(frozen=True)
class Band:
    """The prices that may be traded at; None where there is no bound."""

    lowest: int | None = None
    highest: int | None = None

    def holds(self, price: int) -> bool:
        return (self.lowest is None or price >= self.lowest) and (self.highest is None or price <= self.highest)

    def edge(self, side: Side) -> int | None:
        """The worst price for this side."""
        return self.highest if side is Side.BUY else self.lowest


@dataclass
class Instrument:
    rules: DefineInstrument
    status: InstrumentStatus = InstrumentStatus.TRADING
    last_price: int | None = None
    last_trade_id: int = 0

    def band(self) -> Band:
        lows, highs = [self.rules.lowest_price], [self.rules.highest_price]
        if self.rules.band_basis_points is not None and self.last_price is not None:
            width = self.rules.band_basis_points
            lows.append(max(1, -(-self.last_price * (10_000 - width) // 10_000)))  # rounded up
            highs.append(self.last_price * (10_000 + width) // 10_000)
        return Band(
            max((low for low in lows if low is not None), default=None),
            min((high for high in highs if high is not None), default=None),
        )

    def has_reached(self, side: Side, stop_price: int) -> bool:
        """Whether the last trade would trigger such a stop."""
        return self.last_price is not None and is_reached(side, stop_price, self.last_price, self.last_price)


def is_reached(side: Side, stop_price: int, lowest: int, highest: int) -> bool:
    """Whether trades between these prices trigger a stop order."""
    return stop_price <= highest if side is Side.BUY else stop_price >= lowest


def crosses(side: Side, limit: int | None, price: int) -> bool:
    """Whether an order of this side and limit trades with a maker at this price."""
    if limit is None:
        return True
    return price <= limit if side is Side.BUY else price >= limit


def tighter(side: Side, one: int | None, other: int | None) -> int | None:
    """The limit that lets this side go less far."""
    given = [limit for limit in (one, other) if limit is not None]
    return (min if side is Side.BUY else max)(given, default=None)


def terms_of(command: PlaceOrder) -> Terms:
    return command.terms or Terms()


@dataclass(eq=False)
class Order:
    placed: PlaceOrder
    order_id: int
    created_at: int
    price: int | None
    stop_price: int | None
    quantity: int
    arrived: int = 0
    """Its place in time: the smaller, the earlier it came to where it is."""
    where: Where = Where.NOWHERE
    shown: int = 0
    """How much of it the book shows, if it rests there."""
    triggered: bool = False
    filled: int = 0
    filled_notional: int = 0
    last_met: int | None = None
    """As a taker: the price of the maker that it met last."""

    @property
    def account(self) -> str:
        return self.placed.account

    @property
    def symbol(self) -> str:
        return self.placed.symbol

    @property
    def side(self) -> Side:
        return self.placed.side

    @property
    def type(self) -> OrderType:
        return self.placed.type

    @property
    def remaining(self) -> int:
        return self.quantity - self.filled

    @property
    def notional(self) -> int | None:
        return terms_of(self.placed).notional

    @property
    def prevention(self) -> SelfTradePrevention:
        return terms_of(self.placed).self_trade_prevention

    @property
    def expires_at(self) -> int | None:
        if self.placed.time_in_force is TimeInForce.DAY:
            return (self.created_at // DAY + 1) * DAY
        return terms_of(self.placed).expires_at

    @property
    def waits_for_trigger(self) -> bool:
        return self.type in STOP_TYPES and not self.triggered

    @property
    def level(self) -> Level:
        return self.symbol, self.side, self.book_price

    @property
    def book_price(self) -> int:
        assert self.price is not None
        return self.price

    def show(self) -> None:
        """A new slice, or all of it."""
        display = terms_of(self.placed).display_quantity
        self.shown = self.remaining if display is None else min(display, self.remaining)

    def shrink(self, quantity: int) -> None:
        """To a smaller quantity: what is hidden goes first."""
        self.quantity = quantity
        self.shown = min(self.shown, self.remaining)

    def fill(self, quantity: int, price: int) -> None:
        self.filled += quantity
        self.filled_notional += quantity * price

    def wants(self, price: int, most: int) -> int:
        """The quantity that it would still trade at this price; an order by notional fills at most `most`."""
        if self.notional is None:
            return self.remaining
        return min((self.notional - self.filled_notional) // price, most - self.filled)

    def state(self) -> OrderState:
        terms = self.placed.terms
        if terms is not None or self.expires_at is not None:
            terms = replace(terms or Terms(), stop_price=self.stop_price, expires_at=self.expires_at)
        return OrderState(
            order_id=self.order_id,
            client_order_id=self.placed.client_order_id,
            account=self.account,
            symbol=self.symbol,
            side=self.side,
            type=self.type,
            time_in_force=self.placed.time_in_force,
            post_only=self.placed.post_only,
            price=self.price,
            quantity=self.quantity,
            filled_quantity=self.filled,
            filled_notional=str(self.filled_notional),
            created_at=self.created_at,
            terms=terms,
            triggered=self.triggered,
        )
