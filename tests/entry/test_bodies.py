"""What is a body? One JSON object whose numbers keep the digits that were written."""

import pytest

from entry.bodies import Number, read_fields
from entry.problems import Declined

KNOWN = ("side", "price", "quantity", "post_only")


def declined_code(body: bytes) -> str:
    with pytest.raises(Declined) as caught:
        read_fields(body, KNOWN)
    assert caught.value.problem.content  # whatever was in the body, the answer can be written
    return caught.value.problem.code


def test_a_number_stays_the_literal_that_was_written() -> None:
    fields = read_fields(b'{"price": 100.10, "quantity": 1e-7}', KNOWN)
    assert fields == {"price": "100.10", "quantity": "1e-7"}
    assert type(fields["price"]) is Number


def test_null_is_absent() -> None:
    assert read_fields(b'{"price": null, "side": "buy"}', KNOWN) == {"side": "buy"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"{]",
        b'{"side": "buy"',
        b'{"side": "buy"} {}',
        b"{'side': 'buy'}",
        b'{"side": "buy",}',
        b'{"price": NaN}',
        b'{"price": Infinity}',
        b'{"price": -Infinity}',
        b'{"price": 0x10}',
        b'{"price": 01}',
        b'{"price": +1}',
        b'{"price": .5}',
        b'{"price": 1.}',
        b'{"side": "b\x00uy"}',
        b'{"side": "\xff\xfe"}',
        b'\xef\xbb\xbf{"side": "buy"}',
        '{"side": "buy"}'.encode("utf-16"),
        b"[" * 900_000,
        b'{"side":' * 100_000,
        b"\x00",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    assert declined_code(body) == "malformed_json"


@pytest.mark.parametrize("body", [b"[]", b'"buy"', b"1", b"true", b"null"])
def test_the_body_is_an_object(body: bytes) -> None:
    assert declined_code(body) == "invalid_type"


@pytest.mark.parametrize(
    "body", [b'{"prize": 1}', b'{"": 1}', b'{"Price": 1}', b'{"\\ud800": 1}', b'{"price\\u0000": 1}']
)
def test_an_unknown_field_is_refused(body: bytes) -> None:
    assert declined_code(body) == "unknown_field"


@pytest.mark.parametrize(
    "body", [b'{"price": 1, "price": 2}', b'{"price": 1, "pri\\u0063e": 1}', b'{"side": {"a":1,"a":2}}']
)
def test_a_field_twice_is_refused(body: bytes) -> None:
    assert declined_code(body) == "duplicate_field"


def test_a_mistake_has_a_place() -> None:
    with pytest.raises(Declined) as caught:
        read_fields(b'{"price": 1,\n "side": }', KNOWN)
    assert "line 2, column 10" in caught.value.problem.detail
