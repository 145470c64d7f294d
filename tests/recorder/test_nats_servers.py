"""What the recorder tells of each nats-server: what it says itself, and nothing that it said before it fell silent."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from recorder import nats_servers as nats_servers_module
from recorder.nats_servers import NatsServers, Node, _JetStream, _jetstream, _Server, of_node
from runtime.connection import close, connect
from runtime.metrics import Measure
from runtime.metrics_server import Exposition
from tests.support.servers import NatsServer, until

STARTED = datetime(2026, 11, 21, tzinfo=UTC)


def told(measures: Iterable[Measure]) -> dict[Any, Any]:
    found = {(each.metric.name.removeprefix("pricetime_"), *each.labels[1:]): each.value for each in measures}
    return {key if len(key) > 1 else key[0]: value for key, value in found.items()}


@asynccontextmanager
async def watching(monitor_url: str) -> AsyncIterator[NatsServers]:
    servers = NatsServers(monitor_url, Exposition(is_on=True))
    running = asyncio.create_task(servers.run())
    yield servers
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_one_that_is_silent_is_away_and_no_more_is_told() -> None:
    assert [each[1:] for each in of_node("nats:8222", None)] == [(("nats:8222",), False)]


def test_of_one_that_is_not_well_the_figures_go_on() -> None:
    server = _Server(STARTED, connections=3, max_connections=10, slow_consumers=2, cpu=150.0, mem=7)
    found = told(of_node("n", Node(server, _JetStream(), healthy=False)))
    assert (found["nats_server_up"], found["nats_server_healthy"]) == (True, False)
    assert (found["nats_server_connections"], found["nats_server_connections_room"]) == (3, 10)
    assert (found["nats_server_slow_consumers_total"], found["nats_server_cpu_cores"]) == (2, 1.5)
    assert (found["nats_server_memory_bytes"], found["nats_server_start_time_seconds"]) == (7, STARTED.timestamp())


@pytest.mark.parametrize(
    ("answers", "told_of_it"),
    [
        ({"/healthz": 503}, {"nats_server_up": True, "nats_server_healthy": False}),
        ({"/varz": 500}, {"nats_server_up": False, "nats_server_healthy": None}),
        ({"/jsz": 404}, {"nats_server_up": False, "nats_server_healthy": None}),
    ],
)
async def test_one_that_says_that_it_is_not_well_is_there(
    answers: dict[str, int], told_of_it: dict[str, bool | None]
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(answers.get(request.url.path, 200), json={"start": "2026-11-21T03:17:02.412079066Z"})

    servers = NatsServers("http://n:8222", Exposition(is_on=True))
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        await servers._look(client, "http://n:8222")
    found = told(servers.measures())
    assert {name: found.get(name) for name in told_of_it} == told_of_it


def test_streams_of_one_name_in_two_accounts_are_one_series() -> None:
    """Two of the same labels, and Prometheus would refuse the whole answer."""
    mine, theirs = ({"name": "MINE", "state": {"messages": 1, "bytes": size}} for size in (5, 40))
    content = {"account_details": [{"stream_detail": [mine]}, {"stream_detail": [theirs]}, {}]}
    found = told(of_node("n", Node(_Server(STARTED), _jetstream.decode(_json(content)), healthy=True)))
    assert found["jetstream_stream_bytes", "MINE"] == 45
    assert found["jetstream_stream_messages", "MINE"] == 2


def test_the_largest_streams_are_told_and_their_number_is_bounded() -> None:
    streams = [{"name": f"S{size}", "state": {"messages": 1, "bytes": size}} for size in range(80)]
    jetstream = _jetstream.decode(_json({"account_details": [{"stream_detail": streams}]}))
    found = told(of_node("n", Node(_Server(STARTED), jetstream, healthy=True)))
    assert {key[1] for key in found if key[0] == "jetstream_stream_bytes"} == {f"S{size}" for size in range(30, 80)}


def _json(content: object) -> bytes:
    return msgspec.json.encode(content)


async def test_where_nobody_reads_metrics_nobody_is_asked() -> None:
    servers = NatsServers("http://127.0.0.1:1", Exposition(is_on=False))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await servers.run()
    assert list(servers.measures()) == []


@pytest.mark.stack
async def test_a_real_server_is_followed_through_its_end_and_its_return(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nats_servers_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(nats_servers_module, "_ANSWER_SECONDS", 60)
    connection = await connect(nats_server.url, "test")
    await connection.jsm().add_stream(name="MINE", subjects=["mine"])
    await connection.jetstream().publish("mine", b"x" * 1_000)
    async with watching(f"{nats_server.monitor_url},http://127.0.0.1:1") as servers:

        def node(address: str) -> dict[Any, Any]:
            return told(each for each in servers.measures() if each.labels[0] == address)

        ours = nats_server.monitor_url.removeprefix("http://")
        await until(lambda: node(ours).get("nats_server_healthy") and node("127.0.0.1:1"))
        assert node("127.0.0.1:1") == {"nats_server_up": False}
        found = node(ours)
        assert (found["nats_server_up"], found["nats_server_healthy"]) == (True, True)
        assert found["nats_server_connections"] == 1
        assert found["nats_server_connections_room"] == 10_000
        assert found["nats_server_memory_bytes"] > 1_000_000
        assert found["jetstream_stream_messages", "MINE"] == 1
        assert 1_000 < found["jetstream_stream_bytes", "MINE"] == found["jetstream_bytes"] < 2_000
        assert found["jetstream_room_bytes"] > 10**13
        assert found["jetstream_api_errors_total"] == 0
        await close(connection)
        await until(lambda: node(ours).get("nats_server_connections") == 0)
        nats_server.stop()
        await until(lambda: node(ours) == {"nats_server_up": False})
        nats_server.start()
        await until(lambda: node(ours).get("nats_server_healthy"))
        assert node(ours)["nats_server_start_time_seconds"] > found["nats_server_start_time_seconds"]
    for address in (nats_server.monitor_url, "http://127.0.0.1:1"):
        assert caplog.text.count(f"nats-server at {address} does not say how it is") == 1, "once, as it goes away"
