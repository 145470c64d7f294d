"""The state hash names the whole state: whatever can change a later answer changes it, and nothing else does."""

import pytest

from contracts.messages import DefineInstrument
from matcher.engine import Engine
from tests.matcher.story import START
from tests.matcher.story_commands import parse

EVERYTHING = ["sell 5 @ 100 by anna as one", "buy 2 @ 100", "sell 5 @ 100", "buy 5 @ 99 post-only", "buy 1 market"]


def engine_after(lines: list[str], *, time: int = START) -> Engine:
    engine = Engine()
    engine.apply(DefineInstrument("X", "1", "1", 1, 1000), START)
    for line in lines:
        engine.apply(parse(line.split()), time)
    return engine


def hash_after(lines: list[str], *, time: int = START) -> bytes:
    return engine_after(lines, time=time).state_hash()


def test_the_same_commands_give_the_same_hash() -> None:
    assert hash_after(EVERYTHING) == hash_after(EVERYTHING)


def test_asking_changes_nothing() -> None:
    engine = engine_after(EVERYTHING)
    before = engine.state_hash()
    engine.depth("X")
    engine.depth("X", 1)
    engine.resting("X")
    engine.check()
    assert engine.state_hash() == before


def test_another_path_to_the_same_state_gives_the_same_hash() -> None:
    shrunk_twice = ["sell 5 @ 100", "sell 5 @ 100", "amend 1 quantity 4", "amend 1 quantity 3"]
    assert hash_after(shrunk_twice) == hash_after(["sell 5 @ 100", "sell 5 @ 100", "amend 1 quantity 3"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([], ["list Y tick 1 lot 1 min 1 max 1000"]),
        (["list Y tick 1 lot 1 min 1 max 1000"], ["list Y tick 1 lot 2 min 1 max 1000"]),
        (["list Y tick 1 lot 1 min 1 max 1000"], ["list Y tick 2 lot 1 min 1 max 1000"]),
        ([], ["list X tick 1 lot 1 min 2 max 1000"]),
        ([], ["list X tick 1 lot 1 min 1 max 999"]),
        (["sell 5 @ 100"], ["buy 5 @ 100"]),
        (["sell 5 @ 100"], ["sell 6 @ 100"]),
        (["sell 5 @ 100"], ["sell 5 @ 101"]),
        (["sell 5 @ 100"], ["sell 5 @ 100 by anna"]),
        (["sell 5 @ 100"], ["sell 5 @ 100 as one"]),
        (["sell 5 @ 100"], ["sell 5 @ 100 post-only"]),
        (["sell 4 @ 100"], ["sell 5 @ 100", "buy 1 @ 100"]),
        (["sell 4 @ 100", "buy 1 @ 99 IOC"], ["sell 5 @ 100", "amend 1 quantity 4"]),
        (["sell 5 @ 100", "buy 2 @ 100", "buy 1 @ 100"], ["sell 5 @ 100", "buy 3 @ 100", "buy 1 @ 99 IOC"]),
        ([], ["buy 5 @ 100 IOC"]),
        (["buy 5 @ 100 IOC"], ["buy 5 @ 100 IOC as one"]),
        (["buy 5 @ 100 IOC as one"], ["buy 5 @ 100 IOC as two"]),
        (["buy 5 @ 100 IOC as one"], ["buy 5 @ 100 IOC as one by anna"]),
    ],
)
def test_every_difference_is_noticed(one: list[str], other: list[str]) -> None:
    assert hash_after(one) != hash_after(other)


def test_the_order_in_a_queue_is_noticed() -> None:
    """The same two orders, the other way round: 1 came back to its quantity by leaving its place."""
    kept = ["sell 6 @ 100", "sell 5 @ 100", "amend 1 quantity 5"]
    moved = ["sell 4 @ 100", "sell 5 @ 100", "amend 1 quantity 5"]
    assert hash_after(kept) != hash_after(moved)


def test_the_order_of_client_order_ids_is_noticed() -> None:
    """The oldest is forgotten first, so which one is the oldest matters. Orders 1 and 2 are gone in both."""
    ahead, behind = "buy 1 @ 1 IOC as one", "buy 1 @ 1 IOC as two"
    assert hash_after([ahead, behind]) != hash_after([behind, ahead])


def test_the_price_paid_is_noticed() -> None:
    """It comes out when the order is canceled: the same fills at another price."""
    at_100 = ["sell 1 @ 100", "sell 4 @ 101", "buy 5 @ 90", "amend 3 price 100", "amend 3 price 90"]
    at_99 = ["sell 1 @ 99", "sell 4 @ 101", "buy 5 @ 90", "amend 3 price 100", "amend 3 price 90"]
    assert hash_after(at_100) != hash_after(at_99)


def test_the_time_of_an_order_is_noticed() -> None:
    assert hash_after(["sell 5 @ 100"]) != hash_after(["sell 5 @ 100"], time=START + 1)
