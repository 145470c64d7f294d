"""How long a matcher takes to serve again, what that costs, and what snapshots cost meanwhile.

    python -m bench.recovery                   # about five minutes; --quick: about one, with a tenth of everything
    python -m bench.recovery --write           # and put the result into docs/benchmarks/recovery.md

Measured are real matchers over a real nats-server, from the start of the process until the matcher answers. The floor
is a process that reads the same journal and decodes it, from its start to its end. In brackets: seconds of processor,
which hold on a machine that does other things as well; and for memory, the other way to recover.
"""

import argparse
import asyncio
import gc
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import median

import msgspec
import psutil
import uvloop
from nats.aio.client import Client

from bench.client import NatsAsker
from bench.flow import LISTING, SYMBOL, Flow
from bench.load import open_loop
from bench.machine import describe, load
from bench.programs import NotStarted, Running, answers, asking, listens, python, running
from bench.rounds import percentile
from cli.servers import NatsPlan, nats_plan, nats_program
from contracts.commits import encode_commit
from contracts.messages import Command, OrderType, Outcome, PlaceOrder, Side
from contracts.subjects import JOURNAL, MATCHER_STATUS, ORDERS_SUBMIT
from matcher import state
from matcher.replay import Replay
from matcher.sequencer import next_commit
from matcher.snapshots import snapshot_files
from runtime.journal import ensure_stream, journal_state
from runtime.settings import PREFIX

REPORT = Path(__file__).parent.parent / "docs" / "benchmarks" / "recovery.md"
TIME = 1_700_000_000_000_000
_PUBLISHED_TOGETHER = 500
_ACCOUNTS = 1_000
_RESTING_PER_COMMIT = 500
_MEGABYTE = 1_000_000
_HEAD = (
    "Written by `python -m bench.recovery --write`; [why it is so](../decisions/0021-snapshots-of-the-matcher.md).",
    "In brackets: seconds of processor, which hold on a busy machine, too; of memory, the floor's or the other way's.",
)
_SNAPSHOT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Scale:
    commands: int = 1_000_000
    commits_of: tuple[int, ...] = (20, 100)
    """So many commands in each: commits are of a dozen over REST, of some 60 with 64 requests at a time over NATS, and
    larger of batches."""
    resting: tuple[int, ...] = (100_000, 1_000_000)
    rounds: int = 3
    rate: float = 1_000.0
    seconds: float = 40.0


QUICK = Scale(commands=100_000, commits_of=(20,), resting=(100_000,), rounds=1, rate=1_000.0, seconds=15.0)


@dataclass(frozen=True, slots=True)
class Timed:
    """`processor`: seconds of it that the process had. On a machine that does other things as well they say more."""

    seconds: float
    processor: float
    megabytes: float

    @property
    def text(self) -> str:
        return f"{self.seconds:.2f} s ({self.processor:.2f} s)"


# Journals


