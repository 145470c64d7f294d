"""Messages as they are read, and answers in one piece: the parser on bytes alone, the rest on a real nats-server."""

import asyncio
import logging
from collections.abc import Callable
from random import Random

import pytest
from nats.aio.client import DEFAULT_BUFFER_SIZE
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError, NoRespondersError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeoutError

from runtime.connection import close, connect
from runtime.nats_client import NatsClient
from tests.support.servers import NatsServer, wait_until

Heard = tuple[str, str, bytes, dict[str, str] | None]


class Ear:
    """A listener that keeps what it is given."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []

    def __call__(self, subject: str, reply: str, content: bytes, headers: dict[str, str] | None) -> None:
        self.heard.append((subject, reply, content, headers))

    @property
    def contents(self) -> list[bytes]:
        return [content for _, _, content, _ in self.heard]


# The parser


def sent(chance: Random, number: str) -> tuple[bytes, Heard]:
    """A message as the server writes it to the subscription `number`, and what is to be heard of it."""
    content = chance.choice([b"", b"x", b"MSG a 1 1\r\n", b"\r\n", chance.randbytes(chance.randrange(9000))])
    subject, reply = chance.choice(["a", "orders.submit"]), chance.choice(["", "_INBOX.one.2"])
    words = f"{subject} {number} {reply} ".replace("  ", " ")
    if chance.random() < 0.2:
        head = b"NATS/1.0\r\nName: value\r\n\r\n"
        line = f"HMSG {words}{len(head)} {len(head) + len(content)}\r\n"
        return line.encode() + head + content + b"\r\n", (subject, reply, content, {"Name": "value"})
    return f"MSG {words}{len(content)}\r\n".encode() + content + b"\r\n", (subject, reply, content, None)


@pytest.mark.parametrize("seed", range(20))
async def test_however_the_bytes_are_cut_each_message_is_heard_once(seed: int) -> None:
    """Messages to a listener and to a subscription of nats-py's, between other lines, in pieces of any size."""
    chance, client, ear = Random(seed), NatsClient(), Ear()
    client.listeners["7"] = ear
    plain = client._subs[8] = Subscription(client, 8, "a")
    client._subs[7] = Subscription(client, 7, "a")
    messages = [(number, *sent(chance, number)) for number in chance.choices("78", k=150)]
    stream = b"".join(line + chance.choice([b"", b"", b"+OK\r\n", b"PONG\r\n"]) for _, line, _ in messages)
    while stream:
        size = chance.choice([1, 2, 3, 10, 500, 32768])
        await client._ps.parse(stream[:size])
        stream = stream[size:]
    queued = [plain._pending_queue.get_nowait() for _ in range(plain._pending_queue.qsize())]
    assert ear.heard == [heard for number, _, heard in messages if number == "7"]
    assert [(m.subject, m.reply, m.data, m.headers) for m in queued] == [
        heard for number, _, heard in messages if number == "8"
    ]
    assert client.stats["in_msgs"] == len(messages)
    assert client.stats["in_bytes"] == sum(len(heard[2]) for _, _, heard in messages)


async def test_what_a_listener_raises_is_logged_and_the_next_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    client, heard = NatsClient(), []

    def listener(subject: str, reply: str, content: bytes, headers: dict[str, str] | None) -> None:
        heard.append(content)
        raise ValueError("no")

    client.listeners["1"] = listener
    with caplog.at_level(logging.ERROR, "runtime.nats_client"):
        await client._ps.parse(b"MSG a 1 3\r\none\r\nMSG a 1 3\r\ntwo\r\nMSG a 1 5\r\nth")
        await client._ps.parse(b"ree\r\n")
    assert heard == [b"one", b"two", b"three"]
    assert [record.getMessage() for record in caplog.records] == ["a message on a could not be handled"] * 3


