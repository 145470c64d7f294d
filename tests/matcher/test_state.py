"""A state that was dumped and loaded is the same state.

Goal: nothing that the engine goes by is lost on the way to a snapshot and back.
Method: random flows over all commands, with the engine's limits small and as they are. At random moments, also between
a command and its Continue, the engine is dumped and loaded; the loaded one and the one that it was taken from must
give the same bytes for everything that follows, have the same state hash and hold every invariant.
"""

from random import Random

import msgspec
import pytest

from contracts.commits import Chain
from matcher import state
from matcher.engine import Engine
from matcher.replay import Replay
from matcher.state import dump, load
from tests.matcher.flows import PROFILES, SMALL, Flow, Profile
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
