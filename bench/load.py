"""Sending requests and timing the answers: a number of them always in flight, or at a given rate on a schedule."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.pace import ticking
from bench.processor import Processors
from bench.rounds import Sample, percentile

Ask = Callable[[bytes], Awaitable[bytes]]
"""Sends a request, returns the answer."""

LIMIT_SECONDS = 60.0
"""No round takes longer; one that does has hung."""
_TICK_SECONDS = 0.0002


@dataclass(frozen=True, slots=True)
class Load:
    """What came of sending: the answers in the order of the requests, and how long each took."""

    seconds: float
    latencies: list[float]
    answers: list[bytes]
    processor: Mapping[str, float] = field(default_factory=dict)
    """Seconds of it that each process had meanwhile, if that was asked for."""

    @property
    def latency(self) -> Sample:
        """In milliseconds."""
        return {"p50": 1000 * percentile(self.latencies, 0.50), "p99": 1000 * percentile(self.latencies, 0.99)}

    def rate(self, count: float) -> Sample:
        """Per second, of which there were `count` in all."""
        return {"rate": count / self.seconds}


async def closed_loop(
    ask: Ask, payloads: Sequence[bytes], in_flight: int, processors: Processors | None = None
) -> Load:
    """Send all of them, in order, with so many waiting for their answers at any moment."""
    latencies = [0.0] * len(payloads)
    answers = [b""] * len(payloads)
    left = iter(enumerate(payloads))

    async def sender() -> None:
        for number, payload in left:
            sent = time.perf_counter()
            answers[number] = await ask(payload)
            latencies[number] = time.perf_counter() - sent

    with _no_collector():
        before = processors.seconds() if processors is not None else {}
        started = time.perf_counter()
        async with asyncio.timeout(LIMIT_SECONDS):
            await asyncio.gather(*(sender() for _ in range(min(in_flight, len(payloads)))))
        seconds = time.perf_counter() - started
        return Load(seconds, latencies, answers, processors.since(before) if processors is not None else {})


async def open_loop(ask: Ask, payloads: Sequence[bytes], per_second: float) -> Load:
    """Send on schedule, whether or not earlier answers have come, as a crowd of strangers does.

    A latency counts from the moment its request was due. So a stall of whatever kind shows in every request that
    it held up, also in those that could only be sent after it (no coordinated omission).
    """
    latencies = [0.0] * len(payloads)
    answers = [b""] * len(payloads)
    tasks: set[asyncio.Task[None]] = set()
    sent = 0
    all_sent = asyncio.Event()

    async def send(number: int) -> None:
        answers[number] = await ask(payloads[number])
        latencies[number] = time.perf_counter() - (started + number / per_second)

    def send_what_is_due() -> None:
        nonlocal sent
        due = min(len(payloads), 1 + int((time.perf_counter() - started) * per_second))
        tasks.update(asyncio.create_task(send(number)) for number in range(sent, due))
        sent = due
        if sent == len(payloads):
            all_sent.set()

    with _no_collector():
        started = time.perf_counter()
        async with asyncio.timeout(LIMIT_SECONDS):
            with ticking(_TICK_SECONDS, send_what_is_due):
                await all_sent.wait()
            await asyncio.gather(*tasks)
        return Load(time.perf_counter() - started, latencies, answers)


@contextmanager
def _no_collector() -> Iterator[None]:
    """A pause of this process's garbage collector must not look like one of the exchange's."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
