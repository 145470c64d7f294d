"""What order entry counts of itself, beyond what its tests look at anyhow."""

import asyncio
from typing import Any

import pytest

from contracts.messages import CancelOrder, Outcome
from entry.admission import Admission, Kind
from entry.matcher_client import MatcherClient
from entry.measures import of_admission, of_matcher_client
from entry.problems import Declined
from runtime.metrics import Histogram, Measure
from runtime.tracing import current
from tests.entry.test_matcher_client import PLACE, Silent, answer


def told(measures: Any) -> dict[tuple[str, ...], Any]:
    """By name and labels."""
    found: list[Measure] = list(measures)
    return {(each.metric.name.removeprefix("pricetime_entry_"), *each.labels): each.value for each in found}


def test_refusals_are_counted_over_all_windows() -> None:
    admission = Admission(1)
    assert admission.enter(Kind.ORDER)
    for second in range(3):
        assert not admission.enter(Kind.ORDER)
        admission.refuse(Kind.READ)
        admission.retry_after(10.0 * second)
    found = told(of_admission(admission))
    assert found["refused_total", "trading"] == 3
    assert found["refused_total", "reading"] == 3
    assert found["refused_total", "storing"] == 0
    assert found["at_work", "trading"] == 1
    assert found["room", "reading"] == 1


async def test_commands_without_an_answer_are_counted_apart_from_those_that_nobody_took() -> None:
    connection: Any = Silent([])
    client = MatcherClient(connection, 5.0, max_waiting=10)
    await client.start()
    sent = asyncio.create_task(client.submit_all([PLACE, PLACE]))
    await asyncio.sleep(0)
    connection.is_connected = False
    unsent = asyncio.create_task(client.submit_all([PLACE, CancelOrder(1), PLACE]))
    await asyncio.sleep(0)
    assert told(of_matcher_client(client))["waiting_commands",] == 5
    client._give_up(float("inf"))
    codes = [each.problem.code for each in await sent + await unsent if isinstance(each, Declined)]
    assert codes == ["result_unknown"] * 2 + ["matcher_unavailable"] * 3
    found = told(of_matcher_client(client))
    assert found["results_unknown_total",] == 2
    assert found["unavailable_total",] == 3
    assert found["waiting_commands",] == 0
    assert ("round_trip_seconds",) not in found, "nobody wanted to know"


async def test_how_long_answers_take_is_measured_if_somebody_wants_to_know() -> None:
    connection: Any = Silent([])
    client = MatcherClient(connection, 5.0, max_waiting=10)
    client.round_trips = Histogram()
    await client.start()
    deciding = asyncio.create_task(client.submit(PLACE))
    await asyncio.sleep(0)
    answer(client, connection.sent[0], Outcome(()))
    await deciding
    found = told(of_matcher_client(client))["round_trip_seconds",]
    assert found.count == 1
    assert 0 <= found.sum < 60


class Span:
    """As much of one as a header needs."""

    def __init__(self, number: int) -> None:
        self.trace_id, self.span_id, self.trace_flags = number, number, 1

    def get_span_context(self) -> "Span":
        return self


class Noting(Silent):
    """Remembers the headers."""

    async def publish(self, _: str, __: bytes, reply: str, headers: Any = None) -> None:
        self.sent.append(headers)


@pytest.mark.parametrize("is_traced", [True, False])
async def test_the_matcher_is_told_which_traces_a_request_belongs_to(is_traced: bool) -> None:
    connection: Any = Noting([])
    client = MatcherClient(connection, 5.0, max_waiting=10)
    client.is_traced = is_traced
    await client.start()
    running = asyncio.create_task(client.run())

    async def place(number: int | None) -> None:
        current.set(None if number is None else Span(number))  # type: ignore[arg-type]
        await client.submit(PLACE)

    alone = asyncio.create_task(place(1))
    await asyncio.sleep(0)
    others = [asyncio.create_task(place(number)) for number in (None, 2, 3)]
    for _ in range(10):
        await asyncio.sleep(0)
    traceparents = [f"00-{number:032x}-{number:016x}-01" for number in range(4)]
    expected = [{"traceparent": traceparents[1]}, {"traceparent": traceparents[2], "traceparents": traceparents[3]}]
    assert connection.sent == (expected if is_traced else [None, None])
    for task in (alone, *others, running):
        task.cancel()
    await asyncio.gather(alone, *others, running, return_exceptions=True)
