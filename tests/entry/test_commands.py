"""From the JSON that people write to commands, and every way in which that cannot be done."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.keys import Access, Scope
from contracts.messages import (
    MAX_PRICE,
    MAX_QUANTITY,
    AmendOrder,
    CancelOrders,
    OrderType,
    PlaceOrder,
    SelfTradePrevention,
    Side,
    Terms,
    TimeInForce,
)
from contracts.views import Instrument
from entry import commands
from entry.bodies import read_fields
from entry.problems import CODES, Declined, Problem

GOLD = Instrument("GOLD", "0.05", "0.001", min_quantity=10, max_quantity=10**6)


def place(body: dict[str, Any] | str) -> PlaceOrder:
    written = body if isinstance(body, str) else json.dumps(body)
    return commands.place_order(read_fields(written.encode(), commands.PLACE_FIELDS), GOLD)


def declined(body: dict[str, Any] | str) -> tuple[str, str | None]:
    with pytest.raises(Declined) as caught:
        place(body)
    problem = caught.value.problem
    assert problem.code in CODES
    assert 400 <= problem.http_status < 500
    assert problem.content
    return problem.code, problem.field


def order(**fields: Any) -> dict[str, Any]:
    return {"side": "buy", "price": "100.05", "quantity": "1.5"} | fields


def test_the_least_that_makes_an_order() -> None:
    assert place(order()) == PlaceOrder("GOLD", Side.BUY, OrderType.LIMIT, quantity=1500, price=2001)


def test_everything_that_an_order_can_say() -> None:
    body = order(
        symbol="GOLD",
        side="SELL",
        type="Limit",
        time_in_force="fok",
        post_only=True,
        client_order_id="x-1",
        account="bob",
    )
    assert place(body) == PlaceOrder(
        "GOLD",
        Side.SELL,
        OrderType.LIMIT,
        quantity=1500,
        price=2001,
        time_in_force=TimeInForce.FOK,
        post_only=True,
        account="bob",
        client_order_id="x-1",
    )


def test_an_order_with_terms() -> None:
    body = order(
        type="stop_limit",
        time_in_force="gtd",
        stop_price=99.95,
        display_quantity="0.5",
        expires_at="2030-01-31T13:00:00.25+01:00",
        self_trade_prevention="Cancel_Oldest",
    )
    placed = place(body)
    assert (placed.type, placed.time_in_force) == (OrderType.STOP_LIMIT, TimeInForce.GTD)
    assert placed.terms == Terms(
        stop_price=1999,
        display_quantity=500,
        expires_at=1_896_091_200_250_000,
        self_trade_prevention=SelfTradePrevention.CANCEL_OLDEST,
    )


def test_a_market_order_by_notional_has_no_quantity() -> None:
    placed = place({"side": "buy", "type": "market", "notional": "1000.00005", "protection_price": "101"})
    assert placed.quantity == 0
    assert placed.terms == Terms(notional=20_000_001, protection_price=2020)


def test_terms_that_say_nothing_are_no_terms() -> None:
    """So an order sent again with every default spelled out is the same order."""
    assert place(order(self_trade_prevention="none", stop_price=None)) == place(order())


@pytest.mark.parametrize("side", ['"buy"', '"BUY"', '"Buy"', "1", '"1"', "1.0", "1e0"])
def test_ways_to_buy(side: str) -> None:
    assert place(f'{{"side": {side}, "price": 100, "quantity": 1}}').side is Side.BUY


@pytest.mark.parametrize("side", ['"sell"', '"SELL"', "-1", '"-1"', "-1.0"])
def test_ways_to_sell(side: str) -> None:
    assert place(f'{{"side": {side}, "price": 100, "quantity": 1}}').side is Side.SELL


@pytest.mark.parametrize(
    "price", ["100.05", '"100.05"', "100.050", "1.0005e2", '"1.0005E+2"', "100.0500000000000000000"]
)
def test_ways_to_write_a_price(price: str) -> None:
    assert place(f'{{"side": "buy", "price": {price}, "quantity": 1}}').price == 2001


@pytest.mark.parametrize(
    ("given_type", "given_time", "expected"),
    [
        ("limit", None, TimeInForce.GTC),
        ("limit", "ioc", TimeInForce.IOC),
        ("limit", "FOK", TimeInForce.FOK),
        ("market", None, TimeInForce.IOC),
        ("market", "gtc", TimeInForce.IOC),
        ("MARKET", "IOC", TimeInForce.IOC),
        ("market", "Fok", TimeInForce.FOK),
        ("market", "day", TimeInForce.DAY),
        ("stop", None, TimeInForce.GTC),
        ("stop", "GTC", TimeInForce.GTC),
        ("stop_limit", "GTD", TimeInForce.GTD),
    ],
)
def test_times_in_force_and_that_a_market_order_never_rests(
    given_type: str, given_time: str | None, expected: TimeInForce
) -> None:
    body = order(type=given_type, time_in_force=given_time, price=None if given_type != "limit" else "100")
    assert place(body).time_in_force is expected


def test_an_order_without_a_price_stays_a_limit_order() -> None:
    """The engine then refuses it (price_required): a forgotten price must not buy at any price."""
    assert place(order(price=None)).type is OrderType.LIMIT


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"side": None}, "missing_field", "side"),
        ({"side": "hold"}, "invalid_value", "side"),
        ({"side": 0}, "invalid_value", "side"),
        ({"side": 2}, "invalid_value", "side"),
        ({"side": 1.5}, "invalid_value", "side"),
        ({"side": True}, "invalid_type", "side"),
        ({"side": ["buy"]}, "invalid_type", "side"),
        ({"side": "BUY\u0000"}, "invalid_value", "side"),
        ({"side": "\u212auy"}, "invalid_value", "side"),
        ({"type": "pegged"}, "invalid_value", "type"),
        ({"type": 1}, "invalid_value", "type"),
        ({"type": {}}, "invalid_type", "type"),
        ({"time_in_force": "GTX"}, "invalid_value", "time_in_force"),
        ({"time_in_force": False}, "invalid_type", "time_in_force"),
        ({"post_only": "true"}, "invalid_type", "post_only"),
        ({"post_only": 1}, "invalid_type", "post_only"),
        ({"account": 7}, "invalid_type", "account"),
        ({"account": ""}, "invalid_account", "account"),
        ({"account": "a b"}, "invalid_account", "account"),
        ({"account": "a.b"}, "invalid_account", "account"),
        ({"account": "a" * 65}, "invalid_account", "account"),
        ({"account": "alice\n"}, "invalid_account", "account"),
        ({"account": "\ud800"}, "invalid_account", "account"),
        ({"account": "ålice"}, "invalid_account", "account"),
        ({"client_order_id": 7}, "invalid_type", "client_order_id"),
        ({"client_order_id": ""}, "invalid_client_order_id", "client_order_id"),
        ({"client_order_id": "x" * 65}, "invalid_client_order_id", "client_order_id"),
        ({"client_order_id": "a\u0000"}, "invalid_client_order_id", "client_order_id"),
        ({"quantity": None}, "missing_field", "quantity"),
        ({"quantity": []}, "invalid_type", "quantity"),
        ({"quantity": True}, "invalid_type", "quantity"),
        ({"quantity": 0}, "quantity_out_of_range", "quantity"),
        ({"quantity": "0.000"}, "quantity_out_of_range", "quantity"),
        ({"quantity": "-1"}, "quantity_out_of_range", "quantity"),
        ({"quantity": -0.001}, "quantity_out_of_range", "quantity"),
        ({"quantity": "1e400"}, "quantity_out_of_range", "quantity"),
        ({"quantity": "9" * 40}, "quantity_out_of_range", "quantity"),
        ({"quantity": "9" * 41}, "not_a_decimal", "quantity"),
        ({"quantity": "0.0005"}, "off_lot", "quantity"),
        ({"quantity": "1e-999"}, "off_lot", "quantity"),
        ({"quantity": "one"}, "not_a_decimal", "quantity"),
        ({"price": "100.01"}, "off_tick", "price"),
        ({"price": "1e-300"}, "off_tick", "price"),
        ({"price": 0}, "price_out_of_range", "price"),
        ({"price": "-100.05"}, "price_out_of_range", "price"),
        ({"price": "1e400"}, "price_out_of_range", "price"),
        ({"price": "1e999999999"}, "not_a_decimal", "price"),
        ({"price": "NaN"}, "not_a_decimal", "price"),
        ({"price": "Infinity"}, "not_a_decimal", "price"),
        ({"price": "0.1.2"}, "not_a_decimal", "price"),
        ({"price": ""}, "not_a_decimal", "price"),
        ({"price": " 1"}, "not_a_decimal", "price"),
        ({"price": "1_000"}, "not_a_decimal", "price"),
        ({"price": "1,5"}, "not_a_decimal", "price"),
        ({"price": "\u0661\u0662"}, "not_a_decimal", "price"),
        ({"price": "\ud800"}, "not_a_decimal", "price"),
        ({"price": "1\u0000"}, "not_a_decimal", "price"),
        ({"price": "1\n"}, "not_a_decimal", "price"),
        ({"price": {"$gt": 1}}, "invalid_type", "price"),
        ({"price": False}, "invalid_type", "price"),
        ({"stop_price": "100.01"}, "off_tick", "stop_price"),
        ({"stop_price": 0}, "price_out_of_range", "stop_price"),
        ({"protection_price": "x"}, "not_a_decimal", "protection_price"),
        ({"protection_price": "1e300"}, "price_out_of_range", "protection_price"),
        ({"display_quantity": "0.0005"}, "off_lot", "display_quantity"),
        ({"display_quantity": 0}, "display_quantity_out_of_range", "display_quantity"),
        ({"notional": "0.00001"}, "off_notional", "notional"),
        ({"notional": 0}, "notional_out_of_range", "notional"),
        ({"notional": "1e300"}, "notional_out_of_range", "notional"),
        ({"notional": []}, "invalid_type", "notional"),
        ({"self_trade_prevention": "never"}, "invalid_value", "self_trade_prevention"),
        ({"self_trade_prevention": 1}, "invalid_value", "self_trade_prevention"),
        ({"expires_at": 1700000000000}, "invalid_type", "expires_at"),
        ({"expires_at": "2030-01-31"}, "invalid_value", "expires_at"),
        ({"expires_at": "2030-01-31T12:00:00"}, "invalid_value", "expires_at"),
    ],
    ids=repr,
)
def test_bad_input_is_declined_with_its_code_and_field(fields: dict[str, Any], code: str, field: str) -> None:
    assert declined(order(**fields)) == (code, field)


def test_numbers_of_any_length_in_json_are_declined_without_becoming_huge() -> None:
    assert declined('{"side": "buy", "quantity": 1, "price": 1e400}') == ("price_out_of_range", "price")
    assert declined('{"side": "buy", "quantity": 1, "price": 1e999999999}') == ("not_a_decimal", "price")
    assert declined('{"side": "buy", "price": 1, "quantity": ' + "9" * 500_000 + "}") == ("not_a_decimal", "quantity")


@pytest.mark.parametrize(
    ("written", "near"),
    [
        ("100.01", "100.00 and 100.05"),
        ("100.0499", "100.00 and 100.05"),
        ("0.01", "0.05"),
        ("1e-300", "0.05"),
        (
            "123456789012345678901234567890.01",
            "123456789012345678901234567890.00 and 123456789012345678901234567890.05",
        ),
    ],
)
def test_off_tick_names_the_nearest_prices(written: str, near: str) -> None:
    with pytest.raises(Declined) as caught:
        place(order(price=written))
    assert near in caught.value.problem.detail


@pytest.mark.parametrize("symbol", ["", "A.B", "A*", "A>", ">", "A B", "A\u0000", "A" * 25, "Ä", "A\n", "\ud800"])
def test_a_symbol_is_one_subject_token(symbol: str) -> None:
    fields = read_fields(json.dumps({"symbol": symbol}).encode(), commands.PLACE_FIELDS)
    with pytest.raises(Declined) as caught:
        commands.order_symbol(fields, "GOLD")
    assert (caught.value.problem.code, caught.value.problem.field) == ("invalid_symbol", "symbol")
    assert caught.value.problem.content


def test_an_order_without_a_symbol_means_the_default_instrument() -> None:
    assert commands.order_symbol({}, "GOLD") == "GOLD"
    assert commands.order_symbol({"symbol": "TIN"}, "GOLD") == "TIN"


def test_limits_of_price_and_quantity_pass() -> None:
    most = place(order(price=str(MAX_PRICE * 5 // 100), quantity=str(MAX_QUANTITY // 1000)))
    assert (most.price, most.quantity) == (MAX_PRICE, MAX_QUANTITY)


@given(ticks=st.integers(1, MAX_PRICE), lots=st.integers(1, MAX_QUANTITY), as_number=st.booleans())
def test_what_is_formatted_is_read_back_exactly(ticks: int, lots: int, as_number: bool) -> None:
    quote = "" if as_number else '"'
    price, quantity = GOLD.tick.format(ticks), GOLD.lot.format(lots)
    placed = place(f'{{"side": 1, "price": {quote}{price}{quote}, "quantity": {quote}{quantity}{quote}}}')
    assert (placed.price, placed.quantity) == (ticks, lots)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(), st.lists, max_leaves=3))
def test_any_value_in_any_field_gives_an_order_or_a_clear_refusal(value: Any) -> None:
    for name in commands.PLACE_FIELDS:
        problem = problem_of(order(**{name: value}))
        assert problem is None or (problem.code in CODES and problem.content)


def problem_of(body: dict[str, Any]) -> Problem | None:
    try:
        place(json.dumps(body))
    except Declined as error:
        return error.problem
    return None


def amend(body: dict[str, Any]) -> AmendOrder:
    fields = read_fields(json.dumps(body).encode(), commands.AMEND_FIELDS)
    return commands.amend_order(7, fields, GOLD)


def test_an_amendment_changes_what_it_names() -> None:
    assert amend({"price": "1.05"}) == AmendOrder(7, price=21)
    assert amend({"quantity": 2}) == AmendOrder(7, quantity=2000)
    assert amend({"stop_price": "1"}) == AmendOrder(7, stop_price=20)
    assert commands.amends_nothing({})
    assert not commands.amends_nothing({"price": "1"})


@pytest.mark.parametrize("written", ["1", "9223372036854775807"])
def test_order_ids(written: str) -> None:
    assert commands.order_id(written) == int(written)


@pytest.mark.parametrize(
    "written", ["0", "-1", "01", "1.0", "", "abc", "9223372036854775808", "1" * 30, "\u0661", "1\n", "1e3"]
)
def test_what_is_no_order_id(written: str) -> None:
    with pytest.raises(Declined) as caught:
        commands.order_id(written)
    assert (caught.value.problem.code, caught.value.problem.field) == ("invalid_parameter", "order_id")


def test_an_order_named_in_a_body() -> None:
    assert commands.order_number(read_fields(b'{"order_id": 12}', ("order_id",))) == 12
    for body in (b"{}", b'{"order_id": []}', b'{"order_id": "x"}', b'{"order_id": 1.5}'):
        with pytest.raises(Declined):
            commands.order_number(read_fields(body, ("order_id",)))


ANNA = Access(frozenset({Scope.READ, Scope.TRADE}), ("anna",))
TWO = Access(frozenset({Scope.TRADE}), ("anna", "ben"))


def test_the_only_account_of_a_key_is_meant() -> None:
    fields = read_fields(json.dumps(order()).encode(), commands.PLACE_FIELDS)
    assert commands.place_order(fields, GOLD, ANNA).account == "anna"
    assert commands.place_order(fields | {"account": "ben"}, GOLD, TWO).account == "ben"
    for access, more in ((TWO, {}), (ANNA, {"account": "ben"}), (Access(frozenset({Scope.READ}), ("anna",)), {})):
        with pytest.raises(Declined) as caught:
            commands.place_order(fields | more, GOLD, access)
        assert caught.value.problem.code == "forbidden"


def test_an_amendment_carries_whose_order_it_may_be() -> None:
    assert commands.amend_order(7, {"price": "1"}, GOLD, ANNA).accounts == ("anna",)


def test_canceling_all_that_fits() -> None:
    assert commands.cancel_orders({}) == CancelOrders()
    assert commands.cancel_orders({"account": "ben", "symbol": "GOLD", "side": "Sell"}) == CancelOrders(
        ("ben",), "GOLD", Side.SELL
    )
    assert commands.cancel_orders({}, TWO) == CancelOrders(("anna", "ben"))
    assert commands.cancel_orders({"account": "ben"}, TWO) == CancelOrders(("ben",))
    for fields, code in (
        ({"account": "carl"}, "forbidden"),
        ({"account": "a.b"}, "invalid_account"),
        ({"symbol": "*"}, "invalid_symbol"),
        ({"side": "both"}, "invalid_value"),
    ):
        with pytest.raises(Declined) as caught:
            commands.cancel_orders(fields, TWO)
        assert caught.value.problem.code == code


@pytest.mark.parametrize("key", ["k-1", '"k-1"', " k-1 "])
def test_an_idempotency_key_is_a_client_order_id(key: str) -> None:
    assert commands.with_key({}, key) == {"client_order_id": "k-1"}
    assert commands.with_key({"client_order_id": "k-1"}, key) == {"client_order_id": "k-1"}
    with pytest.raises(Declined) as caught:
        commands.with_key({"client_order_id": "other"}, key)
    assert caught.value.problem.code == "idempotency_key_mismatch"


@pytest.mark.parametrize("key", ["", '"', '""', "a b", "x" * 65, "å"])
def test_a_key_that_cannot_be_a_client_order_id(key: str) -> None:
    with pytest.raises(Declined) as caught:
        commands.with_key({}, key)
    assert (caught.value.problem.code, caught.value.problem.field) == ("invalid_client_order_id", "Idempotency-Key")
