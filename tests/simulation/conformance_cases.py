"""What nats-server and nats-py do, case by case: each holds on the real ones and on the simulated ones.

A case is given an `Exchange` of messages to connect to, and asserts. Streams and subjects carry the case's own name, so
that cases can share a server.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

Connect = Callable[[str], Awaitable[Client]]


@dataclass
class Exchange:
    """`kill` and `start` the server; `seconds` pass fast where time is simulated."""

    name: str
    connect: Connect
    kill: Callable[[], Awaitable[None]]
    start: Callable[[], Awaitable[None]]

    def stream(self, **more: Any) -> StreamConfig:
        plain = {"name": self.name, "subjects": [f"{self.name}.>"], "discard": DiscardPolicy.NEW}
        return StreamConfig(**{**plain, **more})


Case = Callable[[Exchange], Awaitable[None]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


async def until(condition: Callable[[], object], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


class Heard:
    """What arrived at a subscription."""

    def __init__(self) -> None:
        self.messages: list[Msg] = []

    async def hear(self, message: Msg) -> None:
        self.messages.append(message)

    @property
    def payloads(self) -> list[bytes]:
        return [message.data for message in self.messages]

    @property
    def statuses(self) -> list[str]:
        return [(message.headers or {}).get("Status", "") for message in self.messages]


async def put(connection: Client, subject: str, payload: bytes = b"x", **expected: object) -> dict[str, Any]:
    """JetStream's answer; `last` and `last_of_subject` are what the message expects."""
    names = {"last": "Nats-Expected-Last-Sequence", "last_of_subject": "Nats-Expected-Last-Subject-Sequence"}
    names["lifetime"] = "Nats-TTL"
    headers = {names[name]: str(value) for name, value in expected.items()}
    reply = await connection.request(subject, payload, timeout=5, headers=headers or None)
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


# Subjects


