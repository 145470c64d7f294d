"""The questions of the short way say yes exactly where the checks of the long way name no refusal (0050)."""

from itertools import product

import pytest

from contracts.messages import (
    InstrumentStatus,
    OrderType,
    PlaceOrder,
    Side,
    SymbolLimits,
    Terms,
    TimeInForce,
)
from contracts.views import Instrument
from matcher import checks
from matcher.book import Account, Holding, OrderBook
from matcher.engine import _refuse_limits

NOW = 1_000
LISTED = Instrument("BTC-USD", "0.01", "0.001", 2, 10)


@pytest.mark.parametrize("time_in_force", TimeInForce)
@pytest.mark.parametrize("post_only", [False, True])
def test_good_terms_are_those_that_nothing_is_wrong_with(time_in_force: TimeInForce, post_only: bool) -> None:
    answers = set()
    for stop_price, display, protection_price, notional, expires_at in product(
        (None, 5), (None, 1, 2, 8, 9), (None, 5), (None, 5), (None, NOW - 1, NOW, NOW + 1)
    ):
        terms = Terms(stop_price, display, protection_price, notional, expires_at)
        command = PlaceOrder("BTC-USD", Side.BUY, OrderType.LIMIT, 8, 5, time_in_force, post_only, terms=terms)
        refusal = checks.refuse_terms(command, LISTED, NOW, is_known=True)
        assert checks.has_good_terms(command, LISTED, NOW) is (refusal is None), command
        answers.add(refusal is None)
    rests = time_in_force in checks.RESTING_TIMES
    assert answers == ({True, False} if rests or not post_only else {False})


@pytest.mark.parametrize("side", Side)
def test_what_limits_allow_is_what_no_limit_refuses(side: Side) -> None:
    answers = set()
    for most_open, most, most_notional, most_held, position in product(
        (None, 0, 1), (None, 7, 8), (None, 39, 40), (None, 13, 14), (-3, 0, 3)
    ):
        book, account = OrderBook(LISTED), Account("anna")
        holding = book.holdings["anna"] = Holding(account, book)
        account.max_open_orders, holding.position = most_open, position
        holding.limit(SymbolLimits("BTC-USD", most, most_notional, most_held))
        holding.wait(side, 3)
        holding.wait(side.opposite, 1_000)
        command = PlaceOrder("BTC-USD", side, OrderType.LIMIT, 8, 5, account="anna")
        refusal = _refuse_limits(command, account, book, None)
        assert holding.allows(side, command.quantity, 5) is (refusal is None), (
            most_open,
            most,
            most_notional,
            most_held,
        )
        answers.add(refusal is None)
    assert answers == {True, False}


def test_nothing_is_allowed_to_who_is_killed() -> None:
    account = Account("anna")
    holding = Holding(account, OrderBook(LISTED))
    assert holding.allows(Side.BUY, 8, 5)
    account.killed = True
    assert not holding.allows(Side.BUY, 8, 5)


@pytest.mark.parametrize("status", InstrumentStatus)
def test_a_book_takes_what_neither_status_nor_band_refuses(status: InstrumentStatus) -> None:
    """But for POST_ONLY, where it depends on the market: the short way leaves it to the long one."""
    for lowest, highest, basis_points, last_price in product((None, 95), (None, 105), (None, 1_000), (None, 90, 110)):
        rules = Instrument(
            "BTC-USD", "0.01", "0.001", 2, 10, status, lowest_price=lowest, highest_price=highest,
            band_basis_points=basis_points,
        )  # fmt: skip
        book = OrderBook(rules)
        book.last_price = last_price
        for price in (80, 81, 94, 95, 98, 99, 100, 105, 106, 120, 121, 122):
            refusal = checks.refuse_status(status) or checks.refuse_band(price, "price", book)
            expected = refusal is None and status is not InstrumentStatus.POST_ONLY
            assert book.takes(price) is expected, (rules, last_price, price)
