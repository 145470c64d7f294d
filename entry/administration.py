"""From what operators write to commands about instruments and accounts. Pure; raises Declined."""

from collections.abc import Mapping

from contracts.messages import (
    MAX_BAND_BASIS_POINTS,
    MAX_DELAY,
    MAX_QUANTITY,
    MAX_RESTING_ORDERS,
    CancelAllAfter,
    DefineInstrument,
    InstrumentStatus,
    RejectReason,
    SetAccountLimits,
    SetInstrumentStatus,
    SetKillSwitch,
    SymbolLimits,
)
from contracts.views import Instrument
from entry import values
from entry.bodies import Fields, fields_of, flag, missing, wrong_type
from entry.commands import choice, valid_symbol
from entry.problems import declined

INSTRUMENT_FIELDS = (
    "tick_size",
    "lot_size",
    "min_quantity",
    "max_quantity",
    "lowest_price",
    "highest_price",
    "band_basis_points",
)
STATUS_FIELDS = ("status",)
LIMITS_FIELDS = ("max_open_orders", "symbols")
SYMBOL_LIMITS_FIELDS = ("max_order_quantity", "max_order_notional", "max_position")
KILL_SWITCH_FIELDS = ("engaged",)
CANCEL_ALL_AFTER_FIELDS = ("seconds",)

INSTRUMENT_STATUSES = {status.value: status for status in InstrumentStatus}


def define_instrument(symbol: str, fields: Fields) -> DefineInstrument:
    """The instrument described by the body's fields."""
    tick_size, lot_size = values.size(fields, "tick_size"), values.size(fields, "lot_size")
    instrument = Instrument(valid_symbol(symbol), tick_size, lot_size, 1, MAX_QUANTITY)
    return DefineInstrument(
        symbol=symbol,
        tick_size=tick_size,
        lot_size=lot_size,
        min_quantity=values.quantity(fields, instrument, "min_quantity") or 1,
        max_quantity=values.quantity(fields, instrument, "max_quantity") or MAX_QUANTITY,
        lowest_price=values.price(fields, instrument, "lowest_price"),
        highest_price=values.price(fields, instrument, "highest_price"),
        band_basis_points=_band(fields),
    )


def instrument_status(symbol: str, fields: Fields) -> SetInstrumentStatus:
    if "status" not in fields:
        raise missing("status", "one of " + ", ".join(INSTRUMENT_STATUSES))
    return SetInstrumentStatus(symbol, choice(fields["status"], INSTRUMENT_STATUSES, "status"))


def limited_symbols(fields: Fields) -> list[str]:
    """The symbols that a body with limits names."""
    return [valid_symbol(symbol) for symbol in _by_symbol(fields)]


def account_limits(account: str, fields: Fields, instruments: Mapping[str, Instrument]) -> SetAccountLimits:
    """`instruments`: those of `limited_symbols`."""
    most = values.whole(fields, "max_open_orders")
    if most is not None and not 0 <= most <= MAX_RESTING_ORDERS:
        raise declined(
            RejectReason.INVALID_LIMITS.value,
            f"max_open_orders goes from 0 to {MAX_RESTING_ORDERS}; null, or leaving it out, is no limit.",
            "max_open_orders",
        )
    return SetAccountLimits(
        account,
        most,
        tuple(_symbol_limits(written, instruments[symbol]) for symbol, written in _by_symbol(fields).items()),
    )


def kill_switch(account: str, fields: Fields) -> SetKillSwitch:
    if "engaged" not in fields:
        raise missing("engaged", "true to stop the account, false to release it")
    return SetKillSwitch(account, flag(fields, "engaged"))


def cancel_all_after(account: str, fields: Fields) -> CancelAllAfter:
    delay = values.microseconds(fields, "seconds")
    if delay is None:
        raise missing("seconds", "after how long to cancel everything; 0 disarms the switch")
    if not 0 <= delay <= MAX_DELAY:
        raise declined(RejectReason.INVALID_DELAY.value, delay_advice(), "seconds")
    return CancelAllAfter(account, delay)


def delay_advice() -> str:
    return f"seconds goes from 0 (disarm) to {MAX_DELAY // 1_000_000}."


def _band(fields: Fields) -> int | None:
    points = values.whole(fields, "band_basis_points")
    if points is not None and not 1 <= points <= MAX_BAND_BASIS_POINTS:
        raise declined(
            RejectReason.INVALID_INSTRUMENT.value,
            f"band_basis_points goes from 1 (0.01 %) to {MAX_BAND_BASIS_POINTS} (100 %); null is no band.",
            "band_basis_points",
        )
    return points


def _by_symbol(fields: Fields) -> Fields:
    symbols = fields.get("symbols", {})
    if type(symbols) is not dict:
        raise wrong_type("symbols", symbols, "an object with the symbols as names")
    return {symbol: limits for symbol, limits in symbols.items() if limits is not None}


def _symbol_limits(written: object, instrument: Instrument) -> SymbolLimits:
    fields = fields_of(written, SYMBOL_LIMITS_FIELDS, f"the limits of {instrument.symbol}")
    return SymbolLimits(
        instrument.symbol,
        values.quantity_limit(fields, instrument, "max_order_quantity"),
        values.notional_limit(fields, instrument, "max_order_notional"),
        values.quantity_limit(fields, instrument, "max_position"),
    )
