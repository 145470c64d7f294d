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
MAX_NOTIONAL = 10**18
"""The most that a market order by notional may spend or earn, in ticks x lots."""
MAX_FILLS = 4_000
"""Makers that one order may meet (or all orders of an all-or-nothing batch); bounds the size of a commit."""
MAX_EVENTS = 1_000
"""An outcome with this many events starts no more stop orders and cancels no more; a Continue does, as the next
command."""
MAX_COMMANDS = 500
"""Commands in one request, in one all-or-nothing batch, and (about) in one commit."""
MAX_DELAY = 24 * 60 * 60 * 1_000_000
"""The longest delay of a dead-man's switch, in microseconds."""
MAX_BAND_BASIS_POINTS = 10_000
"""The widest price band around the last trade: from nothing to twice its price."""
DAY = 24 * 60 * 60 * 1_000_000
"""Microseconds; the trading day is the UTC day."""
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
    STOP = "stop"
    """A market order once a trade has reached its stop price."""
    STOP_LIMIT = "stop_limit"
    """A limit order once a trade has reached its stop price."""


class TimeInForce(str, Enum):
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTD = "GTD"
    """Until `expires_at`."""
    DAY = "DAY"
    """Until the UTC day ends in which it was accepted."""


class SelfTradePrevention(str, Enum):
    """What happens when an order would trade with one of its own account; the taker's mode rules."""

    NONE = "none"
    CANCEL_NEWEST = "cancel_newest"
    CANCEL_OLDEST = "cancel_oldest"
    CANCEL_BOTH = "cancel_both"
    DECREMENT = "decrement"
    """Both lose the smaller remaining quantity; the one with nothing left is canceled."""


class InstrumentStatus(str, Enum):
    TRADING = "trading"
    HALTED = "halted"
    """Frozen: no order can be placed, amended or canceled; what is due still expires."""
    CANCEL_ONLY = "cancel_only"
    POST_ONLY = "post_only"
    """Orders may rest, none may trade."""
    DELISTED = "delisted"
    """For good; its orders are canceled."""


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
    EXPIRED = "expired"
    PROTECTION_PRICE = "protection_price"
    PRICE_BAND = "price_band"
    SELF_TRADE_PREVENTION = "self_trade_prevention"
    DEAD_MANS_SWITCH = "dead_mans_switch"
    KILL_SWITCH = "kill_switch"
    DELISTED = "delisted"


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
    STOP_PRICE_REQUIRED = "stop_price_required"
    STOP_PRICE_NOT_ALLOWED = "stop_price_not_allowed"
    DISPLAY_QUANTITY_NOT_ALLOWED = "display_quantity_not_allowed"
    DISPLAY_QUANTITY_OUT_OF_RANGE = "display_quantity_out_of_range"
    PROTECTION_PRICE_NOT_ALLOWED = "protection_price_not_allowed"
    NOTIONAL_NOT_ALLOWED = "notional_not_allowed"
    NOTIONAL_OUT_OF_RANGE = "notional_out_of_range"
    NOTIONAL_TOO_SMALL = "notional_too_small"
    NO_LIQUIDITY = "no_liquidity"
    TIME_IN_FORCE_NOT_ALLOWED = "time_in_force_not_allowed"
    EXPIRY_REQUIRED = "expiry_required"
    EXPIRY_NOT_ALLOWED = "expiry_not_allowed"
    EXPIRY_IN_THE_PAST = "expiry_in_the_past"
    INSTRUMENT_HALTED = "instrument_halted"
    INSTRUMENT_CANCEL_ONLY = "instrument_cancel_only"
    INSTRUMENT_POST_ONLY = "instrument_post_only"
    INSTRUMENT_DELISTED = "instrument_delisted"
    PRICE_OUTSIDE_BAND = "price_outside_band"
    MAX_ORDER_QUANTITY = "max_order_quantity"
    MAX_ORDER_NOTIONAL = "max_order_notional"
    MAX_OPEN_ORDERS = "max_open_orders"
    MAX_POSITION = "max_position"
    KILL_SWITCH_ENGAGED = "kill_switch_engaged"
    INVALID_LIMITS = "invalid_limits"
    INVALID_DELAY = "invalid_delay"
    INVALID_BATCH = "invalid_batch"
    SAME_ORDER_TWICE = "same_order_twice"
    AMENDMENT_WOULD_TRADE = "amendment_would_trade"


