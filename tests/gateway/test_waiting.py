"""The line of orders that wait for room; whole gateways have it in test_orders_that_wait.py.

Patience is without end where something is let in, and nearly none where it is not: so no outcome depends on the clock.
"""

import asyncio
import random

import pytest

import gateway.waiting
from entry.admission import Admission, Kind
from gateway.waiting import WaitingLine

LONG, SHORT = 60.0, 0.02


def filled(room: int) -> Admission:
    admission = Admission(room)
    while admission.enter(Kind.ORDER):
        pass
    return admission


class Waiter:
    """Joins the line, and does what it must when it is told that there is room."""

    def __init__(self, line: WaitingLine, admission: Admission, told: "list[tuple[Waiter, bool]]") -> None:
        self.admission = admission
        self.told = told
        self.over = asyncio.Event()
        self.has_joined = line.join(self._on_turn, 100)

    def _on_turn(self, has_room: bool) -> None:
        if has_room:
            assert self.admission.enter(Kind.ORDER)
        self.told.append((self, has_room))
        self.over.set()


async def test_room_goes_to_those_who_wait_first_come_first_served() -> None:
    admission = filled(3)
    line = WaitingLine(admission, LONG)
    assert line.is_needed
    told: list[tuple[Waiter, bool]] = []
    first, second, third = (Waiter(line, admission, told) for _ in range(3))
    admission.leave(Kind.ORDER)
    assert told == [(first, True)]
    admission.leave(Kind.CANCEL)
    assert told == [(first, True), (second, True)], "of the same room"
    admission.enter(Kind.READ)
    admission.leave(Kind.READ)
    assert len(told) == 2, "reads have a room of their own"
    admission.leave(Kind.ORDER, 3)
    assert told[2:] == [(third, True)]
    assert not line.is_needed


async def test_nobody_overtakes_those_who_wait() -> None:
    admission = filled(16)
    line = WaitingLine(admission, LONG)
    told: list[tuple[Waiter, bool]] = []
    waiter = Waiter(line, admission, told)
    admission.leave(Kind.ORDER, 2)
    assert not told, "an eighth is left to those who cannot wait"
    assert admission.has_room(Kind.ORDER)
    assert line.is_needed, "for whoever can"
    admission.leave(Kind.ORDER)
    assert told == [(waiter, True)]
    assert admission.at_work(Kind.ORDER) == 14


async def test_who_has_waited_for_long_enough_is_told_so() -> None:
    admission = filled(1)
    line = WaitingLine(admission, SHORT)
    told: list[tuple[Waiter, bool]] = []
    for _ in range(3):
        first = Waiter(line, admission, told)
        await asyncio.sleep(SHORT / 2)  # so that the second one's time is over later
        second = Waiter(line, admission, told)
        await asyncio.wait_for(second.over.wait(), 30)
        assert told == [(first, False), (second, False)]
        told.clear()
    assert len(line) == 0


async def test_nobody_waits_where_waiting_is_not_wanted_or_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    admission = filled(1)
    assert not WaitingLine(admission, 0).join(print, 1)
    monkeypatch.setattr(gateway.waiting, "MAX_BYTES", 250)
    line = WaitingLine(admission, LONG)
    told: list[tuple[Waiter, bool]] = []
    waiters = [Waiter(line, admission, told) for _ in range(3)]
    assert [each.has_joined for each in waiters] == [True, True, False]
    admission.leave(Kind.ORDER)
    assert told == [(waiters[0], True)]
    assert Waiter(line, admission, told).has_joined


async def test_whatever_comes_and_goes_the_room_is_kept_and_nobody_is_forgotten() -> None:
    """Goal: no more at work than may be, none waits while there is room. Method: random arrivals and departures."""
    chance, room = random.Random(7), 20
    admission = Admission(room)
    line = WaitingLine(admission, LONG)
    told: list[tuple[Waiter, bool]] = []
    waiters, others = [], 0
    for _ in range(5_000):
        if chance.random() < 0.5:
            if line.is_needed:
                waiters.append(Waiter(line, admission, told))
            else:
                others += admission.enter(Kind.ORDER)
        elif admission.at_work(Kind.ORDER):
            admission.leave(Kind.ORDER)
        assert admission.at_work(Kind.ORDER) <= room
        assert not len(line) or admission.at_work(Kind.ORDER) >= room - room // 8
    while admission.at_work(Kind.ORDER):
        admission.leave(Kind.ORDER)
    assert told == [(waiter, True) for waiter in waiters]
    assert others
