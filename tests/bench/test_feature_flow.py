"""The flow uses every feature, a new exchange accepts all of it, and its book keeps its size."""

from collections import Counter
from functools import cache
from typing import get_args

from bench.feature_flow import FeatureFlow
from contracts.messages import (
    AllOrNothing,
    Command,
    Continue,
    DefineInstrument,
    Event,
    OrderCanceled,
    OrderType,
    Outcome,
    PlaceOrder,
    SelfTradePrevention,
    TimeInForce,
)
from matcher.engine import Engine


@cache
def played(count: int) -> tuple[list[Command], list[Outcome], Engine]:
    flow, engine = FeatureFlow(1, resting=200), Engine()
    timed = flow.opening + flow.next_commands(count)
    outcomes = [engine.apply(command, time) for command, time in timed]
    assert all(isinstance(outcome, Outcome) for outcome in outcomes)
    return [command for command, _ in timed], outcomes, engine  # type: ignore[return-value]


def test_a_seed_gives_the_same_commands_however_they_are_asked_for() -> None:
    whole, parts = FeatureFlow(7), FeatureFlow(7)
    assert whole.opening == parts.opening
    commands = whole.next_commands(2_000)
    assert (parts.next_commands(500) + parts.next_commands(2_000))[: len(commands)] == commands
    assert FeatureFlow(8).next_commands(500) != commands[:500]


def test_a_new_exchange_accepts_every_command_and_its_book_keeps_its_size() -> None:
    _, _, engine = played(20_000)
    engine.check()
    assert 150 <= engine.resting_orders <= 410


def test_every_command_and_every_event_comes() -> None:
    commands, outcomes, _ = played(20_000)
    kinds = {type(command) for command in commands}
    assert set(get_args(Command)) - kinds <= {Continue, DefineInstrument}
    assert {type(event) for outcome in outcomes for event in outcome.events} >= set(get_args(Event))


def test_every_kind_of_order_comes() -> None:
    commands, outcomes, _ = played(20_000)
    items = [item for command in commands if isinstance(command, AllOrNothing) for item in command.items]
    orders = [each for each in (*commands, *items) if isinstance(each, PlaceOrder)]
    assert {order.type for order in orders} == set(OrderType)
    assert {order.time_in_force for order in orders} == set(TimeInForce)
    assert all(order.client_order_id for order in orders)
    terms = [order.terms for order in orders if order.terms is not None]
    assert {each.self_trade_prevention for each in terms} == set(SelfTradePrevention)
    for field in ("stop_price", "display_quantity", "protection_price", "notional", "expires_at"):
        assert any(getattr(each, field) is not None for each in terms), field
    assert any(order.post_only for order in orders)
    reasons = Counter(
        event.reason for outcome in outcomes for event in outcome.events if isinstance(event, OrderCanceled)
    )
    assert len(reasons) >= 6
