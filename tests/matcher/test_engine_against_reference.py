"""The engine against the reference: the same commands to both, compared after each one.

Goal: no order of commands makes the engine say or hold anything that reading the rules would not give.
Method: seeded flows of several characters, 216,000 commands in all, and lists of commands from Hypothesis, which
shrinks a difference to the few commands that show it. After each command the whole result, the touched symbol's book
in priority order and its depth must be equal; from time to time the engine checks its own invariants.
"""

import os
from collections.abc import Iterable
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import matcher.engine
from contracts.messages import (
    AmendOrder,
    CancelOrder,
    CancelReason,
    Command,
    DefineInstrument,
    Event,
    OrderCanceled,
    OrderType,
    Outcome,
    PlaceOrder,
    Refusal,
    RejectReason,
    Result,
    Side,
    TimeInForce,
    TradeExecuted,
)
from matcher.engine import Engine
from tests.matcher.flows import PROFILES, Flow, Profile
from tests.matcher.reference import Limits, ReferenceEngine

COMMANDS_PER_FLOW = int(os.environ.get("PRICETIME_FLOW_COMMANDS", "12000"))
SEEDS = (1, 2)
CHECK_EVERY = 50
START = 1_700_000_000_000_000
"""The time of the first command; each next one is a millisecond later."""

encode = msgspec.msgpack.encode


