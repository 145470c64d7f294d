"""Trades from the journal to WebSocket clients, beside a bare WebSocket server that sends the same bytes.

nats-server and the broadcaster run, nobody else: this process writes the journal, as a matcher would, and is all the
clients. So nothing but the broadcaster is in the way of a trade.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import psutil
from nats.aio.client import Client
from nats.js.api import StreamConfig

from bench.bare_stream import FRAMES, MESSAGES
from bench.client import WrongAnswer
from bench.flow import LISTING, Flow
from bench.listeners import Listeners
from bench.programs import Running, answers, asking, listens, python, running
from bench.recovery import written
from bench.rounds import MILLISECONDS, PER_SECOND, Row, Sample, column, percentile
from bench.run import Say
from bench.scale import SEED, Scale
from broadcaster.feed import frame
from broadcaster.market import Market
from broadcaster.messages import encode
from cli.servers import listening_socket, nats_plan, nats_program
from contracts.commits import decode_commit
from contracts.subjects import BROADCASTER_STATUS, JOURNAL
from matcher.replay import Replay
from runtime.journal import ensure_stream, journal_state

PATH = "/ws/trades"
COMMANDS_PER_COMMIT = 100
"""So that nats-server has stored them soon."""
_RATIO_GOAL = 0.8
_SECONDS = 60.0
_BARE = "bare WebSocket server, the same bytes"
_LEAST = "the same frames, made before, written to each socket"
_SYNCED_AND_BARE = "synced publish, then the bare server"
_SYNCED = "floor.synced"


@dataclass(frozen=True, slots=True)
class Streamed:
    """Some commits, and what each brings to those who watch trades: the texts of its messages."""

    commits: list[bytes]
    texts: list[list[str]]

    @property
    def messages(self) -> int:
        return sum(map(len, self.texts))

    @property
    def frames(self) -> list[bytes]:
        return [b"".join(frame(text.encode()) for text in texts) for texts in self.texts]


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor in microseconds for each message to a client."""

    rate: float
    processor: float
    megabytes: float
    latency: Sample


class Journal:
    """Commits of the benchmark's flow, and the trades that they bring, as the broadcaster is to show them."""

    def __init__(self, seed: int) -> None:
        self._flow = Flow(seed, cancels=0)
        self._replay = Replay()
        self._market = Market()
        self.begin = [self._written([]), self._written([LISTING])]

    def _written(self, commands: Sequence[object]) -> bytes:
        payload = written(self._replay, commands)  # type: ignore[arg-type]
        self._market.apply(decode_commit(self._replay.chain.sequence, payload)[0])
        return payload

    def next(self, trades: int, commands: int) -> Streamed:
        """Commits of so many commands, until they bring at least so many trades."""
        streamed, begun = Streamed([], []), self._market.last_trade_id
        while (known := self._market.last_trade_id) < begun + trades:
            streamed.commits.append(self._written(self._flow.next_commands(commands)))
            streamed.texts.append(self._texts(self._market.last_trade_id - known))
        return streamed

    def _texts(self, count: int) -> list[str]:
        trades = list(self._market.recent)[-count:] if count else []
        return [encode(self._market.trade_view(trade)).decode() for trade in trades]


