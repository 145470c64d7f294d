"""The vocabulary of the journal: commands, events, outcomes and commits.

A *command* is a wish. The engine answers it with an *outcome* (what happened, as events, and the new total of every
price level it touched) or with a *refusal* (nothing happened). A *commit* is one journal message: the accepted
commands of one moment, in order, each with its outcome.

Prices are whole ticks and quantities whole lots (ints); times are microseconds since 1970-01-01 UTC. On the wire every
struct is a MessagePack array: field order is a promise, new fields come last and have defaults. The golden bytes in
tests/contracts hold all of it. JSON for people is in contracts/views.py.
"""

from enum import Enum

from msgspec import Struct

MAX_PRICE = 10**15
"""The highest price, in ticks."""
MAX_QUANTITY = 10**12
"""The highest order quantity, in lots."""
MAX_RESTING_ORDERS = 8_000_000
"""Orders resting at once; with MAX_QUANTITY it keeps every level total within 63 bits."""
MAX_FILLS = 4_000
"""Makers that one order may meet; keeps the largest commit below 1 MB."""
MAX_COMMANDS = 500
"""Commands in one request, and (about) in one commit."""
CLIENT_ORDER_ID_WINDOW = 1_000_000
"""How many of the latest client order ids the engine remembers."""

DEFAULT_ACCOUNT = "default"
SYMBOL_PATTERN = r"^[A-Za-z0-9_-]{1,24}$"
"""A symbol is one NATS subject token."""
NAME_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
"""An account or a client order id."""