def set_limits(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
    monkeypatch.setattr(matcher.engine, "MAX_FILLS", limits.max_fills)
    monkeypatch.setattr(matcher.engine, "MAX_RESTING_ORDERS", limits.max_resting_orders)
    monkeypatch.setattr(matcher.engine, "CLIENT_ORDER_ID_WINDOW", limits.client_order_id_window)


def assert_same(engine: Engine, reference: ReferenceEngine, command: Command, time: int) -> Result:
    expected = reference.apply(command, time)
    result = engine.apply(command, time)
    assert result == expected
    assert encode(result) == encode(expected), "equal, but not on the wire"
    return result


def assert_same_book(engine: Engine, reference: ReferenceEngine, symbol: str) -> None:
    expected = reference.resting(symbol)
    assert engine.resting(symbol) == expected
    bids, asks = reference.depth(symbol)
    assert engine.depth(symbol) == (bids, asks)
    assert engine.depth(symbol, 2) == (bids[:2], asks[:2])
    assert not bids or not asks or bids[0][0] < asks[0][0], "the book rests crossed"
    assert engine.resting_orders == len(reference.orders)


def symbols_of(result: Result, reference: ReferenceEngine) -> Iterable[str]:
    """The books that the command may have changed; for a refusal, all of them."""
    if isinstance(result, Refusal):
        return reference.instruments
    return {level.symbol for level in result.levels}


def run_both(commands: Iterable[Command], engine: Engine, reference: ReferenceEngine) -> list[tuple[Command, Result]]:
    history: list[tuple[Command, Result]] = []
    for number, command in enumerate(commands):
        result = assert_same(engine, reference, command, START + 1000 * number)
        history.append((command, result))
        for symbol in symbols_of(result, reference):
            assert_same_book(engine, reference, symbol)
        if number % CHECK_EVERY == 0:
            engine.check()
    engine.check()
    return history


def events_of(history: list[tuple[Command, Result]]) -> Iterable[Event]:
    return (event for _, result in history if isinstance(result, Outcome) for event in result.events)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_random_flow(profile: Profile, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, profile.limits)
    engine, reference = Engine(), ReferenceEngine(profile.limits)
    flow = Flow(profile, reference, Random(f"{profile.name} {seed}"))

    history = run_both(flow.commands(COMMANDS_PER_FLOW), engine, reference)

    assert len(history) == COMMANDS_PER_FLOW
    assert_worth_running(history)
    assert_replay_is_the_same(history, engine)


def assert_worth_running(history: list[tuple[Command, Result]]) -> None:
    """A flow that hardly trades or is hardly refused proves little."""
    events = list(events_of(history))
    count = len(history)
    assert sum(isinstance(event, TradeExecuted) for event in events) > count / 20
    assert sum(isinstance(event, OrderCanceled) for event in events) > count / 20
    assert sum(isinstance(result, Refusal) for _, result in history) > count / 50


def assert_replay_is_the_same(history: list[tuple[Command, Result]], engine: Engine) -> None:
    """The journal holds no refused commands, so leaving them out must make no difference."""
    replayed = Engine()
    for number, (command, result) in enumerate(history):
        if isinstance(result, Outcome):
            assert replayed.apply(command, START + 1000 * number) == result
    assert replayed.state_hash() == engine.state_hash()


def test_flows_together_are_long_enough_and_meet_every_reason() -> None:
    """Which reasons to refuse and to cancel the flows of this file meet, by the reference alone."""
    assert COMMANDS_PER_FLOW * len(SEEDS) * len(PROFILES) >= 200_000
    met: set[str] = set()
    for profile in PROFILES:
        reference = ReferenceEngine(profile.limits)
        for number, command in enumerate(Flow(profile, reference, Random(profile.name)).commands(3000)):
            result = reference.apply(command, START + number)
            met |= reasons_in(result)
    assert met == {*map(str.lower, RejectReason.__members__), *map(str.lower, CancelReason.__members__)}


def reasons_in(result: Result) -> set[str]:
    if isinstance(result, Refusal):
        return {result.reason.value}
    return {event.reason.value for event in result.events if isinstance(event, OrderCanceled)}


def test_two_engines_agree_on_the_state_hash() -> None:
    profile = PROFILES[0]
    reference = ReferenceEngine()
    one, other = Engine(), Engine()
    hashes = set()
    for number, command in enumerate(Flow(profile, reference, Random(5)).commands(2000)):
        expected = reference.apply(command, number)
        assert one.apply(command, number) == other.apply(command, number) == expected
        assert one.state_hash() == other.state_hash()
        if isinstance(expected, Outcome):
            hashes.add(one.state_hash())
    assert len(hashes) > 1400, "the state hash hardly notices what changes"


# Hypothesis: few symbols, prices, ids and quantities, so that commands meet one another

SYMBOLS = st.sampled_from(("A", "A", "A", "B"))
PRICES = st.integers(1, 4)
QUANTITIES = st.integers(1, 6)
ORDER_IDS = st.integers(1, 8)
SIDES = st.sampled_from(Side)
CLIENT_ORDER_IDS = st.none() | st.sampled_from(("one", "two", "three"))

places = st.builds(
    PlaceOrder,
    symbol=SYMBOLS,
    side=SIDES,
    type=st.just(OrderType.LIMIT),
    quantity=QUANTITIES,
    price=PRICES,
    time_in_force=st.sampled_from((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.GTC, *TimeInForce)),
    post_only=st.sampled_from((False, False, True)),
    account=st.sampled_from(("default", "other")),
    client_order_id=CLIENT_ORDER_IDS,
)
markets = st.builds(
    PlaceOrder,
    symbol=SYMBOLS,
    side=SIDES,
    type=st.just(OrderType.MARKET),
    quantity=QUANTITIES,
    time_in_force=st.sampled_from(TimeInForce),
)
cancels = st.builds(CancelOrder, ORDER_IDS)
amends = st.builds(AmendOrder, ORDER_IDS, price=st.none() | PRICES, quantity=st.none() | QUANTITIES)
definitions = st.builds(
    DefineInstrument,
    symbol=SYMBOLS,
    tick_size=st.just("1"),
    lot_size=st.just("1"),
    min_quantity=st.integers(1, 2),
    max_quantity=st.integers(1, 6),
)
any_command = st.one_of(places, places, places, amends, amends, cancels, markets, definitions)
# Plain lists are mostly short; a length of its own makes long ones as likely, and still shrinks.
commands = st.integers(0, 40).flatmap(lambda length: st.lists(any_command, min_size=length, max_size=length))


@settings(max_examples=1000, deadline=None)
@given(commands, st.integers(1, 3))
def test_any_commands(wishes: list[Command], max_fills: int) -> None:
    limits = Limits(max_fills=max_fills, max_resting_orders=6, client_order_id_window=2)
    listed: list[Command] = [DefineInstrument(symbol, "1", "1", 1, 6) for symbol in ("A", "B")]
    with pytest.MonkeyPatch.context() as monkeypatch:
        set_limits(monkeypatch, limits)
        run_both(listed + wishes, Engine(), ReferenceEngine(limits))
