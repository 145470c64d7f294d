"""Traces with OpenTelemetry, from a client's request to the commit on disk. Nothing is loaded unless a setting says so.

Which requests are traced is decided where they come in: those that bring a sampled `traceparent`, and of the others
one in so many. What is not traced costs a comparison with None; and nothing of it is ever in the journal.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from importlib.metadata import version
from random import random
from threading import Thread
from typing import TYPE_CHECKING, Any

from runtime.service import Refused
from runtime.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

TRACEPARENT = "traceparent"
MORE_TRACES = "traceparents"
"""In a request to the matcher, which may hold commands of several traces: those after the first, commas between."""
_EXPORT_SECONDS = 2.0
_CLOSE_SECONDS = 1.0
_SCHEDULE_MILLISECONDS = 1_000

current: ContextVar["Span | None"] = ContextVar("current", default=None)
"""The span of the request that is being carried out, if it is traced."""


class Tracing:
    """Of one process. Spans that nobody wants are not made: `begin` gives None for them."""

    def __init__(self, settings: Settings, service: str, exporter: "SpanExporter | None" = None) -> None:
        """`exporter`: another one than OTLP to the endpoint. Raises Refused when the libraries are not there."""
        try:
            self._provider = _provider(settings, service, exporter)
        except ImportError as error:
            raise Refused(
                f"PRICETIME_TRACING_ENDPOINT is set, and {error.name} is missing: pip install 'pricetime[tracing]'"
            ) from error
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = self._provider.get_tracer("pricetime", version("pricetime"))
        self._extract = TraceContextTextMapPropagator().extract
        self._trace, self._nothing = trace, context.Context()
        self._ratio = settings.tracing_ratio

    def begin(
        self,
        name: str,
        *,
        parent: "Span | str | None" = None,
        kind: str = "INTERNAL",
        attributes: Mapping[str, str | int] | None = None,
    ) -> "Span | None":
        """A span that is to be ended. `parent`: a span, or the traceparent of a client; without it a trace begins."""
        context = None if parent is None else self._context(parent)
        if context is None and random() >= self._ratio:  # asked first: most requests are not traced
            return None
        span = self._tracer.start_span(
            name,
            context=context or self._nothing,
            kind=self._trace.SpanKind[kind],
            attributes=dict(attributes or {}),
        )
        return span if span.is_recording() else None

    def _context(self, parent: "Span | str") -> Any:
        """None if the client's makes no sense."""
        if not isinstance(parent, str):
            return self._trace.set_span_in_context(parent, self._nothing)
        found = self._extract({TRACEPARENT: parent}, self._nothing)
        return found if self._trace.get_current_span(found).get_span_context().is_valid else None

    def close(self) -> None:
        """Send what has not been sent yet, for a moment at most: a collector that is away must not keep us here."""
        sending = Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(_CLOSE_SECONDS)


def _provider(settings: Settings, service: str, exporter: "SpanExporter | None") -> "TracerProvider":
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

    if exporter is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        assert settings.tracing_endpoint is not None
        exporter = OTLPSpanExporter(f"{settings.tracing_endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS)
    provider = TracerProvider(
        sampler=ParentBased(ALWAYS_ON),  # for those that Tracing lets begin
        resource=Resource.create({"service.name": f"pricetime-{service}", "service.version": version("pricetime")}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_SCHEDULE_MILLISECONDS))
    return provider


@asynccontextmanager
async def tracing(settings: Settings, service: str) -> AsyncIterator[Tracing | None]:
    """What spans are made with while the block runs; None if nobody wants them."""
    if not settings.tracing_endpoint:
        yield None
        return
    made = Tracing(settings, service)
    try:
        yield made
    finally:
        made.close()


def traceparent(span: "Span") -> str:
    """The span as W3C's Trace Context writes it, for the next service."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def trace_headers(spans: "Iterable[Span | None]") -> dict[str, str] | None:
    """For a message that carries the work of all these; None if none of it is traced."""
    found = list(dict.fromkeys(traceparent(span) for span in spans if span is not None))
    if not found:
        return None
    headers = {TRACEPARENT: found[0]}
    if len(found) > 1:
        headers[MORE_TRACES] = ",".join(found[1:])
    return headers


def parents_in(headers: Mapping[str, str]) -> list[str]:
    """What `trace_headers` was given."""
    first, more = headers.get(TRACEPARENT), headers.get(MORE_TRACES)
    return [*([first] if first else []), *(more.split(",") if more else [])]


def trace_id(span: "Span") -> str:
    return f"{span.get_span_context().trace_id:032x}"
