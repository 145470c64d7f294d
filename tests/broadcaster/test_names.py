"""Orders by the name that their account gave them, while they are open and for a while after."""

import pytest

from broadcaster import orders
from broadcaster.orders import LiveOrders, Moment
from contracts.messages import (
    CancelOrder,
    CancelReason,
    OrderAccepted,
    OrderCanceled,
    OrderType,
    Outcome,
    PlaceOrder,
    Side,
)


def place(live: LiveOrders, order_id: int, name: str, account: str = "anna") -> None:
    command = PlaceOrder("BTC-USD", Side.BUY, OrderType.LIMIT, 5, 100, account=account, client_order_id=name)
    live.apply(command, Outcome((OrderAccepted(order_id),)), Moment(order_id, 0))


def cancel(live: LiveOrders, order_id: int) -> None:
    order = live.get(order_id)
    assert order is not None
    canceled = OrderCanceled(order.order, CancelReason.REQUESTED)
    live.apply(CancelOrder(order_id), Outcome((canceled,)), Moment(order_id, 0))


def test_the_newest_of_a_name_is_found_until_it_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "KEPT_CLOSED", 2)
    live = LiveOrders()
    place(live, 1, "a")
    place(live, 2, "a", account="ben")
    assert (live.named("anna", "a"), live.named("ben", "a"), live.named("anna", "b")) == (1, 2, None)
    cancel(live, 1)
    assert live.named("anna", "a") == 1
    place(live, 3, "a")
    place(live, 4, "b")
    cancel(live, 4)
    cancel(live, 2)
    assert live.named("anna", "a") == 3, "the first use of the name was forgotten, not this one"
    cancel(live, 3)
    assert live.named("anna", "b") is None
    assert live.named("anna", "a") == 3


def test_names_are_known_again_after_a_restart() -> None:
    live = LiveOrders()
    for order_id in (1, 2):
        place(live, order_id, "a")
    restored = LiveOrders.restored(live.last_order_id, reversed(live.all()), ())
    assert restored.named("anna", "a") == 2
