"""The short way for orders gives what the general way gives, or leaves the order to it.

Method: orders written in every manner, also wrong ones, go both ways; where the short way has an answer, the general
one must have the same. And nearly all that programs send does take the short way, or it would be there for nothing.
"""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.keys import OPEN, Access, Scope
from contracts.messages import OrderType, PlaceOrder, Side, TimeInForce
from contracts.views import Instrument
from entry.bodies import read_fields
from entry.commands import PLACE_FIELDS, place_order
from entry.plain_orders import PlainOrder, command_of, read_plain_order
from entry.problems import Declined

GOLD = Instrument("GOLD", "0.05", "0.001", 1, 10**9)
ANNA = Access(frozenset({Scope.TRADE}), ("anna",), "a")


def short(body: bytes, access: Access = OPEN) -> PlaceOrder | None:
    order = read_plain_order(body)
    return None if order is None else command_of(order, GOLD, access)


def general(body: bytes, access: Access = OPEN) -> PlaceOrder | None:
    try:
        return place_order(read_fields(body, PLACE_FIELDS), GOLD, access)
    except Declined:
        return None


def texts(*likely: str) -> st.SearchStrategy[str]:
    return st.sampled_from([json.dumps(each) for each in likely]) | st.text(max_size=3).map(json.dumps)


ODD = st.sampled_from(["null", "true", "0", "-0", "1e2", "[]", "{}", '""', '"\\u0061"', "NaN", "01", "tru", '"\x01"'])
DECIMALS = st.sampled_from(["1", "1.00", "1.05", "0.001", "1e1", "10E-1", "-1", "0", "1.0001", "1e15", "1e400", " 1"])
FIELDS: dict[str, st.SearchStrategy[str]] = {
    "symbol": texts("GOLD", "gold", "A-B"),
    "side": texts("buy", "sell", "BUY", "1", "-1") | st.sampled_from(["1", "-1", "1.0"]),
    "type": texts("limit", "market", "stop", "Limit"),
    "price": DECIMALS | DECIMALS.map(json.dumps),
    "quantity": DECIMALS | DECIMALS.map(json.dumps),
    "time_in_force": texts("GTC", "IOC", "FOK", "DAY", "GTD", "gtc"),
    "post_only": st.sampled_from(["true", "false"]),
    "client_order_id": texts("one", "x" * 64, "x" * 65, "a b"),
    "account": texts("anna", "boris", "ä"),
    "stop_price": DECIMALS,
    "colour": texts("red"),
}
NEEDED = {"side": '"buy"', "quantity": '"1"', "price": '"1.05"'}


@st.composite
def bodies(draw: Any) -> bytes:
    written = dict(NEEDED)
    for name in draw(st.lists(st.sampled_from(list(FIELDS)), max_size=4)):
        written[name] = draw(FIELDS[name])
    pairs = list(written.items())
    if draw(st.integers(0, 5)) == 0:
        name = draw(st.sampled_from(list(written)))
        pairs.append((name, draw(ODD | FIELDS[name])))  # twice
    if draw(st.integers(0, 5)) == 0:
        pairs.pop(draw(st.integers(0, len(pairs) - 1)))
    space = draw(st.sampled_from(["", " ", "\n"]))
    return ("{" + f",{space}".join(f'"{name}":{space}{value}' for name, value in pairs) + "}").encode()


@given(bodies(), st.sampled_from([OPEN, ANNA]))
def test_what_goes_the_short_way_is_what_the_general_way_makes_of_it(body: bytes, access: Access) -> None:
    found = short(body, access)
    assert found is None or found == general(body, access)


@given(bodies(), st.integers(0, 200), st.binary(min_size=1, max_size=1))
def test_nor_does_a_byte_that_is_wrong_get_through(body: bytes, at: int, byte: bytes) -> None:
    at %= len(body)
    body = body[:at] + byte + body[at + 1 :]
    found = short(body)
    assert found is None or found == general(body)


@pytest.mark.parametrize(
    "more",
    [
        "",
        ',"symbol":"GOLD","type":"limit","time_in_force":"GTC","post_only":true,"client_order_id":"a-1","account":"x"',
        ',"type":"market"',
        ',"time_in_force":"DAY"',
        ',"time_in_force":"IOC" , "post_only" : false',
    ],
)
@pytest.mark.parametrize("price", ['"1.05"', "1.05", "1"])
def test_what_programs_send_goes_the_short_way(more: str, price: str) -> None:
    body = f'{{"side":"sell","quantity":"0.125","price":{price}{more}}}'.encode()
    assert short(body) == general(body) is not None


def test_a_market_order_never_rests() -> None:
    order = short(b'{"side":"buy","quantity":1,"type":"market"}')
    assert order == PlaceOrder("GOLD", Side.BUY, OrderType.MARKET, 1000, time_in_force=TimeInForce.IOC)


@pytest.mark.parametrize(
    "body",
    [
        b'{"side":"buy","quantity":"1","price":"1.05","price":"1.10"}',
        b'{"side":"buy","quantity":"1","price":1.05,"price":1.10}',
        b'{"side":"buy","side":"sell","quantity":"1","price":"1.05"}',
        b'{"side":"buy","quantity":"1","price":"1.05","account":"x","account":null}',
        b'{"side":"buy","quantity":"1","price":"1.05","post_only":true,"post_only":false}',
        b'{"side":"buy","quantity":"1","price":"1.05","pric\\u0065":"1.10"}',
    ],
)
def test_a_field_that_is_there_twice_is_left_to_the_general_way(body: bytes) -> None:
    assert msgspec.json.decode(body, type=PlainOrder)
    assert short(body) is None
    assert general(body) is None


def test_the_account_of_a_key_with_one_is_meant_and_that_of_others_is_left_to_the_general_way() -> None:
    body = b'{"side":"buy","quantity":1,"price":1'
    mine = short(body + b"}", ANNA)
    assert mine is not None
    assert mine.account == "anna"
    assert short(body + b',"account":"boris"}', ANNA) is None
