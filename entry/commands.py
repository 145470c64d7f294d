"""From what people write to commands about orders: names and choices checked, decimals turned into ticks and lots.

Pure. Whatever has the wrong shape is declined here; the rules of the exchange are the engine's, except those without
which there would be no whole number of ticks or lots to send it.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

from contracts.keys import OPEN, Access
from contracts.messages import (
    NAME_PATTERN,
    SYMBOL_PATTERN,
    AmendOrder,
    CancelOrders,
    OrderType,
    PlaceOrder,
    RejectReason,
    SelfTradePrevention,
    Side,
    Terms,
    TimeInForce,
)
from contracts.views import Instrument
from entry import values
from entry.bodies import Fields, Number, flag, json_type, missing, text, wrong_type
from entry.permissions import not_covered, trading_account
from entry.problems import declined, quoted

_Choice = TypeVar("_Choice")

TERM_FIELDS = (
    "stop_price",
    "display_quantity",
    "protection_price",
    "notional",
    "expires_at",
    "self_trade_prevention",
)
PLACE_FIELDS = (
    "symbol",
    "side",
    "type",
    "price",
    "quantity",
    "time_in_force",
    "post_only",
    "client_order_id",
    "account",
    *TERM_FIELDS,
)
AMEND_FIELDS = ("price", "quantity", "stop_price")
CANCEL_ALL_FIELDS = ("account", "symbol", "side")

SIDES = {"buy": Side.BUY, "1": Side.BUY, "sell": Side.SELL, "-1": Side.SELL}
TYPES = {kind.value: kind for kind in OrderType}
TIMES_IN_FORCE = {each.value.lower(): each for each in TimeInForce}
SELF_TRADE_PREVENTIONS = {mode.value: mode for mode in SelfTradePrevention}

is_symbol = re.compile(SYMBOL_PATTERN).fullmatch
is_name = re.compile(NAME_PATTERN).fullmatch


def order_symbol(fields: Fields, default: str) -> str:
    """The symbol that an order names, or the default one."""
    symbol = text(fields, "symbol")
    return default if symbol is None else valid_symbol(symbol)


def valid_symbol(symbol: str) -> str:
    if is_symbol(symbol):
        return symbol
    raise declined(
        RejectReason.INVALID_SYMBOL.value,
        f'{quoted(symbol)} cannot be a symbol: use 1 to 24 letters, digits, "-" or "_".',
        "symbol",
    )


def place_order(fields: Fields, instrument: Instrument, access: Access = OPEN) -> PlaceOrder:
    """The order described by the body's fields, for an instrument that the caller has found. Raises Declined."""
    kind = _type(fields)
    return PlaceOrder(
        symbol=instrument.symbol,
        side=_side(fields),
        type=kind,
        quantity=_quantity(fields, instrument),
        price=values.price(fields, instrument),
        time_in_force=_time_in_force(fields, kind),
        post_only=flag(fields, "post_only"),
        account=trading_account(access, account_name(text(fields, "account"))),
        client_order_id=_client_order_id(fields),
        terms=None if fields.keys().isdisjoint(TERM_FIELDS) else _terms(fields, instrument),
    )


def with_key(fields: Fields, idempotency_key: str) -> Fields:
    """The order with the Idempotency-Key of its request as client_order_id. Raises Declined if it has another one."""
    key = _unquoted(idempotency_key)
    if not is_name(key):
        raise declined(
            RejectReason.INVALID_CLIENT_ORDER_ID.value, _name_advice(key, "an Idempotency-Key"), "Idempotency-Key"
        )
    given = text(fields, "client_order_id")
    if given not in (None, key):
        raise declined(
            "idempotency_key_mismatch",
            f"The header says {quoted(key)}, the body {quoted(given or '')}: send one of them, or the same in both.",
            "Idempotency-Key",
        )
    return fields | {"client_order_id": key}


def amends_nothing(fields: Fields) -> bool:
    return fields.keys().isdisjoint(AMEND_FIELDS)


def amend_order(order_id: int, fields: Fields, instrument: Instrument, access: Access = OPEN) -> AmendOrder:
    """The amendment described by the body's fields of an order in `instrument`. Raises Declined."""
    return AmendOrder(
        order_id=order_id,
        price=values.price(fields, instrument),
        quantity=values.quantity(fields, instrument),
        stop_price=values.price(fields, instrument, "stop_price"),
        accounts=access.visible_accounts,
    )


def cancel_orders(fields: Fields, access: Access = OPEN) -> CancelOrders:
    """Of all accounts that the access covers, unless one is named. Raises Declined."""
    account, symbol = account_name(text(fields, "account")), text(fields, "symbol")
    if account is not None and not access.covers(account):
        raise not_covered(access, account)
    return CancelOrders(
        accounts=access.visible_accounts if account is None else (account,),
        symbol=None if symbol is None else valid_symbol(symbol),
        side=choice(fields["side"], SIDES, "side") if "side" in fields else None,
    )


