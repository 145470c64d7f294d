"""The JSON that people see, letter for letter."""

import json
from typing import Any

import msgspec
import pytest

from contracts.messages import (
    AmendOrder,
    AnswerPart,
    CancelOrder,
    CancelReason,
    Command,
    InstrumentStatus,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderStatus,
    OrderTriggered,
    OrderType,
    Outcome,
    PlaceOrder,
    SelfTradePrevention,
    Side,
    Terms,
    TimeInForce,
    TradeExecuted,
)
from contracts.orders import order_after, placed_order, resting_status
from contracts.views import (
    DepthView,
    Instrument,
    MarketView,
    answer_view,
    format_time,
    instrument_view,
    order_view,
    trade_view,
)

PLACED_AT = 1_430_438_404_518_000
LATER = PLACED_AT + 1_000_001
BTC = Instrument("BTC-USD", "0.01", "0.001", 1, 10**12)
BUY = PlaceOrder("BTC-USD", Side.BUY, OrderType.LIMIT, 2500, 10050, account="anna", client_order_id="my-1")
RESTING = placed_order(BUY, 7, PLACED_AT)


def fill(trade_id: int, price: int, quantity: int) -> TradeExecuted:
    """One of order 7, as taker."""
    return TradeExecuted(trade_id, "BTC-USD", price, quantity, Side.BUY, maker_order_id=trade_id, taker_order_id=7)


def answer(command: Command, *events: Any, time: int = LATER) -> dict[str, Any]:
    view = answer_view(AnswerPart(12, time, ()), command, events, BTC)
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(view))
    return decoded


def test_an_order_letter_for_letter() -> None:
    outcome = Outcome((OrderAccepted(7), fill(1, 10050, 1000), fill(2, 10051, 500)))
    view = answer_view(AnswerPart(12, PLACED_AT, ()), BUY, outcome.events, BTC)
    assert msgspec.json.encode(view).decode() == (
        '{"order_id":7,"client_order_id":"my-1","account":"anna","symbol":"BTC-USD","side":"buy","type":"limit",'
        '"time_in_force":"GTC","post_only":false,"price":"100.50","quantity":"2.500","filled_quantity":"1.500",'
        '"remaining_quantity":"1.000","average_price":"100.5033333333","status":"partially_filled","reason":null,'
        '"created_at":"2015-05-01T00:00:04.518000Z","updated_at":"2015-05-01T00:00:04.518000Z","sequence":12,'
        '"stop_price":null,"triggered":false,"display_quantity":null,"protection_price":null,"notional":null,'
        '"expires_at":null,"self_trade_prevention":"none","trades":['
        '{"trade_id":1,"symbol":"BTC-USD","price":"100.50","quantity":"1.000","taker_side":"buy","maker_order_id":1,'
        '"taker_order_id":7,"executed_at":"2015-05-01T00:00:04.518000Z","sequence":1},'
        '{"trade_id":2,"symbol":"BTC-USD","price":"100.51","quantity":"0.500","taker_side":"buy","maker_order_id":2,'
        '"taker_order_id":7,"executed_at":"2015-05-01T00:00:04.518000Z","sequence":2}]}'
    )


def test_an_order_read_later_has_no_trades() -> None:
    view = order_view(RESTING, BTC, status=OrderStatus.OPEN, reason=None, updated_at=PLACED_AT, sequence=12)
    decoded = json.loads(msgspec.json.encode(view))
    assert "trades" not in decoded
    assert decoded["average_price"] is None
    assert decoded["remaining_quantity"] == "2.500"


def test_an_order_that_rests() -> None:
    view = answer(BUY, OrderAccepted(7))
    assert view["status"] == "open"
    assert view["trades"] == []
    assert view["average_price"] is None
    assert view["remaining_quantity"] == view["quantity"] == "2.500"


def test_an_order_that_is_filled() -> None:
    view = answer(BUY, OrderAccepted(7), fill(1, 10040, 2500))
    assert view["status"] == "filled"
    assert view["reason"] is None
    assert view["remaining_quantity"] == "0.000"
    assert view["average_price"] == "100.40"


def test_a_canceled_order_has_nothing_remaining() -> None:
    canceled = msgspec.structs.replace(RESTING, filled_quantity=1000, filled_notional=str(1000 * 10050))
    view = answer(CancelOrder(7), OrderCanceled(canceled, CancelReason.REQUESTED))
    assert view["status"] == "canceled"
    assert view["reason"] == "requested"
    assert view["quantity"] == "2.500"
    assert view["filled_quantity"] == "1.000"
    assert view["remaining_quantity"] == "0.000"
    assert view["average_price"] == "100.50"
    assert view["created_at"] == "2015-05-01T00:00:04.518000Z"
    assert view["updated_at"] == "2015-05-01T00:00:05.518001Z"
    assert view["trades"] == []


def test_a_market_order_that_found_too_little() -> None:
    command = PlaceOrder("BTC-USD", Side.BUY, OrderType.MARKET, 2500, time_in_force=TimeInForce.IOC)
    order = placed_order(command, 7, LATER)
    order = msgspec.structs.replace(order, filled_quantity=1000, filled_notional=str(1000 * 10050))
    view = answer(command, OrderAccepted(7), fill(1, 10050, 1000), OrderCanceled(order, CancelReason.NO_LIQUIDITY))
    assert view["price"] is None
    assert view["type"] == "market"
    assert view["time_in_force"] == "IOC"
    assert view["client_order_id"] is None
    assert view["account"] == "default"
    assert (view["status"], view["reason"]) == ("canceled", "no_liquidity")
    assert len(view["trades"]) == 1


