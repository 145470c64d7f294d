"""What operators write about instruments and accounts."""

import json
from typing import Any

import pytest

from contracts.messages import (
    MAX_DELAY,
    MAX_NOTIONAL,
    MAX_QUANTITY,
    CancelAllAfter,
    DefineInstrument,
    InstrumentStatus,
    SetAccountLimits,
    SetInstrumentStatus,
    SetKillSwitch,
    SymbolLimits,
)
from contracts.views import Instrument
from entry import administration
from entry.bodies import read_fields
from entry.problems import Declined

GOLD = Instrument("GOLD", "0.05", "0.001", min_quantity=10, max_quantity=10**6)


def define(**fields: Any) -> DefineInstrument:
    return administration.define_instrument(
        "TIN", read_fields(json.dumps(fields).encode(), administration.INSTRUMENT_FIELDS)
    )


def test_sizes_have_one_plain_form() -> None:
    expected = DefineInstrument("TIN", "0.01", "1", min_quantity=1, max_quantity=MAX_QUANTITY)
    assert define(tick_size="0.010", lot_size=1) == expected
    assert define(tick_size=0.01, lot_size="1e0") == expected
    assert define(tick_size="1e-2", lot_size="1.000") == expected


def test_limits_are_given_in_units() -> None:
    defined = define(tick_size="1", lot_size="0.5", min_quantity="1", max_quantity=20)
    assert (defined.min_quantity, defined.max_quantity) == (2, 40)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"lot_size": "1"}, "missing_field", "tick_size"),
        ({"tick_size": "1"}, "missing_field", "lot_size"),
        ({"tick_size": "0", "lot_size": "1"}, "invalid_instrument", "tick_size"),
        ({"tick_size": "-1", "lot_size": "1"}, "invalid_instrument", "tick_size"),
        ({"tick_size": "1e-13", "lot_size": "1"}, "invalid_instrument", "tick_size"),
        ({"tick_size": "1e-999", "lot_size": "1"}, "invalid_instrument", "tick_size"),
        ({"tick_size": "1e400", "lot_size": "1"}, "invalid_instrument", "tick_size"),
        ({"tick_size": "1", "lot_size": "x"}, "not_a_decimal", "lot_size"),
        ({"tick_size": "1", "lot_size": True}, "invalid_type", "lot_size"),
        ({"tick_size": "1", "lot_size": "1", "min_quantity": "0.5"}, "off_lot", "min_quantity"),
        ({"tick_size": "1", "lot_size": "1", "max_quantity": 0}, "quantity_out_of_range", "max_quantity"),
    ],
)
def test_an_instrument_that_cannot_be(fields: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(Declined) as caught:
        define(**fields)
    assert (caught.value.problem.code, caught.value.problem.field) == (code, field)


def test_price_bands() -> None:
    defined = define(tick_size="0.5", lot_size=1, lowest_price=90, highest_price="110.5", band_basis_points=1e2)
    assert (defined.lowest_price, defined.highest_price, defined.band_basis_points) == (180, 221, 100)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"lowest_price": "0.1"}, "off_tick", "lowest_price"),
        ({"highest_price": 0}, "price_out_of_range", "highest_price"),
        ({"band_basis_points": 0}, "invalid_instrument", "band_basis_points"),
        ({"band_basis_points": 10_001}, "invalid_instrument", "band_basis_points"),
        ({"band_basis_points": 1.5}, "invalid_value", "band_basis_points"),
        ({"band_basis_points": "9" * 40}, "invalid_instrument", "band_basis_points"),
        ({"band_basis_points": "1e2"}, "invalid_value", "band_basis_points"),
        ({"band_basis_points": []}, "invalid_type", "band_basis_points"),
    ],
)
def test_a_band_that_cannot_be(fields: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(Declined) as caught:
        define(tick_size="0.5", lot_size=1, **fields)
    assert (caught.value.problem.code, caught.value.problem.field) == (code, field)


def test_statuses() -> None:
    halted = administration.instrument_status("GOLD", {"status": "Halted"})
    assert halted == SetInstrumentStatus("GOLD", InstrumentStatus.HALTED)
    for fields, code in (
        ({}, "missing_field"),
        ({"status": "asleep"}, "invalid_value"),
        ({"status": []}, "invalid_type"),
    ):
        with pytest.raises(Declined) as caught:
            administration.instrument_status("GOLD", fields)
        assert (caught.value.problem.code, caught.value.problem.field) == (code, "status")


def limits(body: object) -> SetAccountLimits:
    fields = read_fields(json.dumps(body).encode(), administration.LIMITS_FIELDS)
    symbols = administration.limited_symbols(fields)
    return administration.account_limits("anna", fields, dict.fromkeys(symbols, GOLD))


def test_limits_of_an_account() -> None:
    assert limits({}) == SetAccountLimits("anna")
    assert limits({"max_open_orders": 0, "symbols": None}) == SetAccountLimits("anna", 0)
    written = {"max_order_quantity": "1", "max_order_notional": 1000, "max_position": None}
    assert limits({"max_open_orders": 10, "symbols": {"GOLD": written, "TIN": None}}) == SetAccountLimits(
        "anna", 10, (SymbolLimits("GOLD", 1000, 20_000_000, None),)
    )


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"max_open_orders": -1}, "invalid_limits", "max_open_orders"),
        ({"max_open_orders": 1e300}, "invalid_limits", "max_open_orders"),
        ({"max_open_orders": 1.5}, "invalid_value", "max_open_orders"),
        ({"symbols": []}, "invalid_type", "symbols"),
        ({"symbols": {"A.B": {}}}, "invalid_symbol", "symbol"),
        ({"symbols": {"GOLD": 1}}, "invalid_type", None),
        ({"symbols": {"GOLD": {"max": 1}}}, "unknown_field", "max"),
        ({"symbols": {"GOLD": {"max_position": "-1"}}}, "invalid_limits", "max_position"),
        ({"symbols": {"GOLD": {"max_position": "0.0001"}}}, "off_lot", "max_position"),
        ({"symbols": {"GOLD": {"max_position": MAX_QUANTITY + 1}}}, "invalid_limits", "max_position"),
        ({"symbols": {"GOLD": {"max_order_notional": MAX_NOTIONAL}}}, "invalid_limits", "max_order_notional"),
        ({"symbols": {"GOLD": {"max_order_notional": "1e-9"}}}, "off_notional", "max_order_notional"),
    ],
)
def test_limits_that_cannot_be(body: object, code: str, field: str | None) -> None:
    with pytest.raises(Declined) as caught:
        limits(body)
    assert (caught.value.problem.code, caught.value.problem.field) == (code, field)


