"""A whole exchange, looked after: a real Prometheus reads it, traces reach a collector, logs are JSON.

Goal: whoever opens the dashboard sees something in every panel, no alert burns that need not, and one order can be
followed by its numbers. Method: a stack with all of it switched on, some seconds of orders of every kind, and then each
query of the dashboard and of the alerts put to Prometheus.
"""

import asyncio
import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
import nats
import pytest
from websockets.asyncio.client import connect

from runtime.metrics import CATALOGUE
from tests.observe.test_rules import alerts, dashboard, queries
from tests.support.collector import Collector, running_collector
from tests.support.prometheus import get, running_prometheus
from tests.support.servers import wait_until
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.stack

TRACE = "0af7651916cd43dd8448eb211c80319c"
LOAD_SECONDS = 2.5


class Observed(NamedTuple):
    stack: Stack
    collector: Collector
    prometheus: str
    placed: dict[str, Any]
    """The order that was traced."""
    by_socket: int
    """How many orders went by WebSocket."""
    over_nats: int
    """How many requests went over NATS."""


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("prometheus")
    with running_collector() as collector:
        environment = {
            "PRICETIME_TRACING_ENDPOINT": collector.url,
            "PRICETIME_TRACING_RATIO": "0",
            "PRICETIME_LOG_FORMAT": "json",
            "PRICETIME_LOG_REQUESTS": "true",
            "PRICETIME_WATCHED_FOLDERS": f"nats={folder}",
        }
        with (
            running_stack(environment, ("--metrics", "0")) as stack,
            running_prometheus(stack.run_file.metrics, folder) as prometheus,
        ):
            assert wait_until(lambda: len(ask(prometheus, 'up{job="pricetime"} == 1')) == 4, 30)
            yield Observed(stack, collector, prometheus, *asyncio.run(_trade(stack)))


async def _trade(stack: Stack) -> tuple[dict[str, Any], int, int]:
    """Orders of every kind and way in, for long enough that there are rates.

    Returns one that has a trace, how many went by WebSocket, and how many over NATS.
    """
    by_socket = over_nats = 0
    connection = await nats.connect(stack.nats)
    async with httpx.AsyncClient(base_url=stack.http, trust_env=False) as client, connect(f"{stack.ws}/ws") as socket:
        for number, channel in enumerate(("trades", "book", "orders")):
            symbol = {} if channel == "orders" else {"symbol": "BTC-USD"}
            await socket.send(json.dumps({"op": "subscribe", "id": number, "channel": channel, **symbol}))
        headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        placed = await client.post("/orders", json=_order("sell", "100.10"), headers=headers)
        assert placed.status_code == 201, placed.text
        until = time.monotonic() + LOAD_SECONDS
        while time.monotonic() < until:
            await _some_of_everything(client)
            await socket.send(json.dumps({"op": "place", **_order("buy", "99.90")}))
            by_socket += 1
            await connection.request("orders.place", json.dumps(_order("buy", "99.80")).encode(), timeout=30)
            over_nats += 1
        async with connect(f"{stack.ws}/ws/orderbook?symbol=NOPE") as unwelcome:
            assert "unknown_symbol" in str(await unwelcome.recv())
        await connection.close()
        found: dict[str, Any] = placed.json()
        return found, by_socket, over_nats


async def _some_of_everything(client: httpx.AsyncClient) -> None:
    resting = (await client.post("/orders", json=_order("buy", "99.00"))).json()
    await client.post("/orders", json=_order("buy", "100.10"))
    await client.post("/orders", json=_order("sell", "99.00"))
    await client.delete(f"/orders/{resting['order_id']}")
    await client.get("/trades")
    await client.post("/orders", json=_order("buy", "98.00"), headers={"Prefer": "respond-async"})
    await client.post("/orders", json={"side": "buy"})


def _order(side: str, price: str) -> dict[str, str]:
    return {"account": "anna", "side": side, "type": "limit", "price": price, "quantity": "1"}


def ask(prometheus: str, query: str) -> list[dict[str, Any]]:
    answer = json.loads(get(f"{prometheus}/api/v1/query?{urlencode({'query': query})}"))
    assert answer["status"] == "success", f"{query}: {answer}"
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def shows_something(prometheus: str, query: str) -> bool:
    return any(not math.isnan(float(each["value"][1])) for each in ask(prometheus, query))


def test_every_panel_of_the_dashboard_shows_something(observed: Observed) -> None:
    asked = list(queries())
    assert len(asked) > 90
    missing = asked

    def look() -> bool:
        nonlocal missing
        missing = [(title, query) for title, query in missing if not shows_something(observed.prometheus, query)]
        return not missing

    wait_until(look, 60)
    assert missing == []


