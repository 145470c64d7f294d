"""How commands share requests, and which may be repeated. What happens to the requests is in tests/gateway."""

import asyncio
from dataclasses import dataclass
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import entry.matcher_client
from contracts.messages import (
    MAX_COMMANDS,
    AllOrNothing,
    AmendOrder,
    Answer,
    AnswerPart,
    CancelAllAfter,
    CancelOrder,
    CancelOrders,
    ClientCommand,
    DefineInstrument,
    InstrumentStatus,
    OrderType,
    Outcome,
    PlaceOrder,
    Refusal,
    RejectReason,
    Result,
    SetAccountLimits,
    SetInstrumentStatus,
    SetKillSwitch,
    Side,
)
from entry.matcher_client import Decided, MatcherClient, _Waiting, batches, is_repeatable
from entry.problems import Declined

PLACE = PlaceOrder("A", Side.BUY, OrderType.LIMIT, 1, 1)
NAMED = PlaceOrder("A", Side.BUY, OrderType.LIMIT, 1, 1, client_order_id="x")


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 700)), max_size=6))
def test_every_command_is_in_one_request_of_its_kind(runs: list[tuple[bool, int]]) -> None:
    commands: list[ClientCommand] = [
        CancelOrder(number) if cancel else PLACE for cancel, count in runs for number in range(count)
    ]
    loop = asyncio.new_event_loop()
    pending = [_Waiting(command, lambda _: None, 0) for command in commands]
    loop.close()
    requests = list(batches(pending))
    for request in requests:
        assert 0 < len(request) <= MAX_COMMANDS
        assert len({type(waiting.command) for waiting in request}) == 1
    sent = [waiting for request in requests for waiting in request]
    cancels = [waiting for waiting in pending if isinstance(waiting.command, CancelOrder)]
    assert sent[: len(cancels)] == cancels
    assert sent[len(cancels) :] == [waiting for waiting in pending if not isinstance(waiting.command, CancelOrder)]


REPEATABLE: list[tuple[ClientCommand, bool]] = [
    (PLACE, False),
    (NAMED, True),
    (CancelOrder(1), True),
    (AmendOrder(1, 5), True),
    (AllOrNothing((CancelOrder(1), NAMED)), True),
    (AllOrNothing((NAMED, PLACE)), False),
    (AllOrNothing((CancelOrder(1), AmendOrder(2, 5))), False),
    (CancelOrders(), False),
    (CancelAllAfter("a", 5), True),
    (DefineInstrument("A", "1", "1"), True),
    (SetInstrumentStatus("A", InstrumentStatus.HALTED), True),
    (SetAccountLimits("a"), True),
    (SetKillSwitch("a", engaged=True), True),
]


@pytest.mark.parametrize(("command", "expected"), REPEATABLE)
def test_what_is_safe_to_repeat(command: ClientCommand, expected: bool) -> None:
    assert is_repeatable(command) is expected


def test_of_every_command_is_said_whether_it_is_safe_to_repeat() -> None:
    assert {type(command) for command, _ in REPEATABLE} == set(get_args(ClientCommand))


def test_mass_cancelations_have_the_room_of_cancels() -> None:
    loop = asyncio.new_event_loop()
    pending = [_Waiting(command, lambda _: None, 0) for command in (PLACE, CancelOrders(), CancelOrder(1))]
    loop.close()
    assert list(batches(pending)) == [pending[1:], pending[:1]]


@dataclass
class Disconnected:
    """As much of a NATS connection as is looked at while it is down."""

    is_connected: bool = False


async def test_cancels_have_room_where_orders_have_none() -> None:
    connection: Any = Disconnected()
    client = MatcherClient(connection, 5.0, max_waiting=4)

    async def room_for(*commands: ClientCommand) -> bool:
        """Whether they may wait; they go on waiting then."""
        waiting = asyncio.create_task(client.submit_all(commands))
        tasks.append(waiting)
        await asyncio.sleep(0)
        if not waiting.done():
            return True
        error = waiting.exception()
        assert isinstance(error, Declined)
        assert (error.problem.code, error.problem.retry_after) == ("overloaded", 1)
        return False

    tasks: list[asyncio.Task[Any]] = []
    assert await room_for(PLACE, PLACE, PLACE)
    assert not await room_for(PLACE, PLACE)
    assert await room_for(PLACE)
    assert not await room_for(PLACE)
    assert not await room_for(CancelOrder(1), PLACE)
    assert await room_for(CancelOrder(1))
    assert not await room_for(CancelOrder(2))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await room_for(PLACE, PLACE, PLACE, PLACE)
    tasks[-1].cancel()
    await asyncio.gather(tasks[-1], return_exceptions=True)


@dataclass
class Silent:
    """A connection whose other end takes everything and answers nothing. `sent`: where it was to be answered."""

    sent: list[str]
    is_connected: bool = True
    stats = {"reconnects": 0}

    def new_inbox(self) -> str:
        return "inbox"

    async def subscribe(self, *_: object, **__: object) -> None: ...

    async def listen(self, *_: object) -> None: ...

    async def publish(self, _: str, __: bytes, reply: str, headers: object = None) -> None:
        self.sent.append(reply)


