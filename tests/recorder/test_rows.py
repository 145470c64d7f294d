"""The recorder's rows: commits in, rows out. The first tests are stories, the last compares ways to cut the journal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from contracts.messages import (
    DAY,
    AccountLimitsSet,
    AdvanceClock,
    AllOrNothing,
    AmendOrder,
    CancelAllAfter,
    CancelAllElapsed,
    CancelAllScheduled,
    CancelOrder,
    CancelOrders,
    CancelReason,
    Continue,
    DefineInstrument,
    InstrumentDefined,
    InstrumentStatus,
    InstrumentStatusChanged,
    ItemStarted,
    KillSwitchSet,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderReduced,
    OrdersCanceled,
    OrderState,
    OrderStatus,
    OrderTriggered,
    OrderType,
    Outcome,
    PlaceOrder,
    SelfTradePrevention,
    SetAccountLimits,
    SetInstrumentStatus,
    SetKillSwitch,
    Side,
    SymbolLimits,
    Terms,
    TimeInForce,
    TradeExecuted,
)
from contracts.orders import (
    Standing,
    accepted,
    attributed,
    closed_status,
    concerned,
    follow,
    placed_order,
    resting_status,
)
from recorder.rows import (
    CANDLE_LENGTHS,
    AccountLimitsRow,
    CandleRow,
    CommitRow,
    Fold,
    InstrumentRow,
    KillSwitchRow,
    OrderChange,
    OrderEventRow,
    OrderRow,
    StatusRow,
    SymbolLimitsRow,
    TradeRow,
)
from tests.matcher.flows import RICH_PROFILES, Profile
from tests.support.journals import FIRST_TIME, STEP, Journal, Written, random_journal
from tests.support.rich_journals import rich_journal

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
    written = rich_journal(seed, 150)[0].written
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


# Everything else that the exchange can do


STOP = PlaceOrder("BTC-USD", Side.BUY, OrderType.STOP_LIMIT, 5, 120, account="carl", terms=Terms(stop_price=110))
EXPIRED = OrderCanceled(state(SELL, 1), CancelReason.EXPIRED)


def test_terms_become_columns(journal: Journal) -> None:
    terms = Terms(display_quantity=2, expires_at=99, self_trade_prevention=SelfTradePrevention.DECREMENT)
    command = replace(SELL, time_in_force=TimeInForce.GTD, terms=terms)
    order = fold(journal.commit((command, Outcome((OrderAccepted(1),))))).orders[1]
    assert (order.display_quantity, order.expires_at, order.stop_price) == (2, 99, None)
    assert order.self_trade_prevention is SelfTradePrevention.DECREMENT


def test_a_day_order_expires_with_its_day(journal: Journal) -> None:
    command = replace(SELL, time_in_force=TimeInForce.DAY)
    order = fold(journal.commit((command, Outcome((OrderAccepted(1),))))).orders[1]
    assert order.expires_at == (time_of(1) // DAY + 1) * DAY


def test_an_order_by_notional_has_the_quantity_that_it_came_to(journal: Journal) -> None:
    command = PlaceOrder("BTC-USD", Side.BUY, OrderType.MARKET, 0, account="bob", terms=Terms(notional=450))
    rows = fold(journal.commit((command, Outcome((OrderAccepted(2, quantity=4), trade(1, 1, 2, 4))))))
    assert (rows.orders[2].quantity, rows.orders[2].notional, rows.orders[2].status) == (4, 450, OrderStatus.FILLED)


def test_expired(journal: Journal) -> None:
    placed = journal.commit((SELL, Outcome((OrderAccepted(1),))))
    expired = journal.commit((AdvanceClock(), Outcome((EXPIRED,))))
    order = fold(placed, expired).orders[1]
    assert (order.status, order.reason) == (OrderStatus.EXPIRED, CancelReason.EXPIRED)
    assert fold(expired).changes[1].reason is CancelReason.EXPIRED


def test_a_stop_order_is_triggered_by_a_trade_and_filled(journal: Journal) -> None:
    journal.commit((SELL, Outcome((OrderAccepted(1),))), (STOP, Outcome((OrderAccepted(2),))))
    events = (OrderAccepted(3), trade(7, 1, 3, 4, price=110), OrderTriggered(2, 7), trade(8, 1, 2, 5, price=115))
    rows = fold(journal.commit((BUY, Outcome(events))), last_trade_id=6)
    assert rows.changes[2] == OrderChange(2, None, None, 5, 575, updated_at=time_of(2), sequence=2, triggered=True)
    (event,) = rows.order_events
    assert (event.order_id, event.event, event.trade_id, event.after_trade_id) == (2, "triggered", 7, 7)


def test_an_amendment_keeps_what_the_order_was_placed_with(journal: Journal) -> None:
    placed = journal.commit((STOP, Outcome((OrderAccepted(1),))))
    first = replace(state(STOP, 1), quantity=4, terms=Terms(stop_price=112))
    second = replace(first, price=130, quantity=3)
    amended = journal.commit(
        (AmendOrder(1), Outcome((OrderAmended(first, priority_kept=False),))),
        (AmendOrder(1), Outcome((OrderAmended(second, priority_kept=True),))),
    )
    rows = fold(placed, amended)
    order = rows.orders[1]
    assert (order.price, order.quantity, order.stop_price) == (130, 3, 112)
    assert (order.placed_price, order.placed_quantity, order.placed_stop_price) == (120, 5, 110)
    assert [each[:8] for each in rows.order_events] == [
        (1, 2, 0, "amended", 120, 4, 112, False),
        (1, 2, 1, "amended", 130, 3, 112, True),
    ]
    change = fold(amended).changes[1]
    assert (change.price, change.quantity, change.stop_price) == (130, 3, 112)


def test_reduced_by_self_trade_prevention(journal: Journal) -> None:
    placed = journal.commit((SELL, Outcome((OrderAccepted(1),))))
    reduced = OrderReduced(replace(state(SELL, 1), quantity=6))
    taker = replace(BUY, account="alice", terms=Terms(self_trade_prevention=SelfTradePrevention.DECREMENT))
    gone = OrderCanceled(state(taker, 2), CancelReason.SELF_TRADE_PREVENTION)
    rows = fold(placed, journal.commit((taker, Outcome((OrderAccepted(2), reduced, gone)))))
    assert (rows.orders[1].quantity, rows.orders[1].placed_quantity) == (6, 10)
    assert (rows.orders[2].status, rows.orders[2].quantity) == (OrderStatus.CANCELED, 4)
    assert [(each.order_id, each.event, each.quantity) for each in rows.order_events] == [(1, "reduced", 6)]


def test_the_items_of_a_batch_are_orders_like_others(journal: Journal) -> None:
    placed = journal.commit((SELL, Outcome((OrderAccepted(1),))))
    events = (
        ItemStarted(1),
        OrderCanceled(state(SELL, 1), CancelReason.REQUESTED),
        ItemStarted(0),
        OrderAccepted(2),
        ItemStarted(2),
        OrderAccepted(3),
    )
    batch = AllOrNothing((BUY, CancelOrder(1), replace(SELL, client_order_id="a2")))
    orders = fold(placed, journal.commit((batch, Outcome(events)))).orders
    assert orders[1].status is OrderStatus.CANCELED
    assert (orders[2].account, orders[3].account, orders[3].client_order_id) == ("bob", "alice", "a2")


def test_mass_cancelation_goes_on_in_the_next_command(journal: Journal) -> None:
    written = journal.commit(
        (CancelOrders(), Outcome((OrdersCanceled(2), OrderCanceled(state(SELL, 1), CancelReason.REQUESTED)))),
        (Continue(), Outcome((OrderCanceled(state(BUY, 2), CancelReason.REQUESTED),))),
    )
    assert [change.order_id for change in fold(written).changes.values() if change.reason] == [1, 2]


def test_a_status_survives_a_new_definition(journal: Journal) -> None:
    define = DefineInstrument("BTC-USD", "0.01", "0.001", lowest_price=5, highest_price=9, band_basis_points=100)
    defined = journal.commit((define, Outcome((InstrumentDefined("BTC-USD"),))))
    halt = SetInstrumentStatus("BTC-USD", InstrumentStatus.HALTED)
    halted = journal.commit((halt, Outcome((InstrumentStatusChanged("BTC-USD", InstrumentStatus.HALTED),))))
    again = journal.commit((define, Outcome((InstrumentDefined("BTC-USD"),))))
    (row,) = fold(defined, halted, again).listed()
    assert (row.status, row.sequence) == (InstrumentStatus.HALTED, 3)
    assert (row.lowest_price, row.highest_price, row.band_basis_points) == (5, 9, 100)
    assert fold(halted).statuses["BTC-USD"] == StatusRow("BTC-USD", InstrumentStatus.HALTED, 2)
    later = fold(halted, again)
    assert (later.instruments["BTC-USD"].status, later.statuses) == (InstrumentStatus.HALTED, {})
    assert fold(again).instruments["BTC-USD"].status is None


def test_what_holds_for_an_account(journal: Journal) -> None:
    limits = (SymbolLimits("BTC-USD", 5, None, 7), SymbolLimits("ETH-USD", None, 9, None))
    rows = fold(
        journal.commit((SetAccountLimits("anna", 3), Outcome((AccountLimitsSet("anna"),)))),
        journal.commit((SetAccountLimits("anna", None, limits), Outcome((AccountLimitsSet("anna"),)))),
        journal.commit((SetKillSwitch("ben", True), Outcome((KillSwitchSet("ben", True),)))),
        journal.commit((CancelAllAfter("anna", 50), Outcome((CancelAllScheduled("anna", 77),)))),
        journal.commit((CancelAllAfter("ben", 50), Outcome((CancelAllScheduled("ben", 78),)))),
        journal.commit((AdvanceClock(), Outcome((CancelAllElapsed("ben"),)))),
    )
    assert rows.account_limits == {"anna": AccountLimitsRow("anna", None, time_of(2), 2)}
    assert rows.symbol_limits["anna"] == (
        SymbolLimitsRow("anna", "BTC-USD", 5, None, 7),
        SymbolLimitsRow("anna", "ETH-USD", None, 9, None),
    )
    assert rows.kill_switches == {"ben": KillSwitchRow("ben", True, time_of(3), 3)}
    assert [row[:2] for row in rows.dead_mans_switches.values()] == [("anna", 77), ("ben", None)]


def test_candles_of_all_stored_lengths(journal: Journal) -> None:
    start = 1_700_000_000_000_000 // 3_600_000_000 * 3_600_000_000 + 3_600_000_000  # a full hour
    taken = Outcome((OrderAccepted(9), trade(1, 1, 9, 3, price=100), trade(2, 2, 9, 1, price=104)))
    rows = fold(
        journal.commit((BUY, taken), time=start + 999_999),
        journal.commit((BUY, Outcome((OrderAccepted(10), trade(3, 2, 10, 5, price=97)))), time=start + 1_000_000),
        journal.commit((BUY, Outcome((OrderAccepted(11), trade(4, 2, 11, 2, price=99)))), time=start + 60_000_000),
    )
    assert sorted(rows.candles()) == [
        CandleRow("BTC-USD", 1, start, 100, 104, 100, 104, 4, 2),
        CandleRow("BTC-USD", 1, start + 1_000_000, 97, 97, 97, 97, 5, 1),
        CandleRow("BTC-USD", 1, start + 60_000_000, 99, 99, 99, 99, 2, 1),
        CandleRow("BTC-USD", 60, start, 100, 104, 97, 97, 9, 3),
        CandleRow("BTC-USD", 60, start + 60_000_000, 99, 99, 99, 99, 2, 1),
        CandleRow("BTC-USD", 3600, start, 100, 104, 97, 99, 11, 4),
    ]


# Random flows of everything, against slower and more obvious ways to the same


PROFILES = pytest.mark.parametrize("profile", RICH_PROFILES, ids=lambda profile: profile.name)


@PROFILES
def test_every_order_ends_as_following_it_alone_tells(profile: Profile) -> None:
    """Goal: the merged rows are right. Method: each order followed event by event with contracts/orders.py."""
    journal, _ = rich_journal(1, profile=profile)
    rows = fold(*journal.written)
    standings: dict[int, Standing] = {}
    last: dict[int, int] = {}
    for commit, _, _ in journal.written:
        for command, outcome in zip(commit.commands, commit.outcomes, strict=True):
            for origin, event in attributed(command, outcome.events):
                if isinstance(event, OrderAccepted):
                    assert isinstance(origin, PlaceOrder)
                    standings[event.order_id] = accepted(event, origin, commit.time)
                for order_id in concerned(event):
                    standings[order_id] = follow(standings[order_id], event)
                    last[order_id] = commit.sequence
    assert len(standings) > 100
    assert rows.orders.keys() == standings.keys()
    for order_id, (order, status, reason) in standings.items():
        row = rows.orders[order_id]
        assert (row.status, row.reason, row.sequence) == (status, reason, last[order_id])
        assert (row.price, row.quantity, row.filled_quantity) == (order.price, order.quantity, order.filled_quantity)
        assert (str(row.filled_notional), row.triggered) == (order.filled_notional, order.triggered)
        terms = order.terms or Terms()
        assert (row.stop_price, row.display_quantity, row.notional) == (
            terms.stop_price,
            terms.display_quantity,
            terms.notional,
        )
        assert (row.protection_price, row.expires_at) == (terms.protection_price, terms.expires_at)
        assert (row.self_trade_prevention or SelfTradePrevention.NONE) is terms.self_trade_prevention


@PROFILES
def test_what_is_not_about_single_orders_is_as_the_reference_and_the_trades_have_it(profile: Profile) -> None:
    journal, reference = rich_journal(2, profile=profile)
    rows = fold(*journal.written)
    assert rows.trades
    for account, symbol, quantity in rows.positions():
        assert quantity == reference.position(account, symbol)
    assert {account for account, row in rows.kill_switches.items() if row.engaged} == reference.killed
    armed = {account: row.deadline for account, row in rows.dead_mans_switches.items() if row.deadline is not None}
    assert armed == reference.deadlines
    for account, limits in reference.account_limits.items():
        assert rows.account_limits[account].max_open_orders == limits.max_open_orders
        assert [row[1:] for row in rows.symbol_limits[account]] == [astuple(each) for each in limits.symbols]
    for candle in rows.candles():
        end = candle.open_time + candle.length_seconds * 1_000_000
        trades = [
            each for each in rows.trades if each.symbol == candle.symbol and candle.open_time <= each.executed_at < end
        ]
        prices = [each.price for each in trades]
        assert candle[3:7] == (prices[0], max(prices), min(prices), prices[-1])
        assert candle[7:] == (sum(each.quantity for each in trades), len(trades))
        assert candle.open_time % (candle.length_seconds * 1_000_000) == 0
    for length in CANDLE_LENGTHS:
        assert sum(each.trades for each in rows.candles() if each.length_seconds == length) == len(rows.trades)
