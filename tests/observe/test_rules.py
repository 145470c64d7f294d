"""The alerts: promtool reads them, each fires when it should and not otherwise, each has a section in the runbook."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from runtime.metrics import CATALOGUE
from tests.support.prometheus import OBSERVE, promtool

RUNBOOK = OBSERVE.parent / "docs" / "runbook.md"
OF_ANY_PROCESS = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
}
OF_PROMETHEUS = {"up", "ALERTS"}


@cache
def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((OBSERVE / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((OBSERVE / "grafana" / "dashboards" / "pricetime.json").read_text())
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Title of the panel, and what it asks."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


# What is written down


@pytest.mark.parametrize("name", ["prometheus.yml", "local.yml"])
def test_prometheus_understands_its_configuration(name: str) -> None:
    assert "SUCCESS" in promtool("check", "config", name, folder=OBSERVE)


def test_each_alert_has_its_section_in_the_runbook_and_no_section_is_of_none() -> None:
    assert re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE) == list(alerts())


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_how_urgent_it_is_and_where_to_read_on(name: str) -> None:
    rule = alerts()[name]
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    assert rule["annotations"]["summary"]
    for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
        assert re.search(rf"\b{label}\b", rule["expr"]), "a label that it does not have is shown as nothing"
    severity = rule["labels"]["severity"]
    assert severity in ("page", "ticket")
    section = RUNBOOK.read_text().split(f"## {name}\n")[1].split("\n## ")[0]
    assert section.startswith(f"*{severity.capitalize()}.*")
    assert "\n- Do: " in section


def test_nothing_is_asked_for_that_nobody_measures() -> None:
    known = OF_ANY_PROCESS | OF_PROMETHEUS
    for metric in CATALOGUE:
        known |= {f"{metric.name}_{each}" for each in ("bucket", "sum", "count")}
        known.add(metric.name)
    asked = [*queries(), *((name, rule["expr"]) for name, rule in alerts().items())]
    for where, expression in asked:
        names = re.findall(r"\b((?:pricetime|process)_\w+|up|ALERTS)\b", expression)
        assert names, where
        assert set(names) <= known, where


def test_the_panels_have_names_of_their_own_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


# When alerts fire. A series is its labels and its values, five seconds apart: `a+bxn` is a, a+b, ..., n times more


class Case(NamedTuple):
    fires: dict[str, str]
    stays_silent: dict[str, str]
    after: str = "10m"
    also: tuple[dict[str, str], ...] = ()
    """Other series for which it fires, each by itself."""


UP = {f'up{{job="pricetime", part="{part}"}}': "1x360" for part in ("matcher", "recorder", "broadcaster", "gateway")}
HOURS = "x1440"


def waits(name: str, seconds: float, labels: str = "", count: int = 360) -> dict[str, str]:
    """A histogram of which every second observation, ten in each five seconds, was that long; the others were short."""
    bounds = ("0.0001", "0.01", "0.1", "0.25", "0.5", "1.0", "5.0", "10.0", "+Inf")
    found = {}
    for bound in bounds:
        short = 5 if float(bound) >= 0.01 else 0
        each = 10 if float(bound) >= seconds else short
        more = f", {labels}" if labels else ""
        found[f'pricetime_{name}_bucket{{le="{bound}"{more}}}'] = f"0+{each}x{count}"
    return found


CASES: dict[str, Case] = {
    "PricetimePartDown": Case(UP | {'up{job="pricetime", part="gateway"}': "1x60 0x300"}, UP),
    "PricetimeNotServing": Case(
        {'pricetime_matcher_serving{part="matcher"}': "1x60 0x300"},
        {
            'pricetime_matcher_serving{part="matcher"}': "0x360",
            'pricetime_matcher_serving{part="standby"}': "1x360",
        },
    ),
    "PricetimeStandbyLost": Case(
        {
            'pricetime_matcher_standing_by{part="a"}': "0x360",
            'pricetime_matcher_standing_by{part="b"}': "1x60 stale _x300",
        },
        {'pricetime_matcher_standing_by{part="a"}': "0x360"},
    ),
    "PricetimeMatcherChanging": Case(
        {'pricetime_matcher_epoch{part="a"}': "7x20 9x20 11x300"}, {'pricetime_matcher_epoch{part="a"}': "7x60 8x300"}
    ),
    "PricetimeRestarting": Case(
        {'process_start_time_seconds{job="pricetime", part="recorder"}': "1x20 2x20 3x20 4x20 5x300"},
        {'process_start_time_seconds{job="pricetime", part="recorder"}': "1x20 2x300"},
    ),
    "PricetimeJournalStalled": Case(
        {"pricetime_matcher_commit_age_seconds": "0x100 0+5x300"}, {"pricetime_matcher_commit_age_seconds": "0 0.2x360"}
    ),
    "PricetimeJournalSlow": Case(
        waits("matcher_journal_write_seconds", 0.5), waits("matcher_journal_write_seconds", 0.1)
    ),
    "PricetimeSnapshotsOld": Case(
        {"pricetime_matcher_sequence": "0+2000x360", "pricetime_matcher_snapshot_sequence": "1x360"},
        {"pricetime_matcher_sequence": "0+2000x360", "pricetime_matcher_snapshot_sequence": "0+1950x360"},
        "29m",
    ),
    "PricetimeDiskFilling": Case(
        {
            'pricetime_data_free_bytes{part="matcher"}': "900-0.2" + HOURS,
            'pricetime_data_size_bytes{part="matcher"}': "1000" + HOURS,
        },
        {
            'pricetime_data_free_bytes{part="matcher"}': "900-0.001" + HOURS,
            'pricetime_data_size_bytes{part="matcher"}': "1000" + HOURS,
        },
        "1h",
        also=(
            {
                'pricetime_disk_free_bytes{folder="nats"}': "900-0.2" + HOURS,
                'pricetime_disk_size_bytes{folder="nats"}': "1000" + HOURS,
            },
            {
                'pricetime_disk_free_bytes{folder="nats"}': "90x1440",
                'pricetime_disk_size_bytes{folder="nats"}': "1000" + HOURS,
            },
        ),
    ),
    "PricetimeDiskFull": Case(
        {'pricetime_data_free_bytes{part="m"}': "20x360", 'pricetime_data_size_bytes{part="m"}': "1000x360"},
        {'pricetime_data_free_bytes{part="m"}': "40x360", 'pricetime_data_size_bytes{part="m"}': "1000x360"},
        also=(
            {'pricetime_disk_free_bytes{folder="p"}': "20x360", 'pricetime_disk_size_bytes{folder="p"}': "1000x360"},
        ),
    ),
    "PricetimeSlowOrders": Case(
        waits("gateway_request_seconds", 1.0, 'kind="order"'),
        waits("gateway_request_seconds", 1.0, 'kind="read"')
        | waits("gateway_request_seconds", 0.1, 'kind="order"')
        | waits("nats_request_seconds", 1.0, 'subject="recorder.commits"')
        | waits("nats_request_seconds", 0.1, 'subject="orders.place"'),
        "12m",
        also=(
            waits("broadcaster_request_seconds", 1.0, 'operation="place"'),
            waits("nats_request_seconds", 1.0, 'subject="accounts.*.orders.*"'),
        ),
    ),
    "PricetimeRefusing": Case(
        {'pricetime_entry_refused_total{pool="trading"}': "0+100x360"},
        {
            'pricetime_entry_refused_total{pool="trading"}': "0x60 0+100x3 300x290",
            "pricetime_matcher_turned_away_total": "0x360",
        },
    ),
    "PricetimeBacklogFilling": Case(
        {"pricetime_matcher_backlog_commands": "15000x360", "pricetime_matcher_backlog_room_commands": "20000x360"},
        {"pricetime_matcher_backlog_commands": "500x360", "pricetime_matcher_backlog_room_commands": "20000x360"},
    ),
    "PricetimeResultsUnknown": Case(
        {'pricetime_entry_results_unknown_total{part="gateway"}': "0x100 3x300"},
        {'pricetime_entry_results_unknown_total{part="gateway"}': "3x360"},
    ),
    "PricetimeMistakes": Case(
        {'pricetime_gateway_requests_total{kind="order", status="500"}': "1x100 2x300"},
        {
            'pricetime_gateway_requests_total{kind="order", status="503"}': "0+5x360",
            'pricetime_gateway_requests_total{kind="order", status="500"}': "1x360",
        },
    ),
    "PricetimeDeferredWaiting": Case(
        {"pricetime_gateway_deferred_waiting": "5000x360"},
        {"pricetime_gateway_deferred_waiting": "5000x60 0x300"},
        "15m",
    ),
    "PricetimePostgresAway": Case(
        {"pricetime_recorder_postgres_connected": "1x60 0x300", "pricetime_gateway_postgres_silent": "0x360"},
        {"pricetime_recorder_postgres_connected": "1x60 0x3 1x290", "pricetime_gateway_postgres_silent": "0x360"},
    ),
    "PricetimeRecorderBehind": Case(
        {"pricetime_recorder_lag_commits": "0+500x360"}, {"pricetime_recorder_lag_commits": "9000x360"}
    ),
    "PricetimeRecorderStuck": Case(
        {"pricetime_recorder_lag_commits": "5x360", "pricetime_recorder_commits_total": "70x360"},
        {"pricetime_recorder_lag_commits": "5x360", "pricetime_recorder_commits_total": "0+3x360"},
    ),
    "PricetimePoolExhausted": Case(
        {
            'pricetime_gateway_postgres_connections{instance="g", state="busy"}': "8x360",
            'pricetime_gateway_postgres_room{instance="g"}': "8x360",
        },
        {
            'pricetime_gateway_postgres_connections{instance="g", state="busy"}': "8x3 1x300",
            'pricetime_gateway_postgres_room{instance="g"}': "8x360",
        },
    ),
    "PricetimeStreamsLate": Case(
        waits("broadcaster_commit_to_client_seconds", 5.0), waits("broadcaster_commit_to_client_seconds", 0.01)
    ),
    "PricetimeStreamsStuck": Case(
        {"pricetime_matcher_sequence": "0+5x360", "pricetime_broadcaster_sequence": "0+5x60 300x300"},
        {"pricetime_matcher_sequence": "0+5x60 300x300", "pricetime_broadcaster_sequence": "0+5x60 300x300"},
    ),
    "PricetimeClientsDropped": Case(
        {'pricetime_broadcaster_dropped_clients_total{code="slow_consumer"}': "0+1x360"},
        {
            'pricetime_broadcaster_dropped_clients_total{code="slow_consumer"}': "4x360",
            'pricetime_broadcaster_dropped_clients_total{code="going away"}': "0+9x360",
        },
    ),
    "PricetimeNatsDisconnected": Case(
        {'pricetime_nats_connected{part="gateway", connection="main"}': "1x60 0x300"},
        {'pricetime_nats_connected{part="gateway", connection="main"}': "1x60 0 0 1x300"},
    ),
    "PricetimeNatsUnsteady": Case(
        {'pricetime_nats_reconnects_total{part="gateway", connection="main"}': "0+1x360"},
        {'pricetime_nats_reconnects_total{part="gateway", connection="main"}': "0x60 1x300"},
    ),
    "PricetimeLoopBlocked": Case(
        waits("event_loop_lag_seconds", 0.5, 'part="matcher"'),
        waits("event_loop_lag_seconds", 0.01, 'part="matcher"'),
        "12m",
    ),
    "PricetimeFilesRunningOut": Case(
        {
            'process_open_fds{job="pricetime", part="g"}': "900x360",
            'process_max_fds{job="pricetime", part="g"}': "1000x360",
        },
        {
            'process_open_fds{job="pricetime", part="g"}': "90x360",
            'process_max_fds{job="pricetime", part="g"}': "1000x360",
        },
    ),
    "PricetimeNatsNodeDown": Case(
        {'pricetime_nats_server_up{node="a"}': "1x360", 'pricetime_nats_server_up{node="b"}': "1x60 0x300"},
        {'pricetime_nats_server_up{node="a"}': "1x360", 'pricetime_nats_server_up{node="b"}': "1x60 0x3 1x290"},
    ),
    "PricetimeNatsUnhealthy": Case(
        {'pricetime_nats_server_healthy{node="a"}': "1x60 0x300"},
        {'pricetime_nats_server_healthy{node="a"}': "1x60 stale"},
    ),
    "PricetimeNatsSlowConsumers": Case(
        {'pricetime_nats_server_slow_consumers_total{node="a"}': "0x60 8x300"},
        {'pricetime_nats_server_slow_consumers_total{node="a"}': "900x60 902x300"},
    ),
    "PricetimeNatsConnectionsRunningOut": Case(
        {
            'pricetime_nats_server_connections{node="a"}': "8100x360",
            'pricetime_nats_server_connections_room{node="a"}': "10000x360",
        },
        {
            'pricetime_nats_server_connections{node="a"}': "7900x360",
            'pricetime_nats_server_connections_room{node="a"}': "10000x360",
        },
    ),
    "PricetimeJetStreamFilling": Case(
        {'pricetime_jetstream_bytes{node="a"}': "86x360", 'pricetime_jetstream_room_bytes{node="a"}': "100x360"},
        {'pricetime_jetstream_bytes{node="a"}': "84x360", 'pricetime_jetstream_room_bytes{node="a"}': "100x360"},
    ),
    "PricetimePostgresConnectionsRunningOut": Case(
        {
            'pricetime_postgres_connections{state="active"}': "3x360",
            'pricetime_postgres_connections{state="idle"}': "80x360",
            "pricetime_postgres_connections_room": "97x360",
        },
        {
            'pricetime_postgres_connections{state="active"}': "3x360",
            'pricetime_postgres_connections{state="idle"}': "70x360",
            "pricetime_postgres_connections_room": "97x360",
        },
    ),
    "PricetimePostgresTransactionOld": Case(
        {"pricetime_postgres_oldest_transaction_seconds": "1700+5x360"},
        {"pricetime_postgres_oldest_transaction_seconds": "0+5x360"},
    ),
    "PricetimePostgresDeadlocks": Case(
        {"pricetime_postgres_deadlocks_total": "4x60 5x300"}, {"pricetime_postgres_deadlocks_total": "4x360"}
    ),
    "PricetimePostgresIdsRunningOut": Case(
        {"pricetime_postgres_transaction_ids_used": "1.1e9x360"},
        {"pricetime_postgres_transaction_ids_used": "0.3e9x360"},
        "15m",
    ),
}


def test_each_alert_fires_when_it_should_and_not_otherwise(tmp_path: Path) -> None:
    assert list(CASES) == list(alerts())
    (tmp_path / "alerts.yml").write_text((OBSERVE / "alerts.yml").read_text())
    tests = {"rule_files": ["alerts.yml"], "evaluation_interval": "30s", "tests": [each.test for each in _worlds()]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(tests))
    promtool("test", "rules", "test.yml", folder=tmp_path)


@dataclass
class _World:
    """Cases that know nothing of one another: no metric and no alert is in two of them. Each world takes a tenth of a
    second."""

    alerts: set[str] = field(default_factory=set)
    series: dict[str, str] = field(default_factory=dict)
    expected: list[dict[str, Any]] = field(default_factory=list)

    def has_room_for(self, alert: str, series: dict[str, str]) -> bool:
        return alert not in self.alerts and not _metrics(self.series) & _metrics(series)

    @property
    def test(self) -> dict[str, Any]:
        series = [{"series": each, "values": values} for each, values in self.series.items()]
        return {"interval": "5s", "input_series": series, "promql_expr_test": self.expected}


def _worlds() -> list[_World]:
    worlds: list[_World] = []
    for name, case in CASES.items():
        for series, fires in ((case.fires, 1), (case.stays_silent, 0), *((each, 1) for each in case.also)):
            world = next((each for each in worlds if each.has_room_for(name, series)), None)
            if world is None:
                worlds.append(world := _World())
            world.alerts.add(name)
            world.series |= series
            fired = f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)'
            samples = [{"labels": "{}", "value": fires}]
            world.expected.append({"expr": fired, "eval_time": case.after, "exp_samples": samples})
    return worlds


def _metrics(series: dict[str, str]) -> set[str]:
    return {each.partition("{")[0] for each in series}