def test_fills_before_and_after_an_amend_add_up() -> None:
    amended = msgspec.structs.replace(RESTING, price=10060, filled_quantity=1000, filled_notional=str(1000 * 10050))
    view = answer(AmendOrder(7, price=10060), OrderAmended(amended, priority_kept=False), fill(3, 10056, 500))
    assert view["status"] == "partially_filled"
    assert view["price"] == "100.60"
    assert view["filled_quantity"] == "1.500"
    assert view["remaining_quantity"] == "1.000"
    assert view["average_price"] == "100.52"
    assert [trade["trade_id"] for trade in view["trades"]] == [3]


def test_an_amend_that_ends_the_order() -> None:
    view = answer(AmendOrder(7, quantity=1), OrderCanceled(RESTING, CancelReason.AMENDED_BELOW_FILLED))
    assert (view["status"], view["reason"]) == ("canceled", "amended_below_filled")
    assert view["remaining_quantity"] == "0.000"


def test_a_notional_beyond_64_bits() -> None:
    command = PlaceOrder("BTC-USD", Side.BUY, OrderType.LIMIT, 10**12, 10**15)
    view = answer(command, OrderAccepted(7), fill(1, 10**15, 10**12))
    assert view["average_price"] == view["price"] == "10000000000000.00"
    assert view["filled_quantity"] == "1000000000.000"


@pytest.mark.parametrize(
    ("quantity", "filled", "status"),
    [(5, 0, OrderStatus.OPEN), (5, 1, OrderStatus.PARTIALLY_FILLED), (5, 5, OrderStatus.FILLED)],
)
def test_status_of_an_order_that_nobody_canceled(quantity: int, filled: int, status: OrderStatus) -> None:
    assert resting_status(quantity, filled) is status


def test_order_after_keeps_the_state_exact() -> None:
    outcome = Outcome((OrderAccepted(7), fill(1, 10**15, 10**11), fill(2, 10**15 - 1, 1)))
    order, status, reason = order_after(BUY, outcome.events, PLACED_AT)
    assert order.filled_quantity == 10**11 + 1
    assert order.filled_notional == str(10**26 + 10**15 - 1)
    assert order.created_at == PLACED_AT
    assert (status, reason) == (OrderStatus.PARTIALLY_FILLED, None)


def test_a_trade() -> None:
    trade = TradeExecuted(9, "BTC-USD", 10050, 4, Side.SELL, maker_order_id=1, taker_order_id=2)
    assert msgspec.json.encode(trade_view(trade, BTC, PLACED_AT)).decode() == (
        '{"trade_id":9,"symbol":"BTC-USD","price":"100.50","quantity":"0.004","taker_side":"sell","maker_order_id":1,'
        '"taker_order_id":2,"executed_at":"2015-05-01T00:00:04.518000Z","sequence":9}'
    )


def test_an_instrument() -> None:
    assert msgspec.json.encode(instrument_view(BTC)).decode() == (
        '{"symbol":"BTC-USD","tick_size":"0.01","lot_size":"0.001","min_quantity":"0.001",'
        '"max_quantity":"1000000000.000","status":"trading","lowest_price":null,"highest_price":null,'
        '"band_basis_points":null}'
    )


def test_an_instrument_with_bands() -> None:
    banded = Instrument("X", "0.5", "1", 1, 9, InstrumentStatus.POST_ONLY, 2, 7, 250)
    view = instrument_view(banded)
    assert (view.status, view.lowest_price, view.highest_price, view.band_basis_points) == (
        InstrumentStatus.POST_ONLY,
        "1.0",
        "3.5",
        250,
    )


def test_terms_of_an_order() -> None:
    terms = Terms(10_000, 1_000, 10_100, 123_456, LATER, SelfTradePrevention.DECREMENT)
    command = PlaceOrder("BTC-USD", Side.BUY, OrderType.STOP, 2500, time_in_force=TimeInForce.GTD, terms=terms)
    view = answer(command, OrderAccepted(7), OrderTriggered(7, 3))
    assert {name: view[name] for name in ("type", "stop_price", "display_quantity", "protection_price")} == {
        "type": "stop",
        "stop_price": "100.00",
        "display_quantity": "1.000",
        "protection_price": "101.00",
    }
    assert (view["notional"], view["expires_at"]) == ("1.23456", "2015-05-01T00:00:05.518001Z")
    assert (view["triggered"], view["self_trade_prevention"]) == (True, "decrement")


def test_an_expired_order_has_nothing_remaining() -> None:
    view = answer(CancelOrder(7), OrderCanceled(RESTING, CancelReason.EXPIRED))
    assert (view["status"], view["remaining_quantity"]) == ("expired", "0.000")


def test_depth() -> None:
    depth = DepthView("BTC-USD", 12, [("100.50", "1.000")], [("100.60", "2.000"), ("100.70", "0.001")])
    assert msgspec.json.encode(depth).decode() == (
        '{"symbol":"BTC-USD","sequence":12,"bids":[["100.50","1.000"]],"asks":[["100.60","2.000"],["100.70","0.001"]]}'
    )


def test_market() -> None:
    market = MarketView("BTC-USD", 12, "100.50", None, None, None, None, "0.000", 0)
    assert msgspec.json.encode(market).decode() == (
        '{"symbol":"BTC-USD","sequence":12,"best_bid":"100.50","best_ask":null,"last_price":null,"last_quantity":null,'
        '"last_trade_at":null,"volume_24h":"0.000","trades_24h":0}'
    )


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (PLACED_AT, "2015-05-01T00:00:04.518000Z"),
        (1_709_251_199_999_999, "2024-02-29T23:59:59.999999Z"),
        (4_102_444_800_000_000, "2100-01-01T00:00:00.000000Z"),
    ],
)
def test_times(microseconds: int, text: str) -> None:
    assert format_time(microseconds) == text