async def test_while_the_matcher_is_silent_one_command_tries_and_the_others_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection: Any = Silent([])
    client = MatcherClient(connection, 5.0, max_waiting=10)
    await client.start()
    trying = asyncio.create_task(client.submit(PLACE))
    await asyncio.sleep(0)
    second = asyncio.create_task(client.submit_all([PLACE]))  # it has not been silent for long
    await asyncio.sleep(0)
    assert len(connection.sent) == 2
    monkeypatch.setattr(entry.matcher_client, "_SILENCE_SECONDS", -1.0)
    with pytest.raises(Declined) as refused:
        await client.submit(PLACE)
    assert refused.value.problem.code == "matcher_unavailable"
    assert len(connection.sent) == 2, "it was sent all the same"
    client._give_up(float("inf"))
    for each in (trying, second):
        await asyncio.wait([each])
    another = asyncio.create_task(client.submit(PLACE))
    await asyncio.sleep(0)
    assert len(connection.sent) == 3, "nobody tries any more"
    another.cancel()
    await asyncio.gather(trying, second, another, return_exceptions=True)


def answer(client: MatcherClient, reply_to: str, result: Result) -> None:
    payload = msgspec.msgpack.encode(Answer((AnswerPart(1, 1, (result,)),)))
    client._on_reply(reply_to, "", payload, None)


async def sent_twice(client: MatcherClient, connection: Silent, command: ClientCommand) -> "asyncio.Task[Decided]":
    """Without an answer to the first attempt in time."""
    await client.start()
    deciding = asyncio.create_task(client.submit(command))
    await asyncio.sleep(0)
    client._repeat(float("inf"))
    (again,) = client._pending
    client._pending = []
    await client._send([again])
    assert len(connection.sent) == 2
    return deciding


REFUSED = Refusal(RejectReason.POST_ONLY_WOULD_TRADE)
DONE = Outcome(())


@pytest.mark.parametrize("first", [0, 1], ids=["the first attempt is answered first", "the second is"])
@pytest.mark.parametrize("then", [DONE, REFUSED], ids=["the other accepted", "the other refused"])
async def test_a_refusal_does_not_count_while_another_attempt_may_be_accepted(first: int, then: Result) -> None:
    connection: Any = Silent([])
    client = MatcherClient(connection, 5.0, max_waiting=10, retry_seconds=1.0)
    deciding = await sent_twice(client, connection, NAMED)
    answer(client, connection.sent[first], REFUSED)
    client._repeat(float("inf"))
    await asyncio.sleep(0)
    assert not deciding.done()
    assert client._pending == [], "a third attempt is one more that may be accepted"
    answer(client, connection.sent[1 - first], then)
    assert (await deciding).result == then


async def test_a_refusal_is_unknown_when_another_attempt_is_never_answered() -> None:
    connection: Any = Silent([])
    client = MatcherClient(connection, 5.0, max_waiting=10, retry_seconds=1.0)
    deciding = await sent_twice(client, connection, NAMED)
    answer(client, connection.sent[1], REFUSED)
    client._give_up(float("inf"))
    with pytest.raises(Declined) as declined:
        await deciding
    assert declined.value.problem.code == "result_unknown"


async def test_a_cancel_that_finds_nothing_is_told_at_once() -> None:
    connection: Any = Silent([])
    client = MatcherClient(connection, 5.0, max_waiting=10, retry_seconds=1.0)
    deciding = await sent_twice(client, connection, CancelOrder(1))
    unknown = Refusal(RejectReason.UNKNOWN_ORDER)
    answer(client, connection.sent[1], unknown)
    assert (await deciding).result == unknown


async def test_who_does_not_wait_is_told_and_takes_room_until_then() -> None:
    connection: Any = Silent([])
    client = MatcherClient(connection, 5.0, max_waiting=3)
    await client.start()
    running = asyncio.create_task(client.run())
    told: list[Decided | Declined] = []

    def clumsy(decision: Decided | Declined) -> None:
        told.append(decision)
        raise RuntimeError

    for tell in (told.append, clumsy, told.append):
        client.begin(PLACE, tell)
    with pytest.raises(Declined) as refused:
        client.begin(PLACE, told.append)
    assert refused.value.problem.code == "overloaded"
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(connection.sent) == 1, "commands of one turn share a request"
    assert (client.waiting, told) == (3, [])
    payload = msgspec.msgpack.encode(Answer((AnswerPart(1, 1, (DONE, REFUSED, DONE)),)))
    client._on_reply(connection.sent[0], "", payload, None)
    assert [each.result for each in told if isinstance(each, Decided)] == [DONE, REFUSED, DONE]
    assert client.waiting == 0
    client.begin(PLACE, told.append)
    client._give_up(float("inf"))
    for _ in range(3):
        await asyncio.sleep(0)
    client._give_up(float("inf"))
    assert isinstance(told[-1], Declined)
    assert client.waiting == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
