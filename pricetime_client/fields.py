"""What a client says: the fields of requests, and how they are written as JSON and in addresses. Pure."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Required, TypedDict
from urllib.parse import quote, urlencode

from pricetime_client.views import Interval, OrderStatus, OrderType, SelfTradePrevention, Side, TimeInForce

Number = Decimal | str | int
"""A price or a quantity. Never a float: 0.1 is none of its values."""
Time = datetime | str


class OrderFields(TypedDict, total=False):
    """An order to be placed. What is left out has the exchange's default: a limit order, GTC, its first symbol."""

    side: Required[Side]
    symbol: str
    type: OrderType
    price: Number
    quantity: Number
    notional: Number
    stop_price: Number
    display_quantity: Number
    protection_price: Number
    time_in_force: TimeInForce
    expires_at: Time
    post_only: bool
    self_trade_prevention: SelfTradePrevention
    account: str
    client_order_id: str


class AmendFields(TypedDict, total=False):
    """What is to be different; `quantity` is the new total, fills included."""

    price: Number
    quantity: Number
    stop_price: Number


class AmendItem(AmendFields):
    order_id: int


class CancelItem(TypedDict):
    order_id: int


class BatchItem(TypedDict, total=False):
    """One of the three."""

    place: OrderFields
    amend: AmendItem
    cancel: CancelItem


class CancelAllFilters(TypedDict, total=False):
    account: str
    symbol: str
    side: Side


class OrderFilters(TypedDict, total=False):
    account: str
    symbol: str
    status: OrderStatus
    side: Side


class TradeFilters(TypedDict, total=False):
    symbol: str
    order_id: int


class CandleRange(TypedDict, total=False):
    """Without `start` the last `limit` of them (100, at most 1,000), with it the first."""

    interval: Interval
    start: Time
    end: Time
    limit: int


class InstrumentFields(TypedDict, total=False):
    """The rules of an instrument; sizes never change once it is listed."""

    tick_size: Required[Number]
    lot_size: Required[Number]
    min_quantity: Number
    max_quantity: Number
    lowest_price: Number
    highest_price: Number
    band_basis_points: int


class SymbolLimitFields(TypedDict, total=False):
    max_order_quantity: Number
    max_order_notional: Number
    max_position: Number


class LimitFields(TypedDict, total=False):
    """All limits of an account: those left out are lifted. `symbols`: by symbol."""

    max_open_orders: int
    symbols: dict[str, SymbolLimitFields]


def written(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as JSON has them; those that are None are left out. Raises TypeError for a float."""
    return {name: _value(name, value) for name, value in fields.items() if value is not None}


def _value(name: str, value: Any) -> Any:
    match value:
        case float():
            raise TypeError(f"{name} is a float, {value!r}, which is no decimal number: give a Decimal, str or int")
        case Decimal():
            return format(value, "f")
        case datetime():
            return time_text(value)
        case Mapping():
            return written(value)
        case list():
            return [_value(name, each) for each in value]
        case _:
            return value


def time_text(time: Time) -> str:
    """Raises ValueError for a datetime without its zone."""
    if isinstance(time, str):
        return time
    if time.tzinfo is None:
        raise ValueError(f"{time!r} does not say in which zone: give it one, as in datetime.now(UTC)")
    return time.isoformat()


def target(path: str, *names: str | int, query: Mapping[str, Any] | None = None) -> str:
    """An address: each `{}` of the path is one of the names. What is None is left out of the query."""
    given = {name: str(value) for name, value in written(query or {}).items()}
    address = path.format(*(quote(str(name), safe="") for name in names))
    return f"{address}?{urlencode(given)}" if given else address