class Side(str, Enum):
    BUY = "buy"
    SELL = "sell"

    @property
    def opposite(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(str, Enum):
    LIMIT = "limit"
    MARKET = "market"


class TimeInForce(str, Enum):
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class OrderStatus(str, Enum):
    OPEN = "open"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"


class CancelReason(str, Enum):
    """Why an order, or what was left of it, is no longer in the book."""

    REQUESTED = "requested"
    AMENDED_BELOW_FILLED = "amended_below_filled"
    IMMEDIATE_OR_CANCEL = "immediate_or_cancel"
    FILL_OR_KILL = "fill_or_kill"
    NO_LIQUIDITY = "no_liquidity"
    FILL_LIMIT = "fill_limit"


class RejectReason(str, Enum):
    """Why a command was refused; also the `code` of the problem that a client sees."""

    UNKNOWN_SYMBOL = "unknown_symbol"
    INVALID_SYMBOL = "invalid_symbol"
    INVALID_ACCOUNT = "invalid_account"
    INVALID_CLIENT_ORDER_ID = "invalid_client_order_id"
    PRICE_REQUIRED = "price_required"
    PRICE_NOT_ALLOWED = "price_not_allowed"
    PRICE_OUT_OF_RANGE = "price_out_of_range"
    QUANTITY_OUT_OF_RANGE = "quantity_out_of_range"
    POST_ONLY_NOT_ALLOWED = "post_only_not_allowed"
    POST_ONLY_WOULD_TRADE = "post_only_would_trade"
    DUPLICATE_CLIENT_ORDER_ID = "duplicate_client_order_id"
    TOO_MANY_ORDERS = "too_many_orders"
    UNKNOWN_ORDER = "unknown_order"
    NOTHING_TO_AMEND = "nothing_to_amend"
    INSTRUMENT_RULES_FIXED = "instrument_rules_fixed"
    INVALID_INSTRUMENT = "invalid_instrument"


class Message(Struct, frozen=True, array_like=True, gc=False):
    """Immutable, and a MessagePack array on the wire."""


# Commands


class PlaceOrder(Message, frozen=True, tag_field="kind", tag="place"):
    symbol: str
    side: Side
    type: OrderType
    quantity: int
    price: int | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    account: str = DEFAULT_ACCOUNT
    client_order_id: str | None = None


class CancelOrder(Message, frozen=True, tag_field="kind", tag="cancel"):
    order_id: int


class AmendOrder(Message, frozen=True, tag_field="kind", tag="amend"):
    """`quantity` is the new total, fills included; None leaves it as it is."""

    order_id: int
    price: int | None = None
    quantity: int | None = None


class DefineInstrument(Message, frozen=True, tag_field="kind", tag="instrument"):
    """Lists a symbol, or changes the quantity limits of a listed one (its tick and lot size are fixed for good).

    Sizes are plain decimal strings ("0.01"), limits are in lots.
    """

    symbol: str
    tick_size: str
    lot_size: str
    min_quantity: int = 1
    max_quantity: int = MAX_QUANTITY


Command = PlaceOrder | CancelOrder | AmendOrder | DefineInstrument


# Events


class OrderState(Message, frozen=True):
    """An order as it stands after an event."""

    order_id: int
    client_order_id: str | None
    account: str
    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    price: int | None
    quantity: int
    filled_quantity: int
    filled_notional: str
    """Sum of price x quantity over the fills, in ticks x lots. Decimal digits, because it outgrows 64 bits."""
    created_at: int


class OrderAccepted(Message, frozen=True, tag_field="kind", tag="accepted"):
    """The order placed by this command has this id; trades and a cancelation of the rest may follow."""

    order_id: int


class TradeExecuted(Message, frozen=True, tag_field="kind", tag="trade"):
    """One match at the maker's price. `trade_id` counts from 1 over all symbols, without gaps."""

    trade_id: int
    symbol: str
    price: int
    quantity: int
    taker_side: Side
    maker_order_id: int
    taker_order_id: int


class OrderCanceled(Message, frozen=True, tag_field="kind", tag="canceled"):
    """What was left of the order (quantity - filled_quantity) is out of the book."""

    order: OrderState
    reason: CancelReason


class OrderAmended(Message, frozen=True, tag_field="kind", tag="amended"):
    """The order with its new price and quantity, before any trade that the new price leads to."""

    order: OrderState
    priority_kept: bool


class InstrumentDefined(Message, frozen=True, tag_field="kind", tag="instrument"):
    """The instrument with exactly the rules of the command."""

    symbol: str


Event = OrderAccepted | TradeExecuted | OrderCanceled | OrderAmended | InstrumentDefined


class LevelChanged(Message, frozen=True):
    """The new total of a price level after the whole command; zero removes the level."""

    symbol: str
    side: Side
    price: int
    quantity: int


class Outcome(Message, frozen=True, tag_field="kind", tag="done"):
    events: tuple[Event, ...]
    levels: tuple[LevelChanged, ...] = ()


class Refusal(Message, frozen=True, tag_field="kind", tag="refused"):
    """The command changed nothing and is not in the journal."""

    reason: RejectReason
    field: str | None = None
    order_id: int | None = None
    """The order in the way: for a duplicate client order id, the one that has it."""


Result = Outcome | Refusal


# The journal


class Commit(Message, frozen=True):
    """One journal message. Its wire form (with its own hash) is in contracts/commits.py."""

    version: int
    journal_epoch: str
    """Names the journal: random, chosen once with its first commit."""
    matcher_epoch: int
    """Which term of the sole matcher wrote it; a barrier raises it by one."""
    sequence: int
    """Its number, from 1; equal to its JetStream stream sequence."""
    previous_hash: bytes
    time: int
    commands: tuple[Command, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    state_hash: bytes | None = None
    """Hash of the engine's whole state before this commit, in every barrier."""

    @property
    def is_barrier(self) -> bool:
        return self.state_hash is not None


# Requests over NATS, MessagePack both ways: a tuple of commands, answered by a Reply


class Answer(Message, frozen=True, tag_field="kind", tag="answer"):
    """Results in the order of the request's commands, all of them durable.

    A large request may span commits, so the results come in parts.
    """

    parts: tuple["AnswerPart", ...]


class AnswerPart(Message, frozen=True):
    """Results of one commit. For refusals alone `sequence` is the last commit they were judged by."""

    sequence: int
    time: int
    results: tuple[Result, ...]


class RequestRefusal(str, Enum):
    """Why a request as a whole was turned away before any command of it was looked at."""

    MALFORMED = "malformed_request"
    TOO_MANY_COMMANDS = "too_many_commands"
    OVERLOADED = "overloaded"


class RequestRefused(Message, frozen=True, tag_field="kind", tag="turned_away"):
    """Nothing of the request was done. `overloaded`: try again later; the others: mend the request."""

    reason: RequestRefusal
    detail: str = ""


Reply = Answer | RequestRefused
