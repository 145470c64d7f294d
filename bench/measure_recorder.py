"""The recorder: rows stored, beside COPY of the same rows into the same tables; its memory; how far it is behind.

A round stores one journal into a new database, by a recorder process of its own. Its floor is one COPY for each table
of what is then there, from the binary form that Postgres itself wrote, into another new database with the same tables
and indexes, all in one transaction: nothing is read, decoded, checked or changed, and nobody keeps a position.
"""

import asyncio
import io
import json
import secrets
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

import asyncpg
import psutil
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.client import HttpPool, WrongAnswer, post_request
from bench.flow import LISTING, SYMBOL, Flow
from bench.load import closed_loop
from bench.measure_rest import CONNECTIONS, order_body
from bench.programs import Running, asking, listens, pool, python, running, whole_stack
from bench.recovery import publish, written
from bench.rounds import MEGABYTES, MILLISECONDS, PER_SECOND, Row, Sample, column, percentile
from bench.run import Say
from bench.scale import SEED, Scale
from cli.servers import nats_plan, nats_program, postgres_program, prepare_postgres
from contracts.messages import Command, OrderType, PlaceOrder, Side, TimeInForce
from contracts.subjects import RECORDER_POSITION
from matcher.replay import Replay
from recorder.schema import migrate

COMMANDS_PER_COMMIT = 20
"""What the matcher's commits hold with 64 requests at a time."""
_RATIO_GOAL = 0.5
_LAG_GOAL_MILLISECONDS = 100.0
_MEMORY_RATIO_GOAL = 1.1
_ACCOUNTS = 1_000
_TAKEN_AT_ONCE = 20
_SECONDS = 600.0
_MEGABYTE = 1_000_000
_COPY = "COPY of the same rows into the same tables"
_TABLES = {
    "journal_commits": "sequence",
    "trades": "journal_sequence",
    "orders": "placed_sequence",
    "order_events": "sequence",
}
"""The tables that grow with the journal, and the column that says with which of its commits."""


# Journals


def flow_journal(commands: int) -> Iterator[bytes]:
    """The benchmark's flow, of many accounts, each order with its client's id."""
    replay, flow, random = Replay(), Flow(SEED), Random(SEED)
    yield written(replay, [])
    yield written(replay, [LISTING])
    for begin in range(0, commands, COMMANDS_PER_COMMIT):
        size = min(COMMANDS_PER_COMMIT, commands - begin)
        yield written(replay, [_of_somebody(each, random) for each in flow.next_commands(size)])


def _of_somebody(command: Command, random: Random) -> Command:
    if not isinstance(command, PlaceOrder):
        return command
    account = f"account-{random.randrange(_ACCOUNTS)}"
    return replace(command, account=account, client_order_id=f"{random.getrandbits(64):016x}")


