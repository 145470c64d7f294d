"""One run on one exchange: clients trade, faults come, and each time it is measured how long until orders go again."""

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from nats.aio.client import Client
from nats.errors import Error as NatsError

from chaos.clients import Deferred, Log, OverNats, OverWebSocket, Reads, Rest, Trader, list_instruments, rest_client
from chaos.exchange import Exchange, NotReady
from chaos.records import Done
from chaos.results import Injected
from chaos.watchers import NatsWatcher, Watcher
from chaos.workload import SYMBOLS, Wishes
from contracts.subjects import RECORDER_STATUS
from runtime.connection import close, connect
from runtime.journal import journal_state

_PROBE_SECONDS = 0.05
_MOST_PROBES = 40
_RECOVERY_SECONDS = float(os.environ.get("CHAOS_RECOVERY_SECONDS", "90"))
_PAUSE_SECONDS = (0.1, 1.2)


class NotInjected(Exception):
    """The fault could not be brought about now; the message says why. It is not counted."""


class Unrecovered(Exception):
    """A promise broken: the fault is over, and still no order is acknowledged."""


@dataclass
class Run:
    """What a fault may use. `chance` is the schedule's own, so the faults of a seed do not depend on the clients."""

    exchange: Exchange
    chance: random.Random
    log: Log
    http: httpx.AsyncClient
    connection: Client
    prober: Trader
    reads: Reads
    work: Path
    injected: list[Injected] = field(default_factory=list)
    not_injected: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Promises that a fault itself saw broken."""
    begun: float = field(default_factory=time.monotonic)
    held_up: bool = False
    """Whether what the broadcaster published may have been held up in an old connection, behind a new one."""
    resting: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the exchange is down on purpose: clients wait."""
    not_deferring: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nothing is to be deferred."""
    deferred_waiting: Callable[[], int] = lambda: 0
    """How many deferred commands have not been seen carried out."""

    async def positions(self) -> tuple[int, int]:
        """How far Postgres is, and the end of the journal; zeros while one of them cannot be asked."""
        try:
            reply = await self.connection.request(RECORDER_STATUS, b"{}", timeout=2)
            return int(json.loads(reply.data)["sequence"]), (await journal_state(self.connection)).last_seq
        except (NatsError, TimeoutError, ValueError, KeyError):
            return 0, 0

    async def inject(self, kind: str, fault: "Callable[[Run], Awaitable[str]]") -> None:
        """One fault, and the time until orders and reads go again."""
        await asyncio.sleep(self.chance.uniform(*_PAUSE_SECONDS))
        at = time.monotonic() - self.begun
        try:
            detail = await fault(self)
        except NotInjected as error:
            self.not_injected.append(f"{kind}: {error}")
            return
        over = time.monotonic()
        orders, reads = await self.until_served(over)
        self.injected.append(Injected(kind, detail, round(at, 3), round(orders, 3), round(reads, 3)))

    async def until_served(self, over: float) -> tuple[float, float]:
        """How long after `over` an order was acknowledged, and could be read back."""
        order_id = await self.until_acknowledged()
        orders = time.monotonic() - over
        deadline = time.monotonic() + _RECOVERY_SECONDS
        while not await self.reads.order(self.prober, order_id):
            if time.monotonic() > deadline:
                raise Unrecovered(f"order {order_id} cannot be read {_RECOVERY_SECONDS} s after it was acknowledged")
            await asyncio.sleep(_PROBE_SECONDS)
        return orders, time.monotonic() - over

    async def until_acknowledged(self) -> int:
        """Orders go out again and again; the first answer counts, whichever it is for."""
        deadline = time.monotonic() + _RECOVERY_SECONDS
        under_way: set[asyncio.Task[object]] = set()
        try:
            while True:
                if len(under_way) < _MOST_PROBES:
                    under_way.add(asyncio.create_task(self.prober.attempt(self.prober.wishes.resting())))
                done, under_way = await asyncio.wait(
                    under_way, timeout=_PROBE_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    if isinstance(result := task.result(), Done) and isinstance(result.shown, dict):
                        return int(result.shown["order_id"])
                if done:
                    await asyncio.sleep(_PROBE_SECONDS)  # refused at once: not again at once
                if time.monotonic() > deadline:
                    raise Unrecovered(f"no order was acknowledged within {_RECOVERY_SECONDS} s after the fault")
        finally:
            if under_way:
                await asyncio.wait(under_way)  # what they are told counts as well


@dataclass
class Crowd:
    """Everybody who trades and looks on while a run goes on."""

    traders: list[Trader]
    sockets: list[OverWebSocket]
    deferred: Deferred
    watchers: list[Watcher]
    nats_watcher: NatsWatcher
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _leaving: asyncio.Event = field(default_factory=asyncio.Event)
    _trading: list[asyncio.Task[None]] = field(default_factory=list)
    _watching: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self, seed: int, resting: asyncio.Event, not_deferring: asyncio.Event) -> None:
        await self.nats_watcher.start()
        wishes = Wishes("deferred", random.Random(seed))
        self._trading = [asyncio.create_task(trader.trade(self._stopping, resting)) for trader in self.traders]
        self._trading.append(asyncio.create_task(self.deferred.trade(wishes, self._stopping, (resting, not_deferring))))
        self._watching = [asyncio.create_task(watcher.watch(self._leaving)) for watcher in self.watchers]

    def check(self) -> None:
        """Raises what one of them failed with: a mistake of this harness."""
        for task in (*self._trading, *self._watching):
            if task.done():
                task.result()

    async def stop_trading(self) -> None:
        self._stopping.set()
        await asyncio.gather(*self._trading)
        await self.deferred.finish(60)

    async def leave(self) -> None:
        self._stopping.set()
        self._leaving.set()
        await asyncio.gather(*self._trading, *self._watching, return_exceptions=True)
        for socket in self.sockets:
            await socket.close()


@asynccontextmanager
async def running(exchange: Exchange, seed: int, schedule: random.Random) -> AsyncIterator[tuple[Run, Crowd]]:
    """The exchange started, its clients trading."""
    await exchange.start()
    connection = await connect(exchange.run_file.nats, "operator")
    async with rest_client() as http:
        try:
            log = Log()
            await list_instruments(exchange, http, log)
            crowd = _crowd(exchange, http, connection, log, seed)
            reads = Reads(exchange, http)
            prober = Trader(Wishes("prober", random.Random(seed)), log, Rest(exchange, http).ask)
            run = Run(exchange, schedule, log, http, connection, prober, reads, exchange.work)
            run.deferred_waiting = lambda: len(crowd.deferred.waiting)
            await crowd.start(seed, run.resting, run.not_deferring)
            try:
                yield run, crowd
            finally:
                await crowd.leave()
        finally:
            await close(connection)


def _crowd(exchange: Exchange, http: httpx.AsyncClient, connection: Client, log: Log, seed: int) -> Crowd:
    def wishes(name: str) -> Wishes:
        return Wishes(name, random.Random(f"{seed} {name}"))

    rest, reads = Rest(exchange, http), Reads(exchange, http)
    sockets = [OverWebSocket(exchange) for _ in range(2)]
    traders = [Trader(wishes(f"rest-{n}"), log, rest.ask, reads) for n in range(3)]
    traders += [Trader(wishes(f"nats-{n}"), log, OverNats(connection).ask) for n in range(2)]
    traders += [Trader(wishes(f"ws-{n}"), log, socket.ask) for n, socket in enumerate(sockets)]
    watchers = [
        Watcher(exchange, log, f"watcher-{symbol}", account, symbol)
        for symbol, account in zip(SYMBOLS, ("rest-0", "nats-1"), strict=True)
    ]
    return Crowd(traders, sockets, Deferred(rest, log), watchers, NatsWatcher(connection, "nats-watcher", "ws-0"))


__all__ = ["Crowd", "NotInjected", "NotReady", "Run", "Unrecovered", "running"]
