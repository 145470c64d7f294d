"""Traces as they are made. That they come from one service to the next: tests/observe/test_stack.py."""

import sys
import threading
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runtime.service import Refused
from runtime.settings import Settings
from runtime.tracing import Tracing, parents_in, trace_headers, traceparent, tracing

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def made(ratio: float, exporter: SpanExporter | None = None) -> Tracing:
    settings = Settings(tracing_endpoint="http://127.0.0.1:9", tracing_ratio=ratio)
    return Tracing(settings, "gateway", exporter or InMemorySpanExporter())


def test_a_span_goes_on_with_the_trace_that_the_request_brings() -> None:
    exporter = InMemorySpanExporter()
    traces = made(0.0, exporter)
    request = traces.begin("POST /orders", parent=SAMPLED, kind="SERVER")
    inner = traces.begin("matcher", parent=request, attributes={"x": 1})
    assert request is not None
    assert inner is not None
    inner.end()
    request.end()
    traces.close()
    found = {span.name: span for span in exporter.get_finished_spans()}
    outer, below = found["POST /orders"], found["matcher"]
    assert traceparent(request).split("-")[1] == SAMPLED.split("-")[1]
    assert outer.parent is not None
    assert f"{outer.parent.span_id:016x}" == SAMPLED.split("-")[2]
    assert below.parent == outer.context
    assert dict(below.attributes or {}) == {"x": 1}


@pytest.mark.parametrize(
    ("ratio", "parent", "is_made"),
    [
        (0.0, None, False),
        (1.0, None, True),
        (0.0, SAMPLED, True),
        (1.0, NOT_SAMPLED, False),
        (0.0, "nonsense", False),
        (1.0, "nonsense", True),
    ],
)
def test_who_brings_a_trace_decides_and_of_the_others_so_many(ratio: float, parent: str | None, is_made: bool) -> None:
    traces = made(ratio)
    assert (traces.begin("x", parent=parent) is not None) is is_made
    traces.close()


def test_a_message_may_carry_the_work_of_several_traces() -> None:
    traces = made(1.0)
    spans: list[Any] = [traces.begin(name) for name in "abc"]
    headers = trace_headers([None, spans[0], spans[0], *spans[1:]])
    assert headers is not None
    assert headers["traceparent"] == traceparent(spans[0])
    assert parents_in(headers) == [traceparent(span) for span in spans]
    assert trace_headers([None, None]) is None
    assert trace_headers(spans[:1]) == {"traceparent": traceparent(spans[0])}
    assert parents_in({"Status": "503"}) == []
    traces.close()


@pytest.mark.parametrize("endpoint", [None, ""])
async def test_without_an_endpoint_there_is_nothing(endpoint: str | None) -> None:
    async with tracing(Settings(tracing_endpoint=endpoint), "gateway") as traces:
        assert traces is None


def test_a_collector_that_hangs_keeps_nobody() -> None:
    goes_on = threading.Event()

    class Hanging(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            goes_on.wait(60)
            return SpanExportResult.SUCCESS

        def shutdown(self) -> None:
            pass

    traces = made(1.0, Hanging())
    span = traces.begin("x")
    assert span is not None
    span.end()
    traces.close()
    assert not goes_on.is_set()
    goes_on.set()


def test_missing_libraries_are_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(Refused, match=r"pip install 'pricetime\[tracing\]'"):
        made(1.0)
