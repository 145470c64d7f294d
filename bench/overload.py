"""`python -m bench.overload`: what the exchange does when it is asked for more than it can do.

First its capacity, then a crowd that sends on schedule at half of that, at as much, at twice and at five times as much,
and at half again, without a pause between. Over REST, then in JSON over NATS; every service runs, with the settings
that it has by default. Meanwhile somebody cancels one order after the other: that must work.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
import uvloop

from bench.client import WrongAnswer, post_request
from bench.command import forget_settings
from bench.crowd import Crowd, HttpCrowd, NatsCrowd
from bench.flow import Flow
from bench.machine import describe
from bench.measure_rest import order_body
from bench.overload_report import Run, Sample, Stage, markdown, plot
from bench.programs import ROOT, NotStarted, whole_stack
from cli.runfile import RunFile
from contracts.subjects import ORDERS_PLACE

FACTORS = (0.5, 1.0, 2.0, 5.0, 0.5)
FOLDER = ROOT / "docs" / "benchmarks"
_IN_FLIGHT = 256
_CONNECTIONS = 1_000
_PAYLOADS = 20_000
_SAMPLE_SECONDS = 0.25
_CANCELS_PER_SECOND = 20
_FAR_BELOW = {"symbol": "BTC-USD", "side": "buy", "price": "1.00", "quantity": "0.00000001"}


@dataclass(frozen=True, slots=True)
class Scale:
    capacity_seconds: float = 4.0
    stage_seconds: float = 7.0


@dataclass(slots=True)
class Watch:
    """Memory and processor time of every process, as long as it is watched."""

    processes: dict[str, psutil.Process]
    samples: list[Sample] = field(default_factory=list)

    async def run(self) -> None:
        before, at = self._processor(), time.perf_counter()
        while True:
            await asyncio.sleep(_SAMPLE_SECONDS)
            now, busy = time.perf_counter(), self._processor()
            shares = {name: (busy[name] - before[name]) / (now - at) for name in busy}
            memory = {name: process.memory_info().rss for name, process in self.processes.items()}
            self.samples.append(Sample(now, memory, shares))
            before, at = busy, now

    def _processor(self) -> dict[str, float]:
        times = {name: process.cpu_times() for name, process in self.processes.items()}
        return {name: each.user + each.system for name, each in times.items()}


async def measure(
    name: str, crowd: Crowd, payloads: list[bytes], careful: HttpCrowd, scale: Scale, watch: Watch
) -> Run:
    """Capacity and all stages of one way in."""
    await crowd.press(payloads, _IN_FLIGHT, 1)
    pressed = await crowd.press(payloads, _IN_FLIGHT, scale.capacity_seconds)
    capacity = sum(_is_good(crowd.tally.status[number]) for number in pressed) / scale.capacity_seconds
    if not capacity:
        raise WrongAnswer(f"nothing was accepted over {name}: {set(crowd.tally.status)}")
    cancels = await _resting_orders(careful, int(_CANCELS_PER_SECOND * scale.stage_seconds * len(FACTORS)))
    canceling = asyncio.create_task(careful.storm(cancels, _CANCELS_PER_SECOND, scale.stage_seconds * len(FACTORS)))
    stages = []
    for factor in FACTORS:
        began = time.perf_counter()
        numbers = await crowd.storm(payloads, factor * capacity, scale.stage_seconds)
        stages.append(Stage(factor, began, time.perf_counter(), numbers))
    numbers = await canceling
    await crowd.settle()
    await careful.settle()
    return Run(name, capacity, stages, crowd.tally, watch.samples, careful.tally, numbers)


async def _resting_orders(careful: HttpCrowd, count: int) -> list[bytes]:
    """Places orders nobody trades with. Returns the requests that cancel them."""
    found: list[bytes] = []

    def remember(number: int, answer: bytes) -> None:
        order_id = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2], type=_Placed).order_id
        found.append(b"DELETE /orders/%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % order_id)

    careful.on_answer = remember
    await careful.storm([post_request("/orders", "127.0.0.1", msgspec.json.encode(_FAR_BELOW))], 500, count / 500)
    await careful.settle()
    careful.on_answer = None
    return found


class _Placed(msgspec.Struct):
    order_id: int


def _is_good(status: int) -> bool:
    return status in (200, 201)


async def measure_all(scale: Scale, folder: Path, say: Callable[[str], None]) -> list[Run]:
    runs = []
    bodies = [order_body(command) for command in Flow(1, cancels=0).next_commands(_PAYLOADS)]
    requests = [post_request("/orders", "127.0.0.1", body) for body in bodies]
    async with whole_stack(folder) as stack:
        processes = {name: psutil.Process(pid) for name, pid in stack.pids.items()} | {"the crowd": psutil.Process()}
        for name, open_crowd, payloads in (("REST", _http, requests), ("NATS", _nats, bodies)):
            say(f"{name}: capacity, then {', '.join(f'{factor:g}' for factor in FACTORS)} times as much")
            watch = Watch(processes)
            watching = asyncio.create_task(watch.run())
            crowd, careful = await open_crowd(stack), HttpCrowd(20)
            await careful.open(stack.http)
            try:
                runs.append(await measure(name, crowd, payloads, careful, scale, watch))
            finally:
                crowd.close()
                careful.close()
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
    return runs


async def _http(stack: RunFile) -> HttpCrowd:
    crowd = HttpCrowd(_CONNECTIONS)
    await crowd.open(stack.http)
    return crowd


async def _nats(stack: RunFile) -> NatsCrowd:
    crowd = NatsCrowd(ORDERS_PLACE)
    await crowd.open(stack.nats)
    return crowd


OpenCrowd = Callable[[RunFile], Awaitable[Crowd]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description="More load than fits: two minutes.")
    parser.add_argument("--quick", action="store_true", help="shorter stages: about 40 seconds")
    parser.add_argument("--write", action="store_true", help=f"write overload.md and .svg into {FOLDER.name}/")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the data goes meanwhile: on a real disk")
    arguments = parser.parse_args()
    forget_settings()
    scale = Scale(2.0, 2.0) if arguments.quick else Scale()
    try:
        with tempfile.TemporaryDirectory(dir=arguments.folder, ignore_cleanup_errors=True) as folder:
            machine = describe(Path(folder))
            runs = uvloop.run(measure_all(scale, Path(folder), lambda what: print(what, file=sys.stderr)))
    except (NotStarted, WrongAnswer, TimeoutError) as error:
        print(f"bench: {error or 'it took too long'}", file=sys.stderr)
        return 1
    report = markdown(runs, machine, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    print(report)
    if arguments.write:
        (FOLDER / "overload.md").write_text(report)
        plot(runs, FOLDER / "overload.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
