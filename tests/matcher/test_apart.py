"""The hash of a large state is computed by a child, which leaves nothing behind."""

import asyncio
import os
import signal

import psutil
import pytest

import matcher.apart
from matcher.apart import Apart, begin_hash, hash_begun
from matcher.engine import Engine
from tests.support.journals import random_journal


@pytest.fixture
def engine() -> Engine:
    return random_journal(seed=1, commits=10, commands_per_commit=5).engine


@pytest.mark.parametrize("soon", [0, 1_000_000])
async def test_it_is_that_of_the_state_when_it_was_begun(
    engine: Engine, soon: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matcher.apart, "SOON_HASHED", soon)
    before, descriptors, children = engine.state_hash(), len(os.listdir("/proc/self/fd")), psutil.Process().children()
    begun = begin_hash(engine)
    assert isinstance(begun, Apart) is (soon == 0)
    engine._last_order_id += 1
    assert engine.state_hash() != before
    assert await hash_begun(begun) == before
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert psutil.Process().children() == children


async def test_of_a_child_that_is_killed_nothing_comes(engine: Engine) -> None:
    apart = Apart(lambda: signal.pause() or b"")
    apart.begin()
    os.kill(apart._child, signal.SIGKILL)
    assert await apart.result() == b""


async def test_a_child_nobody_waits_for_any_more_is_ended() -> None:
    children = psutil.Process().children()
    apart = Apart(lambda: signal.pause() or b"")
    apart.begin()
    waiting = asyncio.create_task(apart.result())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert psutil.Process().children() == children
