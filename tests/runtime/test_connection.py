"""The NATS connection of a service, on a real nats-server that comes, goes and falls silent."""

import asyncio
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

import runtime.connection
from runtime.connection import ConnectionLost, close, connect, respond, watch
from tests.support.servers import NatsServer, start_nats, wait_until

pytestmark = pytest.mark.stack


@pytest.fixture(autouse=True)
def _quick_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.connection, "_WATCHDOG_SECONDS", 0.5)


async def test_it_waits_for_a_server_that_is_not_there_yet(nats_server: NatsServer) -> None:
    nats_server.kill()
    connecting = asyncio.create_task(connect(nats_server.url, "test"))
    await asyncio.to_thread(nats_server.start)
    connection = await asyncio.wait_for(connecting, 30)
    await connection.flush()
    await close(connection)


async def test_it_comes_back_after_the_server_was_killed(nats_server: NatsServer) -> None:
    connection = await connect(nats_server.url, "test")
    watching = asyncio.create_task(watch(connection))
    await respond(connection, "question", _echo)
    for _ in range(2):
        await asyncio.to_thread(nats_server.kill)
        await asyncio.to_thread(nats_server.start)
        asker = await connect(nats_server.url, "asker")
        await until(lambda: connection.is_connected)
        await connection.flush()
        assert (await asker.request("question", b"again", timeout=10)).data == b"again"
        await close(asker)
    assert not watching.done(), "a server that comes back is no reason to give up"
    watching.cancel()
    await close(connection)


async def test_a_server_that_falls_silent_is_noticed(nats_server: NatsServer) -> None:
    connection = await connect(nats_server.url, "test")
    os.kill(nats_server.pid, signal.SIGSTOP)
    try:
        await until(lambda: not connection.is_connected)
    finally:
        os.kill(nats_server.pid, signal.SIGCONT)
    await until(lambda: connection.is_connected)
    await connection.flush()
    await close(connection)


async def test_a_node_that_is_left_is_left_for_another(nats_server: NatsServer, tmp_path: Path) -> None:
    other = await asyncio.to_thread(start_nats, tmp_path)
    connection = await connect(f"{nats_server.url},{other.url}", "test")
    try:
        for _ in range(10):
            left, reconnects = connection._server_info["server_id"], connection.stats["reconnects"]
            await connection.force_reconnect()
            await until(partial(_came_back, connection, reconnects))
            assert connection._server_info["server_id"] != left
    finally:
        await close(connection)
        await asyncio.to_thread(other.stop)


async def test_a_connection_closed_for_good_ends_the_watch(nats_server: NatsServer) -> None:
    connection = await connect(nats_server.url, "test")
    watching = asyncio.create_task(watch(connection))
    await connection.close()
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(watching, 30)


async def test_a_dead_read_loop_ends_the_watch(nats_server: NatsServer) -> None:
    """nats-py's read loop can end without a word; then nothing arrives any more, and nobody is told."""
    connection = await connect(nats_server.url, "test")
    connection._reading_task.cancel()  # type: ignore[union-attr]
    connection._ping_interval_task.cancel()  # type: ignore[union-attr]
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(watch(connection), 30)
    await close(connection)


async def test_a_dead_reconnection_ends_the_watch(nats_server: NatsServer) -> None:
    connection = await connect(nats_server.url, "test")
    nats_server.kill()
    await until(lambda: not connection.is_connected)
    connection._reconnection_task.cancel()  # type: ignore[union-attr]
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(watch(connection), 30)
    await close(connection)


async def test_a_slow_answer_keeps_nobody_waiting(nats_server: NatsServer) -> None:
    connection = await connect(nats_server.url, "test")
    slow = asyncio.Event()

    async def answer(question: bytes) -> bytes:
        if question == b"slow":
            await slow.wait()
        return question

    await respond(connection, "question", answer)
    waiting = asyncio.create_task(connection.request("question", b"slow", timeout=30))
    assert (await connection.request("question", b"quick", timeout=30)).data == b"quick"
    assert not waiting.done()
    slow.set()
    assert (await waiting).data == b"slow"
    await close(connection)


async def test_of_responders_in_a_queue_one_answers(nats_server: NatsServer) -> None:
    connection = await connect(nats_server.url, "test")
    asked: list[str] = []

    for name in ("one", "other"):

        async def answer(question: bytes, name: str = name) -> bytes:
            asked.append(name)
            return question

        await respond(connection, "question", answer, queue="all")
    for _ in range(20):
        await connection.request("question", b"", timeout=30)
    await connection.flush()
    assert len(asked) == 20
    await close(connection)


async def test_what_was_published_is_sent_before_it_closes(nats_server: NatsServer) -> None:
    listener, connection = await connect(nats_server.url, "listener"), await connect(nats_server.url, "test")
    heard: list[bytes] = []
    all_heard = asyncio.Event()

    async def hear(message: Msg) -> None:
        heard.append(message.data)
        if len(heard) == 1000:
            all_heard.set()

    await listener.subscribe("news", cb=hear)
    await listener.flush()
    news = [str(number).encode() for number in range(1000)]
    for each in news:
        await connection.publish("news", each)
    await close(connection)
    await asyncio.wait_for(all_heard.wait(), 30)
    assert heard == news
    await close(listener)


async def test_closing_never_fails(nats_server: NatsServer) -> None:
    connections: list[Client] = [await connect(nats_server.url, "test") for _ in range(3)]
    await connections[0].close()
    await close(connections[0])
    await connections[1].publish("news", b"x")
    os.kill(nats_server.pid, signal.SIGSTOP)
    await connections[1].publish("news", b"x")
    await asyncio.wait_for(close(connections[1]), 10)
    os.kill(nats_server.pid, signal.SIGCONT)
    await asyncio.to_thread(nats_server.kill)
    await asyncio.wait_for(close(connections[2]), 10)


async def until(condition: Callable[[], bool]) -> None:
    assert await asyncio.to_thread(wait_until, condition)


def _came_back(connection: Client, reconnects: int) -> bool:
    return connection.is_connected and connection.stats["reconnects"] > reconnects


async def _echo(question: bytes) -> bytes:
    return question
