"""Every order by WebSocket is timed and its refusals counted, whichever way it goes."""

from typing import Any

import pytest

from broadcaster.live import Live
from broadcaster.observed import ObservedTrading
from broadcaster.protocol import PlainCancel, PlainPlace, Request, read_plain, read_request
from contracts.keys import OPEN, Access
from contracts.messages import CancelOrder, OrderCommand
from contracts.views import Instrument
from entry.admission import Admission
from entry.exchange import Told
from entry.problems import Declined, declined
from runtime.tracing import current

GOLD = Instrument("GOLD", "0.01", "0.001", 1, 10)


class Desk:
    """An exchange that declines everything: at once, or when it is asked to tell."""

    def __init__(self) -> None:
        self.at_once = False
        self.spans: list[object] = []
        self.telling: list[Told] = []

    def begin(self, command: OrderCommand, instrument: Instrument | None, access: Access, tell: Told) -> None:
        self.spans.append(current.get())
        if self.at_once:
            raise declined("overloaded", "no")
        self.telling.append(tell)

    async def cancel_named(self, *_: object) -> Any:
        self.spans.append(current.get())
        raise declined("not_found", "no")

    def plain_order(self, *_: object) -> Any:
        return CancelOrder(1), GOLD


class Span:
    def __init__(self, name: str) -> None:
        self.name = name
        self.ended = False

    def end(self) -> None:
        self.ended = True


class Tracer:
    def __init__(self) -> None:
        self.begun: list[Span] = []

    def begin(self, name: str, **_: object) -> Span:
        self.begun.append(Span(name))
        return self.begun[-1]


def trading_at(desk: Any) -> ObservedTrading:
    return ObservedTrading(Live(), desk, None, 0, Admission(10))


async def test_a_plain_request_is_timed_until_it_is_told() -> None:
    desk, tracer = Desk(), Tracer()
    trading: Any = trading_at(desk)
    trading.tracing = tracer
    plain = read_plain(b'{"op":"cancel","order_id":5}')
    assert isinstance(plain, PlainCancel | PlainPlace)
    command, instrument = trading.plain_command(plain, OPEN)
    answers: list[object] = []
    trading.begin(command, instrument, OPEN, answers.append)
    assert desk.spans == tracer.begun
    assert current.get() is None
    assert [span.ended for span in tracer.begun] == [False]
    desk.telling[0](declined("unknown_order", "no"))
    assert [type(each) for each in answers] == [Declined]
    assert [span.ended for span in tracer.begun] == [True]
    assert trading._seconds["cancel"].count == 1
    assert trading._refused["unknown_order"] == 1


async def test_one_that_is_refused_at_once_is_counted_as_well() -> None:
    desk = Desk()
    desk.at_once = True
    trading = trading_at(desk)
    with pytest.raises(Declined):
        trading.begin(CancelOrder(5), None, OPEN, lambda _: None)
    assert trading._refused["overloaded"] == 1
    assert trading._seconds["cancel"].count == 1


async def test_so_is_one_that_goes_the_general_way() -> None:
    desk = Desk()
    trading: Any = trading_at(desk)
    trading.tracing = Tracer()
    request = read_request(b'{"op":"cancel","order_id":"5"}')
    assert isinstance(request, Request)
    with pytest.raises(Declined):
        await trading.carry_out(request, OPEN)
    assert trading._refused["not_found"] == 1
    assert trading._seconds["cancel"].count == 1
    assert desk.spans == trading.tracing.begun
    assert trading.tracing.begun[0].ended