@pytest.mark.parametrize(("size", "turns"), [(DEFAULT_BUFFER_SIZE, 1), (DEFAULT_BUFFER_SIZE - 1, 0)])
async def test_when_there_is_more_to_read_it_is_the_others_turn_first(size: int, turns: int) -> None:
    client, ear, others = NatsClient(), Ear(), Ear()
    client.listeners["1"] = ear
    line = b"MSG a 1 4\r\nones\r\n"
    asyncio.get_running_loop().call_soon(others, "", "", b"", None)
    await client._ps.parse((line * (size // len(line) + 1))[:size])
    assert len(others.heard) == turns
    assert len(ear.heard) == size // len(line)


# On a server


@pytest.mark.stack
async def test_what_is_posted_is_heard_in_order(nats_server: NatsServer) -> None:
    one, two, ear = await connect(nats_server.url, "one"), await connect(nats_server.url, "two"), Ear()
    await two.listen("news.*", ear)
    await two.flush()
    one.post((f"news.{number}", b"%d" % number) for number in range(1000))
    await one.publish("news.last", b"last", reply="_INBOX.x")
    one.post([])
    await until(lambda: len(ear.heard) == 1001)
    assert ear.heard[:1000] == [(f"news.{number}", "", b"%d" % number, None) for number in range(1000)]
    assert ear.heard[1000:] == [("news.last", "_INBOX.x", b"last", None)]
    assert one.stats["out_msgs"] == 1001
    await close(one)
    await close(two)


@pytest.mark.stack
async def test_what_the_server_would_not_take_is_left_out(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    connection, ear = await connect(nats_server.url, "one"), Ear()
    await connection.listen("news", ear)
    largest = connection.max_payload
    connection.post([("news", b"1"), ("news", bytes(largest + 1)), ("news", bytes(largest)), ("news", b"2")])
    await until(lambda: len(ear.heard) == 3)
    assert [len(content) for content in ear.contents] == [1, largest, 1]
    assert f"{largest + 1} bytes for news" in caplog.text
    await close(connection)


@pytest.mark.stack
async def test_a_drained_listener_has_heard_everything_and_hears_no_more(nats_server: NatsServer) -> None:
    one, two, ear, after = await connect(nats_server.url, "one"), await connect(nats_server.url, "two"), Ear(), Ear()
    subscription = await two.listen("news", ear)
    await two.flush()
    one.post([("news", b"before")] * 5000)
    await until(lambda: bool(ear.heard))
    await subscription.drain()  # type: ignore[no-untyped-call]
    assert ear.contents == [b"before"] * 5000
    await two.listen("other", after)
    await two.flush()
    one.post([("news", b"after"), ("other", b"other")])
    await until(lambda: bool(after.heard))
    assert after.contents == [b"other"]
    assert len(ear.heard) == 5000
    assert list(two.listeners.values()) == [after]
    await close(one)
    await close(two)


@pytest.mark.stack
async def test_a_listener_listens_again_and_what_was_posted_meanwhile_is_sent(nats_server: NatsServer) -> None:
    connection, ear = await connect(nats_server.url, "one"), Ear()
    await connection.listen("news", ear)
    await asyncio.to_thread(nats_server.kill)
    await until(lambda: not connection.is_connected)
    connection.post([("news", b"while away")])
    with pytest.raises(OutboundBufferLimitError):
        connection.post([("news", bytes(connection.max_payload))] * 20)
    await asyncio.to_thread(nats_server.start)
    await until(lambda: connection.is_connected)
    await connection.publish("news", b"back")
    await until(lambda: len(ear.heard) == 2)
    assert ear.contents == [b"while away", b"back"]
    await close(connection)
    with pytest.raises(ConnectionClosedError):
        connection.post([("news", b"too late")])
    with pytest.raises(ConnectionClosedError):
        await connection.listen("news", ear)


@pytest.mark.stack
async def test_requests_end_with_their_own_answer_or_none(nats_server: NatsServer) -> None:
    connection, other = await connect(nats_server.url, "one"), await connect(nats_server.url, "two")

    def answer(subject: str, reply: str, content: bytes, headers: dict[str, str] | None) -> None:
        if content != b"silence":
            other.post([(reply, content)])

    await other.listen("question", answer)
    await other.flush()
    asked = [connection.request("question", b"%d" % number, timeout=30) for number in range(300)]
    silence = asyncio.create_task(connection.request("question", b"silence", timeout=0.05))
    answers = await asyncio.gather(*asked)
    assert [each.data for each in answers] == [b"%d" % number for number in range(300)]
    with pytest.raises(NatsTimeoutError):
        await silence
    with pytest.raises(NoRespondersError):
        await connection.request("nobody", b"", timeout=30)
    canceled = asyncio.create_task(connection.request("question", b"silence", timeout=30))
    await asyncio.sleep(0)
    canceled.cancel()
    await asyncio.gather(canceled, return_exceptions=True)
    assert not connection._resp_map
    await close(connection)
    await close(other)


async def until(condition: Callable[[], bool]) -> None:
    assert await asyncio.to_thread(wait_until, condition)


@pytest.mark.stack
async def test_a_flush_does_not_go_ahead_of_a_subscription(nats_server: NatsServer) -> None:
    connection = await connect(nats_server.url, "one")
    await connection.subscribe("late")
    await connection._send_ping()
    assert [command[:4] for command in connection._pending] == [b"SUB ", b"PING"]
    await close(connection)