def order_number(fields: Fields) -> int:
    """The order_id in a body, where there is no path to name it."""
    value = fields.get("order_id")
    if value is None:
        raise missing("order_id", "the number that the answer to the order gave")
    if not isinstance(value, str):
        raise wrong_type("order_id", value, "a whole number")
    return order_id(values.same_number(value) if isinstance(value, Number) else value)


def order_id(written: str) -> int:
    """An order id as written in a path or a body. Raises Declined."""
    if re.fullmatch(r"[1-9][0-9]{0,18}", written) and (number := int(written)) < 2**63:
        return number
    raise declined(
        "invalid_parameter", f"{quoted(written)} cannot be an order_id: it is a whole number from 1.", "order_id"
    )


def account_name(account: str | None) -> str | None:
    if account is None or is_name(account):
        return account
    raise declined(RejectReason.INVALID_ACCOUNT.value, _name_advice(account, "an account"), "account")


def valid_account(account: str) -> str:
    account_name(account)
    return account


def client_order_id(name: str) -> str:
    """A client order id as written in a path or a body. Raises Declined."""
    if is_name(name):
        return name
    raise declined(
        RejectReason.INVALID_CLIENT_ORDER_ID.value, _name_advice(name, "a client_order_id"), "client_order_id"
    )


def choice(value: object, choices: Mapping[str, _Choice], name: str) -> _Choice:
    """What `value` stands for among the choices, in any case; a number counts as written where one is a choice."""
    if type(value) is str:
        found = choices.get(value.lower()) if value.isascii() else None
    elif isinstance(value, Number):
        found = choices.get(values.same_number(value))
    else:
        raise declined("invalid_type", f"{name} must be one of {', '.join(choices)}, not {json_type(value)}.", name)
    if found is None:
        raise declined("invalid_value", f"{name} must be one of {', '.join(choices)}, not {quoted(str(value))}.", name)
    return found


def _client_order_id(fields: Fields) -> str | None:
    name = text(fields, "client_order_id")
    return None if name is None else client_order_id(name)


def _unquoted(key: str) -> str:
    """Some clients send the header as a quoted string, as its draft standard says."""
    key = key.strip()
    return key[1:-1] if len(key) >= 2 and key[0] == key[-1] == '"' else key


def _name_advice(name: str, what: str) -> str:
    return f'{quoted(name)} cannot be {what}: use 1 to 64 letters, digits, "-" or "_".'


def _side(fields: Fields) -> Side:
    if fields.get("side") is None:
        raise missing("side", '"buy" or "sell"')
    return choice(fields["side"], SIDES, "side")


def _type(fields: Fields) -> OrderType:
    """Limit unless the order says otherwise: a forgotten price must not become an order at any price."""
    return choice(fields["type"], TYPES, "type") if "type" in fields else OrderType.LIMIT


def _time_in_force(fields: Fields, kind: OrderType) -> TimeInForce:
    """A market order never rests, so for it GTC means IOC."""
    given = choice(fields["time_in_force"], TIMES_IN_FORCE, "time_in_force") if "time_in_force" in fields else None
    if kind is OrderType.MARKET and given in (None, TimeInForce.GTC):
        return TimeInForce.IOC
    return given or TimeInForce.GTC


def _quantity(fields: Fields, instrument: Instrument) -> int:
    """0 for an order by notional: what it comes to is known once it has traded."""
    quantity = values.quantity(fields, instrument)
    if quantity is not None:
        return quantity
    if "notional" in fields:
        return 0
    raise missing("quantity", "how much to buy or sell, as a decimal number")


def _terms(fields: Fields, instrument: Instrument) -> Terms | None:
    terms = Terms(
        stop_price=values.price(fields, instrument, "stop_price"),
        display_quantity=values.quantity(
            fields, instrument, "display_quantity", RejectReason.DISPLAY_QUANTITY_OUT_OF_RANGE
        ),
        protection_price=values.price(fields, instrument, "protection_price"),
        notional=values.notional(fields, instrument),
        expires_at=values.moment(fields, "expires_at"),
        self_trade_prevention=_self_trade_prevention(fields),
    )
    return None if terms == _NO_TERMS else terms


def _self_trade_prevention(fields: Fields) -> SelfTradePrevention:
    if "self_trade_prevention" not in fields:
        return SelfTradePrevention.NONE
    return choice(fields["self_trade_prevention"], SELF_TRADE_PREVENTIONS, "self_trade_prevention")


_NO_TERMS = Terms()
