"""Each HTTP request seen from outside: counted, timed, traced, logged. Not there at all unless somebody wants that.

An ASGI application around all others. It gives them a `send` of the same kind as the one that it got, which notes what
was answered, so that answers still leave in one go (gateway/answer_writer.py).
"""

import logging
import time
from collections.abc import Iterator
from typing import Any

from litestar.types import ASGIApp, Receive, Send
from uvicorn._types import ASGISendEvent

from gateway.admission import ARRIVED, kind_of
from gateway.answer_writer import AnswerWriter
from gateway.http import Headers, HttpAnswer, address_of, header
from runtime import metrics
from runtime.metrics import Histogram, Measure
from runtime.tracing import TRACEPARENT, Tracing, current, trace_id

log = logging.getLogger(__name__)

_KINDS = ("order", "cancel", "read", "deferred", "health")
_TRACEPARENT = TRACEPARENT.encode()


class RequestCounts:
    """How many requests had which answer, and how long they took."""

    def __init__(self) -> None:
        self._answered = {(kind, 500): 0 for kind in _KINDS}  # there from the start, or the first would be no increase
        self._seconds = {kind: Histogram() for kind in _KINDS}

    def add(self, kind: str, status: int, seconds: float) -> None:
        self._answered[kind, status] = self._answered.get((kind, status), 0) + 1
        self._seconds[kind].observe(seconds)

    def measures(self) -> Iterator[Measure]:
        for (kind, status), count in self._answered.items():
            yield metrics.GATEWAY_REQUESTS.of(count, kind, str(status) if status else "none")
        for kind, seconds in self._seconds.items():
            yield metrics.GATEWAY_SECONDS.of(seconds, kind)


class _Noted:
    """What was answered. `status` is 0 while nothing was: also for ever, when the client has gone."""

    __slots__ = ("headers", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = ()

    def header(self, name: bytes) -> str | None:
        return next((value.decode("latin-1") for each, value in self.headers if each == name), None)


class _NotingWriter(AnswerWriter):
    __slots__ = ("_noted",)

    def __init__(self, writer: AnswerWriter, noted: _Noted) -> None:
        super().__init__(writer.cycle, writer.heads)
        self._noted = noted

    async def __call__(self, message: ASGISendEvent) -> None:
        _note(self._noted, message)
        await super().__call__(message)

    def write(self, answer: HttpAnswer) -> bool:
        if not super().write(answer):
            return False
        self._noted.status, self._noted.headers = answer.status, answer.headers
        return True


def _note(noted: _Noted, message: Any) -> None:
    if message["type"] == "http.response.start":
        noted.status, noted.headers = message["status"], message["headers"]


def _noting(send: Send, noted: _Noted) -> Send:
    async def send_noted(message: Any) -> None:
        _note(noted, message)
        await send(message)

    return send_noted


class Observed:
    """`counts`, `tracing`: None where nobody wants them; `logs`: whether each request gets a line in the log."""

    def __init__(self, app: ASGIApp, counts: RequestCounts | None, tracing: Tracing | None, *, logs: bool) -> None:
        self._app = app
        self._counts = counts
        self._tracing = tracing
        self._logs = logs

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        started, noted = scope.get(ARRIVED) or time.perf_counter(), _Noted()
        noting: Any = _NotingWriter(send, noted) if type(send) is AnswerWriter else _noting(send, noted)
        found = kind_of(scope)
        kind = "health" if found is None else found.value
        span = None if self._tracing is None or found is None else self._begin(self._tracing, scope)
        before = current.set(span)
        try:
            await self._app(scope, receive, noting)
        finally:
            current.reset(before)
            seconds = time.perf_counter() - started
            if self._counts is not None:
                self._counts.add(kind, noted.status, seconds)
            if span is not None:
                _end(span, noted)
            if self._logs and found is not None:
                _log(scope, noted, seconds, span)

    @staticmethod
    def _begin(tracing: Tracing, scope: Any) -> Any:
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        place = scope["path"].split("/")[1]  # no more of it: names of spans are to be few
        name = f"{scope['method']} /{place}"
        return tracing.begin(name, parent=header(scope, _TRACEPARENT), kind="SERVER", attributes=attributes)


def _end(span: Any, noted: _Noted) -> None:
    span.set_attribute("http.response.status_code", noted.status)
    if sequence := noted.header(b"journal-sequence"):
        span.set_attribute("pricetime.journal_sequence", int(sequence))
    if noted.status >= 500:
        from opentelemetry.trace import StatusCode

        span.set_status(StatusCode.ERROR)
    span.end()


def _log(scope: Any, noted: _Noted, seconds: float, span: Any) -> None:
    """With the numbers by which the journal, the history and a trace tell of the same command."""
    sequence, location = noted.header(b"journal-sequence"), noted.header(b"location")
    ids: dict[str, object] = {"journal_sequence": int(sequence)} if sequence else {}
    if location and location.startswith("/orders/"):
        ids["order_id"] = int(location.rpartition("/")[2])
    elif location and location.startswith("/commands/"):
        ids["command_id"] = location.rpartition("/")[2]
    if span is not None:
        ids["trace_id"] = trace_id(span)
    request = {
        "method": scope["method"],
        "path": scope["path"],
        "status": noted.status,
        "milliseconds": round(seconds * 1000, 3),
        "client": address_of(scope),
    }
    log.info("%s", " ".join(_words(request | ids)), extra={**request, **ids})


def _words(fields: dict[str, object]) -> Iterator[str]:
    for name, value in fields.items():
        yield str(value) if name in ("method", "path", "status") else f"{name}={value}"