class Message(Struct, frozen=True, array_like=True, gc=False):
    """Immutable, and a MessagePack array on the wire."""


# Commands


class Terms(Message, frozen=True):
    """What most orders do without."""

    stop_price: int | None = None
    display_quantity: int | None = None
    """How much of it the book shows at a time (an iceberg order)."""
    protection_price: int | None = None
    """A market or stop order trades no further than this."""
    notional: int | None = None
    """A market order by what it spends or earns, in ticks x lots; `quantity` is 0 then."""
    expires_at: int | None = None
    self_trade_prevention: SelfTradePrevention = SelfTradePrevention.NONE


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
    terms: Terms | None = None


class CancelOrder(Message, frozen=True, tag_field="kind", tag="cancel"):
    """`accounts`: whose order it may be; None for anybody's."""

    order_id: int
    accounts: tuple[str, ...] | None = None


class AmendOrder(Message, frozen=True, tag_field="kind", tag="amend"):
    """`quantity` is the new total, fills included; None leaves a value as it is. `accounts` as in CancelOrder."""

    order_id: int
    price: int | None = None
    quantity: int | None = None
    stop_price: int | None = None
    accounts: tuple[str, ...] | None = None


OrderCommand = PlaceOrder | CancelOrder | AmendOrder


class AllOrNothing(Message, frozen=True, tag_field="kind", tag="all_or_nothing"):
    """Refused as a whole if any item would be refused as things stand; else carried out, cancels and amends first."""

    items: tuple[OrderCommand, ...]


class CancelOrders(Message, frozen=True, tag_field="kind", tag="cancel_all"):
    """Cancels every open order that fits; None fits all."""

    accounts: tuple[str, ...] | None = None
    symbol: str | None = None
    side: Side | None = None


class CancelAllAfter(Message, frozen=True, tag_field="kind", tag="cancel_all_after"):
    """The dead-man's switch: every order of the account is canceled unless this comes again within `delay`.

    Microseconds; 0 disarms it.
    """

    account: str
    delay: int


class DefineInstrument(Message, frozen=True, tag_field="kind", tag="instrument"):
    """Lists a symbol, or changes the limits of a listed one (its tick and lot size are fixed for good).

    Sizes are plain decimal strings ("0.01"), quantities are in lots, prices in ticks. `band_basis_points` keeps prices
    within that distance of the last trade, in hundredths of a percent.
    """

    symbol: str
    tick_size: str
    lot_size: str
    min_quantity: int = 1
    max_quantity: int = MAX_QUANTITY
    lowest_price: int | None = None
    highest_price: int | None = None
    band_basis_points: int | None = None


class SetInstrumentStatus(Message, frozen=True, tag_field="kind", tag="instrument_status"):
    symbol: str
    status: InstrumentStatus


class SymbolLimits(Message, frozen=True):
    """What one account may do in one symbol; None is no limit. Lots, and ticks x lots."""

    symbol: str
    max_order_quantity: int | None = None
    max_order_notional: int | None = None
    max_position: int | None = None
    """Net bought or net sold quantity, as if every open order had been filled."""


class SetAccountLimits(Message, frozen=True, tag_field="kind", tag="account_limits"):
    """Replaces all limits of the account."""

    account: str
    max_open_orders: int | None = None
    symbols: tuple[SymbolLimits, ...] = ()


class SetKillSwitch(Message, frozen=True, tag_field="kind", tag="kill_switch"):
    """Engaged: every order of the account is canceled and none is taken until it is released."""

    account: str
    engaged: bool


ClientCommand = (
    PlaceOrder
    | CancelOrder
    | AmendOrder
    | AllOrNothing
    | CancelOrders
    | CancelAllAfter
    | DefineInstrument
    | SetInstrumentStatus
    | SetAccountLimits
    | SetKillSwitch
)
"""What a request may hold; the commands below are the matcher's own."""


