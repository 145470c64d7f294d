"""Orders by WebSocket seen from outside: timed and traced. In place of Trading, only where somebody wants that."""

import time
from collections.abc import Iterator
from typing import Any

from broadcaster.protocol import ORDER_OPERATIONS, Request
from broadcaster.trading import Traded, Trading
from contracts.keys import Access
from contracts.messages import OrderCommand, PlaceOrder
from contracts.views import Instrument, OrderView
from entry.exchange import Done, Told
from entry.problems import Declined
from entry.stream_codes import StreamDeclined
from runtime import metrics
from runtime.metrics import Histogram, Measure
from runtime.tracing import Tracing, current


class ObservedTrading(Trading):
    tracing: Tracing | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._seconds = {operation: Histogram() for operation in sorted(ORDER_OPERATIONS)}
        self._refused = {"overloaded": 0}

    async def carry_out(self, request: Request, access: Access) -> Traded:
        started, span = time.perf_counter(), self._span(request.op)
        before = current.set(span)
        try:
            traded = await super().carry_out(request, access)
        except Exception as error:
            self._note(request.op, started, span, error)
            raise
        finally:
            current.reset(before)
        self._note(request.op, started, span, traded)
        return traded

    def begin(self, command: OrderCommand, instrument: Instrument | None, access: Access, tell: Told) -> None:
        operation = "place" if isinstance(command, PlaceOrder) else "cancel"
        started, span = time.perf_counter(), self._span(operation)

        def told(answer: "Done[OrderView] | Exception") -> None:
            self._note(operation, started, span, answer)
            tell(answer)

        before = current.set(span)
        try:
            super().begin(command, instrument, access, told)
        except (Declined, StreamDeclined) as error:
            self._note(operation, started, span, error)
            raise
        finally:
            current.reset(before)

    def _span(self, operation: str) -> Any:
        return None if self.tracing is None else self.tracing.begin(operation, kind="SERVER")

    def _note(self, operation: str, started: float, span: Any, answer: Traded | Done[OrderView] | Exception) -> None:
        self._seconds[operation].observe(time.perf_counter() - started)
        if isinstance(answer, Declined):
            self._refused[answer.problem.code] = self._refused.get(answer.problem.code, 0) + 1
        if span is None:
            return
        if not isinstance(answer, Exception):
            span.set_attribute("pricetime.journal_sequence", answer.sequence)
        span.end()

    def measures(self) -> Iterator[Measure]:
        for operation, seconds in self._seconds.items():
            yield metrics.BROADCASTER_SECONDS.of(seconds, operation)
        for code, count in self._refused.items():
            yield metrics.BROADCASTER_DECLINED.of(count, code)
