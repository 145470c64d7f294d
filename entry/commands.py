"""From what people write to commands: names and choices checked, decimals turned into ticks and lots.

Pure. Whatever has the wrong shape is declined here; the rules of the exchange are the engine's, except those without
which there would be no whole number of ticks or lots to send it.
"""

import re
from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import TypeVar

from contracts.decimals import NotDecimal, OffStep, Step
from contracts.messages import (
    DEFAULT_ACCOUNT,
    MAX_PRICE,
    MAX_QUANTITY,
    NAME_PATTERN,
    SYMBOL_PATTERN,
    AmendOrder,
    DefineInstrument,
    OrderType,
    PlaceOrder,
    RejectReason,
    Side,
    TimeInForce,
)
from contracts.views import Instrument
from entry.bodies import Fields, Number, flag, json_type, literal, missing, text, wrong_type
from entry.problems import Declined, declined, quoted

_Choice = TypeVar("_Choice")

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
)
AMEND_FIELDS = ("price", "quantity")
INSTRUMENT_FIELDS = ("tick_size", "lot_size", "min_quantity", "max_quantity")

SIDES = {"buy": Side.BUY, "1": Side.BUY, "sell": Side.SELL, "-1": Side.SELL}
TYPES = {"limit": OrderType.LIMIT, "market": OrderType.MARKET}
TIMES_IN_FORCE = {"gtc": TimeInForce.GTC, "ioc": TimeInForce.IOC, "fok": TimeInForce.FOK}

is_symbol = re.compile(SYMBOL_PATTERN).fullmatch
is_name = re.compile(NAME_PATTERN).fullmatch

_UNIT = Step(1, 0)
_EXACT = Context(prec=200)


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


def place_order(fields: Fields, instrument: Instrument) -> PlaceOrder:
    """The order described by the body's fields, for an instrument that the caller has found. Raises Declined."""
    kind = _type(fields)
    return PlaceOrder(
        symbol=instrument.symbol,
        side=_side(fields),
        type=kind,
        quantity=_quantity(_required_quantity(fields), instrument, "quantity"),
        price=_price(literal(fields, "price"), instrument),
        time_in_force=_time_in_force(fields, kind),
        post_only=flag(fields, "post_only"),
        account=account_name(text(fields, "account")),
        client_order_id=_client_order_id(fields),
    )


def amends_nothing(fields: Fields) -> bool:
    return "price" not in fields and "quantity" not in fields


def amend_order(order_id: int, fields: Fields, instrument: Instrument) -> AmendOrder:
    """The amendment described by the body's fields of an order in `instrument`. Raises Declined."""
    quantity = literal(fields, "quantity")
    return AmendOrder(
        order_id=order_id,
        price=_price(literal(fields, "price"), instrument),
        quantity=None if quantity is None else _quantity(quantity, instrument, "quantity"),
    )


def define_instrument(symbol: str, fields: Fields) -> DefineInstrument:
    """The instrument described by the body's fields. Raises Declined."""
    tick_size, lot_size = _size(fields, "tick_size"), _size(fields, "lot_size")
    instrument = Instrument(valid_symbol(symbol), tick_size, lot_size, 1, MAX_QUANTITY)
    least, most = literal(fields, "min_quantity"), literal(fields, "max_quantity")
    return DefineInstrument(
        symbol=symbol,
        tick_size=tick_size,
        lot_size=lot_size,
        min_quantity=1 if least is None else _quantity(least, instrument, "min_quantity"),
        max_quantity=MAX_QUANTITY if most is None else _quantity(most, instrument, "max_quantity"),
    )


def order_number(fields: Fields) -> int:
    """The order_id in the body of a cancelation or amendment that comes over NATS."""
    value = fields.get("order_id")
    if value is None:
        raise missing("order_id", "the number that the answer to the order gave")
    if not isinstance(value, str):
        raise wrong_type("order_id", value, "a whole number")
    return order_id(value)


def order_id(written: str) -> int:
    """An order id as written in a path or a body. Raises Declined."""
    if re.fullmatch(r"[1-9][0-9]{0,18}", written) and (number := int(written)) < 2**63:
        return number
    raise declined(
        "invalid_parameter", f"{quoted(written)} cannot be an order_id: it is a whole number from 1.", "order_id"
    )


def account_name(account: str | None) -> str:
    if account is None:
        return DEFAULT_ACCOUNT
    if is_name(account):
        return account
    raise declined(RejectReason.INVALID_ACCOUNT.value, _name_advice(account, "an account"), "account")


def _client_order_id(fields: Fields) -> str | None:
    name = text(fields, "client_order_id")
    if name is None or is_name(name):
        return name
    raise declined(
        RejectReason.INVALID_CLIENT_ORDER_ID.value, _name_advice(name, "a client_order_id"), "client_order_id"
    )


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
    if kind is OrderType.MARKET and given is not TimeInForce.FOK:
        return TimeInForce.IOC
    return given or TimeInForce.GTC


