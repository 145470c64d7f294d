"""One order folded from events: whatever happens to it, and whoever caused it."""

from msgspec.structs import replace

from contracts.messages import (
    DAY,
    AllOrNothing,
    AmendOrder,
    CancelOrder,
    CancelReason,
    Event,
    ItemStarted,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderReduced,
    OrderStatus,
    OrderTriggered,
    OrderType,
    PlaceOrder,
    Side,
    Terms,
    TimeInForce,
    TradeExecuted,
)
from contracts.orders import Standing, attributed, concerned, follow, item_events, order_after, placed_order

TIME = 3 * DAY + 5
BUY = PlaceOrder("X", Side.BUY, OrderType.LIMIT, 10, 100)
ORDER = placed_order(BUY, 7, TIME)


def trade(trade_id: int, price: int, quantity: int, maker: int, taker: int) -> TradeExecuted:
    return TradeExecuted(trade_id, "X", price, quantity, Side.BUY, maker, taker)


def test_an_order_trades_as_taker_and_then_as_maker_of_what_it_set_off() -> None:
    events: list[Event] = [
        OrderAccepted(7),
        trade(1, 99, 4, maker=3, taker=7),
        OrderTriggered(5, 1),
        trade(2, 100, 6, maker=7, taker=5),
    ]
    standing = order_after(BUY, events, TIME)
    assert standing.status is OrderStatus.FILLED
    assert (standing.order.filled_quantity, standing.order.filled_notional) == (10, str(99 * 4 + 100 * 6))


def test_other_orders_do_not_count() -> None:
    events: list[Event] = [
        OrderAccepted(7),
        OrderCanceled(replace(ORDER, order_id=3), CancelReason.SELF_TRADE_PREVENTION),
        trade(1, 99, 4, maker=3, taker=5),
    ]
    assert order_after(BUY, events, TIME) == Standing(ORDER, OrderStatus.OPEN)


def test_reduced_then_canceled() -> None:
    reduced = replace(ORDER, quantity=8)
    events: list[Event] = [
        OrderAccepted(7),
        OrderReduced(reduced),
        OrderCanceled(reduced, CancelReason.SELF_TRADE_PREVENTION),
    ]
    assert order_after(BUY, events, TIME) == Standing(reduced, OrderStatus.CANCELED, CancelReason.SELF_TRADE_PREVENTION)


def test_the_quantity_of_an_order_by_notional_comes_with_its_acceptance() -> None:
    command = PlaceOrder("X", Side.BUY, OrderType.MARKET, 0, terms=Terms(notional=1000))
    standing = order_after(command, [OrderAccepted(7, 4), trade(1, 250, 4, maker=3, taker=7)], TIME)
    assert (standing.order.quantity, standing.status) == (4, OrderStatus.FILLED)


def test_a_day_order_expires_when_its_day_ends() -> None:
    day = replace(BUY, time_in_force=TimeInForce.DAY)
    for time, end in ((3 * DAY, 4 * DAY), (TIME, 4 * DAY), (4 * DAY - 1, 4 * DAY), (4 * DAY, 5 * DAY)):
        assert placed_order(day, 7, time).terms == Terms(expires_at=end)
    shown = replace(day, terms=Terms(display_quantity=2))
    assert placed_order(shown, 7, TIME).terms == Terms(display_quantity=2, expires_at=4 * DAY)


def test_expired_is_a_status_of_its_own() -> None:
    standing = follow(Standing(ORDER, OrderStatus.OPEN), OrderCanceled(ORDER, CancelReason.EXPIRED))
    assert standing == Standing(ORDER, OrderStatus.EXPIRED, CancelReason.EXPIRED)


def test_triggered() -> None:
    assert follow(Standing(ORDER, OrderStatus.OPEN), OrderTriggered(7, 1)).order.triggered


def test_whom_an_event_concerns() -> None:
    assert concerned(trade(1, 99, 4, maker=3, taker=7)) == (3, 7)
    assert concerned(OrderAccepted(7)) == concerned(OrderTriggered(7, 1)) == (7,)
    assert concerned(OrderAmended(ORDER, False)) == concerned(OrderReduced(ORDER)) == (7,)
    assert concerned(ItemStarted(7)) == ()


BATCH = AllOrNothing((BUY, CancelOrder(3), AmendOrder(4, 99)))
EVENTS: list[Event] = [
    ItemStarted(1),
    OrderCanceled(replace(ORDER, order_id=3), CancelReason.REQUESTED),
    ItemStarted(2),
    ItemStarted(0),
    OrderAccepted(8),
    trade(1, 99, 4, maker=2, taker=8),
    ItemStarted(3),
    OrderTriggered(5, 1),
    trade(2, 100, 1, maker=8, taker=5),
]


def test_events_of_a_batch_belong_to_their_items() -> None:
    origins = [origin for origin, _ in attributed(BATCH, EVENTS)]
    assert origins == [CancelOrder(3), BUY, BUY, BATCH, BATCH]


def test_events_of_a_single_command_are_all_its_own() -> None:
    assert list(attributed(BUY, EVENTS[4:6])) == [(BUY, EVENTS[4]), (BUY, EVENTS[5])]


def test_an_item_is_told_what_it_led_to_and_what_came_after() -> None:
    assert list(item_events(0, EVENTS)) == [EVENTS[4], EVENTS[5], EVENTS[7], EVENTS[8]]
    assert order_after(BUY, item_events(0, EVENTS), TIME).order.filled_quantity == 5
    assert item_events(1, EVENTS)[0] == EVENTS[1]


def test_an_item_that_was_made_impossible_led_to_nothing() -> None:
    assert item_events(2, EVENTS) == ()
    assert item_events(2, EVENTS[:3]) == ()
