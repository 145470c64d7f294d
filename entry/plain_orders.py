"""Orders and cancelations as programs nearly always write them, decoded straight into structs. Pure.

A short way beside the general one of entry/bodies.py and entry/commands.py, which alone knows how to say no: whatever
is unusual here (a field that is null, "BUY" for "buy", stop orders, mistakes of any kind) is None, and goes the general
way from the start. What is not None is the command that the general way would have made; a test compares the two.

Two things that msgspec's decoder does not tell are looked at apart. Prices and quantities stay as they were written
(docs/decisions/0005). And of a field that is there twice it takes the last: but then there are more quotation marks
than those of the fields that it found.
"""

from typing import Final

import msgspec
from msgspec import Raw, Struct

from contracts.decimals import NotDecimal, OffStep
from contracts.keys import Access
from contracts.messages import DEFAULT_ACCOUNT, MAX_PRICE, MAX_QUANTITY, OrderType, PlaceOrder, Side, TimeInForce
from contracts.views import Instrument
from entry.commands import is_name
from entry.permissions import trading_account
from entry.problems import Declined

NOTHING: Final = Raw(b"")
_KEY = _TEXT = 2
"""Quotation marks of a field's name, and of a value that is text."""


class PlainOrder(Struct, forbid_unknown_fields=True):
    """Fields that are not there are None, or NOTHING."""

    side: Side
    quantity: Raw
    price: Raw = NOTHING
    symbol: str | None = None
    type: OrderType | None = None
    time_in_force: TimeInForce | None = None
    post_only: bool | None = None
    client_order_id: str | None = None
    account: str | None = None


_decode = msgspec.json.Decoder(PlainOrder).decode


def read_plain_order(body: bytes) -> PlainOrder | None:
    """None if there is anything unusual about it."""
    try:
        order = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return order if is_whole_truth(body, quotation_marks(order)) else None


def is_whole_truth(body: bytes, quotation_marks: int) -> bool:
    """Whether nothing is there twice: `body` has as many quotation marks as the fields found in it."""
    return body.count(b'"') == quotation_marks and b"\\" not in body


def quotation_marks(order: PlainOrder) -> int:
    """Of the order's fields."""
    texts = (
        (order.symbol is not None)
        + (order.type is not None)
        + (order.time_in_force is not None)
        + (order.client_order_id is not None)
        + (order.account is not None)
    )
    return (
        (_KEY + _TEXT) * (1 + texts)
        + _KEY * (order.post_only is not None)
        + of_raw(order.quantity)
        + (of_raw(order.price) if order.price is not NOTHING else 0)
    )


def of_raw(value: Raw) -> int:
    """The quotation marks of a field with this value."""
    return _KEY + (_TEXT if memoryview(value)[0] == _QUOTE else 0)


_QUOTE = ord('"')


def command_of(order: PlainOrder, instrument: Instrument, access: Access) -> PlaceOrder | None:
    """None for what the general way is to judge."""
    kind, time_in_force, name = order.type or OrderType.LIMIT, order.time_in_force, order.client_order_id
    if (name is not None and not is_name(name)) or (order.account is not None and not is_name(order.account)):
        return None
    if time_in_force is None or time_in_force is TimeInForce.GTC:
        time_in_force = TimeInForce.IOC if kind is OrderType.MARKET else TimeInForce.GTC
    try:
        quantity = instrument.lot.parse_json(bytes(order.quantity))
        price = None if order.price is NOTHING else instrument.tick.parse_json(bytes(order.price))
        account = (order.account or DEFAULT_ACCOUNT) if access.is_admin else trading_account(access, order.account)
    except (NotDecimal, OffStep, Declined):
        return None
    if not 1 <= quantity <= MAX_QUANTITY or (price is not None and not 1 <= price <= MAX_PRICE):
        return None
    return PlaceOrder(
        instrument.symbol,
        order.side,
        kind,
        quantity,
        price,
        time_in_force,
        order.post_only or False,
        account,
        name,
    )
