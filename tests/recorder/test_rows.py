"""The recorder's rows: commits in, rows out. The first tests are stories, the last compares ways to cut the journal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.messages import (
    AmendOrder,
    CancelOrder,
    CancelReason,
    DefineInstrument,
    InstrumentDefined,
    InstrumentStatus,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderState,
    OrderStatus,
    OrderType,
    Outcome,
    PlaceOrder,
    Side,
    TimeInForce,
    TradeExecuted,
)
from contracts.orders import closed_status, placed_order, resting_status
from recorder.rows import CommitRow, Fold, InstrumentRow, OrderChange, OrderEventRow, OrderRow, TradeRow
from tests.support.journals import FIRST_TIME, STEP, Journal, Written, random_journal

SELL = PlaceOrder("BTC-USD", Side.SELL, OrderType.LIMIT, 10, 100, account="alice", client_order_id="a1")
BUY = PlaceOrder("BTC-USD", Side.BUY, OrderType.LIMIT, 4, 101, account="bob")


def time_of(sequence: int) -> int:
    return FIRST_TIME + sequence * STEP


def fold(*written: Written, last_trade_id: int = 0) -> Fold:
    rows = Fold(last_trade_id)
    for each in written:
        rows.add(*each)
    return rows


def trade(trade_id: int, maker: int, taker: int, quantity: int, price: int = 100) -> TradeExecuted:
    return TradeExecuted(trade_id, "BTC-USD", price, quantity, Side.BUY, maker, taker)


def state(command: PlaceOrder, order_id: int, filled: int = 0, notional: int = 0) -> OrderState:
    order = placed_order(command, order_id, time_of(1))
    return replace(order, filled_quantity=filled, filled_notional=str(notional))


@pytest.fixture
def journal() -> Journal:
    return Journal()


def test_a_commit_is_kept_as_it_is(journal: Journal) -> None:
    written = journal.barrier()
    assert fold(written).commits == [CommitRow(1, written.hash, written.payload, time_of(1))]


def test_a_barrier_leads_to_no_other_rows(journal: Journal) -> None:
    rows = fold(journal.barrier())
    assert (rows.orders, rows.changes, rows.trades, rows.instruments) == ({}, {}, [], {})


def test_a_resting_order_is_open(journal: Journal) -> None:
    rows = fold(journal.commit((SELL, Outcome((OrderAccepted(7),)))))
    assert rows.orders == {
        7: OrderRow(
            order_id=7,
            client_order_id="a1",
            account="alice",
            symbol="BTC-USD",
            side=Side.SELL,
            type=OrderType.LIMIT,
            time_in_force=TimeInForce.GTC,
            post_only=False,
            price=100,
            quantity=10,
            filled_quantity=0,
            filled_notional=0,
            status=OrderStatus.OPEN,
            reason=None,
            created_at=time_of(1),
            updated_at=time_of(1),
            sequence=1,
            placed_sequence=1,
        )
    }
    assert not rows.changes


def test_a_trade_fills_maker_and_taker_of_the_same_run(journal: Journal) -> None:
    placed = journal.commit((SELL, Outcome((OrderAccepted(1),))))
    taken = journal.commit((BUY, Outcome((OrderAccepted(2), trade(1, maker=1, taker=2, quantity=4)))))
    rows = fold(placed, taken)
    assert rows.trades == [TradeRow(1, "BTC-USD", 100, 4, Side.BUY, 1, 2, time_of(2), 2)]
    maker, taker = rows.orders[1], rows.orders[2]
    assert (maker.status, maker.filled_quantity, maker.filled_notional) == (OrderStatus.PARTIALLY_FILLED, 4, 400)
    assert (maker.created_at, maker.updated_at, maker.sequence) == (time_of(1), time_of(2), 2)
    assert (taker.status, taker.filled_quantity, taker.filled_notional) == (OrderStatus.FILLED, 4, 400)
    assert not rows.changes


def test_a_maker_of_an_earlier_run_becomes_a_change(journal: Journal) -> None:
    journal.commit((SELL, Outcome((OrderAccepted(1),))))
    rows = fold(journal.commit((BUY, Outcome((OrderAccepted(2), trade(1, maker=1, taker=2, quantity=4))))))
    assert rows.changes == {1: OrderChange(1, added_quantity=4, added_notional=400, updated_at=time_of(2), sequence=2)}
    assert list(rows.orders) == [2]


def test_fills_of_one_maker_add_up(journal: Journal) -> None:
    first = journal.commit((BUY, Outcome((OrderAccepted(2), trade(1, maker=1, taker=2, quantity=4)))))
    second = journal.commit((BUY, Outcome((OrderAccepted(3), trade(2, maker=1, taker=3, quantity=3, price=99)))))
    change = fold(first, second).changes[1]
    assert (change.added_quantity, change.added_notional, change.sequence) == (7, 400 + 297, 2)


def test_a_taker_meets_several_makers(journal: Journal) -> None:
    events = (OrderAccepted(9), trade(1, 1, 9, 3), trade(2, 2, 9, 1, price=101))
    rows = fold(journal.commit((BUY, Outcome(events))))
    assert [each.trade_id for each in rows.trades] == [1, 2]
    assert (rows.orders[9].filled_quantity, rows.orders[9].filled_notional) == (4, 401)
    assert {order_id: change.added_quantity for order_id, change in rows.changes.items()} == {1: 3, 2: 1}


def test_canceled_in_the_run_it_was_placed_in(journal: Journal) -> None:
    placed = journal.commit((SELL, Outcome((OrderAccepted(1),))))
    canceled = journal.commit((CancelOrder(1), Outcome((OrderCanceled(state(SELL, 1), CancelReason.REQUESTED),))))
    order = fold(placed, canceled).orders[1]
    assert (order.status, order.reason, order.sequence) == (OrderStatus.CANCELED, CancelReason.REQUESTED, 2)
    assert (order.quantity, order.filled_quantity) == (10, 0)


def test_canceled_later(journal: Journal) -> None:
    rows = fold(journal.commit((CancelOrder(5), Outcome((OrderCanceled(state(SELL, 5), CancelReason.REQUESTED),)))))
    assert rows.changes == {5: OrderChange(5, reason=CancelReason.REQUESTED, updated_at=time_of(1), sequence=1)}
    assert not rows.orders


def test_the_rest_of_an_ioc_is_canceled_with_its_fills_kept(journal: Journal) -> None:
    command = replace(BUY, time_in_force=TimeInForce.IOC)
    canceled = OrderCanceled(state(command, 2, 1, 100), CancelReason.IMMEDIATE_OR_CANCEL)
    rows = fold(journal.commit((command, Outcome((OrderAccepted(2), trade(1, 1, 2, 1), canceled)))))
    order = rows.orders[2]
    assert (order.status, order.reason) == (OrderStatus.CANCELED, CancelReason.IMMEDIATE_OR_CANCEL)
    assert (order.quantity, order.filled_quantity, order.filled_notional) == (4, 1, 100)
    assert rows.changes[1].added_quantity == 1


def test_a_market_order_has_no_price(journal: Journal) -> None:
    command = PlaceOrder("BTC-USD", Side.BUY, OrderType.MARKET, 4, time_in_force=TimeInForce.IOC)
    canceled = OrderCanceled(state(command, 2), CancelReason.NO_LIQUIDITY)
    order = fold(journal.commit((command, Outcome((OrderAccepted(2), canceled))))).orders[2]
    assert (order.price, order.status, order.reason) == (None, OrderStatus.CANCELED, CancelReason.NO_LIQUIDITY)


def test_amended_in_place(journal: Journal) -> None:
    placed = journal.commit((SELL, Outcome((OrderAccepted(1),))))
    smaller = OrderAmended(replace(state(SELL, 1), quantity=6), priority_kept=True)
    order = fold(placed, journal.commit((AmendOrder(1, quantity=6), Outcome((smaller,))))).orders[1]
    assert (order.price, order.quantity, order.status, order.sequence) == (100, 6, OrderStatus.OPEN, 2)


def test_a_partially_filled_order_stays_so_when_amended(journal: Journal) -> None:
    placed = journal.commit((SELL, Outcome((OrderAccepted(1),))))
    taken = journal.commit((BUY, Outcome((OrderAccepted(2), trade(1, maker=1, taker=2, quantity=4)))))
    larger = OrderAmended(replace(state(SELL, 1, 4, 400), quantity=20), priority_kept=False)
    amended = journal.commit((AmendOrder(1, quantity=20), Outcome((larger,))))
    assert fold(placed, taken, amended).orders[1].status is OrderStatus.PARTIALLY_FILLED


def test_an_amended_price_that_trades(journal: Journal) -> None:
    """The amended order is the taker; both were placed in earlier runs."""
    amended = OrderAmended(replace(state(SELL, 1), price=90), priority_kept=False)
    sale = TradeExecuted(3, "BTC-USD", 95, 2, Side.SELL, maker_order_id=2, taker_order_id=1)
    rows = fold(journal.commit((AmendOrder(1, price=90), Outcome((amended, sale)))))
    assert rows.changes[1] == OrderChange(1, 90, 10, 2, 190, updated_at=time_of(1), sequence=1)
    assert rows.changes[2] == OrderChange(2, None, None, 2, 190, updated_at=time_of(1), sequence=1)


def test_amended_below_filled_keeps_quantity_and_price(journal: Journal) -> None:
    canceled = OrderCanceled(state(SELL, 1, 4, 400), CancelReason.AMENDED_BELOW_FILLED)
    change = fold(journal.commit((AmendOrder(1, quantity=2), Outcome((canceled,))))).changes[1]
    assert (change.price, change.quantity, change.reason) == (None, None, CancelReason.AMENDED_BELOW_FILLED)


def test_filled_then_canceled_in_one_later_run(journal: Journal) -> None:
    taken = journal.commit((BUY, Outcome((OrderAccepted(2), trade(1, maker=1, taker=2, quantity=4)))))
    canceled = OrderCanceled(state(SELL, 1, 4, 400), CancelReason.REQUESTED)
    change = fold(taken, journal.commit((CancelOrder(1), Outcome((canceled,))))).changes[1]
    assert (change.added_quantity, change.reason, change.sequence) == (4, CancelReason.REQUESTED, 2)


def test_the_last_definition_of_an_instrument_counts(journal: Journal) -> None:
    defined = Outcome((InstrumentDefined("BTC-USD"),))
    first = journal.commit((DefineInstrument("BTC-USD", "0.01", "0.001", 1, 500), defined))
    second = journal.commit((DefineInstrument("BTC-USD", "0.01", "0.001", 2, 900), defined))
    rows = fold(first, second)
    expected = InstrumentRow("BTC-USD", "0.01", "0.001", 2, 900, InstrumentStatus.TRADING, 2, None, None, None)
    assert rows.listed() == [expected]


def test_notional_outgrows_64_bits(journal: Journal) -> None:
    huge = replace(SELL, quantity=10**12, price=10**15)
    taker = replace(huge, side=Side.BUY)
    match = TradeExecuted(1, "BTC-USD", 10**15, 10**12, Side.BUY, 1, 2)
    rows = fold(
        journal.commit((huge, Outcome((OrderAccepted(1),))), (taker, Outcome((OrderAccepted(2), match)))),
    )
    assert rows.orders[1].filled_notional == 10**27


# What the database does with a change, in Python; test_store.py holds the SQL to the same


def changed(order: OrderRow, change: OrderChange) -> OrderRow:
    order = replace(order)
    if change.quantity is not None:
        price = order.price if change.price is None else change.price
        order.amend(price, change.quantity, order.stop_price if change.stop_price is None else change.stop_price)
    filled = order.filled_quantity + change.added_quantity
    return replace(
        order,
        filled_quantity=filled,
        filled_notional=order.filled_notional + change.added_notional,
        triggered=order.triggered or change.triggered,
        status=closed_status(change.reason) if change.reason else resting_status(order.quantity, filled),
        reason=change.reason,
        updated_at=change.updated_at,
        sequence=change.sequence,
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), run_lengths=st.lists(st.integers(1, 12), min_size=1))
def test_runs_of_any_length_lead_to_the_same_rows(seed: int, run_lengths: list[int]) -> None:
    """Goal: how the journal is cut into runs does not matter. Method: apply the rows of random runs of a random
    journal one after the other, and compare with all of it folded at once."""
    written = random_journal(seed, commits=30, commands_per_commit=4).written
    whole = fold(*written)
    assert not whole.changes
    orders: dict[int, OrderRow] = {}
    trades: list[TradeRow] = []
    events: list[OrderEventRow] = []
    at = last_trade_id = 0
    for length in [*run_lengths, len(written)]:
        run = fold(*written[at : at + length], last_trade_id=last_trade_id)
        at += length
        last_trade_id = run.last_trade_id
        assert not orders.keys() & run.orders.keys()
        orders |= run.orders
        orders |= {order_id: changed(orders[order_id], change) for order_id, change in run.changes.items()}
        trades += run.trades
        events += run.order_events
    assert orders == whole.orders
    assert (trades, events) == (whole.trades, whole.order_events)


def test_the_final_rows_agree_with_the_engine() -> None:
    """The orders that the engine still has resting are exactly those that are open or partially filled."""
    journal = random_journal(5, commits=100, commands_per_commit=10)
    orders = fold(*journal.written).orders
    resting = {key for key, order in orders.items() if order.status in (OrderStatus.OPEN, OrderStatus.PARTIALLY_FILLED)}
    still_there = {
        order_id for order_id in orders if isinstance(journal.engine.apply(CancelOrder(order_id), 0), Outcome)
    }
    assert resting == still_there
