"""Orders by WebSocket seen from outside: timed and traced. In place of Trading, only where somebody wants that."""

import time
from collections.abc import Iterator
from typing import Any

from broadcaster.protocol import ORDER_OPERATIONS, Request
from broadcaster.trading import Traded, Trading
from contracts.keys import Access
from entry.problems import Declined
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
        started = time.perf_counter()
        span = None if self.tracing is None else self.tracing.begin(request.op, kind="SERVER")
        before = current.set(span)
        try:
            traded = await super().carry_out(request, access)
            if span is not None:
                span.set_attribute("pricetime.journal_sequence", traded.sequence)
            return traded
        except Declined as error:
            self._refused[error.problem.code] = self._refused.get(error.problem.code, 0) + 1
            raise
        finally:
            current.reset(before)
            self._seconds[request.op].observe(time.perf_counter() - started)
            if span is not None:
                span.end()

    def measures(self) -> Iterator[Measure]:
        for operation, seconds in self._seconds.items():
            yield metrics.BROADCASTER_SECONDS.of(seconds, operation)
        for code, count in self._refused.items():
            yield metrics.BROADCASTER_DECLINED.of(count, code)
