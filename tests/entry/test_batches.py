"""Batches as they are written: what an item may be, and what is no batch."""

import json

import pytest

from contracts.messages import (
    MAX_COMMANDS,
    AllOrNothing,
    AmendOrder,
    CancelReason,
    OrderCanceled,
    OrderState,
    OrderStatus,
    OrderType,
    Outcome,
    PlaceOrder,
    Side,
    TimeInForce,
)
from entry import batches
from entry.bodies import read_fields
from entry.problems import Declined


def items(body: object) -> list[object]:
    return batches.read_items(read_fields(json.dumps(body).encode(), batches.BATCH_FIELDS))


@pytest.mark.parametrize("count", [1, MAX_COMMANDS])
def test_so_many_items(count: int) -> None:
    assert len(items({"items": [0] * count})) == count


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_field"),
        ({"items": None}, "missing_field"),
        ({"items": {}}, "invalid_type"),
        ({"items": []}, "invalid_batch"),
        ({"items": [0] * (MAX_COMMANDS + 1)}, "invalid_batch"),
    ],
)
def test_what_is_no_batch(body: object, code: str) -> None:
    with pytest.raises(Declined) as caught:
        items(body)
    assert (caught.value.problem.code, caught.value.problem.field) == (code, "items")


def test_what_an_item_says() -> None:
    [written] = items({"items": [{"amend": {"order_id": 1, "price": None, "quantity": 2}, "place": None}]})
    assert batches.read_item(written) == ("amend", {"order_id": "1", "quantity": "2"})


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (None, "invalid_type"),
        ([], "invalid_type"),
        ({}, "invalid_value"),
        ({"cancel": None}, "invalid_value"),
        ({"cancel": {"order_id": 1}, "place": {}}, "invalid_value"),
        ({"replace": {}}, "unknown_field"),
        ({"cancel": 1}, "invalid_type"),
        ({"cancel": {"order_id": 1, "price": 2}}, "unknown_field"),
    ],
)
def test_what_is_no_item(item: object, code: str) -> None:
    with pytest.raises(Declined) as caught:
        batches.read_item(item)
    assert caught.value.problem.code == code


def test_an_item_that_an_earlier_one_made_impossible() -> None:
    state = OrderState(
        7, None, "anna", "A", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, post_only=False, price=1, quantity=1,
        filled_quantity=0, filled_notional="0", created_at=1,
    )  # fmt: skip
    canceled = Outcome((OrderCanceled(state, CancelReason.SELF_TRADE_PREVENTION),))
    for outcome, status in ((canceled, OrderStatus.CANCELED), (Outcome(()), OrderStatus.FILLED)):
        item = batches.overtaken_item(AmendOrder(7, price=2), outcome, 9)
        assert (item.status, getattr(item.problem, "order_status", None)) == (409, status)


def test_the_first_named_order_of_a_batch_is_the_one_in_the_way() -> None:
    named = PlaceOrder("A", Side.BUY, OrderType.LIMIT, 1, 1, client_order_id="x")
    refusal, item = batches.placed_otherwise(AllOrNothing((AmendOrder(7, price=2), named)), 3)
    assert (item, refusal.order_id) == (1, 3)
