"""Where Prometheus reads what a service measures: GET /metrics, on a port of its own. Off unless a setting says so.

It is answered in the service's own event loop, so sources may look at whatever they like without locks. That takes one
to three milliseconds each time it is asked, and nothing between. Who can reach the port can read it: it is on loopback,
or in a network of containers.
"""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from runtime import metrics
from runtime.clock import steady
from runtime.connection import request_counts
from runtime.metrics import Histogram, Measure, Metric, Source
from runtime.nats_client import NatsClient
from runtime.server import listening_socket
from runtime.settings import Settings

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

log = logging.getLogger(__name__)

_LAG_SECONDS = 0.05
_REQUEST_SECONDS = 5.0
_CLOSE_SECONDS = 0.5
_MAX_HEAD = 8_192
_AT_ONCE = 8
"""Scrapes at the same time; more are turned away."""


class Exposition:
    """What a service shows. `add` sources at any time; where `is_on` is false nobody will ask them."""

    def __init__(self, is_on: bool) -> None:
        self.is_on = is_on
        self.sources: list[Source] = []

    def add(self, source: Source) -> None:
        self.sources.append(source)

    def add_connection(self, connection: NatsClient, name: str = "main") -> None:
        self.add(lambda: _of_connection(connection, name))


@asynccontextmanager
async def exposing(settings: Settings, service: str) -> AsyncIterator[Exposition]:
    """Answer on the port of the settings while the block runs; with none set, do nothing. Raises Refused."""
    if settings.metrics_port == 0 and settings.metrics_fd is None:
        yield Exposition(is_on=False)
        return
    shown = Exposition(is_on=True)
    shown.add(lambda: _of_process(settings, service))
    lag = Histogram()
    shown.add(lambda: [metrics.LOOP_LAG.of(lag)])
    listener = listening_socket(settings.metrics_fd, settings.metrics_host, settings.metrics_port)
    listener.setblocking(False)
    scrapes = _Scrapes(shown)
    server = await asyncio.start_server(scrapes.serve, sock=listener, limit=_MAX_HEAD)
    measuring = asyncio.create_task(_measure_lag(lag))
    log.info("metrics on http://%s:%d/metrics", *listener.getsockname()[:2])
    try:
        yield shown
    finally:
        measuring.cancel()
        server.close()
        scrapes.abort()
        with suppress(TimeoutError):  # of one who came this very moment nothing is known to end
            await asyncio.wait_for(server.wait_closed(), _CLOSE_SECONDS)


def _of_process(settings: Settings, service: str) -> Iterator[Measure]:
    yield metrics.INFO.of(1, service, version("pricetime"))
    try:
        usage = shutil.disk_usage(settings.data_dir)
    except OSError:
        return  # not made yet, or a service that keeps nothing
    yield metrics.DATA_FREE.of(usage.free)
    yield metrics.DATA_SIZE.of(usage.total)


def _of_connection(connection: NatsClient, name: str) -> Iterator[Measure]:
    stats = connection.stats
    yield metrics.NATS_CONNECTED.of(connection.is_connected, name)
    yield metrics.NATS_RECONNECTS.of(stats["reconnects"], name)
    yield metrics.NATS_PENDING.of(connection.pending_data_size, name)
    for direction in ("in", "out"):
        yield metrics.NATS_MESSAGES.of(stats[f"{direction}_msgs"], name, direction)
        yield metrics.NATS_BYTES.of(stats[f"{direction}_bytes"], name, direction)
    for subject, requests, errors, seconds in request_counts(connection):
        yield metrics.NATS_REQUESTS.of(requests, subject)
        yield metrics.NATS_REQUEST_ERRORS.of(errors, subject)
        yield metrics.NATS_REQUEST_SECONDS.of(seconds, subject)


async def _measure_lag(lag: Histogram) -> None:
    while True:
        due = steady() + _LAG_SECONDS
        await asyncio.sleep(_LAG_SECONDS)
        lag.observe(max(steady() - due, 0.0))


# From measures to what Prometheus reads


class _Collector:
    """prometheus_client asks it for everything at once."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def collect(self) -> "Iterator[Family]":
        return families(measure for source in self._sources for measure in source())

    def describe(self) -> "Iterable[Family]":
        return ()  # or registering would ask all sources


def families(measures: Iterable[Measure]) -> "Iterator[Family]":
    """Those of one metric together, as the format wants it."""
    grouped: dict[Metric, list[Measure]] = {}
    for measure in measures:
        grouped.setdefault(measure.metric, []).append(measure)
    for metric, some in grouped.items():
        yield _family(metric, some)


def _family(metric: Metric, measures: Iterable[Measure]) -> "Family":
    from prometheus_client import core

    kinds: dict[str, Any] = {
        "gauge": core.GaugeMetricFamily,
        "counter": core.CounterMetricFamily,
        "histogram": core.HistogramMetricFamily,
    }
    family: Family = kinds[metric.kind](metric.name, metric.help, labels=metric.labels)
    add: Any = family.add_metric  # type: ignore[attr-defined]
    for _, labels, value in measures:
        if isinstance(value, Histogram):
            add(labels, _buckets(value), value.sum)
        else:
            add(labels, float(value))
    return family


def _buckets(value: Histogram) -> list[tuple[str, float]]:
    """Each counts what is not larger, so all that come before it as well."""
    found, below = [], 0
    for bound, count in zip((*map(float, value.bounds), float("inf")), value.counts, strict=True):
        below += count
        found.append(("+Inf" if bound == float("inf") else str(bound), float(below)))
    return found


# The port


class _Scrapes:
    def __init__(self, shown: Exposition) -> None:
        import prometheus_client as prometheus  # here, as it takes 50 ms that a service without metrics need not spend

        self._registry = prometheus.CollectorRegistry()
        for process in (prometheus.ProcessCollector, prometheus.PlatformCollector, prometheus.GCCollector):
            process(registry=self._registry)
        self._registry.register(_Collector(shown.sources))
        self._choose: Any = prometheus.exposition.choose_encoder
        self._writers: set[asyncio.StreamWriter] = set()

    def abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                writer.write(await self._answer(reader))
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()  # who does not ask in time or in few words, does not read, or has gone
        finally:
            self._writers.discard(writer)

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, _, rest = head.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if len(self._writers) > _AT_ONCE:
            return _whole("503 Service Unavailable", "text/plain", b"Too many scrapes at once.\n")
        if path != "/metrics":
            return _whole("404 Not Found", "text/plain", b"There is /metrics.\n")
        if method != "GET":
            return _whole("405 Method Not Allowed", "text/plain", b"GET /metrics\n")
        return self._shown(_header(head, "accept"))

    def _shown(self, accept: str) -> bytes:
        try:
            encode, content_type = self._choose(accept)
            return _whole("200 OK", content_type, encode(self._registry))
        except Exception:
            log.exception("the metrics cannot be shown")
            return _whole("500 Internal Server Error", "text/plain", b"The log says what went wrong.\n")


def _header(head: str, name: str) -> str:
    for line in head.split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    return ""


def _whole(status: str, content_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
    return head.encode() + b"cache-control: no-store\r\n\r\n" + body