def choice(value: object, choices: Mapping[str, _Choice], name: str) -> _Choice:
    """What `value` stands for among the choices, in any case; a number counts as written where one is a choice."""
    listed = ", ".join(choices)
    if isinstance(value, Number):
        found = choices.get(_whole(value))
    elif isinstance(value, str):
        found = choices.get(value.lower()) if value.isascii() else None
    else:
        raise declined("invalid_type", f"{name} must be one of {listed}, not {json_type(value)}.", name)
    if found is None:
        raise declined("invalid_value", f"{name} must be one of {listed}, not {quoted(str(value))}.", name)
    return found


def _whole(number: Number) -> str:
    """1, 1.0 and 1e0 are the same JSON number."""
    try:
        return str(_UNIT.parse(number))
    except (NotDecimal, OffStep):
        return ""


def _required_quantity(fields: Fields) -> str:
    quantity = literal(fields, "quantity")
    if quantity is None:
        raise missing("quantity", "how much to buy or sell, as a decimal number")
    return quantity


def _price(written: str | None, instrument: Instrument) -> int | None:
    if written is None:
        return None
    ticks = _steps(written, instrument.tick, "price", lambda: _off_tick(written, instrument))
    if not 1 <= ticks <= MAX_PRICE:
        raise declined(RejectReason.PRICE_OUT_OF_RANGE.value, price_advice(instrument), "price")
    return ticks


def _quantity(written: str, instrument: Instrument, name: str) -> int:
    lots = _steps(written, instrument.lot, name, lambda: _off_lot(written, instrument, name))
    if not 1 <= lots <= MAX_QUANTITY:
        raise declined(RejectReason.QUANTITY_OUT_OF_RANGE.value, quantity_advice(instrument), name)
    return lots


def _steps(written: str, step: Step, name: str, off_step: Callable[[], Declined]) -> int:
    try:
        return step.parse(written)
    except NotDecimal:
        raise _not_decimal(written, name) from None
    except OffStep:
        raise off_step() from None


def _size(fields: Fields, name: str) -> str:
    """A tick or lot size in its plain form: 0.010, "0.01" and 1e-2 are all "0.01"."""
    written = literal(fields, name)
    if written is None:
        raise missing(name, 'the smallest step, as a decimal number, such as "0.01"')
    try:
        Step(1, 40).parse(written)
    except NotDecimal:
        raise _not_decimal(written, name) from None
    except OffStep:
        raise _bad_size(written, name) from None
    plain = format(Decimal(written).normalize(_EXACT), "f")
    try:
        Step.of(plain)
    except NotDecimal:
        raise _bad_size(written, name) from None
    return plain


def _bad_size(written: str, name: str) -> Declined:
    return declined(
        RejectReason.INVALID_INSTRUMENT.value,
        f"{quoted(written)} cannot be a {name}: it must be above zero, with at most 12 digits before and 12 after the "
        "decimal point.",
        name,
    )


def _not_decimal(written: str, name: str) -> Declined:
    return declined(
        "not_a_decimal",
        f'{quoted(written)} is not a decimal number such as "100.10"; {name} takes up to 40 digits before and 40 after '
        "the decimal point, and an exponent of up to three digits.",
        name,
    )


def _off_tick(written: str, instrument: Instrument) -> Declined:
    near = _nearest(written, instrument.tick)
    return declined(
        "off_tick",
        f"Prices of {instrument.symbol} are whole multiples of {instrument.tick_size}; nearest to {quoted(written)}: "
        f"{near}.",
        "price",
    )


def _off_lot(written: str, instrument: Instrument, name: str) -> Declined:
    near = _nearest(written, instrument.lot)
    return declined(
        "off_lot",
        f"Quantities of {instrument.symbol} are whole multiples of {instrument.lot_size}; nearest to "
        f"{quoted(written)}: {near}.",
        name,
    )


def _nearest(written: str, step: Step) -> str:
    """The steps just below and above a number between them, leaving out those below the first."""
    steps = _EXACT.divide(Decimal(written), Decimal(step.unit).scaleb(-step.decimals))
    below, above = (int(steps.to_integral_value(rounding)) for rounding in (ROUND_FLOOR, ROUND_CEILING))
    near = [step.format(each) for each in (max(below, 0), max(above, 1)) if each >= 1]
    return " and ".join(dict.fromkeys(near))


def price_advice(instrument: Instrument) -> str:
    tick = instrument.tick
    return f"Prices of {instrument.symbol} go from {tick.format(1)} to {tick.format(MAX_PRICE)}."


def quantity_advice(instrument: Instrument) -> str:
    lot = instrument.lot
    least, most = lot.format(instrument.min_quantity), lot.format(instrument.max_quantity)
    return f"Quantities of {instrument.symbol} go from {least} to {most}."
