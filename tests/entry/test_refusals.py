"""Every refusal of the engine says what to do about it."""

import pytest

from contracts.messages import (
    AllOrNothing,
    AmendOrder,
    CancelAllAfter,
    CancelOrder,
    CancelOrders,
    ClientCommand,
    DefineInstrument,
    InstrumentStatus,
    OrderType,
    PlaceOrder,
    Refusal,
    RejectReason,
    SetAccountLimits,
    SetInstrumentStatus,
    SetKillSwitch,
    Side,
)
from contracts.views import Instrument
from entry.problems import CODES
from entry.refusals import of_item, refused, result_unknown

GOLD = Instrument("GOLD", "0.05", "0.001", min_quantity=10, max_quantity=10**6)
PLACE = PlaceOrder("GOLD", Side.BUY, OrderType.LIMIT, 1)


@pytest.mark.parametrize("reason", RejectReason)
@pytest.mark.parametrize("instrument", [GOLD, None])
def test_every_reason_becomes_a_problem(reason: RejectReason, instrument: Instrument | None) -> None:
    problem = refused(PLACE, Refusal(reason, "symbol", 7), 12, instrument).problem
    assert (problem.code, problem.field, problem.order_id, problem.sequence) == (reason.value, "symbol", 7, 12)
    assert len(problem.detail) > 20
    assert problem.http_status == CODES[reason.value].status


def test_ranges_are_told() -> None:
    price = refused(PLACE, Refusal(RejectReason.PRICE_OUT_OF_RANGE), 1, GOLD).problem.detail
    quantity = refused(PLACE, Refusal(RejectReason.QUANTITY_OUT_OF_RANGE), 1, GOLD).problem.detail
    assert "from 0.05 to 50000000000000.00" in price
    assert "from 0.010 to 1000.000" in quantity


@pytest.mark.parametrize(
    ("refusal", "lowest", "highest", "words"),
    [
        (Refusal(RejectReason.PRICE_OUTSIDE_BAND, lowest=100, highest=200), "5.00", "10.00", "from 5.00 up to 10.00"),
        (Refusal(RejectReason.PRICE_OUTSIDE_BAND, lowest=100), "5.00", None, "from 5.00 up."),
        (Refusal(RejectReason.PRICE_OUTSIDE_BAND, highest=200), None, "10.00", "go up to 10.00"),
    ],
)
def test_the_band_is_told(refusal: Refusal, lowest: str | None, highest: str | None, words: str) -> None:
    problem = refused(PLACE, refusal, 1, GOLD).problem
    assert (problem.lowest_price, problem.highest_price) == (lowest, highest)
    assert words in problem.detail


@pytest.mark.parametrize(
    ("reason", "limit"),
    [
        (RejectReason.MAX_OPEN_ORDERS, "2000"),
        (RejectReason.MAX_ORDER_QUANTITY, "2.000"),
        (RejectReason.MAX_POSITION, "2.000"),
        (RejectReason.MAX_ORDER_NOTIONAL, "0.10000"),
    ],
)
def test_the_limit_is_told(reason: RejectReason, limit: str) -> None:
    problem = refused(PLACE, Refusal(reason, "quantity", limit=2000), 1, GOLD).problem
    assert problem.limit == limit
    assert f"The limit is {limit}." in problem.detail


def test_the_item_of_a_batch_is_told() -> None:
    problem = of_item(refused(PLACE, Refusal(RejectReason.PRICE_REQUIRED, "price"), 9, GOLD), 3).problem
    assert (problem.item, problem.field, problem.sequence) == (3, "price", 9)


def test_two_orders_of_a_batch_with_one_name() -> None:
    problem = refused(PLACE, Refusal(RejectReason.DUPLICATE_CLIENT_ORDER_ID, item=1), 9, GOLD).problem
    assert "None" not in problem.detail


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (PLACE, "GET /orders?account=default lists"),
        (PlaceOrder("A", Side.BUY, OrderType.LIMIT, 1, account="bob", client_order_id="x"), "client_order_id=x"),
        (CancelOrder(3), "GET /orders/3"),
        (AmendOrder(3), "GET /orders/3"),
        (DefineInstrument("A", "1", "1"), "GET /instruments"),
        (SetInstrumentStatus("A", InstrumentStatus.HALTED), "GET /instruments"),
        (AllOrNothing((PLACE,)), "GET /orders lists"),
        (CancelOrders(), "GET /orders?status=open"),
        (CancelAllAfter("bob", 0), "GET /accounts/bob"),
        (SetAccountLimits("bob"), "GET /accounts/bob"),
        (SetKillSwitch("bob", engaged=True), "GET /accounts/bob"),
    ],
)
def test_an_unknown_result_says_how_to_find_out(command: ClientCommand, hint: str) -> None:
    problem = result_unknown(command).problem
    assert hint in problem.detail
    assert problem.http_status == 504
