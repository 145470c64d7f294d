"""What growth costs: the same orders with more symbols, accounts, resting orders, WebSocket clients or journal behind.

    python -m bench.growth                     # about ten minutes; --quick: about two, with less of everything
    python -m bench.growth --only symbols      # of: symbols, accounts, resting, clients, journal
    python -m bench.growth --write             # and put growth.md, growth.json and the plots into docs/benchmarks

Each axis has an exchange of its own, every service running, that grows from point to point. At each point the same
pairs of orders are sent over NATS, one that rests and one that takes it, spread over all symbols and accounts. Judged
is the processor time of all processes for each order: what it grows by is what growth costs, on a busy machine, too.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import msgspec
import psutil
import uvloop

from bench import capacity
from bench.client import NatsAsker, WrongAnswer, post_request
from bench.command import forget_settings
from bench.floors import BareBook, bare_operations
from bench.flow import Flow
from bench.growth_report import AXES, COMMIT, REPORT, Axis, Point, as_json, costs, draw, lines
from bench.load import closed_loop
from bench.machine import describe, load
from bench.measure_broadcaster import streaming
from bench.measure_nats import settled
from bench.measure_rest import CONNECTIONS, order_body
from bench.programs import NotStarted, asking, pool, whole_stack
from bench.rounds import percentile
from contracts.messages import (
    Answer,
    Command,
    DefineInstrument,
    OrderType,
    Outcome,
    PlaceOrder,
    Reply,
    Side,
    TimeInForce,
)
from contracts.subjects import ORDERS_SUBMIT

SEED = 1
_MIDDLE = 3_000_000
_FAR = 100_000
"""Ticks between the pairs that trade and the orders that only rest."""
_RESTING_PRICES = 20_000
_LOT = 1_000_000
_BATCH = 500
_IN_FLIGHT = 64
_FILLING = 8
"""Batches at once while it grows."""
_MEGABYTE = 1_000_000
_PARTS = ("matcher", "nats", "recorder", "postgres", "broadcaster", "gateway")

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Reply)


@dataclass(frozen=True, slots=True)
class Scale:
    symbols: tuple[int, ...] = (1, 10, 100, 1_000, 10_000)
    accounts: tuple[int, ...] = (1, 100, 1_000, 10_000, 100_000)
    resting: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    clients: tuple[int, ...] = (1, 10, 100, 1_000, 5_000)
    journal: tuple[int, ...] = (10_000, 100_000, 300_000, 1_000_000)
    """Commands in the journal."""
    orders: int = 20_000
    alone: int = 1_000
    rounds: int = 3
    deliveries: int = 20_000


QUICK = Scale(
    symbols=(1, 100, 1_000),
    accounts=(1, 1_000, 10_000),
    resting=(1_000, 10_000, 100_000),
    clients=(1, 100, 1_000),
    journal=(10_000, 50_000, 100_000),
    orders=8_000,
    alone=300,
    rounds=1,
    deliveries=5_000,
)


# Orders


class Population:
    """Symbols and accounts, and orders spread over them."""

    def __init__(self) -> None:
        self._random = Random(SEED)
        self.symbols: list[str] = []
        self.accounts = ["account-0"]

    def more_symbols(self, count: int) -> list[Command]:
        fresh = [f"SYMBOL-{number}" for number in range(len(self.symbols), count)]
        self.symbols += fresh
        return [DefineInstrument(symbol, "0.01", "0.00000001") for symbol in fresh]

    def more_accounts(self, count: int) -> list[Command]:
        """Each is one that has an order."""
        fresh = [f"account-{number}" for number in range(len(self.accounts), count)]
        self.accounts += fresh
        return [self._resting(account) for account in fresh]

    def resting(self, count: int) -> list[Command]:
        return [self._resting(self._random.choice(self.accounts)) for _ in range(count)]

    def _resting(self, account: str) -> PlaceOrder:
        """Out of reach of the pairs."""
        side = Side.BUY if self._random.random() < 0.5 else Side.SELL
        away = _FAR + self._random.randrange(_RESTING_PRICES)
        price = _MIDDLE + (-away if side is Side.BUY else away)
        symbol = self._random.choice(self.symbols)
        return PlaceOrder(symbol, side, OrderType.LIMIT, _LOT, price, account=account)

    def pairs(self, count: int) -> Iterator[Command]:
        """So many orders: one that rests, and one that takes all of it."""
        for _ in range(count // 2):
            symbol, price = self._random.choice(self.symbols), _MIDDLE + self._random.randrange(100)
            maker, taker = self._random.choice(self.accounts), self._random.choice(self.accounts)
            yield PlaceOrder(symbol, Side.SELL, OrderType.LIMIT, _LOT, price, account=maker)
            yield PlaceOrder(symbol, Side.BUY, OrderType.LIMIT, _LOT, price, TimeInForce.IOC, account=taker)


class Exchange:
    """Every service of one, and what it has used."""

    def __init__(self, asker: NatsAsker, pids: dict[str, int], data: Path, scale: Scale) -> None:
        self.population = Population()
        self.commands = 0
        self._asker = asker
        self._processes = {part: psutil.Process(pids[part]) for part in _PARTS}
        self._data = data
        self._scale = scale

    async def send(self, commands: Sequence[Command]) -> None:
        """In batches, some at once; returns when Postgres has them, too."""
        payloads = [_encoder.encode(tuple(commands[at : at + _BATCH])) for at in range(0, len(commands), _BATCH)]
        left = iter(payloads)

        async def sender() -> None:
            for payload in left:
                _check(await self._asker.ask(ORDERS_SUBMIT, payload))

        await asyncio.gather(*(sender() for _ in range(_FILLING)))
        self.commands += len(commands)
        await settled(self._asker)

    async def point(self, at: int) -> Point:
        """The same orders as at every point. Each figure is the median of the rounds."""
        rounds = [await self._round() for _ in range(self._scale.rounds)]
        return Point(
            at,
            rate=median(each.rate for each in rounds),
            p50=median(each.p50 for each in rounds),
            p99=median(each.p99 for each in rounds),
            processor={part: median(each.processor[part] for each in rounds) for part in _PARTS},
            memory={part: _memory(process) for part, process in self._processes.items()},
            yardstick=median(each.yardstick for each in rounds),
            commands=self.commands,
            journal_bytes=_size(self._data / "nats"),
            postgres_bytes=_size(self._data / "postgres"),
        )

    async def _round(self) -> Point:
        count = self._scale.orders
        alone = await self._closed(self._scale.alone, 1)
        many = await self._closed(count, _IN_FLIGHT)
        await settled(self._asker)
        yardstick = measured_yardstick()
        before = self._processor()
        await self._closed(count, 1, COMMIT)
        await settled(self._asker)
        spent = {part: seconds - before[part] for part, seconds in self._processor().items()}
        return Point(
            0,
            rate=count / many[0],
            p50=1000 * percentile(alone[1], 0.50),
            p99=1000 * percentile(alone[1], 0.99),
            processor={part: 1e6 * seconds / count for part, seconds in spent.items()},
            yardstick=(yardstick + measured_yardstick()) / 2,
        )

    async def _closed(self, count: int, in_flight: int, size: int = 1) -> tuple[float, list[float]]:
        """Requests of `size` commands."""
        commands = list(self.population.pairs(count))
        payloads = [_encoder.encode(tuple(commands[at : at + size])) for at in range(0, count, size)]
        done = await closed_loop(lambda payload: self._asker.ask(ORDERS_SUBMIT, payload), payloads, in_flight)
        for answer in done.answers:
            _check(answer)
        self.commands += count
        return done.seconds, done.latencies

    def _processor(self) -> dict[str, float]:
        return {part: _seconds(process) for part, process in self._processes.items()}


_YARDSTICK = bare_operations(Flow(SEED).next_commands(20_000))


def measured_yardstick() -> float:
    """Milliseconds of processor that the same operations on a bare book take now."""
    begun = time.process_time()
    BareBook().run(_YARDSTICK)
    return 1000 * (time.process_time() - begun)


def _check(answer: bytes) -> None:
    reply = _decoder.decode(answer)
    if not isinstance(reply, Answer):
        raise WrongAnswer(f"a request was turned away: {reply}")
    for result in (each for part in reply.parts for each in part.results):
        if not isinstance(result, Outcome):
            raise WrongAnswer(f"a command was refused: {result}")


def _seconds(process: psutil.Process) -> float:
    """Of processor; Postgres works in children."""
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        try:
            times = each.cpu_times()
        except psutil.Error:  # it has ended meanwhile
            continue
        total += times.user + times.system
    return total


def _memory(process: psutil.Process) -> float:
    """Megabytes that are its own; what Postgres's children share is counted once."""
    return sum(float(each.memory_full_info().pss) for each in (process, *process.children(recursive=True))) / _MEGABYTE