@case
async def nobody_listens(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    with pytest.raises(NoRespondersError):
        await connection.request(f"{exchange.name}.nobody", b"", timeout=2)


@case
async def a_request_is_answered_with_headers(exchange: Exchange) -> None:
    one, two = await exchange.connect("one"), await exchange.connect("two")

    async def answer(message: Msg) -> None:
        assert message.headers == {"Question": "q"}
        await two.publish(message.reply, b"answer to " + message.data, headers={"Answer": "a"})

    await two.subscribe(f"{exchange.name}.ask", cb=answer)
    await two.flush()
    reply = await one.request(f"{exchange.name}.ask", b"it", timeout=2, headers={"Question": "q"})
    assert (reply.data, reply.headers) == (b"answer to it", {"Answer": "a"})


@case
async def nobody_answers(exchange: Exchange) -> None:
    one, two = await exchange.connect("one"), await exchange.connect("two")
    await two.subscribe(f"{exchange.name}.ask", cb=Heard().hear)
    await two.flush()
    with pytest.raises(NatsTimeoutError):
        await one.request(f"{exchange.name}.ask", b"", timeout=0.2)


@case
async def of_a_queue_one_gets_each_and_of_others_all(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    plain, first, second = Heard(), Heard(), Heard()
    await connection.subscribe(f"{exchange.name}.work", cb=plain.hear)
    await connection.subscribe(f"{exchange.name}.work", queue="workers", cb=first.hear)
    await connection.subscribe(f"{exchange.name}.work", queue="workers", cb=second.hear)
    for number in range(40):
        await connection.publish(f"{exchange.name}.work", str(number).encode())
    await connection.flush()
    await until(lambda: len(first.messages) + len(second.messages) == 40)
    assert plain.payloads == [str(number).encode() for number in range(40)]
    assert sorted(first.payloads + second.payloads) == sorted(plain.payloads)
    assert first.payloads
    assert second.payloads


@case
async def wildcards_stand_for_one_token_or_all_that_follow(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    star, rest = Heard(), Heard()
    await connection.subscribe(f"{exchange.name}.a.*", cb=star.hear)
    await connection.subscribe(f"{exchange.name}.>", cb=rest.hear)
    for subject in ("a", "a.b", "a.b.c", "b.a"):
        await connection.publish(f"{exchange.name}.{subject}", subject.encode())
    await connection.flush()
    await until(lambda: len(rest.messages) == 4)
    assert star.payloads == [b"a.b"]
    assert rest.payloads == [b"a", b"a.b", b"a.b.c", b"b.a"]


@case
async def a_subscription_handles_one_message_after_the_other(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    log: list[str] = []

    async def slowly(message: Msg) -> None:
        log.append(f"begin {message.data.decode()}")
        await asyncio.sleep(0.05)
        log.append(f"end {message.data.decode()}")

    await connection.subscribe(f"{exchange.name}.a", cb=slowly)
    for number in range(2):
        await connection.publish(f"{exchange.name}.a", str(number).encode())
    await until(lambda: len(log) == 4)
    assert log == ["begin 0", "end 0", "begin 1", "end 1"]


@case
async def an_error_in_a_callback_does_not_end_its_subscription(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    heard: list[bytes] = []

    async def fail_first(message: Msg) -> None:
        heard.append(message.data)
        if len(heard) == 1:
            raise ValueError

    await connection.subscribe(f"{exchange.name}.a", cb=fail_first)
    await connection.publish(f"{exchange.name}.a", b"1")
    await connection.publish(f"{exchange.name}.a", b"2")
    await until(lambda: heard == [b"1", b"2"])


@case
async def nothing_comes_after_unsubscribing(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    heard = Heard()
    subscription = await connection.subscribe(f"{exchange.name}.a", cb=heard.hear)
    await connection.publish(f"{exchange.name}.a", b"1")
    await connection.flush()
    await until(lambda: heard.messages)
    await subscription.unsubscribe()
    with pytest.raises(NoRespondersError):
        await connection.request(f"{exchange.name}.a", b"2", timeout=1)
    assert heard.payloads == [b"1"]


@case
async def draining_handles_what_is_there_and_takes_no_more(exchange: Exchange) -> None:
    connection, other = await exchange.connect("one"), await exchange.connect("two")
    handled: list[bytes] = []

    async def slowly(message: Msg) -> None:
        await asyncio.sleep(0.02)
        handled.append(message.data)

    subscription = await connection.subscribe(f"{exchange.name}.a", cb=slowly)
    await connection.flush()
    for number in range(5):
        await other.publish(f"{exchange.name}.a", str(number).encode())
    await other.flush()
    await connection.flush()
    await subscription.drain()
    assert handled == [b"0", b"1", b"2", b"3", b"4"]
    with pytest.raises(NoRespondersError):
        await other.request(f"{exchange.name}.a", b"5", timeout=1)


# Streams


@case
async def an_expected_last_sequence_fences(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    await connection.jsm().add_stream(exchange.stream())
    subject = f"{exchange.name}.a"
    assert (await put(connection, subject, last=0))["seq"] == 1
    assert (await put(connection, subject, last=1))["seq"] == 2
    for stale in (0, 1, 7):
        refused = await put(connection, subject, last=stale)
        assert (refused["error"]["code"], refused["error"]["err_code"]) == (400, 10071)
    assert (await put(connection, subject))["seq"] == 3
    assert "duplicate" not in await put(connection, subject, last=3)


@case
async def an_expected_last_sequence_of_the_subject_fences(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    await connection.jsm().add_stream(exchange.stream(max_msgs_per_subject=1))
    one, two = f"{exchange.name}.one", f"{exchange.name}.two"
    assert (await put(connection, one, last_of_subject=0))["seq"] == 1
    assert (await put(connection, two, last_of_subject=0))["seq"] == 2
    assert (await put(connection, one, last_of_subject=2))["error"]["err_code"] == 10071
    assert (await put(connection, one, last_of_subject=0))["error"]["err_code"] == 10071
    assert (await put(connection, one, last_of_subject=1))["seq"] == 3
    state = (await connection.jsm().stream_info(exchange.name)).state
    assert (state.messages, state.first_seq, state.last_seq) == (2, 2, 3)


@case
async def a_message_with_a_lifetime_is_gone_after_it(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    manager, subject = connection.jsm(), f"{exchange.name}.a"
    config = exchange.stream(max_msgs_per_subject=1, allow_msg_ttl=True, storage=StorageType.MEMORY)
    await manager.add_stream(config)
    assert (await put(connection, subject, b"1", lifetime="1s", last_of_subject=0))["seq"] == 1
    assert (await manager.get_msg(exchange.name, 1, subject, next=True)).data == b"1"
    async with asyncio.timeout(10):
        while (await manager.stream_info(exchange.name)).state.messages:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    with pytest.raises(NotFoundError):
        await manager.get_msg(exchange.name, 1, subject, next=True)
    assert (await put(connection, subject, b"2", lifetime="1s", last_of_subject=0))["seq"] == 2


@case
async def a_lifetime_needs_a_stream_that_allows_it(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    await connection.jsm().add_stream(exchange.stream())
    assert (await put(connection, f"{exchange.name}.a", lifetime="1s"))["error"]["err_code"] == 10166


@case
async def a_stream_tells_its_state(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    manager = connection.jsm()
    with pytest.raises(NotFoundError):
        await manager.stream_info(exchange.name)
    created = await manager.add_stream(exchange.stream())
    assert (created.state.messages, created.state.first_seq, created.state.last_seq) == (0, 0, 0)
    for _ in range(3):
        await put(connection, f"{exchange.name}.a")
    state = (await manager.stream_info(exchange.name)).state
    assert (state.messages, state.first_seq, state.last_seq) == (3, 1, 3)


@case
async def a_stream_can_be_made_twice_but_not_changed_so(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    manager = connection.jsm()
    await manager.add_stream(exchange.stream())
    await manager.add_stream(exchange.stream())
    with pytest.raises(BadRequestError) as refused:
        await manager.add_stream(exchange.stream(discard=DiscardPolicy.OLD))
    assert refused.value.err_code == 10058


@case
async def single_messages_are_read_by_sequence_and_subject(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    manager = connection.jsm()
    await manager.add_stream(exchange.stream())
    await put(connection, f"{exchange.name}.a", b"1")
    await put(connection, f"{exchange.name}.b", b"2")
    await put(connection, f"{exchange.name}.a", b"3", last=2)
    assert (await manager.get_msg(exchange.name, 1)).data == b"1"
    third = await manager.get_msg(exchange.name, 3)
    assert (third.data, third.seq, third.subject) == (b"3", 3, f"{exchange.name}.a")
    assert (await manager.get_msg(exchange.name, 2, f"{exchange.name}.a", next=True)).seq == 3
    assert (await manager.get_msg(exchange.name, subject=f"{exchange.name}.b")).seq == 2
    for missing in ({"seq": 4}, {"subject": f"{exchange.name}.c"}):
        with pytest.raises(NotFoundError) as found:
            await manager.get_msg(exchange.name, **missing)
        assert found.value.err_code == 10037
    with pytest.raises(NotFoundError) as found:
        await manager.get_msg(f"{exchange.name}_NOT", 1)
    assert found.value.err_code == 10059


@case
async def purging_takes_what_is_below(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    manager = connection.jsm()
    await manager.add_stream(exchange.stream(deny_delete=True))
    for _ in range(5):
        await put(connection, f"{exchange.name}.a")
    reply = await connection.request(f"$JS.API.STREAM.PURGE.{exchange.name}", b'{"seq": 3}', timeout=5)
    assert json.loads(reply.data)["purged"] == 2
    state = (await manager.stream_info(exchange.name)).state
    assert (state.messages, state.first_seq, state.last_seq) == (3, 3, 5)
    with pytest.raises(NotFoundError):
        await manager.get_msg(exchange.name, 2)
    assert (await put(connection, f"{exchange.name}.a", last=5))["seq"] == 6


# Consumers


async def consumer(connection: Client, stream: str, start: int) -> str:
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=start,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=30.0,
        mem_storage=True,
        num_replicas=1,
    )
    return (await connection.jsm().add_consumer(stream, config)).name


async def pull(connection: Client, stream: str, name: str, inbox: str, **request: object) -> None:
    content = {"batch": 10, "expires": 30_000_000_000} | request
    await connection.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", json.dumps(content).encode(), reply=inbox)


@case
async def a_pull_brings_what_is_there_and_what_comes(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    await connection.jsm().add_stream(exchange.stream())
    for number in range(1, 4):
        await put(connection, f"{exchange.name}.a", str(number).encode())
    inbox, heard = connection.new_inbox(), Heard()
    await connection.subscribe(inbox, cb=heard.hear)
    name = await consumer(connection, exchange.name, 2)
    await pull(connection, exchange.name, name, inbox, batch=3)
    await until(lambda: len(heard.messages) == 2)
    for number in range(4, 7):
        await put(connection, f"{exchange.name}.a", str(number).encode())
    await until(lambda: len(heard.messages) == 3)
    await pull(connection, exchange.name, name, inbox, batch=1)
    await until(lambda: len(heard.messages) == 4)
    assert heard.payloads == [b"2", b"3", b"4", b"5"]
    assert {message.subject for message in heard.messages} == {f"{exchange.name}.a"}
    for place, message in enumerate(heard.messages, 1):
        tokens = message.reply.split(".")
        assert tokens[:4] == ["$JS", "ACK", exchange.name, name]
        assert [int(token) for token in tokens[4:7]] == [1, place + 1, place]


@case
async def a_pull_hears_heartbeats_and_its_end(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    await connection.jsm().add_stream(exchange.stream())
    inbox, heard = connection.new_inbox(), Heard()
    await connection.subscribe(inbox, cb=heard.hear)
    name = await consumer(connection, exchange.name, 1)
    await pull(connection, exchange.name, name, inbox, expires=1_300_000_000, idle_heartbeat=500_000_000)
    await until(lambda: "408" in heard.statuses)
    assert heard.statuses[0] == "100"
    assert set(heard.statuses) == {"100", "408"}
    assert (heard.messages[-1].headers or {})["Nats-Pending-Messages"] == "10"


@case
async def a_pull_from_a_consumer_that_is_gone_reaches_nobody(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    await connection.jsm().add_stream(exchange.stream())
    inbox, heard = connection.new_inbox(), Heard()
    await connection.subscribe(inbox, cb=heard.hear)
    name = await consumer(connection, exchange.name, 1)
    assert await connection.jsm().delete_consumer(exchange.name, name)
    with pytest.raises(NotFoundError):
        await connection.jsm().delete_consumer(exchange.name, name)
    await pull(connection, exchange.name, name, inbox)
    await until(lambda: heard.statuses == ["503"])


@case
async def a_consumer_deleted_ends_its_pulls(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    await connection.jsm().add_stream(exchange.stream())
    inbox, heard = connection.new_inbox(), Heard()
    await connection.subscribe(inbox, cb=heard.hear)
    name = await consumer(connection, exchange.name, 1)
    await pull(connection, exchange.name, name, inbox)
    await connection.flush()
    await connection.jsm().delete_consumer(exchange.name, name)
    await until(lambda: heard.statuses == ["409"])


@case
async def a_consumer_begins_where_the_stream_does(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    await connection.jsm().add_stream(exchange.stream())
    for number in range(1, 6):
        await put(connection, f"{exchange.name}.a", str(number).encode())
    await connection.request(f"$JS.API.STREAM.PURGE.{exchange.name}", b'{"seq": 4}', timeout=5)
    inbox, heard = connection.new_inbox(), Heard()
    await connection.subscribe(inbox, cb=heard.hear)
    name = await consumer(connection, exchange.name, 2)
    await pull(connection, exchange.name, name, inbox)
    await until(lambda: len(heard.messages) == 2)
    assert heard.payloads == [b"4", b"5"]
    assert [message.reply.split(".")[6] for message in heard.messages] == ["1", "2"]


# Connections and crashes


@case
async def what_is_acknowledged_outlives_a_kill(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    manager = connection.jsm()
    await manager.add_stream(exchange.stream())
    for _ in range(3):
        await put(connection, f"{exchange.name}.a")
    await exchange.kill()
    await exchange.start()
    await until(lambda: connection.stats["reconnects"] > 0 and connection.is_connected)
    assert (await manager.stream_info(exchange.name)).state.last_seq == 3
    assert (await put(connection, f"{exchange.name}.a", last=3))["seq"] == 4


@case
async def streams_and_consumers_in_memory_do_not(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    manager = connection.jsm()
    await manager.add_stream(exchange.stream(storage=StorageType.MEMORY))
    await manager.add_stream(StreamConfig(name=f"{exchange.name}_FILE", subjects=[f"{exchange.name}_FILE"]))
    await put(connection, f"{exchange.name}.a")
    name = await consumer(connection, f"{exchange.name}_FILE", 1)
    await exchange.kill()
    await exchange.start()
    await until(lambda: connection.stats["reconnects"] > 0 and connection.is_connected)
    with pytest.raises(NoRespondersError):
        await connection.request(f"{exchange.name}.a", b"", timeout=2)
    with pytest.raises(NotFoundError):
        await manager.delete_consumer(f"{exchange.name}_FILE", name)
    await manager.delete_stream(f"{exchange.name}_FILE")


@case
async def what_is_published_while_disconnected_is_sent_later(exchange: Exchange) -> None:
    connection = await exchange.connect("one")
    heard = Heard()
    await connection.subscribe(f"{exchange.name}.a", cb=heard.hear)
    await connection.flush()
    await exchange.kill()
    await until(lambda: not connection.is_connected)
    await connection.publish(f"{exchange.name}.a", b"late")
    with pytest.raises(NatsTimeoutError):
        await connection.request(f"{exchange.name}.b", b"", timeout=0.2)
    await exchange.start()
    await until(lambda: heard.messages)
    assert heard.payloads == [b"late"]
    assert connection.stats["reconnects"] == 1


@case
async def a_request_under_way_is_not_failed_by_a_disconnection(exchange: Exchange) -> None:
    one, two = await exchange.connect("one"), await exchange.connect("two")
    await two.subscribe(f"{exchange.name}.ask", cb=Heard().hear)
    await two.flush()
    asking = asyncio.ensure_future(one.request(f"{exchange.name}.ask", b"", timeout=2.5))
    await asyncio.sleep(0.05)
    await exchange.kill()
    await until(lambda: not one.is_connected)
    await exchange.start()
    await until(lambda: one.is_connected)
    assert not asking.done()
    with pytest.raises(NatsTimeoutError):
        await asking
