"""Requests that are read the short way are those that the general way reads; what is unusual is left to it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from broadcaster.protocol import PlainCancel, PlainPlace, Request, Unreadable, read_plain, read_request, request_id_of

ORDER = '"side":"buy","price":"1.05","quantity":"2"'


def general(message: bytes) -> Request | None:
    try:
        return read_request(message)
    except Unreadable:
        return None


IDS = st.sampled_from(
    ["1", "-1", "-0", "1.0", "1e3", "9" * 18, "9" * 19, "9" * 20, "null", "true", "[1]", '""', '"a\\"b"']
) | (st.integers().map(str) | st.text(max_size=70).map(lambda text: json.dumps(text, ensure_ascii=False)))


@given(IDS, st.sampled_from(["", ' "id":7,']))
def test_the_id_is_repeated_as_it_was_meant(written: str, again: str) -> None:
    message = f'{{"id":{written},{again}"op":"place",{ORDER}}}'.encode()
    plain = read_plain(message)
    if plain is not None:
        request = general(message)
        assert request is not None
        assert request_id_of(bytes(plain.id)) == request.id == json.loads(bytes(plain.id))


@pytest.mark.parametrize("written", ["1", "0", "9" * 18, '"a-1"', '""', '"%s"' % ("x" * 64)])
def test_usual_ids_go_the_short_way(written: str) -> None:
    place = read_plain(f'{{"id":{written},"op":"place",{ORDER}}}'.encode())
    assert isinstance(place, PlainPlace)
    assert bytes(place.id).decode() == written
    cancel = read_plain(f'{{"op":"cancel","order_id":5,"id":{written}}}'.encode())
    assert isinstance(cancel, PlainCancel)
    assert (bytes(cancel.id).decode(), cancel.order_id) == (written, 5)


def test_without_an_id() -> None:
    plain = read_plain(f'{{"op":"place",{ORDER}}}'.encode())
    assert plain is not None
    assert request_id_of(bytes(plain.id)) is UNSET


@pytest.mark.parametrize(
    "message",
    [
        {"op": "ping"},
        {"op": "subscribe", "channel": "book", "symbol": "A"},
        {"op": "cancel"},
        {"op": "cancel", "order_id": 0},
        {"op": "cancel", "order_id": 2**63},
        {"op": "cancel", "order_id": "5"},
        {"op": "cancel", "order_id": 5, "account": "x"},
        {"op": "cancel", "client_order_id": "x"},
        {"op": "place", "side": "buy"},
        {"op": "place", "side": "buy", "quantity": "1", "order_id": 5},
        {"op": None},
        [],
    ],
)
def test_what_is_left_to_the_general_way(message: Any) -> None:
    assert read_plain(json.dumps(message).encode()) is None


@pytest.mark.parametrize(
    "message",
    [
        b'{"op":"cancel","order_id":5,"order_id":6}',
        b'{"op":"cancel","op":"cancel","order_id":5}',
        b'{"op":"cancel","order_id":5,"id":1,"id":1}',
        b'{"op":"cancel","order_id":5,"id":"x\\u0079"}',
        b'{"op":"cancel","order_id":5} {}',
        b'{"op":"cancel","order_id":5,"id":"\xff"}',
        b"",
    ],
)
def test_what_is_there_twice_or_written_oddly_is_left_to_the_general_way(message: bytes) -> None:
    assert read_plain(message) is None
