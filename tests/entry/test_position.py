"""Waiting until the readable history has what a client was told."""

import asyncio

from entry.position import Position


async def test_nothing_to_wait_for() -> None:
    position = Position(reached=5)
    assert await position.wait(5, 0)


async def test_the_announcement_ends_the_wait() -> None:
    position = Position()
    waiting = [asyncio.create_task(position.wait(sequence, 10)) for sequence in (1, 2, 3)]
    await asyncio.sleep(0)
    position.announce(2)
    assert await waiting[0]
    assert await waiting[1]
    assert not waiting[2].done()
    position.announce(7)
    assert await waiting[2]


async def test_the_wait_is_bounded() -> None:
    position = Position()
    assert not await position.wait(1, 0.001)
    position.announce(1)  # nobody waits any more
    assert await position.wait(1, 0)


def test_what_was_told_never_goes_back() -> None:
    position = Position()
    position.tell(5)
    position.tell(3)
    assert position.told == 5


def test_what_was_reached_goes_back_after_a_restore() -> None:
    position = Position()
    position.announce(5)
    position.announce(3)
    assert position.reached == 3
