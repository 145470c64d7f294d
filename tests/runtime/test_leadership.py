"""When the answer of a stream's leader may be believed. Real nodes that are cut off: tests/faults/test_cluster.py."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from nats.js.api import ClusterInfo, PeerInfo, StreamConfig, StreamInfo, StreamState

from runtime import leadership
from runtime.leadership import certain_stream_info, is_followed

SECOND = 1_000_000_000


def info(*heard: int | None, leader: str | None = "one", last: int = 5) -> StreamInfo:
    """Of a leader whose followers answered so many nanoseconds ago."""
    cluster = ClusterInfo(leader=leader, replicas=[PeerInfo(active=active) for active in heard])
    return StreamInfo(config=StreamConfig(), state=StreamState(0, 0, 1, last, 0), cluster=cluster)


class Connection:
    """Answers what `answer` says, and counts."""

    def __init__(self, answer: Callable[[int], StreamInfo], time: "Time") -> None:
        self._answer = answer
        self._time = time
        self.asked = 0

    def jsm(self) -> "Connection":
        return self

    async def stream_info(self, _: str) -> StreamInfo:
        self.asked += 1
        self._time.seconds += 1
        return self._answer(self.asked)


class Time:
    """Each answer takes a second, without anybody waiting."""

    seconds = 0.0


Ask = Callable[[Callable[[int], StreamInfo]], Awaitable[tuple[StreamInfo, int]]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """What is believed in the end of these answers, and how many it took."""
    time = Time()
    monkeypatch.setattr(leadership, "steady", lambda: time.seconds)
    monkeypatch.setattr(leadership, "_RETRY_SECONDS", 0)

    async def ask(answer: Callable[[int], StreamInfo]) -> tuple[StreamInfo, int]:
        connection: Any = Connection(answer, time)
        async with asyncio.timeout(60):
            return await certain_stream_info(connection, "S"), connection.asked

    return ask


async def test_a_server_without_replicas_is_believed_at_once(ask: Ask) -> None:
    alone = StreamInfo(config=StreamConfig(), state=StreamState(0, 0, 1, 5, 0), cluster=None)
    assert (await ask(lambda _: alone))[1] == 1
    assert (await ask(lambda _: info()))[1] == 1


async def test_a_leader_is_believed_when_one_of_two_has_answered_it_since_and_it_still_leads_then(ask: Ask) -> None:
    found, asked = await ask(lambda _: info(1, 60 * SECOND))
    assert found.state.last_seq == 5
    assert asked == 3  # at the first there is no "since"; the third shows that the second was no last word


async def test_what_it_says_in_the_end_is_what_counts(ask: Ask) -> None:
    found, _ = await ask(lambda asked: info(1, 1, last=asked))
    assert found.state.last_seq == 3


async def test_two_leaders_one_after_the_other_prove_nothing(ask: Ask) -> None:
    _, asked = await ask(lambda asked: info(1, 1, leader="old" if asked < 4 and asked % 2 else "new"))
    assert asked == 5


@pytest.mark.parametrize(
    "stale",
    [info(60 * SECOND, 60 * SECOND), info(0, None), info(1, 1, leader=None), info(1, 60 * SECOND, 60 * SECOND, None)],
    ids=["not since", "never", "no leader", "one of four"],
)
async def test_who_has_lost_the_others_is_not_believed(ask: Ask, stale: StreamInfo) -> None:
    assert not is_followed(stale)
    with pytest.raises(TimeoutError, match="has lost the other nodes"):
        await ask(lambda _: stale)


def test_who_was_answered_lately_is_followed() -> None:
    assert is_followed(info(SECOND, 60 * SECOND))
    assert is_followed(info())
