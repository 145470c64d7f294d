"""Writing a commit, against a connection that says what the test wants said: a write ends only in certainty."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from nats.aio.client import Client
from nats.errors import ConnectionClosedError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NotFoundError, ServiceUnavailableError

import matcher.journal_writer
from contracts.subjects import JOURNAL, JOURNAL_STREAM
from matcher.journal_writer import WRONG_LAST_SEQUENCE, Fenced, JournalCut, confirm_end, fence, write_commit

OURS, OTHERS = b"our commit", b"another matcher's commit"
SEQUENCE = 7

Step = Callable[["ScriptedConnection"], bytes]
"""What becomes of one publish: its acknowledgement, or the exception it ends with."""


@dataclass
class ScriptedConnection:
    """Stands in for nats-py's client: each publish takes the next step of the script. `stored` is the stream."""

    script: list[Step]
    stored: dict[int, bytes] = field(default_factory=lambda: {SEQUENCE - 1: b"the one before"})
    is_connected: bool = True
    published: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)
    reads: list[Exception] = field(default_factory=list)
    """What the next questions about the stream end with."""

    async def request(self, subject: str, payload: bytes, timeout: float, headers: dict[str, str]) -> Any:
        assert subject == JOURNAL
        assert timeout > 0
        self.published.append((payload, headers))
        return Stored(self.script.pop(0)(self))

    def jsm(self, timeout: float = 5) -> "ScriptedConnection":
        assert timeout > 0
        return self

    async def get_msg(self, stream: str, sequence: int) -> "Stored":
        assert stream == JOURNAL_STREAM
        if self.reads:
            raise self.reads.pop(0)
        if sequence not in self.stored:
            raise NotFoundError
        return Stored(self.stored[sequence])

    async def stream_info(self, stream: str) -> Any:
        assert stream == JOURNAL_STREAM
        if self.reads:
            raise self.reads.pop(0)
        if not self.stored:
            raise NotFoundError
        return StreamInfo(State(max(self.stored)))


@dataclass
class Stored:
    data: bytes


@dataclass
class State:
    last_seq: int


@dataclass
class StreamInfo:
    """Of a stream without replicas."""

    state: State
    cluster: None = None


def acknowledged(connection: ScriptedConnection) -> bytes:
    connection.stored[SEQUENCE] = OURS
    return json.dumps({"stream": JOURNAL_STREAM, "seq": SEQUENCE}).encode()


def stored_but_the_acknowledgement_is_lost(connection: ScriptedConnection) -> bytes:
    connection.stored[SEQUENCE] = OURS
    raise NatsTimeoutError


def lost_on_the_way(_: ScriptedConnection) -> bytes:
    raise NatsTimeoutError


def no_responders(_: ScriptedConnection) -> bytes:
    raise NoRespondersError


def closed(_: ScriptedConnection) -> bytes:
    raise ConnectionClosedError


def unreadable(_: ScriptedConnection) -> bytes:
    return b"+OK"


def error(code: int, description: str) -> Step:
    return lambda _: json.dumps({"error": {"code": 503, "err_code": code, "description": description}}).encode()


def wrong_last_sequence(_: ScriptedConnection) -> bytes:
    return json.dumps({"error": {"code": 400, "err_code": WRONG_LAST_SEQUENCE, "description": "wrong last"}}).encode()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matcher.journal_writer, "_RETRY_SECONDS", 0)


async def write(*script: Step, stored: dict[int, bytes] | None = None) -> ScriptedConnection:
    connection = ScriptedConnection(list(script))
    if stored is not None:
        connection.stored = stored
    await write_commit(cast(Client, connection), SEQUENCE, OURS)
    return connection


def assert_same_bytes_and_fence(connection: ScriptedConnection, times: int) -> None:
    assert connection.published == [(OURS, {"Nats-Expected-Last-Sequence": str(SEQUENCE - 1)})] * times


def test_the_fence_expects_the_commit_before() -> None:
    assert fence(1) == {"Nats-Expected-Last-Sequence": "0"}


async def test_an_acknowledged_commit_is_published_once() -> None:
    assert_same_bytes_and_fence(await write(acknowledged), 1)


async def test_a_lost_acknowledgement_is_resolved_by_the_same_bytes() -> None:
    connection = await write(stored_but_the_acknowledgement_is_lost, wrong_last_sequence)
    assert_same_bytes_and_fence(connection, 2)


async def test_a_lost_commit_is_sent_again_until_it_is_stored() -> None:
    assert_same_bytes_and_fence(await write(lost_on_the_way, lost_on_the_way, acknowledged), 3)


