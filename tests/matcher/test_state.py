"""A state that was dumped and loaded is the same state.

Goal: nothing that the engine goes by is lost on the way to a snapshot and back.
Method: random flows over all commands, with the engine's limits small and as they are. At random moments, also between
a command and its Continue, the engine is dumped and loaded; the loaded one and the one that it was taken from must
give the same bytes for everything that follows, have the same state hash and hold every invariant.
"""

from random import Random

import msgspec
import pytest

from contracts.commits import VERSION, Chain
from matcher import state
from matcher.book import Order
from matcher.engine import Engine
from matcher.replay import Replay
from matcher.state import Core, Header, NotThisState, dump, dump_parts, load
from tests.matcher.flows import PROFILES, SMALL, Flow, Profile
from tests.matcher.golden import PROFILE as GOLDEN
from tests.matcher.golden import TAKEN_AFTER, messages
from tests.matcher.limits import set_limits
from tests.matcher.reference import ReferenceEngine

COMMANDS = 1_000
encode = msgspec.msgpack.encode


def through_bytes(engine: Engine, sequence: int = 7) -> Engine:
    loaded = load(dump(Replay(engine, Chain(sequence, bytes(32), "epoch", 3, 5))))
    assert loaded.chain == Chain(sequence, bytes(32), "epoch", 3, 5)
    loaded.engine.check()
    assert loaded.engine.state_hash() == engine.state_hash()
    assert loaded.engine.unfinished == engine.unfinished
    assert loaded.engine.next_due == engine.next_due
    return loaded.engine


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_loaded_engine_goes_on_with_the_same_bytes(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, profile.limits)
    monkeypatch.setattr(state, "_TOGETHER", 3)  # parts in plenty
    random = Random(f"state {profile.name}")
    reference, steady, often, once = ReferenceEngine(profile.limits), Engine(), Engine(), Engine()
    flow = Flow(profile, reference, random)
    loads = unfinished = 0
    for number, command in enumerate(flow.placed(2 * COMMANDS)):
        if number == COMMANDS:
            once = through_bytes(steady)
        if random.random() < (0.3 if steady.unfinished else 0.01):
            often = through_bytes(often)
            loads += 1
            unfinished += steady.unfinished
        reference.apply(command, flow.time, number)
        expected = encode(steady.apply(command, flow.time, number))
        assert encode(often.apply(command, flow.time, number)) == expected
        assert number < COMMANDS or encode(once.apply(command, flow.time, number)) == expected
    assert once.state_hash() == often.state_hash() == steady.state_hash()
    assert loads > 10
    assert unfinished > 3 or profile.limits != SMALL


# What cannot be loaded


def rich(monkeypatch: pytest.MonkeyPatch) -> Replay:
    """In the middle of everything: orders still to be canceled, others resting, stops, expiries, switches and ids."""
    set_limits(monkeypatch, GOLDEN.limits)
    replay = Replay()
    for sequence, payload in enumerate(list(messages(VERSION))[: TAKEN_AFTER[-1]], 1):
        replay.apply(sequence, payload)
    assert replay.engine.unfinished
    return replay


def framed(*parts: object) -> bytes:
    encoded = [encode(part) for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def test_the_order_of_the_parts_within_a_body_is_what_load_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    header, core, *others = dump_parts(rich(monkeypatch))
    with pytest.raises(NotThisState, match="does not begin with a header"):
        load(core + header + b"".join(others))
    with pytest.raises(NotThisState, match="a second header"):
        load(header + core + header + b"".join(others))
    with pytest.raises(NotThisState, match="contradicts itself"):
        load(header + b"".join(others) + core)  # orders before the books that they rest in
    with pytest.raises(NotThisState, match="does not begin with a header"):
        load(b"")


def test_a_part_that_is_missing_or_there_twice_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    header, *parts = dump_parts(rich(monkeypatch))
    assert load(b"".join((header, *parts))).engine.unfinished
    for number in range(len(parts)):
        with pytest.raises(NotThisState):
            load(b"".join((header, *parts[:number], *parts[number + 1 :])))
        with pytest.raises(NotThisState):
            load(b"".join((header, *parts[: number + 1], *parts[number:])))


def test_a_body_that_was_cut_is_noticed_wherever(monkeypatch: pytest.MonkeyPatch) -> None:
    body = dump(rich(monkeypatch))
    for end in range(0, len(body), 7):
        with pytest.raises(NotThisState):
            load(body[:end])


def test_a_changed_byte_is_noticed_even_without_the_hash_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state has a hash of its own. What it does not cover is what makes no difference, and where it was taken."""
    replay = rich(monkeypatch)
    header, *parts = dump_parts(replay)
    body, random = b"".join(parts), Random(7)
    for _ in range(400):
        changed = bytearray(body)
        changed[random.randrange(len(body))] ^= 1 << random.randrange(8)
        try:
            loaded = load(header + bytes(changed))
        except NotThisState:
            continue
        assert loaded.engine.state_hash() == replay.engine.state_hash()
        loaded.engine.check()


def test_a_state_of_another_journal_version_is_refused() -> None:
    header = Header(VERSION + 1, 1, bytes(32), "epoch", 1, 1, bytes(32), 0, 0)
    with pytest.raises(NotThisState, match=f"of journal version {VERSION + 1}, this program writes {VERSION}"):
        load(framed(header))


def test_a_number_that_its_header_does_not_say_is_refused() -> None:
    core = Core(0, 0, (), (), ())
    for orders, ids, why in ((1, 0, "holds 0 open orders, its header says 1"), (0, 1, "as many client order ids")):
        with pytest.raises(NotThisState, match=why):
            load(framed(Header(VERSION, 1, bytes(32), "epoch", 1, 1, Engine().state_hash(), orders, ids), core))


def test_an_empty_state_can_be_dumped_too() -> None:
    assert through_bytes(Engine()).state_hash() == Engine().state_hash()


def test_an_order_restored_has_the_same_state(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = rich(monkeypatch).engine._open.values()
    assert len(orders) > 5
    for order in orders:
        assert Order.restored(order.state(), order.hidden, order.holding).state() == order.state()