def trades_journal(trades: int) -> Iterator[bytes]:
    """Hardly anything but trades: one order takes all that twenty have just offered."""
    replay, random = Replay(), Random(SEED)
    yield written(replay, [])
    yield written(replay, [LISTING])
    for _ in range(trades // _TAKEN_AT_ONCE):
        price = 3_000_000 + random.randrange(100)
        offered: list[Command] = [_order(random, Side.SELL, 1, price, TimeInForce.GTC)] * _TAKEN_AT_ONCE
        yield written(replay, [*offered, _order(random, Side.BUY, _TAKEN_AT_ONCE, price, TimeInForce.IOC)])


def _order(random: Random, side: Side, quantity: int, price: int, time_in_force: TimeInForce) -> PlaceOrder:
    account = f"account-{random.randrange(_ACCOUNTS)}"
    return PlaceOrder(SYMBOL, side, OrderType.LIMIT, quantity, price, time_in_force, account=account)


# Databases and processes


@dataclass(frozen=True, slots=True)
class Servers:
    """nats-server with a journal, and Postgres, which syncs every write."""

    nats_url: str
    postgres_url: Callable[[str], str]
    connection: Client

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """A new one. Gives its address; what came before it is on disk, so that it does not get in the way."""
        name = f"bench_{secrets.token_hex(4)}"
        await self._execute("checkpoint", f"create database {name}")
        try:
            yield self.postgres_url(name)
        finally:
            await self._execute(f"drop database {name} with (force)")

    async def _execute(self, *statements: str) -> None:
        admin = await asyncpg.connect(self.postgres_url("postgres"))
        try:
            for statement in statements:
                await admin.execute(statement)
        finally:
            await admin.close()


@asynccontextmanager
async def servers(folder: Path) -> AsyncIterator[Servers]:
    nats, postgres = nats_plan(folder / "nats"), prepare_postgres(folder / "postgres")
    with (
        running(nats_program(nats), folder / "nats.log") as server,
        running(postgres_program(postgres), folder / "postgres.log") as database,
    ):
        await server.until(lambda: listens(nats))
        await database.until(lambda: _can_be_asked(postgres.url("postgres")))
        async with asking(nats.url) as (connection, _):
            yield Servers(nats.url, postgres.url, connection)


async def _can_be_asked(url: str) -> bool:
    try:
        await (await asyncpg.connect(url, timeout=2)).close(timeout=2)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    return True


class Positions:
    """What recorders say about how far Postgres is: (when, sequence)."""

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        self._said = asyncio.Event()
        self.said: list[tuple[float, int]] = []

    async def listen(self) -> None:
        await self._connection.subscribe(RECORDER_POSITION, cb=self._on_position)

    async def until(self, sequence: int) -> tuple[float, int]:
        """The first that is at least this."""
        async with asyncio.timeout(_SECONDS):
            while True:
                if reached := next((each for each in self.said if each[1] >= sequence), None):
                    return reached
                self._said.clear()
                await self._said.wait()

    async def _on_position(self, message: Msg) -> None:
        sequence = json.loads(message.data)["sequence"]
        if not self.said or sequence > self.said[-1][1]:  # it repeats itself while it is idle
            self.said.append((time.perf_counter(), sequence))
            self._said.set()


@contextmanager
def recorder(servers: Servers, database: str, log: Path) -> Iterator[Running]:
    program = python("recorder", nats_url=servers.nats_url, postgres_url=database, recorder_wait_seconds="0")
    with running(program, log) as service:
        yield service


# Rows stored


class StoreMeasurements:
    """Of one journal with `end` commits."""

    def __init__(self, servers: Servers, folder: Path, positions: Positions, end: int) -> None:
        self._servers = servers
        self._log = folder / "recorder.log"
        self._positions = positions
        self._end = end

    async def rows(self, rounds: int) -> Row:
        figures, floors = [], []
        for _ in range(rounds):
            async with self._servers.database() as recorded, self._servers.database() as empty:
                figures.append(await self._figure(recorded))
                floors.append(await _floor(recorded, empty))
        work = median(figure["processor"] / floor["processor"] for figure, floor in zip(figures, floors, strict=True))
        return Row(
            "Recorder: rows stored",
            _COPY,
            PER_SECOND,
            column(figures, "rate"),
            column(floors, "rate"),
            ratio_goal=_RATIO_GOAL,
            note=f"by the processor time of client and Postgres {work:.2f}",
        )

    async def _figure(self, database: str) -> Sample:
        """From the first transaction to the last one: how long a process takes to start is another figure."""
        self._positions.said.clear()
        with recorder(self._servers, database, self._log) as service:
            begun, first = await self._positions.until(1)
            connection = await asyncpg.connect(database)
            processes = [psutil.Process(each) for each in (service.process.pid, await _session(connection))]
            before = _processor(processes)
            ended, _ = await self._positions.until(self._end)
            processor = _processor(processes) - before
            rows = await _count(connection, first)
            await connection.close()
        return {"rate": rows / (ended - begun), "processor": rows / max(processor, 0.01)}

    async def memory(self, trades: int) -> Row:
        """Of the recorder's process while it stores what was there before it."""
        async with self._servers.database() as database:
            self._positions.said.clear()
            samples: list[tuple[int, float]] = []
            with recorder(self._servers, database, self._log) as service:
                await self._positions.until(1)
                process = psutil.Process(service.process.pid)
                while self._positions.said[-1][1] < self._end:
                    samples.append((self._positions.said[-1][1], process.memory_info().rss / _MEGABYTE))
                    await asyncio.sleep(0.02)
        tenths = [highest(samples, self._end * tenth / 10, self._end * (tenth + 1) / 10) for tenth in range(10)]
        return Row(
            f"Recorder, catching up with {trades:,} trades: memory in the last tenth",
            "its own in the second tenth",
            MEGABYTES,
            (tenths[-1],),
            (tenths[1],),
            ratio_goal=_MEMORY_RATIO_GOAL,
            note="MB in each tenth: " + ", ".join(f"{each:.0f}" for each in tenths),
        )


def _processor(processes: Sequence[psutil.Process]) -> float:
    times = [each.cpu_times() for each in processes]
    return float(sum(each.user + each.system for each in times))


def highest(samples: Sequence[tuple[int, float]], begin: float, end: float) -> float:
    """Of the samples in that part of the journal; of all up to there when none was taken in it."""
    within = [memory for sequence, memory in samples if begin <= sequence < end]
    return max(within or [memory for sequence, memory in samples if sequence < end] or [samples[0][1]])


async def _session(connection: asyncpg.Connection) -> int:
    """The process of Postgres that serves the recorder."""
    pid: int = await connection.fetchval(
        "select pid from pg_stat_activity "
        "where datname = current_database() and application_name = 'pricetime-recorder'"
    )
    return pid


async def _count(connection: asyncpg.Connection, after: int) -> int:
    """The rows that commits after that one led to."""
    counts = [
        await connection.fetchval(f"select count(*) from {table} where {column} > $1", after)
        for table, column in _TABLES.items()
    ]
    return sum(counts)


async def _floor(recorded: str, empty: str) -> Sample:
    source, target = await asyncpg.connect(recorded), await asyncpg.connect(empty)
    try:
        await migrate(target)
        ready = {table: await _binary(source, table) for table in _TABLES}
        rows = await _count(source, 0)
        processes = [psutil.Process(), psutil.Process(await target.fetchval("select pg_backend_pid()"))]
        before, begun = _processor(processes), time.perf_counter()
        async with target.transaction():
            for table, rows_of_it in ready.items():
                await target.copy_to_table(table, source=rows_of_it, format="binary")
        seconds = time.perf_counter() - begun
        return {"rate": rows / seconds, "processor": rows / max(_processor(processes) - before, 0.01)}
    finally:
        await source.close()
        await target.close()


async def _binary(connection: asyncpg.Connection, table: str) -> io.BytesIO:
    """All rows of the table as COPY reads them."""
    rows = io.BytesIO()
    await connection.copy_from_table(table, output=rows, format="binary")
    rows.seek(0)
    return rows


# How far behind


class LagMeasurements:
    """From an order's answer, which is after its commit was on disk, until the recorder says that Postgres has it."""

    def __init__(self, http: HttpPool, positions: Positions, orders: int) -> None:
        self._http = http
        self._positions = positions
        self._orders = orders
        self._flow = Flow(SEED, cancels=0)

    async def rows(self, rounds: int) -> list[Row]:
        await self._round()
        samples = [await self._round() for _ in range(rounds)]
        rate = median(sample["rate"] for sample in samples)
        return [
            Row(
                f"Recorder behind answers at full REST load: {key}",
                "",
                MILLISECONDS,
                column(samples, key),
                (),
                goal=goal,
                note=f"{CONNECTIONS} connections, {rate:,.0f} orders/s",
            )
            for key, goal in (("p50", None), ("p99", _LAG_GOAL_MILLISECONDS))
        ]

    async def _round(self) -> Sample:
        answered: list[tuple[float, int]] = []

        async def ask(request: bytes) -> bytes:
            answer = await self._http.ask(request)
            answered.append((time.perf_counter(), journal_sequence(answer)))
            return answer

        self._positions.said.clear()
        requests = [post_request("/orders", "127.0.0.1", order_body(each)) for each in self._commands()]
        load = await closed_loop(ask, requests, CONNECTIONS)
        await self._positions.until(max(sequence for _, sequence in answered))
        lags = behind(answered, self._positions.said)
        return {
            "p50": 1000 * percentile(lags, 0.50),
            "p99": 1000 * percentile(lags, 0.99),
            **load.rate(self._orders),
        }

    def _commands(self) -> list[Command]:
        return self._flow.next_commands(self._orders)


def journal_sequence(answer: bytes) -> int:
    """Of the commit that holds the order."""
    head = answer[: answer.index(b"\r\n\r\n")].lower()
    if not head.startswith(b"http/1.1 201 "):
        raise WrongAnswer(f"an order was not taken: {answer[:1000]!r}")
    return int(head.split(b"\r\njournal-sequence:", 1)[1].split(b"\r\n", 1)[0])


def behind(answered: Sequence[tuple[float, int]], reached: Sequence[tuple[float, int]]) -> list[float]:
    """Seconds from each answer until its sequence was reached; 0 when that was earlier. Both are (when, sequence)."""
    sequences = [sequence for _, sequence in reached]
    return [max(0.0, reached[bisect_left(sequences, sequence)][0] - when) for when, sequence in answered]


# All of it


async def measure(scale: Scale, folder: Path, say: Say) -> list[Row]:
    say(f"rows of {scale.recorded:,} commands")
    async with storing(folder / "rows", flow_journal(scale.recorded)) as measurements:
        rows = [await measurements.rows(scale.rounds)]
    say(f"catching up with {scale.caught_up_trades:,} trades")
    async with storing(folder / "memory", trades_journal(scale.caught_up_trades)) as measurements:
        rows.append(await measurements.memory(scale.caught_up_trades))
    say("how far behind at full REST load")
    async with (
        whole_stack(folder) as stack,
        asking(stack.nats) as (connection, _),
        pool(stack.http, CONNECTIONS) as http,
    ):
        positions = Positions(connection)
        await positions.listen()
        return rows + await LagMeasurements(http, positions, scale.rest_orders).rows(scale.rounds)


@asynccontextmanager
async def storing(folder: Path, journal: Iterator[bytes]) -> AsyncIterator[StoreMeasurements]:
    folder.mkdir()  # noqa: ASYNC240 (one system call)
    async with servers(folder) as started:
        end = 0

        def counted() -> Iterator[bytes]:
            nonlocal end
            for payload in journal:
                end += 1
                yield payload

        await publish(started.connection, counted())
        positions = Positions(started.connection)
        await positions.listen()
        yield StoreMeasurements(started, folder, positions, end)
