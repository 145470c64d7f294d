"""docs/reference/metrics.md: everything that a service measures, made from the names in runtime/metrics.py.

python -m tools.metrics_reference --write     after a change there; a test holds that the page is up to date
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from runtime.metrics import CATALOGUE, Metric

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "metrics.md"
_OF_CONNECTIONS = ("connected", "reconnects", "messages", "bytes", "pending", "request")
GROUPS = {
    "Every service": ("info", "event_loop", "data", *(f"nats_{each}" for each in _OF_CONNECTIONS)),
    "Matcher": ("matcher",),
    "Journal, as the recorder sees it": ("journal",),
    "Recorder": ("recorder",),
    "nats-server and Postgres, as the recorder sees them": ("nats_server", "jetstream", "postgres", "disk"),
    "Order entry, in gateway and broadcaster": ("entry",),
    "Gateway": ("gateway",),
    "Broadcaster": ("broadcaster", "trades", "open_orders", "symbols", "book"),
}
"""Titles, and how the names below them begin, after `pricetime_`."""
_NAMES = ("HTTP", "WebSocket")
_HEAD = """\
# Metrics

What each service measures, as Prometheus reads it from `/metrics` ([how](../observability.md)). This page is made from
[runtime/metrics.py](../../runtime/metrics.py), by `python -m tools.metrics_reference --write`.

A counter counts from the start of its process, unless it says otherwise. A histogram has `_bucket`, `_sum` and
`_count`; those of seconds reach from 0.1 ms to 10 s. Each service also tells what prometheus_client knows of any
process: `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_start_time_seconds`, `process_open_fds`,
`process_max_fds`, and what Python's garbage collector does.
"""


def page() -> str:
    parts = [_HEAD]
    for title, beginnings in GROUPS.items():
        parts += [f"## {title}\n", "| metric | kind | labels | is |", "|---|---|---|---|", *_rows(beginnings), ""]
    return "\n".join(parts)


def _rows(beginnings: tuple[str, ...]) -> Iterator[str]:
    for metric in CATALOGUE:
        if metric.name.removeprefix("pricetime_").startswith(beginnings):
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            yield f"| `{metric.name}` | {metric.kind} | {labels} | {_cell(metric)} |"


def _cell(metric: Metric) -> str:
    return metric.help if metric.help.startswith(_NAMES) else f"{metric.help[0].lower()}{metric.help[1:]}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.metrics_reference", description=f"Makes {PAGE.name}.")
    parser.add_argument("--write", action="store_true", help="write it, instead of showing it")
    if parser.parse_args().write:
        PAGE.write_text(page())
    else:
        print(page(), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