def _size(folder: Path) -> int:
    """Bytes on the disk, without Postgres's own journal: that is used again and again."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() and "pg_wal" not in path.parts else 0
        except OSError:  # it has gone meanwhile
            continue
    return total


@asynccontextmanager
async def exchange(folder: Path, scale: Scale) -> AsyncIterator[Exchange]:
    async with whole_stack(folder) as stack, asking(stack.nats) as (_, asker):
        grown = Exchange(asker, stack.pids, folder / "stack", scale)
        await grown.send(grown.population.more_symbols(1))
        await grown.send(list(grown.population.pairs(scale.alone)))  # everything once for nothing
        yield grown


async def gateway_microseconds(scale: Scale, folder: Path) -> float:
    """Of its processor, for an order over REST."""
    async with whole_stack(folder) as stack, pool(stack.http, CONNECTIONS) as http:
        flow, gateway = Flow(SEED, cancels=0), psutil.Process(stack.pids["gateway"])
        spent = []
        for count in (scale.alone, *(scale.orders // 2 for _ in range(scale.rounds))):
            bodies = [order_body(command) for command in flow.next_commands(count)]
            before = _seconds(gateway)
            done = await closed_loop(
                http.ask, [post_request("/orders", "127.0.0.1", each) for each in bodies], CONNECTIONS
            )
            spent.append(1e6 * (_seconds(gateway) - before) / count)
            if bad := [answer for answer in done.answers if not answer.startswith(b"HTTP/1.1 201 ")]:
                raise WrongAnswer(f"an order was not taken: {bad[0][:1000]!r}")
        return median(spent[1:])


# Axes


async def symbols(scale: Scale, folder: Path, say: Callable[[str], None]) -> list[Point]:
    async with exchange(folder, scale) as grown:
        points = []
        for count in scale.symbols:
            say(f"{count:,} symbols")
            await grown.send(grown.population.more_symbols(count))
            points.append(await grown.point(count))
        return points


async def accounts(scale: Scale, folder: Path, say: Callable[[str], None]) -> list[Point]:
    """Each with an order that rests: so more accounts are more resting orders."""
    async with exchange(folder, scale) as grown:
        points = []
        for count in scale.accounts:
            say(f"{count:,} accounts")
            await grown.send(grown.population.more_accounts(count))
            points.append(await grown.point(count))
        return points


async def resting(scale: Scale, folder: Path, say: Callable[[str], None]) -> list[Point]:
    async with exchange(folder, scale) as grown:
        points, there = [], 0
        await grown.send(grown.population.more_accounts(1_000))
        for count in scale.resting:
            say(f"{count:,} resting orders")
            await grown.send(grown.population.resting(count - there))
            there = count
            points.append(await grown.point(count))
        return points


async def journal(scale: Scale, folder: Path, say: Callable[[str], None]) -> list[Point]:
    """Commands in it."""
    async with exchange(folder, scale) as grown:
        points = []
        for count in scale.journal:
            say(f"{count:,} commands in the journal")
            await grown.send(list(grown.population.pairs(max(0, count - grown.commands))))
            points.append(await grown.point(count))
        return points


async def clients(scale: Scale, folder: Path, say: Callable[[str], None]) -> list[Point]:
    """Each is sent every trade; an order here is one message to one of them."""
    points = []
    async with streaming(folder, SEED) as measurements:
        for count in scale.clients:
            say(f"{count:,} WebSocket clients")
            commits = min(300, max(5, scale.deliveries // count))
            rounds = [await measurements.spent(count, commits) for _ in range(scale.rounds)]
            points.append(
                Point(
                    count,
                    rate=median(each.rate for each in rounds),
                    p50=median(each.latency["p50"] for each in rounds),
                    p99=median(each.latency["p99"] for each in rounds),
                    processor={"broadcaster": median(each.processor for each in rounds)},
                    memory={"broadcaster": rounds[-1].megabytes},
                    yardstick=measured_yardstick(),
                )
            )
    return points


MEASURES = dict(zip(AXES, (symbols, accounts, resting, clients, journal), strict=True))


# The command


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description="What growth costs.")
    parser.add_argument("--quick", action="store_true", help="less of everything: about two minutes")
    parser.add_argument("--only", metavar="NAMES", help=f"some of: {', '.join(AXES)}; with commas between")
    parser.add_argument("--write", action="store_true", help=f"write growth.md, .json and plots into {REPORT.parent}")
    parser.add_argument("--most", type=int, metavar="N", help="leave out the points beyond this")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the data goes meanwhile: on a real disk")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(AXES)
    if unknown := set(names) - set(AXES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(AXES)}")
    if arguments.write and arguments.only:
        parser.error("--write takes a whole run")
    forget_settings()
    try:
        _run(_limited(QUICK if arguments.quick else Scale(), arguments.most), names, arguments)
    except (NotStarted, WrongAnswer, TimeoutError) as error:
        print(f"bench: {error or 'it took too long'}", file=sys.stderr)
        return 1
    return 0


def _limited(scale: Scale, most: int | None) -> Scale:
    if most is None:
        return scale
    kept: dict[str, Any] = {name: tuple(each for each in getattr(scale, name) if each <= most) for name in AXES}
    return replace(scale, **kept)


def _run(scale: Scale, names: Sequence[str], arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="pricetime-bench-", dir=arguments.folder, ignore_cleanup_errors=True) as at:
        machine = describe(Path(at))
        axes = uvloop.run(_measure(scale, names, Path(at)))
        gateway = uvloop.run(gateway_microseconds(scale, Path(at))) if arguments.write else 0.0
        machine["load after"] = load()
        machine["run"] = "quick: fewer orders, one round" if arguments.quick else "whole"
    print("\n".join(lines(axes, machine)))
    if arguments.write:
        measured = costs(axes, gateway)
        REPORT.write_text("\n".join(lines(axes, machine)) + "\n")
        REPORT.with_suffix(".json").write_bytes(as_json(axes, machine, measured))
        draw(axes, REPORT.parent)
        capacity.write_page(measured)


async def _measure(scale: Scale, names: Sequence[str], folder: Path) -> list[Axis]:
    axes = []
    for name in names:
        own = folder / name
        own.mkdir()
        points = await MEASURES[name](scale, own, lambda what: print(f"measuring: {what}", file=sys.stderr))
        axes.append(Axis(name, tuple(points)))
    return axes


if __name__ == "__main__":
    sys.exit(main())
