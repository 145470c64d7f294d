"""Filters and cursors of lists."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entry.problems import Declined
from gateway.pages import CURSOR_PATTERN, DEFAULT_LIMIT, Page, cursor_after, orders_page, trades_page, whole_number


def test_no_filters() -> None:
    page = orders_page({})
    assert page == Page((), DEFAULT_LIMIT, None)
    assert page.where("o.order_id") == ("", [])


def test_filters_become_numbered_conditions() -> None:
    page = orders_page(
        {"account": "bob", "symbol": "TIN", "status": "OPEN", "side": "1", "cursor": cursor_after(9), "limit": "5"}
    )
    where, arguments = page.where("o.order_id")
    assert where == (
        "WHERE o.account = $1 AND o.symbol = $2 AND o.status = $3 AND o.order_id IN (SELECT order_id FROM open_orders) "
        "AND o.side = $4 AND o.order_id < $5"
    )
    assert arguments == ["bob", "TIN", "open", "buy", 9]
    assert page.limit == 5


def test_closed_orders_are_not_looked_for_among_the_open_ones() -> None:
    assert orders_page({"status": "expired"}).where("o.order_id") == ("WHERE o.status = $1", ["expired"])


def test_a_client_order_id_is_a_name_within_an_account() -> None:
    assert orders_page({"client_order_id": "x"}).where("id")[1] == ["default", "x"]
    assert orders_page({"client_order_id": "x", "account": "bob"}).where("id")[1] == ["bob", "x"]


def test_trades_of_an_order_are_those_of_both_roles() -> None:
    where, arguments = trades_page({"order_id": "7", "symbol": "TIN"}).where("t.trade_id")
    assert where == "WHERE t.symbol = $1 AND (t.maker_order_id = $2 OR t.taker_order_id = $2)"
    assert arguments == ["TIN", 7]


@given(st.integers(0, 2**63 - 1))
def test_a_cursor_gives_back_its_id(last_id: int) -> None:
    cursor = cursor_after(last_id)
    assert re.fullmatch(CURSOR_PATTERN, cursor)
    assert trades_page({"cursor": cursor}).before == last_id


@given(st.from_regex(CURSOR_PATTERN, fullmatch=True))
def test_whatever_fits_the_pattern_is_the_cursor_of_one_id(text: str) -> None:
    if text.endswith("\n"):
        return
    before = trades_page({"cursor": text}).before
    assert before is not None
    assert 0 <= before < 2**63
    assert cursor_after(before) == text


@pytest.mark.parametrize("cursor", ["", "abc", "AAAAAAAAAAA=", "AAAAAAAAAAB", "gAAAAAAAAAA", "AAAAAAAAAAA\n", "é" * 11])
def test_other_cursors_are_refused(cursor: str) -> None:
    with pytest.raises(Declined) as caught:
        orders_page({"cursor": cursor})
    assert caught.value.problem.code == "invalid_cursor"


@pytest.mark.parametrize("written", ["", "0", "1001", "1.0", "1e2", " 5", "+5", "5\n", "\u0665", "9" * 50])
def test_limits_are_whole_numbers_in_range(written: str) -> None:
    with pytest.raises(Declined) as caught:
        whole_number(written, "limit", 1, 1000)
    assert (caught.value.problem.code, caught.value.problem.field) == ("invalid_parameter", "limit")