class Server:
    """One of the two that stream, and its clients. `has_clients` says whether it knows of so many."""

    def __init__(self, program: Running, url: str, has_clients: Callable[[int], Awaitable[bool]]) -> None:
        self.url = url
        self._program = program
        self._process = psutil.Process(program.process.pid)
        self._has_clients = has_clients

    @asynccontextmanager
    async def clients(self, count: int) -> AsyncIterator[Listeners]:
        listeners = Listeners(self.url, PATH)
        try:
            await listeners.open(count)
            await self._program.until(lambda: self._has_clients(count))
            yield listeners
        finally:
            listeners.close()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """It does nothing meanwhile, and finds all that has come when it is let go."""
        self._process.suspend()
        try:
            yield
        finally:
            self._process.resume()

    @property
    def processor(self) -> float:
        """Seconds of it that the server has had."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    @property
    def megabytes(self) -> float:
        return float(self._process.memory_info().rss) / 1_000_000


class StreamMeasurements:
    def __init__(self, connection: Client, journal: Journal, broadcaster: Server, bare: Server) -> None:
        self._connection = connection
        self._journal = journal
        self._broadcaster = broadcaster
        self._bare = bare
        self._commits = len(journal.begin)

    async def prepare(self) -> None:
        """The stream of the floor, and everything once for nothing."""
        config = StreamConfig(name="FLOOR", subjects=[_SYNCED])
        await self._connection.jetstream().add_stream(config)
        await self.all_at_once(1, 500, 1)

    async def all_at_once(self, clients: int, trades: int, rounds: int) -> list[Row]:
        """Commits that are in the journal already, until everyone has all of their trades: how fast nats-server stores
        them does not count."""
        figures, floors, least = [], [], []
        for _ in range(rounds):
            streamed = self._journal.next(trades, COMMANDS_PER_COMMIT)
            async with self._bare.clients(clients) as listeners:
                floors.append(await self._rate(self._bare, listeners, MESSAGES, _packed(streamed), streamed))
                least.append(await self._rate(self._bare, listeners, FRAMES, streamed.frames, streamed))
            async with self._broadcaster.clients(clients) as listeners:
                figures.append(await self._rate(self._broadcaster, listeners, JOURNAL, streamed.commits, streamed))
        name = f"WebSocket, {_counted(clients)}: trades delivered"
        return [
            _rate_row(name, _BARE, figures, floors, _RATIO_GOAL),
            _rate_row(name, _LEAST, figures, least, None),
        ]

    async def _rate(
        self, server: Server, listeners: Listeners, subject: str, payloads: list[bytes], streamed: Streamed
    ) -> Sample:
        before, frames = server.processor, b"".join(streamed.frames)
        async with server.held():
            for payload in payloads:
                await self._connection.publish(subject, payload)
            await self._stored(len(payloads) if subject == JOURNAL else 0)
            listeners.begin(len(frames))
        seconds = await listeners.finish(_SECONDS)
        if listeners.received != frames:
            raise WrongAnswer("a client was sent other bytes than it must be")
        delivered = streamed.messages * listeners.count
        return {"rate": delivered / seconds, "processor": delivered / max(server.processor - before, 0.01)}

    async def _stored(self, commits: int) -> None:
        await self._connection.flush(int(_SECONDS))
        self._commits += commits
        while commits and (await journal_state(self._connection)).last_seq < self._commits:  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # it is nats-server that stores them

    async def one_by_one(self, clients: int, commits: int, rounds: int) -> list[Row]:
        """A commit with a trade or two, until everyone has them; then the next."""
        figures, floors = [], []
        for _ in range(rounds):
            steps = [self._journal.next(1, 2) for _ in range(commits)]
            async with self._bare.clients(clients) as listeners:
                floors.append(_latency([await self._floor_alone(listeners, step) for step in steps]))
            async with self._broadcaster.clients(clients) as listeners:
                figures.append(_latency([await self._figure_alone(listeners, step) for step in steps]))
        name = f"WebSocket, {_counted(clients)}: commit to client"
        return [
            Row(f"{name} {key}", _SYNCED_AND_BARE, MILLISECONDS, column(figures, key), column(floors, key))
            for key in ("p50", "p99")
        ]

    async def spent(self, clients: int, commits: int) -> Spent:
        """What the broadcaster takes for a commit with a trade or two, and how long."""
        steps = [self._journal.next(1, 2) for _ in range(commits)]
        async with self._broadcaster.clients(clients) as listeners:
            before, begun = self._broadcaster.processor, time.perf_counter()
            latencies = [await self._figure_alone(listeners, step) for step in steps]
            seconds, processor = time.perf_counter() - begun, self._broadcaster.processor - before
        delivered = clients * sum(step.messages for step in steps)
        return Spent(delivered / seconds, 1e6 * processor / delivered, self._broadcaster.megabytes, _latency(latencies))

    async def _floor_alone(self, listeners: Listeners, step: Streamed) -> list[float]:
        listeners.begin(sum(map(len, step.frames)))
        await self._connection.jetstream().publish(_SYNCED, b"".join(step.commits))
        await self._connection.publish(
            MESSAGES, msgspec.msgpack.encode([text for texts in step.texts for text in texts])
        )
        await listeners.finish(_SECONDS)
        return listeners.latencies

    async def _figure_alone(self, listeners: Listeners, step: Streamed) -> list[float]:
        listeners.begin(sum(map(len, step.frames)))
        for commit in step.commits:
            await self._connection.publish(JOURNAL, commit)
        self._commits += len(step.commits)
        await listeners.finish(_SECONDS)
        return listeners.latencies


def _packed(streamed: Streamed) -> list[bytes]:
    return [msgspec.msgpack.encode(texts) for texts in streamed.texts]


def _latency(steps: list[list[float]]) -> Sample:
    seconds = [each for step in steps for each in step]
    return {"p50": 1000 * percentile(seconds, 0.50), "p99": 1000 * percentile(seconds, 0.99)}


def _counted(clients: int) -> str:
    return "1 client" if clients == 1 else f"{clients:,} clients"


def _rate_row(name: str, floor_name: str, figures: list[Sample], floors: list[Sample], goal: float | None) -> Row:
    work = median(figure["processor"] / floor["processor"] for figure, floor in zip(figures, floors, strict=True))
    return Row(
        name,
        floor_name,
        PER_SECOND,
        column(figures, "rate"),
        column(floors, "rate"),
        ratio_goal=goal,
        note=f"by the server's processor time {work:.2f}",
    )


@asynccontextmanager
async def broadcaster(nats_url: str, folder: Path) -> AsyncIterator[Server]:
    """Alone on nats-server, which has a journal."""
    with listening_socket("127.0.0.1", 0) as listener:
        port, fd = listener.getsockname()[1], listener.fileno()
        program = python("broadcaster", nats_url=nats_url, data_dir=str(folder), ws_fd=str(fd), fds=(fd,))
        with running(program, folder / "broadcaster.log") as service:
            async with asking(nats_url) as (_, asker):
                await service.until(lambda: answers(asker, BROADCASTER_STATUS))

                async def has_clients(count: int) -> bool:
                    status = msgspec.json.decode(await asker.ask(BROADCASTER_STATUS, b"{}"))
                    return bool(status["clients"] == count)

                yield Server(service, f"ws://127.0.0.1:{port}", has_clients)


@asynccontextmanager
async def bare_stream(nats_url: str, folder: Path) -> AsyncIterator[Server]:
    with listening_socket("127.0.0.1", 0) as listener:
        port, fd = listener.getsockname()[1], listener.fileno()
        with running(
            python("bench.bare_stream", str(fd), nats_url=nats_url, fds=(fd,)), folder / "bare.log"
        ) as program:
            url = f"ws://127.0.0.1:{port}"
            await program.until(lambda: _takes_clients(url))
            yield Server(program, url, _always)


async def _always(_: int) -> bool:
    """It sends from the moment of the handshake on."""
    return True


async def _takes_clients(url: str) -> bool:
    listeners = Listeners(url, PATH)
    try:
        async with asyncio.timeout(2):
            await listeners.open(1)
        return True
    except (WrongAnswer, OSError, TimeoutError):
        return False
    finally:
        listeners.close()


@asynccontextmanager
async def streaming(folder: Path, seed: int) -> AsyncIterator[StreamMeasurements]:
    """nats-server, a journal that has just begun, the broadcaster, and the bare server beside it."""
    plan, journal = nats_plan(folder / "nats"), Journal(seed)
    with running(nats_program(plan), folder / "nats.log") as server:
        await server.until(lambda: listens(plan))
        async with asking(plan.url) as (connection, _):
            await ensure_stream(connection, 1)
            for payload in journal.begin:
                await connection.publish(JOURNAL, payload)
            await connection.flush()
            async with broadcaster(plan.url, folder) as figure, bare_stream(plan.url, folder) as floor:
                measurements = StreamMeasurements(connection, journal, figure, floor)
                await measurements.prepare()
                yield measurements


async def measure(scale: Scale, folder: Path, say: Say) -> list[Row]:
    rows = []
    async with streaming(folder, SEED) as measurements:
        for clients, trades, commits in scale.streams:
            say(f"trades to {_counted(clients)}")
            rows += await measurements.all_at_once(clients, trades, scale.rounds)
            rows += await measurements.one_by_one(clients, commits, scale.rounds)
    return rows
