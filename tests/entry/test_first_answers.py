"""Found again in a commit: what a command led to, alone or as an item of a batch."""

from typing import Any

import pytest

from contracts.commits import GENESIS_HASH, VERSION
from contracts.messages import (
    AllOrNothing,
    AmendOrder,
    CancelOrder,
    Command,
    Commit,
    DefineInstrument,
    ItemStarted,
    OrderAccepted,
    OrderType,
    Outcome,
    PlaceOrder,
    Side,
)
from entry.first_answers import of_placed, of_repeated, same_batch
from matcher.engine import Engine

BUY = PlaceOrder("A", Side.BUY, OrderType.LIMIT, 5, 100, account="anna", client_order_id="b")
SELL = PlaceOrder("A", Side.SELL, OrderType.LIMIT, 3, 90, account="ben", client_order_id="s")


@pytest.fixture
def engine() -> Engine:
    fresh = Engine()
    fresh.apply(DefineInstrument("A", "1", "1"), 1)
    return fresh


def commit(engine: Engine, *commands: Command) -> Commit:
    outcomes = []
    for command in commands:
        outcome = engine.apply(command, 7, 9)
        assert isinstance(outcome, Outcome)
        outcomes.append(outcome)
    return Commit(VERSION, "e", 1, 9, GENESIS_HASH, 7, commands, tuple(outcomes))


def test_an_order_among_others(engine: Engine) -> None:
    found = commit(engine, BUY, SELL)
    for order_id, command in ((1, BUY), (2, SELL)):
        first = of_placed(found, order_id)
        assert (first.command, first.whole, first.events) == (command, command, found.outcomes[order_id - 1].events)
        assert (first.part.sequence, first.part.time) == (9, 7)


def test_an_order_of_a_batch(engine: Engine) -> None:
    batch = AllOrNothing((BUY, SELL))
    found = commit(engine, batch)
    first = of_placed(found, 2)
    assert (first.command, first.whole, first.outcome) == (SELL, batch, found.outcomes[0])
    assert first.events[0] == OrderAccepted(2)
    assert not any(isinstance(event, ItemStarted) for event in first.events)


def test_an_order_that_is_not_there_is_our_mistake(engine: Engine) -> None:
    with pytest.raises(AssertionError):
        of_placed(commit(engine, BUY), 2)


def test_a_cancelation_is_the_same_whoever_may_send_it(engine: Engine) -> None:
    found = commit(engine, BUY, CancelOrder(1, ("anna",)))
    first = of_repeated(found, CancelOrder(1))
    assert first is not None
    assert first.outcome == found.outcomes[1]
    assert of_repeated(found, CancelOrder(2)) is None


def test_of_equal_amendments_the_last_one_counts(engine: Engine) -> None:
    amend: Any = AmendOrder(1, price=99)
    found = commit(engine, BUY, amend, AmendOrder(1, price=98), amend)
    first = of_repeated(found, amend)
    assert first is not None
    assert first.outcome is found.outcomes[3]
    assert of_repeated(found, AmendOrder(1, price=97)) is None


def test_the_same_batch() -> None:
    batch = AllOrNothing((CancelOrder(1, ("anna",)), BUY))
    assert same_batch(batch, AllOrNothing((CancelOrder(1), BUY)))
    assert not same_batch(batch, AllOrNothing((BUY, CancelOrder(1))))
    assert not same_batch(batch, BUY)
