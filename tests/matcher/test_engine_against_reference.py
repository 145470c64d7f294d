"""The engine against the reference: the same commands to both, compared after each one.

Goal: no order of commands makes the engine say or hold anything that reading the rules would not give.
Method: seeded flows of several characters, some with limits so small that they are met all the time, and lists of
commands from Hypothesis, which shrinks a difference to the few commands that show it. After each command the whole
result, every book in priority order, its depth, the stop orders that wait, and each account's position and open orders
must be equal, and the engine checks its own invariants. `make test` plays some ten thousands of commands, `make prove`
more than a million.
"""

import os
from collections.abc import Iterable
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.messages import (
    AdvanceClock,
    AllOrNothing,
    AmendOrder,
    CancelAllAfter,
    CancelOrder,
    CancelOrders,
    CancelReason,
    ClientCommand,
    Command,
    Continue,
    DefineInstrument,
    Event,
    InstrumentStatus,
    OrderCanceled,
    OrderType,
    Outcome,
    PlaceOrder,
    Refusal,
    RejectReason,
    Repeated,
    Result,
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
from matcher import ordered
from matcher.engine import Engine
from tests.matcher.flows import PROFILES, RICH_PROFILES, START, Flow, Profile
from tests.matcher.limits import set_limits
from tests.matcher.reference import ReferenceEngine
from tests.matcher.reference_orders import Limits

COMMANDS_PER_FLOW = int(os.environ.get("PRICETIME_FLOW_COMMANDS", "1000"))
HYPOTHESIS_EXAMPLES = int(os.environ.get("PRICETIME_FLOW_EXAMPLES", "300"))
SEEDS = (1, 2)
SOAK = 1_000_000
CHECK_EVERY = 10

encode = msgspec.msgpack.encode

History = list[tuple[Command, int, Result]]
"""What was sent and when, and the result. The sequence of a command is its place in here, counted from 1."""


class Pair:
    """Both engines; whatever one is told the other is told too."""

    def __init__(self, limits: Limits) -> None:
        self.engine = Engine()
        self.reference = ReferenceEngine(limits)
        self.accounts: set[str] = set()
        self.history: History = []

    def apply(self, command: Command, time: int) -> Result:
        sequence = len(self.history) + 1
        expected = self.reference.apply(command, time, sequence)
        result = self.engine.apply(command, time, sequence)
        assert result == expected
        assert encode(result) == encode(expected), "equal, but not on the wire"
        self.history.append((command, time, result))
        self.accounts |= {order.account for order in self.reference.orders}
        self.assert_same_state()
        if sequence % CHECK_EVERY == 0:
            self.engine.check()
        return result

    def assert_same_state(self) -> None:
        for symbol in self.reference.instruments:
            self.assert_same_book(symbol)
        for account in self.accounts:
            assert self.engine.open_orders(account) == self.reference.open_orders(account)
        assert self.engine.resting_orders == len(self.reference.orders)
        assert self.engine.unfinished == self.reference.unfinished
        if not self.reference.unfinished:
            assert self.engine.next_due == self.reference.next_due

    def assert_same_book(self, symbol: str) -> None:
        engine, reference = self.engine, self.reference
        assert engine.resting(symbol) == reference.resting(symbol)
        assert engine.stops(symbol) == reference.stops(symbol)
        bids, asks = reference.depth(symbol)
        assert engine.depth(symbol) == (bids, asks)
        assert engine.depth(symbol, 2) == (bids[:2], asks[:2])
        assert not bids or not asks or bids[0][0] < asks[0][0], "the book rests crossed"
        for account in self.accounts:
            assert engine.position(account, symbol) == reference.position(account, symbol)


def play(profile: Profile, random: Random, count: int = COMMANDS_PER_FLOW) -> Pair:
    pair = Pair(profile.limits)
    flow = Flow(profile, pair.reference, random)
    for command in flow.placed(count):
        pair.apply(command, flow.time)
    pair.engine.check()
    return pair


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_random_flow(profile: Profile, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, profile.limits)
    monkeypatch.setattr(ordered, "_NEAR", seed)  # or all levels of these small books would be near
    pair = play(profile, Random(f"{profile.name} {seed}"))

    assert len(pair.history) >= COMMANDS_PER_FLOW
    assert_worth_running(pair.history)
    assert_replay_is_the_same(pair.history, pair.engine)


def assert_worth_running(history: History) -> None:
    """A flow that hardly trades or is hardly refused proves little."""
    events = [event for _, _, result in history if isinstance(result, Outcome) for event in result.events]
    count = len(history)
    assert sum(isinstance(event, TradeExecuted) for event in events) > count / 30
    assert sum(isinstance(event, OrderCanceled) for event in events) > count / 20
    assert sum(isinstance(result, Refusal) for _, _, result in history) > count / 50


def assert_replay_is_the_same(history: History, engine: Engine) -> None:
    """The journal holds no refused commands, so leaving them out must make no difference."""
    replayed = Engine()
    for sequence, (command, time, result) in enumerate(history, 1):
        if isinstance(result, Outcome):
            assert replayed.apply(command, time, sequence) == result
    assert replayed.state_hash() == engine.state_hash()


def met_in_flows(count: int) -> Iterable[object]:
    """The kinds of commands and events, and the reasons, that the flows of this file meet, by the reference alone."""
    for profile in PROFILES:
        reference = ReferenceEngine(profile.limits)
        flow = Flow(profile, reference, Random(profile.name))
        for sequence, command in enumerate(flow.placed(count), 1):
            result = reference.apply(command, flow.time, sequence)
            match result:
                case Refusal(reason):
                    yield reason
                case Repeated():
                    yield Repeated
                case Outcome(events):
                    yield type(command)
                    yield from map(type, events)
                    yield from (event.reason for event in events if isinstance(event, OrderCanceled))


def test_flows_together_are_long_enough_and_meet_everything() -> None:
    total = COMMANDS_PER_FLOW * len(SEEDS) * len(PROFILES)
    assert total >= (SOAK if "PRICETIME_FLOW_COMMANDS" in os.environ else 40_000)
    wanted = {*RejectReason, *CancelReason, *Command.__args__, *Event.__args__, Repeated}
    assert wanted - set(met_in_flows(2000)) == set()


@pytest.mark.parametrize("profile", RICH_PROFILES[:2], ids=lambda profile: profile.name)
def test_two_engines_agree_on_the_state_hash(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, profile.limits)
    reference = ReferenceEngine(profile.limits)
    flow = Flow(profile, reference, Random(5))
    one, other = Engine(), Engine()
    hashes, accepted = set(), 0
    for sequence, command in enumerate(flow.placed(1000), 1):
        before = one.state_hash()
        expected = reference.apply(command, flow.time, sequence)
        assert one.apply(command, flow.time, sequence) == other.apply(command, flow.time, sequence) == expected
        assert one.state_hash() == other.state_hash()
        if isinstance(expected, Outcome):
            accepted += 1
            hashes.add(one.state_hash())
        else:
            assert one.state_hash() == before
    assert len(hashes) > accepted * 0.8, "the state hash hardly notices what changes"


# Hypothesis: few symbols, prices, ids and quantities, so that commands meet one another

SYMBOLS = st.sampled_from(("A", "A", "A", "B"))
PRICES = st.integers(1, 4)
QUANTITIES = st.integers(1, 6)
ORDER_IDS = st.integers(1, 8)
SIDES = st.sampled_from(Side)
ACCOUNTS = st.sampled_from(("anna", "ben"))
CLIENT_ORDER_IDS = st.none() | st.sampled_from(("one", "two", "three"))
TIMES_IN_FORCE = st.sampled_from((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.GTC, *TimeInForce))
SOON = st.integers(START, START + 40)


def sometimes(values: st.SearchStrategy[int]) -> st.SearchStrategy[int | None]:
    return st.one_of(st.none(), st.none(), values)


terms = st.builds(
    Terms,
    stop_price=sometimes(PRICES),
    display_quantity=sometimes(st.integers(1, 2)),
    protection_price=sometimes(PRICES),
    notional=sometimes(st.integers(1, 20)),
    expires_at=sometimes(SOON),
    self_trade_prevention=st.sampled_from(SelfTradePrevention),
)


def placing(
    order_type: OrderType, terms: st.SearchStrategy[Terms | None], **fields: object
) -> st.SearchStrategy[PlaceOrder]:
    values = {
        "symbol": SYMBOLS,
        "side": SIDES,
        "type": st.just(order_type),
        "quantity": QUANTITIES,
        "price": PRICES,
        "time_in_force": TIMES_IN_FORCE,
        "account": ACCOUNTS,
        "client_order_id": CLIENT_ORDER_IDS,
        "terms": terms,
    }
    return st.builds(PlaceOrder, **(values | fields))  # type: ignore[arg-type]


PREVENTIONS = st.sampled_from((SelfTradePrevention.NONE, *SelfTradePrevention))
plain = st.builds(Terms, self_trade_prevention=PREVENTIONS)
icebergs = st.builds(Terms, display_quantity=st.integers(1, 2), self_trade_prevention=PREVENTIONS)
expiring = st.builds(Terms, expires_at=SOON)
stops = st.builds(Terms, stop_price=PRICES, self_trade_prevention=PREVENTIONS)
by_notional = st.builds(
    Terms, notional=st.integers(1, 20), protection_price=sometimes(PRICES), self_trade_prevention=PREVENTIONS
)
POSTED = st.sampled_from((False, False, True))
places = st.one_of(
    placing(OrderType.LIMIT, st.none() | plain, post_only=POSTED),
    placing(OrderType.LIMIT, st.none() | plain, post_only=POSTED),
    placing(OrderType.LIMIT, icebergs, time_in_force=st.just(TimeInForce.GTC), quantity=st.integers(2, 6)),
    placing(OrderType.LIMIT, expiring, time_in_force=st.just(TimeInForce.GTD)),
    placing(OrderType.STOP_LIMIT, stops),
    placing(OrderType.STOP, stops, price=st.none()),
    placing(OrderType.MARKET, st.none() | plain, price=st.none()),
    placing(
        OrderType.MARKET, by_notional, price=st.none(), quantity=st.just(0), time_in_force=st.just(TimeInForce.IOC)
    ),
    placing(OrderType.LIMIT, terms, type=st.sampled_from(OrderType)),
)
OWNERS = st.sampled_from((None, None, None, ("anna",), ("ben", "anna")))
cancels = st.builds(CancelOrder, ORDER_IDS, OWNERS)
amends = st.builds(
    AmendOrder, ORDER_IDS, st.none() | PRICES, st.none() | QUANTITIES, st.one_of(st.none(), st.none(), PRICES), OWNERS
)
items = st.one_of(places, places, amends, cancels)
batches = st.builds(AllOrNothing, st.lists(items, max_size=5).map(tuple))
definitions = st.builds(
    DefineInstrument,
    symbol=SYMBOLS,
    tick_size=st.just("1"),
    lot_size=st.just("1"),
    min_quantity=st.integers(1, 2),
    max_quantity=st.integers(1, 6),
    lowest_price=sometimes(PRICES),
    highest_price=sometimes(PRICES),
    band_basis_points=sometimes(st.sampled_from((2500, 5000, 10_000))),
)
small = st.none() | st.integers(0, 12)
administration = st.one_of(
    definitions,
    st.builds(SetInstrumentStatus, SYMBOLS, st.sampled_from((InstrumentStatus.TRADING, *InstrumentStatus))),
    st.builds(SetKillSwitch, ACCOUNTS, st.booleans()),
    st.builds(
        SetAccountLimits,
        ACCOUNTS,
        st.none() | st.integers(0, 3),
        st.lists(st.builds(SymbolLimits, SYMBOLS, small, small, small), max_size=2).map(tuple),
    ),
    st.builds(CancelOrders, OWNERS, st.none() | SYMBOLS, st.none() | SIDES),
    st.builds(CancelAllAfter, ACCOUNTS, st.integers(0, 10)),
)
any_command = st.one_of(places, places, places, places, amends, amends, cancels, batches, administration)
# Plain lists are mostly short; a length of its own makes long ones as likely, and still shrinks.
commands = st.integers(0, 40).flatmap(lambda length: st.lists(any_command, min_size=length, max_size=length))


@settings(max_examples=HYPOTHESIS_EXAMPLES, deadline=None)
@given(commands, st.integers(1, 3), st.integers(1, 6))
def test_any_commands(wishes: list[ClientCommand], max_fills: int, max_events: int) -> None:
    limits = Limits(max_fills, max_events, max_commands=4, max_resting_orders=6, client_order_id_window=2)
    listed: list[ClientCommand] = [DefineInstrument(symbol, "1", "1", 1, 6) for symbol in ("A", "B")]
    with pytest.MonkeyPatch.context() as monkeypatch:
        set_limits(monkeypatch, limits)
        pair = Pair(limits)
        for time, command in enumerate(listed + wishes, START):
            if pair.reference.next_due is not None and time >= pair.reference.next_due:
                carry_out(pair, AdvanceClock(), time)
            carry_out(pair, command, time)
        pair.engine.check()


def carry_out(pair: Pair, command: Command, time: int) -> None:
    pair.apply(command, time)
    while pair.reference.unfinished:
        pair.apply(Continue(), time)