def test_what_a_legend_names_is_a_label_of_what_is_shown(observed: Observed) -> None:
    """Or the lines of a panel would all be called the same."""
    targets = [(panel["title"], target) for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    nameless = []
    for title, target in targets:
        labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        found = ask(observed.prometheus, target["expr"]) if labels else []
        if "vector(0)" in target["expr"]:  # which is there so that the panel is not empty
            found = [each for each in found if each["metric"]]
        nameless += [(title, each["metric"]) for each in found if not labels <= each["metric"].keys()]
    assert nameless == []


def test_no_alert_burns_and_each_can_be_evaluated(observed: Observed) -> None:
    def rules() -> dict[str, Any]:
        answer = json.loads(get(f"{observed.prometheus}/api/v1/rules"))
        return {rule["name"]: rule for group in answer["data"]["groups"] for rule in group["rules"]}

    assert wait_until(lambda: all(rule["health"] != "unknown" for rule in rules().values()), 60)
    found = rules()
    assert found.keys() == alerts().keys()
    assert {name: rule.get("lastError") for name, rule in found.items() if rule["health"] != "ok"} == {}
    assert [name for name, rule in found.items() if rule["state"] == "firing"] == []


def test_all_that_is_shown_is_in_the_catalogue_and_the_other_way_round(observed: Observed) -> None:
    shown: dict[str, str] = {}
    for url in observed.stack.run_file.metrics.values():
        text = get(url)
        shown |= dict(re.findall(r"^# TYPE (pricetime_\w+) (\w+)$", text, re.MULTILINE))
    assert shown == {metric.name: metric.kind for metric in CATALOGUE}


def test_what_is_measured_is_what_happened(observed: Observed) -> None:
    """Each part counts for itself; once deferred commands are carried out, too, the figures have to fit together."""

    def one(query: str) -> float:
        [found] = ask(observed.prometheus, query)
        return float(found["value"][1])

    def differences() -> dict[str, tuple[float, float]]:
        trade = json.loads(get(f"{observed.stack.http}/trades?limit=1"))["items"][0]["trade_id"]
        sequence = json.loads(get(f"{observed.stack.http}/health/ready"))["checks"]["matcher"]["sequence"]
        pairs = {
            "trades": (one("max(pricetime_trades_total)"), trade),
            "matcher": (one("max(pricetime_matcher_sequence)"), sequence),
            "recorder": (one("max(pricetime_recorder_sequence)"), sequence),
            "broadcaster": (one("max(pricetime_broadcaster_sequence)"), sequence),
            "journal": (one("max(pricetime_journal_last_sequence)"), sequence),
            "commits": (one("sum(pricetime_matcher_commits_total)"), sequence - 1),  # the first was the barrier
            "open orders": (one("max(pricetime_matcher_resting_orders)"), one("max(pricetime_open_orders)")),
            "clients": (one('sum(pricetime_broadcaster_clients{path="/ws"})'), 0),
            "sent away": (one("sum(pricetime_broadcaster_dropped_clients_total)"), 1),
            "by WebSocket": (
                one('sum(pricetime_broadcaster_request_seconds_count{operation="place"})'),
                observed.by_socket,
            ),
            "over NATS": (
                one('sum(pricetime_nats_request_seconds_count{subject="orders.place"})'),
                observed.over_nats,
            ),
            "journal, as nats-server has it": (
                one('max(pricetime_jetstream_stream_messages{stream="JOURNAL"})'),
                sequence,
            ),
        }
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    wait_until(lambda: not differences(), 60)
    assert differences() == {}
    answered = 'sum(pricetime_gateway_requests_total{kind="order"})'
    assert one(answered) == one('sum(pricetime_gateway_request_seconds_count{kind="order"})') > 0
    assert one('sum(pricetime_gateway_requests_total{kind="order", status=~"4.."})') > 0
    requests = 'pricetime_nats_request_seconds_count{subject="orders.submit"}'
    assert one(f"sum({requests})") == one('sum(pricetime_nats_requests_total{subject="orders.submit"})') > 0
    commits = "pricetime_matcher_commit_commands"
    assert one(f"sum({commits}_sum)") == one("sum(pricetime_matcher_commands_total)")
    assert one(f"sum({commits}_count)") == one("sum(pricetime_matcher_commits_total)")


def test_a_trace_reaches_from_the_request_to_the_commit(observed: Observed) -> None:
    names = {"POST /orders": "gateway", "matcher": "matcher", "journal write": "matcher"}
    assert wait_until(lambda: observed.collector.trace(TRACE).keys() >= names.keys(), 60)
    found = observed.collector.trace(TRACE)
    assert {name: service for name, (service, _) in found.items()} == {
        name: f"pricetime-{service}" for name, service in names.items()
    }
    request, matcher, write = (found[name][1] for name in names)
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    assert (matcher.parent_span_id, write.parent_span_id) == (request.span_id, matcher.span_id)
    assert request.start_time_unix_nano <= matcher.start_time_unix_nano <= write.start_time_unix_nano
    assert write.end_time_unix_nano <= matcher.end_time_unix_nano <= request.end_time_unix_nano
    sequences = [
        each.value.int_value
        for span in (request, matcher, write)
        for each in span.attributes
        if each.key == "pricetime.journal_sequence"
    ]
    assert sequences == [observed.placed["sequence"]] * 3


def test_who_asks_for_no_trace_is_not_traced(observed: Observed) -> None:
    assert {span.trace_id.hex() for _, span in observed.collector.spans} == {TRACE}


def test_logs_are_objects_with_the_numbers_of_what_they_are_about(observed: Observed) -> None:
    logs = observed.stack.data / "logs"
    for part in ("matcher", "recorder", "broadcaster", "gateway"):
        lines = [json.loads(line) for line in (logs / f"{part}.log").read_text().splitlines()]
        assert lines
        assert all({"time", "service", "level", "logger", "message", "pid"} <= line.keys() for line in lines)
        assert {line["service"] for line in lines} == {part}
    [about] = [line for line in _lines(logs / "gateway.log") if line.get("trace_id") == TRACE]
    assert (about["method"], about["path"], about["status"]) == ("POST", "/orders", 201)
    assert about["order_id"] == observed.placed["order_id"]
    assert about["journal_sequence"] == observed.placed["sequence"]
    assert about["milliseconds"] > 0
    serving = [line for line in _lines(logs / "matcher.log") if line["message"].startswith("serving from")]
    assert serving[0]["journal_sequence"] == 1


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text().splitlines():
        yield json.loads(line)