async def test_another_commit_at_our_sequence_is_the_end() -> None:
    with pytest.raises(Fenced) as caught:
        await write(wrong_last_sequence, stored={SEQUENCE - 1: b"", SEQUENCE: OTHERS})
    assert caught.value.sequence == SEQUENCE
    assert "another matcher" in str(caught.value)


async def test_another_commit_after_a_lost_acknowledgement_is_the_end() -> None:
    with pytest.raises(Fenced):
        await write(lost_on_the_way, wrong_last_sequence, stored={SEQUENCE - 1: b"", SEQUENCE: OTHERS, 8: OTHERS})


async def test_our_commit_is_found_even_when_another_matcher_has_gone_on() -> None:
    """It took over right after our commit: that one is durable, and the next write will find the other."""
    stored = {SEQUENCE - 1: b"", SEQUENCE: OURS, SEQUENCE + 1: OTHERS}
    await write(lost_on_the_way, wrong_last_sequence, stored=stored)


@pytest.mark.parametrize(
    "trouble",
    [no_responders, closed, unreadable, error(10077, "maximum bytes exceeded"), error(10008, "system not available")],
    ids=["no responders", "closed", "unreadable", "stream full", "unavailable"],
)
async def test_anything_uncertain_is_tried_again(trouble: Step) -> None:
    assert_same_bytes_and_fence(await write(trouble, trouble, acknowledged), 3)


async def test_nothing_is_published_while_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """nats-py would keep it and send it later, long after we have asked again."""
    connection = ScriptedConnection([acknowledged], is_connected=False)
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        assert not connection.published
        connection.is_connected = len(rests) == 3

    monkeypatch.setattr("asyncio.sleep", rest)
    await write_commit(cast(Client, connection), SEQUENCE, OURS)
    assert len(rests) == 3
    assert len(connection.published) == 1


async def test_a_commit_stored_at_another_sequence_is_a_cut_journal() -> None:
    def elsewhere(_: ScriptedConnection) -> bytes:
        return json.dumps({"stream": JOURNAL_STREAM, "seq": SEQUENCE + 2}).encode()

    with pytest.raises(JournalCut, match=str(SEQUENCE + 2)):
        await write(elsewhere)


@pytest.mark.parametrize("left", [{}, {SEQUENCE - 2: b""}], ids=["gone", "shorter"])
async def test_a_journal_that_lost_durable_commits_is_a_cut_journal(left: dict[int, bytes]) -> None:
    with pytest.raises(JournalCut, match=f"{SEQUENCE - 1} was durable"):
        await write(wrong_last_sequence, stored=left)


async def test_a_stream_that_is_gone_is_noticed_although_nobody_answers() -> None:
    with pytest.raises(JournalCut, match="is gone"):
        await write(no_responders, stored={})


async def test_a_read_that_fails_after_a_refusal_leads_to_another_try() -> None:
    connection = ScriptedConnection([wrong_last_sequence, wrong_last_sequence, wrong_last_sequence, acknowledged])
    connection.reads = [NatsTimeoutError(), ServiceUnavailableError(), NotFoundError(), NatsTimeoutError()]
    await write_commit(cast(Client, connection), SEQUENCE, OURS)
    assert_same_bytes_and_fence(connection, 4)


async def test_long_trouble_is_reported_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    await write(*[no_responders] * 250, acknowledged)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 4
    assert all(f"commit {SEQUENCE} is not acknowledged" in message for message in said)


# The end of the journal, asked for without writing


async def confirm(stored: dict[int, bytes], *reads: Exception) -> None:
    await confirm_end(cast(Client, ScriptedConnection([], stored, reads=list(reads))), SEQUENCE)


async def test_the_end_is_confirmed_when_nothing_came_after_it() -> None:
    await confirm({SEQUENCE: OURS})


async def test_a_commit_behind_the_end_is_another_matchers() -> None:
    with pytest.raises(Fenced) as caught:
        await confirm({SEQUENCE: OURS, SEQUENCE + 1: OTHERS})
    assert caught.value.sequence == SEQUENCE + 1


@pytest.mark.parametrize("left", [{}, {SEQUENCE - 1: b""}], ids=["gone", "shorter"])
async def test_an_end_that_is_gone_is_a_cut_journal(left: dict[int, bytes]) -> None:
    with pytest.raises(JournalCut, match=f"{SEQUENCE} was durable"):
        await confirm(left)


async def test_the_end_is_asked_for_until_there_is_an_answer() -> None:
    await confirm({SEQUENCE: OURS}, NatsTimeoutError(), ServiceUnavailableError())
