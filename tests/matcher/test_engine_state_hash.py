"""The state hash names the whole state: whatever can change a later answer changes it, and nothing else does."""

import pytest

from contracts.messages import DefineInstrument, Outcome, PlaceOrder, Refusal
from matcher.engine import Engine
from tests.matcher.limits import set_limit
from tests.matcher.story import START
from tests.matcher.story_commands import instant, parse

EVERYTHING = [
    "sell 5 @ 100 by anna as one",
    "buy 2 @ 100",
    "sell 5 @ 100 show 2",
    "buy 5 @ 99 post-only",
    "buy 1 market",
    "buy 5 stop 105 DAY",
    "cancel all of anna after 30",
    "limits anna open 5 on X position 100",
    "kill-switch ben engaged",
    "list X tick 1 lot 1 min 1 max 1000 lowest 90 band 5000",
]


def engine_after(lines: list[str], *, time: int = START) -> Engine:
    engine = Engine()
    engine.apply(DefineInstrument("X", "1", "1", 1, 1000), START)
    for line in lines:
        words = line.split()
        time = instant(words[1]) if words[0] == "clock" else time
        assert isinstance(engine.apply(parse(words), time), Outcome), line
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
    engine.stops("X")
    engine.position("anna", "X")
    engine.open_orders("anna")
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


TRADED_AT_100 = ["sell 1 @ 100 by ben", "buy 1 @ 100 by anna"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["buy 5 stop 105"], []),
        (["buy 5 stop 105"], ["buy 5 stop 106"]),
        (["buy 5 stop 105"], ["buy 6 stop 105"]),
        (["buy 5 stop 105"], ["buy 5 stop 105 IOC"]),
        (["buy 5 stop 105"], ["buy 5 stop 105 protect 110"]),
        (["buy 5 @ 110 stop 105"], ["buy 5 @ 111 stop 105"]),
        (["buy 5 @ 110 stop 105"], ["buy 5 @ 110 show 2 stop 105"]),
        (["buy 5 stop 104", "amend 1 stop 105"], ["buy 5 stop 105", "amend 1 quantity 4"]),
        (["buy 9 @ 100 show 2"], ["buy 9 @ 100 show 3"]),
        (["buy 9 @ 100 show 2"], ["buy 8 @ 100 show 2"]),
        (["buy 9 @ 100 GTD until 10:00:00"], ["buy 9 @ 100 GTD until 10:00:01"]),
        (["buy 9 @ 100 DAY"], ["buy 9 @ 100"]),
        (["buy 9 @ 100"], ["buy 9 @ 100 self-trade cancel_oldest"]),
        (["cancel all of anna after 30"], []),
        (["cancel all of anna after 30"], ["cancel all of anna after 31"]),
        (["cancel all of anna after 30"], ["cancel all of ben after 30"]),
        (["kill-switch anna engaged"], []),
        (["limits anna open 5"], []),
        (["limits anna open 5"], ["limits anna open 6"]),
        (["limits anna on X quantity 5"], ["limits anna on X notional 5"]),
        (["limits anna on X quantity 5"], ["limits anna on X position 5"]),
        (["status X halted"], []),
        (["status X halted"], ["status X cancel_only"]),
        (["status X post_only"], ["status X delisted"]),
        (["list X tick 1 lot 1 min 1 max 1000 lowest 5"], []),
        (["list X tick 1 lot 1 min 1 max 1000 highest 5"], []),
        (["list X tick 1 lot 1 min 1 max 1000 band 5"], []),
        (TRADED_AT_100, ["sell 1 @ 101 by ben", "buy 1 @ 101 by anna"]),
        (TRADED_AT_100, ["sell 1 @ 100 by anna", "buy 1 @ 100 by ben"]),
        (TRADED_AT_100, ["sell 1 @ 100 by anna", "buy 1 @ 100 by anna"]),
        (["buy 5 @ 100 IOC as one"], ["buy 6 @ 100 IOC as one"]),
    ],
)
def test_every_difference_of_the_later_rules_is_noticed(one: list[str], other: list[str]) -> None:
    assert hash_after(one) != hash_after(other)


@pytest.mark.parametrize(
    ("armed", "settled"),
    [
        (["cancel all of anna after 30", "cancel all of anna after 0"], []),
        (["kill-switch anna engaged", "kill-switch anna released"], []),
        (["limits anna open 5", "limits anna"], []),
        (["status X halted", "status X trading"], []),
        (["cancel all of anna after 30", "clock 10:00:00"], []),
    ],
)
def test_what_is_undone_leaves_no_trace(armed: list[str], settled: list[str]) -> None:
    assert hash_after(armed) == hash_after(settled)


def test_how_much_an_iceberg_shows_is_noticed() -> None:
    """Both are 8 with 1 filled; the one that moved shows a full slice again."""
    kept = ["buy 9 @ 100 show 4", "sell 1 @ 100", "amend 1 quantity 8"]
    moved = ["buy 7 @ 100 show 4", "sell 1 @ 100", "amend 1 quantity 8"]
    assert [engine_after(lines).resting("X")[0][3] for lines in (kept, moved)] == [3, 4]
    assert hash_after(kept) != hash_after(moved)


def test_the_order_of_stops_is_noticed() -> None:
    """The same two stops, the other way round."""
    kept = ["buy 6 stop 105", "buy 5 stop 105", "amend 1 quantity 5"]
    moved = ["buy 4 stop 105", "buy 5 stop 105", "amend 1 quantity 5"]
    assert hash_after(kept) != hash_after(moved)


def test_the_commit_of_a_client_order_id_is_noticed() -> None:
    """A repetition names it."""
    hashes = set()
    for sequence in (2, 3):
        engine = engine_after([])
        command = parse(["buy", "5", "@", "100", "as", "one"])
        engine.apply(command, START, sequence)
        hashes.add(engine.state_hash())
        assert isinstance(command, PlaceOrder)
        assert not isinstance(engine.apply(command, START, 9), Outcome | Refusal)
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("lines", "last"),
    [
        (["buy 1 @ 100", "buy 1 @ 99"], "cancel all"),
        (["sell 1 @ 105", "sell 5 @ 106", "buy 1 stop 105", "buy 1 stop 105"], "buy 1 @ 105"),
    ],
)
def test_what_is_left_to_do_is_noticed(lines: list[str], last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limit(monkeypatch, "max_events", 1)
    engine = engine_after([*lines, last])
    hashes = [engine.state_hash()]
    while engine.unfinished:
        engine.apply(parse(["continue"]), START)
        hashes.append(engine.state_hash())
    assert len(set(hashes)) == len(hashes) == 3


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
