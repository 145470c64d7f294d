"""What can be asked of a process, as a NATS service: found, described, counted, and honest about refusals."""

import asyncio
import json
import logging
from typing import Any

import pytest
from nats.aio.client import Client

from runtime.connection import (
    close,
    connect,
    inbox_of,
    request_counts,
    respond,
    respond_by_subject,
    without_password,
)
from runtime.micro import Failure, failure
from tests.support.plain_nats import Message, PlainNats
from tests.support.servers import NatsServer

stack = pytest.mark.stack


async def ask(server: NatsServer, subject: str, payload: bytes = b"") -> list[Message]:
    def asking() -> list[Message]:
        with PlainNats(server.url) as client:
            return client.requests(subject, payload)

    return await asyncio.to_thread(asking)


async def one(server: NatsServer, subject: str) -> Any:
    [answer] = await ask(server, subject)
    return json.loads(answer.payload)


async def echo(question: bytes) -> bytes | Failure:
    if question == b"refuse":
        return failure(404, "unknown_symbol", symbol="X")
    if question == b"break":
        raise ValueError("a mistake")
    return question


@pytest.fixture
async def asked(nats_server: NatsServer) -> Any:
    connection = await connect(nats_server.url, "gateway")
    await respond(connection, "orders.place", echo, queue="gateway")
    await respond(connection, "matcher.state_hash", echo)
    await connection.flush()
    yield connection
    await close(connection)


@stack
async def test_it_is_found_and_described(nats_server: NatsServer, asked: Client) -> None:
    ping = await one(nats_server, "$SRV.PING")
    assert ping["type"] == "io.nats.micro.v1.ping_response"
    assert ping["name"] == "pricetime-gateway"
    info = await one(nats_server, f"$SRV.INFO.pricetime-gateway.{ping['id']}")
    assert info["description"]
    assert info["endpoints"] == [
        {"name": "orders-place", "subject": "orders.place", "queue_group": "gateway"},
        {"name": "matcher-state_hash", "subject": "matcher.state_hash", "queue_group": ""},
    ]
    assert {key: info[key] for key in ("name", "id", "version")} == {
        key: ping[key] for key in ("name", "id", "version")
    }


@stack
async def test_it_counts_what_it_answers_and_what_it_refuses(nats_server: NatsServer, asked: Client) -> None:
    for question in (b"1", b"2", b"refuse"):
        await ask(nats_server, "orders.place", question)
    place, state_hash = (await one(nats_server, "$SRV.STATS.pricetime-gateway"))["endpoints"]
    assert (place["num_requests"], place["num_errors"], place["last_error"]) == (3, 1, "404:unknown_symbol")
    assert place["processing_time"] >= place["average_processing_time"] * 3 > 0
    assert state_hash["num_requests"] == 0
    counted, (_, requests, errors, seconds) = request_counts(asked)[::-1]
    assert (requests, errors, seconds.count) == (3, 1, 3)
    assert seconds.sum == pytest.approx(place["processing_time"] / 1e9, abs=1e-8)
    assert counted[1:3] == (0, 0)


@stack
async def test_a_request_that_is_not_let_in_counts_as_refused_and_took_no_time(nats_server: NatsServer) -> None:
    connection = await connect(nats_server.url, "gateway")
    full = failure(503, "overloaded")
    await respond(connection, "orders.place", echo, let_in=lambda _, content: full if content == b"no" else None)
    await connection.flush()
    for question in (b"no", b"yes"):
        await ask(nats_server, "orders.place", question)
    [(subject, requests, errors, seconds)] = request_counts(connection)
    assert (subject, requests, errors, seconds.count) == ("orders.place", 2, 1, 1)
    await close(connection)


@stack
async def test_a_refusal_says_so_in_headers_and_in_json(nats_server: NatsServer, asked: Client) -> None:
    [answer] = await ask(nats_server, "orders.place", b"refuse")
    assert answer.headers["Nats-Service-Error"] == "unknown_symbol"
    assert answer.headers["Nats-Service-Error-Code"] == "404"
    assert json.loads(answer.payload) == {"error": "unknown_symbol", "symbol": "X"}
    [answer] = await ask(nats_server, "orders.place", b"fine")
    assert answer.headers == {}


@stack
async def test_a_mistake_is_answered_and_logged(
    nats_server: NatsServer, asked: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        [answer] = await ask(nats_server, "orders.place", b"break")
    assert answer.headers["Nats-Service-Error-Code"] == "500"
    assert json.loads(answer.payload) == {"error": "internal_error"}
    assert "a mistake" in caplog.text


@stack
async def test_with_several_processes_each_is_found_and_one_answers(nats_server: NatsServer, asked: Client) -> None:
    other = await connect(nats_server.url, "gateway")
    await respond(other, "orders.place", echo, queue="gateway")
    await other.flush()
    pings = [json.loads(each.payload) for each in await ask(nats_server, "$SRV.PING.pricetime-gateway")]
    assert len({ping["id"] for ping in pings}) == 2
    assert len(await ask(nats_server, "orders.place", b"?")) == 1
    await close(other)


@stack
async def test_a_subject_with_wildcards_is_told_to_the_answer(nats_server: NatsServer, asked: Client) -> None:
    async def answer(subject: str, payload: bytes) -> bytes:
        return subject.encode() + b" " + payload

    await respond_by_subject(asked, "accounts.*.orders.*", answer, queue="gateway")
    await asked.flush()
    [found] = await ask(nats_server, "accounts.anna.orders.place", b"{}")
    assert found.payload == b"accounts.anna.orders.place {}"
    assert (await one(nats_server, "$SRV.INFO"))["endpoints"][-1]["name"] == "accounts-orders"


@stack
async def test_answers_go_to_inboxes_only(nats_server: NatsServer, asked: Client) -> None:
    """Else whoever asks could have a service write where only that service may: `journal`, for one."""
    with PlainNats(nats_server.url) as client:
        client.subscribe("journal")
        for reply in ("journal", "$JS.API.STREAM.DELETE.JOURNAL", ""):
            client.publish("orders.place", b"write this", reply)
            client.publish("$SRV.PING", b"", reply)
        client.flush()
        await ask(nats_server, "orders.place", b"after that")
        assert client.pending() == []


def test_the_inbox_belongs_to_the_user_of_the_address() -> None:
    assert inbox_of("nats://matcher:secret@127.0.0.1:4222") == "_INBOX_matcher"
    assert inbox_of("nats://127.0.0.1:4222") is None


def test_no_password_is_shown() -> None:
    assert without_password("nats://matcher:secret@127.0.0.1:4222") == "nats://127.0.0.1:4222"
    assert without_password("nats://[::1]:4222") == "nats://[::1]:4222"
