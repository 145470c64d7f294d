"""The flow is the same for the same seed, and an exchange that sees nothing else accepts all of it."""

from collections import Counter

from bench.flow import LISTING, Flow
from contracts.messages import CancelOrder, Outcome, PlaceOrder, TimeInForce, TradeExecuted
from matcher.engine import Engine


def test_a_seed_gives_the_same_commands_however_they_are_asked_for() -> None:
    whole = Flow(7).next_commands(3_000)
    parts = Flow(7)
    assert parts.next_commands(1_000) + parts.next_commands(2_000) == whole
    assert Flow(8).next_commands(3_000) != whole


def test_a_new_exchange_accepts_every_command() -> None:
    engine = Engine()
    engine.apply(LISTING, 0)
    results = [engine.apply(command, 0) for command in Flow(1).next_commands(10_000)]
    assert all(isinstance(result, Outcome) for result in results)
    assert any(isinstance(event, TradeExecuted) for result in results for event in getattr(result, "events", ()))


def test_the_flow_has_orders_and_cancels_and_keeps_the_book_at_its_size() -> None:
    engine = Engine()
    engine.apply(LISTING, 0)
    flow = Flow(1, resting=200)
    commands = flow.next_commands(10_000)
    for command in commands:
        engine.apply(command, 0)
    counts = Counter(type(command) for command in commands)
    assert counts[PlaceOrder] > 5_000
    assert counts[CancelOrder] > 2_500
    assert 190 <= engine.resting_orders <= 400


def test_without_cancels_the_flow_is_orders_alone() -> None:
    assert {type(command) for command in Flow(1, cancels=0, resting=50).next_commands(1_000)} == {PlaceOrder}


def test_orders_alone_go_on_trading_for_good() -> None:
    late = Flow(1, cancels=0, resting=20).next_commands(5_000)[-100:]

    assert {command.time_in_force for command in late} == {TimeInForce.GTC, TimeInForce.IOC}  # type: ignore[union-attr]
