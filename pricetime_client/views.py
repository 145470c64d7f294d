"""What the exchange tells: orders, trades, books, candles, as typed structs. Pure.

Prices and quantities are Decimals, times are in UTC. A field that a newer exchange adds is passed over.
"""

from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from msgspec import UNSET, Struct, UnsetType

Side = Literal["buy", "sell"]
OrderType = Literal["limit", "market", "stop", "stop_limit"]
TimeInForce = Literal["GTC", "IOC", "FOK", "GTD", "DAY"]
SelfTradePrevention = Literal["none", "cancel_newest", "cancel_oldest", "cancel_both", "decrement"]
OrderStatus = Literal["open", "partially_filled", "filled", "canceled", "rejected", "expired"]
InstrumentStatus = Literal["trading", "halted", "cancel_only", "post_only", "delisted"]
Interval = Literal["1s", "5s", "15s", "1m", "5m", "15m", "1h", "4h", "1d"]


class Level(NamedTuple):
    price: Decimal
    quantity: Decimal


class Trade(Struct, frozen=True, kw_only=True):
    """`sequence` counts all trades of all instruments, without gaps."""

    trade_id: int
    symbol: str
    price: Decimal
    quantity: Decimal
    taker_side: Side
    maker_order_id: int
    taker_order_id: int
    executed_at: datetime
    sequence: int


class Order(Struct, frozen=True, kw_only=True):
    """`sequence`: the journal sequence of its last change. `reason`: why it was canceled.

    In the answer to a command only: `trades`, which it led to, and of an amendment whether it kept its place.
    """

    order_id: int
    client_order_id: str | None
    account: str
    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    price: Decimal | None
    quantity: Decimal
    filled_quantity: Decimal
    remaining_quantity: Decimal
    average_price: Decimal | None
    status: OrderStatus
    reason: str | None
    created_at: datetime
    updated_at: datetime
    sequence: int
    stop_price: Decimal | None = None
    triggered: bool = False
    display_quantity: Decimal | None = None
    protection_price: Decimal | None = None
    notional: Decimal | None = None
    expires_at: datetime | None = None
    self_trade_prevention: SelfTradePrevention = "none"
    trades: list[Trade] | UnsetType = UNSET
    priority_kept: bool | UnsetType = UNSET

    @property
    def is_open(self) -> bool:
        return self.status in ("open", "partially_filled")


class OrderEvent(Struct, frozen=True, kw_only=True):
    """One step of an order's life, and its terms and fills after it."""

    order_id: int
    sequence: int
    time: datetime
    event: str
    status: OrderStatus
    price: Decimal | None
    stop_price: Decimal | None
    quantity: Decimal
    filled_quantity: Decimal
    remaining_quantity: Decimal
    priority_kept: bool | None
    reason: str | None
    trade: Trade | None


class Depth(Struct, frozen=True, kw_only=True):
    """Price levels, best first, after the commit `sequence`."""

    symbol: str
    sequence: int
    bids: list[Level]
    asks: list[Level]


class Ticker(Struct, frozen=True, kw_only=True):
    """Volume and number of trades are those of the last 24 hours."""

    symbol: str
    sequence: int
    best_bid: Decimal | None
    best_ask: Decimal | None
    last_price: Decimal | None
    last_quantity: Decimal | None
    last_trade_at: datetime | None
    volume_24h: Decimal
    trades_24h: int


class Candle(Struct, frozen=True, kw_only=True):
    """The trades from `open_time` until just before `close_time`. `is_complete`: no further one can fall into it."""

    symbol: str
    interval: str
    open_time: datetime
    close_time: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int
    is_complete: bool


class Instrument(Struct, frozen=True, kw_only=True):
    symbol: str
    tick_size: Decimal
    lot_size: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    status: InstrumentStatus
    lowest_price: Decimal | None = None
    highest_price: Decimal | None = None
    band_basis_points: int | None = None


class Canceled(Struct, frozen=True, kw_only=True):
    """How many orders were canceled."""

    canceled: int
    sequence: int


class Replaced(Struct, frozen=True, kw_only=True):
    """The order that went, and the one that came in its place."""

    canceled: Order
    placed: Order
    sequence: int


class DeadMansSwitch(Struct, frozen=True, kw_only=True):
    """When every order of the account will be canceled; None: it is disarmed."""

    account: str
    deadline: datetime | None
    sequence: int


class SymbolLimits(Struct, frozen=True, kw_only=True):
    """None is no limit."""

    max_order_quantity: Decimal | None = None
    max_order_notional: Decimal | None = None
    max_position: Decimal | None = None


class AccountLimits(Struct, frozen=True, kw_only=True):
    """None is no limit."""

    account: str
    max_open_orders: int | None
    symbols: dict[str, SymbolLimits]


class Account(Struct, frozen=True, kw_only=True):
    """`positions`: bought less sold, by symbol. `deadline`: of the dead-man's switch."""

    account: str
    kill_switch: bool
    deadline: datetime | None
    limits: AccountLimits
    positions: dict[str, Decimal]


class KillSwitch(Struct, frozen=True, kw_only=True):
    account: str
    engaged: bool


class Check(Struct, frozen=True, kw_only=True):
    """One part of the exchange: where in the journal it is, how far behind, or what is wrong with it."""

    ok: bool
    sequence: int | None = None
    lag: int | None = None
    detail: str | None = None


class Status(Struct, frozen=True, kw_only=True):
    """`status` is "ready" when every check is ok, else "not_ready"."""

    status: str
    checks: dict[str, Check]

    @property
    def is_ready(self) -> bool:
        return self.status == "ready"


class Problem(Struct, frozen=True, kw_only=True):
    """Why the exchange said no: application/problem+json. `code` is for programs, `detail` for people."""

    status: int
    code: str
    detail: str
    title: str = ""
    field: str | None = None
    order_id: int | None = None
    order_status: OrderStatus | None = None
    sequence: int | None = None
    item: int | None = None
    lowest_price: Decimal | None = None
    highest_price: Decimal | None = None
    limit: Decimal | None = None
    retry_after: float | None = None


class BatchResult(Struct, frozen=True, kw_only=True):
    """What became of one item of a batch: its order, or why it was refused."""

    status: int
    order: Order | None = None
    problem: Problem | None = None
