"""Requests seen from outside: what is counted and logged of each, while it is answered as if nobody looked."""

import logging
import re
import socket
import time
from typing import Any

import httpx
import pytest

from gateway.admission import ARRIVED
from gateway.answer_writer import AnswerWriter, Heads
from gateway.http import HttpAnswer, command_answer, json_answer
from gateway.observed import Observed, RequestCounts
from tests.gateway.test_answer_writer import Exchanged
from tests.support.gateways import running_gateway
from tests.support.servers import NatsServer

ORDER = command_answer({"order_id": 7}, 12, 201, "/orders/7")
SCOPE: Any = {"type": "http", "method": "POST", "path": "/orders", "headers": []}


async def nothing() -> Any:
    raise AssertionError("nobody reads a body here")


class App:
    """Answers in the way that is asked for: below ASGI, by ASGI, or not at all, as when the client has gone."""

    def __init__(self, answer: HttpAnswer, way: str) -> None:
        self.answer = answer
        self.way = way

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.way == "written":
            assert isinstance(send, AnswerWriter)
            assert send.write(self.answer)
        elif self.way == "sent":
            await self.answer(scope, receive, send)
        elif self.way == "failed":
            raise ValueError("a mistake")


async def observe(app: App, scope: Any = SCOPE) -> tuple[Exchanged, RequestCounts]:
    exchanged, counts = Exchanged(), RequestCounts()
    writer: Any = AnswerWriter(exchanged.cycle, Heads())
    await Observed(app, counts, None, logs=True)(scope, nothing, writer)
    return exchanged, counts


def counted(counts: RequestCounts) -> dict[tuple[str, ...], float]:
    """Requests by kind and status."""
    found = [each for each in counts.measures() if each.metric.kind == "counter" and each.value]
    return {each.labels: each.value for each in found}  # type: ignore[misc]


async def test_what_an_order_has_waited_for_room_counts() -> None:
    _, counts = await observe(App(ORDER, "written"), {**SCOPE, ARRIVED: time.perf_counter() - 100})
    (seconds,) = [each.value.sum for each in counts.measures() if each.labels == ("order",)]
    assert seconds >= 100


@pytest.mark.parametrize("way", ["written", "sent"])
async def test_an_answer_is_the_same_as_if_nobody_looked(way: str) -> None:
    alone = Exchanged()
    await App(ORDER, way)(SCOPE, nothing, AnswerWriter(alone.cycle, Heads()))
    observed, counts = await observe(App(ORDER, way))
    assert b"".join(observed.wire.writes) == b"".join(alone.wire.writes)
    assert len(observed.wire.writes) == len(alone.wire.writes)
    assert counted(counts) == {("order", "201"): 1}


async def test_by_plain_asgi_as_well() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    counts = RequestCounts()
    await Observed(App(ORDER, "sent"), counts, None, logs=False)(SCOPE, nothing, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert counted(counts) == {("order", "201"): 1}


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", "/orders", "order"),
        ("DELETE", "/orders/7", "cancel"),
        ("GET", "/trades", "read"),
        ("GET", "/health/ready", "health"),
    ],
)
async def test_each_kind_is_counted_and_timed_apart(method: str, path: str, kind: str) -> None:
    _, counts = await observe(App(json_answer({}), "written"), {**SCOPE, "method": method, "path": path})
    assert counted(counts) == {(kind, "200"): 1}
    timed = {each.labels[0]: each.value.count for each in counts.measures() if each.metric.kind == "histogram"}  # type: ignore[union-attr]
    assert {name for name, count in timed.items() if count} == {kind}


async def test_who_has_gone_is_counted_too_and_so_is_a_mistake() -> None:
    _, counts = await observe(App(ORDER, "not at all"))
    assert counted(counts) == {("order", "none"): 1}
    with pytest.raises(ValueError, match="a mistake"):
        await observe(App(ORDER, "failed"))


def test_mistakes_are_there_before_the_first_one() -> None:
    """Or its increase would be from nothing to one, which Prometheus takes for none."""
    zeros = {each.labels for each in RequestCounts().measures() if each.value == 0}
    assert ("order", "500") in zeros


async def test_a_request_is_logged_with_the_numbers_that_it_led_to(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.observed")
    await observe(App(ORDER, "written"), {**SCOPE, "client": ("192.0.2.7", 5000)})
    [record] = caplog.records
    about = record.__dict__
    assert (about["method"], about["path"], about["status"]) == ("POST", "/orders", 201)
    assert (about["client"], about["journal_sequence"], about["order_id"]) == ("192.0.2.7", 12, 7)
    line = r"POST /orders 201 milliseconds=[\d.]+ client=192.0.2.7 journal_sequence=12 order_id=7"
    assert re.fullmatch(line, record.getMessage())
    await observe(App(json_answer({}, 202, [(b"location", b"/commands/c-1")]), "written"))
    assert caplog.records[-1].__dict__["command_id"] == "c-1"
    await observe(App(json_answer({}), "written"), {**SCOPE, "method": "GET", "path": "/health/live"})
    assert len(caplog.records) == 2, "somebody asks for that every second"


@pytest.mark.stack
async def test_a_gateway_counts_what_it_answers_refuses_and_does_not_know(nats_server: NatsServer) -> None:
    """With keys, rates and all that lies between; in pieces, too."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
    given = {"metrics_fd": listener.detach(), "command_timeout_seconds": 0.2, "rate_limit": 1_000}
    async with running_gateway(nats_server.url, **given) as running:
        order = {"account": "anna", "side": "buy", "type": "limit", "price": "1.00", "quantity": "1"}
        assert (await running.http.post("/orders", json=order)).status_code == 201
        assert (await running.http.post("/orders", content=in_pieces(), headers=JSON)).status_code == 201
        assert (await running.http.post("/orders", json={})).status_code == 400
        running.matcher.answers = False
        assert (await running.http.post("/orders", json=order)).status_code == 504
        async with httpx.AsyncClient(trust_env=False) as reader:
            text = (await reader.get(url)).text
    for line in (
        'gateway_requests_total{kind="order",status="201"} 2.0',
        'gateway_requests_total{kind="order",status="400"} 1.0',
        'gateway_requests_total{kind="order",status="504"} 1.0',
        'gateway_request_seconds_count{kind="order"} 4.0',
        "entry_results_unknown_total 1.0",
        "entry_round_trip_seconds_count 2.0",
        'nats_connected{connection="intake"} 1.0',
        'nats_requests_total{subject="orders.place"} 0.0',
        'nats_request_seconds_count{subject="orders.place"} 0.0',
    ):
        assert f"\npricetime_{line}\n" in text, line


JSON = {"content-type": "application/json"}


async def in_pieces() -> Any:
    yield b'{"account": "anna", "side": "buy", "type": "limit", '
    yield b'"price": "1.00", "quantity": "1"}'
