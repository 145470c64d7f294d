"""Every refusal of the engine says what to do about it."""

import pytest

from contracts.messages import (
    AmendOrder,
    CancelOrder,
    Command,
    DefineInstrument,
    OrderType,
    PlaceOrder,
    Refusal,
    RejectReason,
    Side,
)
from contracts.views import Instrument
from entry.problems import CODES
from entry.refusals import refused, result_unknown

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
    ("command", "hint"),
    [
        (PLACE, "GET /orders?account=default lists"),
        (PlaceOrder("A", Side.BUY, OrderType.LIMIT, 1, account="bob", client_order_id="x"), "client_order_id=x"),
        (CancelOrder(3), "GET /orders/3"),
        (AmendOrder(3), "GET /orders/3"),
        (DefineInstrument("A", "1", "1"), "GET /instruments"),
    ],
)
def test_an_unknown_result_says_how_to_find_out(command: Command, hint: str) -> None:
    problem = result_unknown(command).problem
    assert hint in problem.detail
    assert problem.http_status == 504
