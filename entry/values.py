"""Single values as people write them: decimals into ticks, lots and steps, moments into microseconds. Pure.

Every function raises Declined with the field's name and what to do.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from contracts.decimals import NotDecimal, OffStep, Step
from contracts.messages import MAX_NOTIONAL, MAX_PRICE, MAX_QUANTITY, RejectReason
from contracts.views import Instrument
from entry.bodies import Fields, Number, literal, missing, text, wrong_type
from entry.problems import Declined, declined, quoted

MOMENT_PATTERN = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)
"""ISO 8601 with a zone, to the microsecond."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNIT, _MICRO = Step(1, 0), Step(1, 6)
_DIGITS = re.compile(r"-?[0-9]{1,41}")
_EXACT = Context(prec=200)


def price(fields: Fields, instrument: Instrument, name: str = "price") -> int | None:
    """In ticks."""
    written = literal(fields, name)
    if written is None:
        return None
    ticks = _steps(written, instrument.tick, name, lambda: _off_tick(written, instrument, name))
    if not 1 <= ticks <= MAX_PRICE:
        raise declined(RejectReason.PRICE_OUT_OF_RANGE.value, price_advice(instrument), name)
    return ticks


def quantity(
    fields: Fields,
    instrument: Instrument,
    name: str = "quantity",
    code: RejectReason = RejectReason.QUANTITY_OUT_OF_RANGE,
) -> int | None:
    """In lots; `code` is for what no instrument could allow."""
    written = literal(fields, name)
    if written is None:
        return None
    lots = _steps(written, instrument.lot, name, lambda: _off_lot(written, instrument, name))
    if not 1 <= lots <= MAX_QUANTITY:
        raise declined(code.value, quantity_advice(instrument), name)
    return lots


def notional(fields: Fields, instrument: Instrument, name: str = "notional") -> int | None:
    """In ticks x lots."""
    written = literal(fields, name)
    if written is None:
        return None
    steps = _steps(written, instrument.notional, name, lambda: _off_notional(written, instrument, name))
    if not 1 <= steps <= MAX_NOTIONAL:
        raise declined(RejectReason.NOTIONAL_OUT_OF_RANGE.value, notional_advice(instrument), name)
    return steps


def limit(written: str, step: Step, most: int, name: str, off_step: Callable[[], Declined]) -> int:
    """A limit of an account, in steps; 0 allows nothing."""
    steps = _steps(written, step, name, off_step)
    if not 0 <= steps <= most:
        raise declined(
            RejectReason.INVALID_LIMITS.value,
            f"{name} goes from 0 to {step.format(most)}; null, or leaving it out, is no limit.",
            name,
        )
    return steps


def quantity_limit(fields: Fields, instrument: Instrument, name: str) -> int | None:
    written = literal(fields, name)
    if written is None:
        return None
    return limit(written, instrument.lot, 1000 * MAX_QUANTITY, name, lambda: _off_lot(written, instrument, name))


def notional_limit(fields: Fields, instrument: Instrument, name: str) -> int | None:
    written = literal(fields, name)
    if written is None:
        return None
    return limit(written, instrument.notional, MAX_NOTIONAL, name, lambda: _off_notional(written, instrument, name))


def whole(fields: Fields, name: str) -> int | None:
    """A whole number of any size: its digits in a string, or any JSON number that is whole."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise wrong_type(name, value, "a whole number")
    digits = same_number(value) if isinstance(value, Number) else value
    if not _DIGITS.fullmatch(digits):
        raise declined("invalid_value", f"{name} must be a whole number, not {quoted(value)}.", name)
    return int(digits)


def moment(fields: Fields, name: str) -> int | None:
    """A point in time, in microseconds since 1970-01-01 UTC."""
    written = text(fields, name)
    if written is None:
        return None
    if not re.fullmatch(MOMENT_PATTERN, written):
        raise _not_a_moment(written, name)
    try:
        at = datetime.fromisoformat(written.upper())
    except ValueError:
        raise _not_a_moment(written, name) from None
    microseconds = (at - _EPOCH) // _MICROSECOND
    if not 0 <= microseconds <= (_LAST - _EPOCH) // _MICROSECOND:
        raise declined("invalid_value", f"{name} must lie between the years 1970 and 9999, in UTC.", name)
    return microseconds


def microseconds(fields: Fields, name: str) -> int | None:
    """A number of seconds as microseconds, of any size."""
    written = literal(fields, name)
    if written is None:
        return None
    code, advice = RejectReason.INVALID_DELAY.value, f"{name} takes at most six decimals; {quoted(written)} has more."
    return _steps(written, _MICRO, name, lambda: declined(code, advice, name))


def size(fields: Fields, name: str) -> str:
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


def same_number(number: Number) -> str:
    """1, 1.0 and 1e0 are the same JSON number: "1"; "" for what is no whole number."""
    try:
        return str(_UNIT.parse(number))
    except (NotDecimal, OffStep):
        return ""


def price_advice(instrument: Instrument) -> str:
    tick = instrument.tick
    return f"Prices of {instrument.symbol} go from {tick.format(1)} to {tick.format(MAX_PRICE)}."


def quantity_advice(instrument: Instrument) -> str:
    lot = instrument.lot
    least, most = lot.format(instrument.min_quantity), lot.format(instrument.max_quantity)
    return f"Quantities of {instrument.symbol} go from {least} to {most}."


def notional_advice(instrument: Instrument) -> str:
    step = instrument.notional
    return f"A notional of {instrument.symbol} goes from {step.format(1)} to {step.format(MAX_NOTIONAL)}."


def _steps(written: str, step: Step, name: str, off_step: Callable[[], Declined]) -> int:
    try:
        return step.parse(written)
    except NotDecimal:
        raise _not_decimal(written, name) from None
    except OffStep:
        raise off_step() from None


def _not_a_moment(written: str, name: str) -> Declined:
    return declined(
        "invalid_value",
        f'{name} must be a moment in ISO 8601 with a zone, such as "2030-01-31T12:00:00Z" or '
        f'"2030-01-31T13:00:00.5+01:00", with at most six decimals; not {quoted(written)}.',
        name,
    )


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


def _off_tick(written: str, instrument: Instrument, name: str) -> Declined:
    near = _nearest(written, instrument.tick)
    return declined(
        "off_tick",
        f"Prices of {instrument.symbol} are whole multiples of {instrument.tick_size}; nearest to {quoted(written)}: "
        f"{near}.",
        name,
    )


def _off_lot(written: str, instrument: Instrument, name: str) -> Declined:
    near = _nearest(written, instrument.lot)
    return declined(
        "off_lot",
        f"Quantities of {instrument.symbol} are whole multiples of {instrument.lot_size}; nearest to "
        f"{quoted(written)}: {near}.",
        name,
    )


def _off_notional(written: str, instrument: Instrument, name: str) -> Declined:
    near = _nearest(written, instrument.notional)
    return declined(
        "off_notional",
        f"{name} of {instrument.symbol} is a whole multiple of {instrument.notional.format(1)} (its tick_size times "
        f"its lot_size); nearest to {quoted(written)}: {near}.",
        name,
    )


def _nearest(written: str, step: Step) -> str:
    """The steps just below and above a number between them, leaving out those below the first."""
    steps = _EXACT.divide(Decimal(written), Decimal(step.unit).scaleb(-step.decimals))
    below, above = (int(steps.to_integral_value(rounding)) for rounding in (ROUND_FLOOR, ROUND_CEILING))
    near = [step.format(each) for each in (max(below, 0), max(above, 1)) if each >= 1]
    return " and ".join(dict.fromkeys(near))