class AdvanceClock(Message, frozen=True, tag_field="kind", tag="clock"):
    """Expires what is due at the time of the commit."""


class Continue(Message, frozen=True, tag_field="kind", tag="continue"):
    """Goes on with what one outcome had no room for: triggered stops, and cancelations of many orders."""


Command = ClientCommand | AdvanceClock | Continue


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
    terms: Terms | None = None
    """With `expires_at` also for a DAY order."""
    triggered: bool = False
    """A stop order that a trade has reached."""


class OrderAccepted(Message, frozen=True, tag_field="kind", tag="accepted"):
    """The order placed by this command has this id; trades and a cancelation of the rest may follow."""

    order_id: int
    quantity: int | None = None
    """Of an order by notional: what that came to."""


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


class OrderTriggered(Message, frozen=True, tag_field="kind", tag="triggered"):
    """The stop order was reached by this trade (as the latest one) and goes to the book now."""

    order_id: int
    trade_id: int


class OrderReduced(Message, frozen=True, tag_field="kind", tag="reduced"):
    """Self-trade prevention took from the order's quantity; it keeps its place."""

    order: OrderState


class OrdersCanceled(Message, frozen=True, tag_field="kind", tag="orders_canceled"):
    """So many orders are canceled by this command, and by the Continue commands behind it."""

    count: int


class ItemStarted(Message, frozen=True, tag_field="kind", tag="item"):
    """The events up to the next of these are those of this item of the batch, counted from 0.

    An item number beyond the last stands for what the whole batch set off.
    """

    item: int


class CancelAllScheduled(Message, frozen=True, tag_field="kind", tag="cancel_all_scheduled"):
    """The account's dead-man's switch goes off at `deadline`; None: it is disarmed."""

    account: str
    deadline: int | None


class CancelAllElapsed(Message, frozen=True, tag_field="kind", tag="cancel_all_elapsed"):
    """The account's dead-man's switch went off."""

    account: str


class InstrumentStatusChanged(Message, frozen=True, tag_field="kind", tag="instrument_status"):
    symbol: str
    status: InstrumentStatus


class AccountLimitsSet(Message, frozen=True, tag_field="kind", tag="account_limits"):
    """The account has exactly the limits of the command."""

    account: str


class KillSwitchSet(Message, frozen=True, tag_field="kind", tag="kill_switch"):
    account: str
    engaged: bool


class InstrumentDefined(Message, frozen=True, tag_field="kind", tag="instrument"):
    """The instrument with exactly the rules of the command."""

    symbol: str


Event = (
    OrderAccepted
    | TradeExecuted
    | OrderCanceled
    | OrderAmended
    | OrderTriggered
    | OrderReduced
    | OrdersCanceled
    | ItemStarted
    | CancelAllScheduled
    | CancelAllElapsed
    | InstrumentDefined
    | InstrumentStatusChanged
    | AccountLimitsSet
    | KillSwitchSet
)


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
    item: int | None = None
    """Which item of an all-or-nothing batch is refused, from 0."""
    lowest: int | None = None
    """For a price outside the band: the band, in ticks."""
    highest: int | None = None
    limit: int | None = None
    """For a limit of the account: the limit."""


class Repeated(Message, frozen=True, tag_field="kind", tag="repeated"):
    """The same order with the same client order id came before: nothing is done again.

    The first answer is in the outcome of the commit `sequence`, which may not be durable before this answer is.
    """

    order_id: int
    sequence: int


Result = Outcome | Refusal | Repeated


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
    """In every barrier: hash of the engine's whole state before it; empty where that would have held up a take-over."""

    @property
    def is_barrier(self) -> bool:
        return self.state_hash is not None


# Requests over NATS, MessagePack both ways: a tuple of ClientCommands, answered by a Reply


class Answer(Message, frozen=True, tag_field="kind", tag="answer"):
    """Results in the order of the request's commands, all of them durable.

    A large request may span commits, so the results come in parts.
    """

    parts: tuple["AnswerPart", ...]


class AnswerPart(Message, frozen=True):
    """Results of one commit. For refusals and repetitions alone `sequence` is the last commit they were judged by."""

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