def flow_journal(replay: Replay, commands: int, per_commit: int) -> Iterator[bytes]:
    """What the benchmark's flow leads to: some 1,500 orders in the book at any time."""
    flow = Flow(1)
    yield written(replay, [])
    yield written(replay, [LISTING])
    for _ in range(commands // per_commit):
        yield written(replay, flow.next_commands(per_commit))


def resting_journal(replay: Replay, orders: int) -> Iterator[bytes]:
    """Orders that rest: a thousand accounts, some thousand prices, each with its client's id."""
    random = Random(1)
    yield written(replay, [])
    yield written(replay, [LISTING])
    for begin in range(0, orders, _RESTING_PER_COMMIT):
        yield written(replay, [_resting_order(random, number) for number in range(begin, begin + _RESTING_PER_COMMIT)])


def _resting_order(random: Random, number: int) -> PlaceOrder:
    side = Side.BUY if number % 2 else Side.SELL
    away = 1 + int(random.expovariate(1 / 2_000))
    price = 3_000_000 + (-away if side is Side.BUY else away)
    account = f"account-{random.randrange(_ACCOUNTS)}"
    quantity = random.randint(1, 10**8)
    return PlaceOrder(
        SYMBOL, side, OrderType.LIMIT, quantity, price, account=account, client_order_id=f"order-{number}"
    )


def written(replay: Replay, commands: Sequence[Command]) -> bytes:
    """The next commit: of these commands, or a barrier."""
    chain, engine = replay.chain, replay.engine
    results = tuple(engine.apply(command, TIME, chain.sequence + 1) for command in commands)
    outcomes = tuple(result for result in results if isinstance(result, Outcome))
    assert len(outcomes) == len(commands)
    barrier_state = None if commands else engine.state_hash()
    payload, digest = encode_commit(
        commit := next_commit(chain, TIME, tuple(commands), outcomes, barrier_state, journal_epoch="bench")
    )
    chain.advance(commit, digest)
    return payload


async def publish(connection: Client, payloads: Iterable[bytes]) -> None:
    """Nobody else writes, so without a fence and without waiting for each."""
    assert not await ensure_stream(connection, 1)
    count = 0
    for count, payload in enumerate(payloads, 1):
        await connection.publish(JOURNAL, payload)
        if not count % _PUBLISHED_TOGETHER:
            await _stored(connection, count)
    await _stored(connection, count)


async def _stored(connection: Client, count: int) -> None:
    await connection.flush(60)
    while (await journal_state(connection)).last_seq < count:  # noqa: ASYNC110 (it is nats-server that stores them)
        await asyncio.sleep(0.01)


# Processes


@asynccontextmanager
async def nats(folder: Path) -> AsyncIterator[tuple[NatsPlan, Client]]:
    plan = nats_plan(folder)
    with running(nats_program(plan), folder.with_suffix(".log")) as server:
        await server.until(lambda: listens(plan))
        async with asking(plan.url) as (connection, _):
            yield plan, connection


@asynccontextmanager
async def matcher(plan: NatsPlan, folder: Path, snapshot_commits: str) -> AsyncIterator[tuple[Running, Timed]]:
    """Gives it once it answers, with the time that this took and the most memory that it had until then."""
    program = python(
        "matcher",
        nats_url=plan.url,
        nats_monitor_url=plan.monitor_url,
        recorder_wait_seconds="0",
        data_dir=str(folder),
        snapshot_commits=snapshot_commits,
    )
    async with asking(plan.url) as (_, asker):
        started = time.monotonic()
        with running(program, folder / "matcher.log") as service:
            await service.until(lambda: answers(asker, MATCHER_STATUS))
            pid = service.process.pid
            yield service, Timed(time.monotonic() - started, _processor(pid), _most_memory(pid))


def _processor(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _most_memory(pid: int) -> float:
    """Megabytes of RAM, at the most since it began; where the system does not say that, now."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return float(psutil.Process(pid).memory_info().rss) / _MEGABYTE
    (most,) = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(most) * 1024 / _MEGABYTE


async def reading(plan: NatsPlan, folder: Path) -> Timed:
    started, most, processor = time.monotonic(), 0.0, 0.0
    with running(python("bench.reading", plan.url), folder / "reading.log") as reader:
        while reader.process.poll() is None:
            with suppress(psutil.Error):  # it has just ended
                processor = max(processor, _processor(reader.process.pid))
                most = max(most, float(psutil.Process(reader.process.pid).memory_info().rss) / _MEGABYTE)
            await asyncio.sleep(0.01)
    if reader.process.returncode:
        raise NotStarted(reader.log.read_text())
    return Timed(time.monotonic() - started, processor, most)


# What is measured


class Report:
    """Lines of Markdown, which are shown as they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, *lines: str) -> None:
        self.lines += lines
        print(*lines, sep="\n", flush=True)

    def table(self, *heads: str) -> None:
        self.say("", _row(heads), _row("---" for _ in heads))

    def row(self, *cells: str) -> None:
        self.say(_row(cells))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


async def from_the_journal(scale: Scale, folder: Path, report: Report) -> None:
    report.say("", f"## {scale.commands:,} commands from the journal alone")
    report.table("commands in a commit", "journal", "reading and decoding", "matcher serves", "ratio", "goal", "memory")
    for per_commit in scale.commits_of:
        async with nats(folder / f"commits-of-{per_commit}") as (plan, connection):
            await publish(connection, flow_journal(Replay(), scale.commands, per_commit))
            size = (await journal_state(connection)).bytes / _MEGABYTE
            floors, figures = [], []
            for _ in range(scale.rounds):
                floors.append(await reading(plan, folder))
                async with matcher(plan, folder, snapshot_commits="0") as (_, timed):
                    figures.append(timed)
        floor, figure = _median(floors), _median(figures)
        pairs = list(zip(figures, floors, strict=True))
        ratio = median(figure.seconds / floor.seconds for figure, floor in pairs)
        work = median(figure.processor / floor.processor for figure, floor in pairs)
        reached = "reached" if ratio <= 3 else "NOT REACHED"
        report.row(
            f"{per_commit}",
            f"{size:,.0f} MB",
            floor.text,
            figure.text,
            f"{ratio:.2f} ({work:.2f})",
            f"<= 3 {reached}",
            f"{figure.megabytes:,.0f} MB ({floor.megabytes:,.0f} MB)",
        )


def _median(timed: Sequence[Timed]) -> Timed:
    return Timed(
        median(each.seconds for each in timed),
        median(each.processor for each in timed),
        median(each.megabytes for each in timed),
    )


async def from_a_snapshot(scale: Scale, folder: Path, report: Report) -> None:
    report.say("", "## Many resting orders: from a snapshot, and what snapshots cost meanwhile")
    report.table(
        "resting orders",
        "matcher serves again after",
        "goal",
        "from the journal alone",
        "memory",
        "snapshot",
        "state hash",
    )
    pauses = []
    for orders in scale.resting:
        async with nats(folder / f"resting-{orders}") as (plan, connection):
            data = folder / f"data-{orders}"
            size, hashing = await _prepared(connection, data, orders)
            timed = []
            for _ in range(scale.rounds):
                async with matcher(plan, data, snapshot_commits="0") as (_, each):
                    timed.append(each)
            async with matcher(plan, folder, snapshot_commits="0") as (_, alone):
                pass
            figure = _median(timed)
            report.row(
                f"{orders:,}",
                figure.text,
                f"<= 10 s {'reached' if figure.seconds <= 10 else 'NOT REACHED'}",
                alone.text,
                f"{figure.megabytes:,.0f} MB ({alone.megabytes:,.0f} MB)",
                f"{size / _MEGABYTE:,.0f} MB",
                f"{hashing:.2f} s",
            )
            pauses.append(await _pauses(scale, plan, data, orders))
    how = f"Commits of one command, {scale.rate:,.0f} a second on schedule for {scale.seconds:.0f} s; milliseconds from"
    report.say("", how, "when the request was due until its answer, which is after its commit was on disk:")
    report.table("resting orders", "snapshots", "p50", "p99", "p99.9", "most")
    for rows in pauses:
        for row in rows:
            report.row(*row)


async def _prepared(connection: Client, data: Path, orders: int) -> tuple[int, float]:
    """A journal and a snapshot of its end: its size, and how long the hash of the state takes."""
    replay = Replay()
    gc.disable()
    await publish(connection, resting_journal(replay, orders))
    started = time.monotonic()
    replay.engine.state_hash()
    hashing = time.monotonic() - started
    files = snapshot_files(data / "matcher")
    files.write(state.dump_parts(replay), replay.chain.sequence)
    gc.enable()
    return files.newest_first()[0].stat().st_size, hashing


async def _pauses(scale: Scale, plan: NatsPlan, data: Path, orders: int) -> list[tuple[str, ...]]:
    """The same flow without snapshots, and with one that is begun when a quarter of it is over."""
    rows, files = [], snapshot_files(data / "matcher")
    for often in (0, int(scale.rate * scale.seconds / 4)):
        before = files.sequences()[0]
        async with matcher(plan, data, snapshot_commits=str(often)), asking(plan.url) as (_, asker):
            latencies = [1000 * each for each in await _flow(asker, scale)]
            async with asyncio.timeout(_SNAPSHOT_SECONDS):
                while often and files.sequences()[0] == before:  # noqa: ASYNC110 (another process writes it)
                    await asyncio.sleep(0.1)
        shares = [f"{percentile(latencies, share):.2f}" for share in (0.5, 0.99, 0.999, 1)]
        rows.append((f"{orders:,}", "taken and proved meanwhile" if often else "none", *shares))
    return rows


async def _flow(asker: NatsAsker, scale: Scale) -> list[float]:
    """Orders that rest far from the market."""
    encoder = msgspec.msgpack.Encoder()
    place = PlaceOrder(SYMBOL, Side.BUY, OrderType.LIMIT, 5, 1_000, account="bench")
    payloads = [encoder.encode((place,)) for _ in range(int(scale.rate * scale.seconds))]
    return (await open_loop(lambda payload: asker.ask(ORDERS_SUBMIT, payload), payloads, scale.rate)).latencies


# The command


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.recovery", description="Recovery, from journal and snapshot."
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: about a minute")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each start is measured: the median counts")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/benchmarks/recovery.md")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the data goes meanwhile: on a real disk")
    arguments = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    try:
        scale = QUICK if arguments.quick else Scale()
        _run(replace(scale, rounds=arguments.rounds or scale.rounds), arguments)
    except (NotStarted, TimeoutError) as error:
        print(f"bench: {error or 'it took too long'}", file=sys.stderr)
        return 1
    return 0


def _run(scale: Scale, arguments: argparse.Namespace) -> None:
    report = Report()
    with tempfile.TemporaryDirectory(prefix="pricetime-bench-", dir=arguments.folder, ignore_cleanup_errors=True) as at:
        folder = Path(at)
        report.say("# Recovery", "", *_HEAD, "")
        report.say(*(f"- {name}: {value}" for name, value in describe(folder).items()))
        uvloop.run(_measure(scale, folder, report))
    report.say("", f"Load after: {load()}")
    if arguments.write:
        REPORT.write_text("\n".join(report.lines) + "\n")


async def _measure(scale: Scale, folder: Path, report: Report) -> None:
    await from_the_journal(scale, folder, report)
    await from_a_snapshot(scale, folder, report)


if __name__ == "__main__":
    sys.exit(main())