def test_switches() -> None:
    assert administration.kill_switch("anna", {"engaged": True}) == SetKillSwitch("anna", engaged=True)
    for fields, code in (({}, "missing_field"), ({"engaged": "true"}, "invalid_type")):
        with pytest.raises(Declined) as caught:
            administration.kill_switch("anna", fields)
        assert caught.value.problem.code == code


@pytest.mark.parametrize(("seconds", "delay"), [("0", 0), ("1.5", 1_500_000), ("86400", MAX_DELAY), ("1e-6", 1)])
def test_a_delay_in_seconds(seconds: str, delay: int) -> None:
    assert administration.cancel_all_after("anna", {"seconds": seconds}) == CancelAllAfter("anna", delay)


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (None, "missing_field"),
        ("-1", "invalid_delay"),
        ("86400.000001", "invalid_delay"),
        ("1e300", "invalid_delay"),
        ("1e-7", "invalid_delay"),
        ("soon", "not_a_decimal"),
        (True, "invalid_type"),
    ],
)
def test_a_delay_that_cannot_be(seconds: object, code: str) -> None:
    with pytest.raises(Declined) as caught:
        administration.cancel_all_after("anna", {} if seconds is None else {"seconds": seconds})
    assert (caught.value.problem.code, caught.value.problem.field) == (code, "seconds")
