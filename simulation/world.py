"""One run: the real matcher and recorder, clients, a broker and a database, faults, and then calm."""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random

from msgspec.structs import force_setattr
from nats.errors import Error as NatsError

import matcher.service
import recorder.service
from contracts.subjects import JOURNAL_STREAM
from matcher.broker import MonitorUnreachable
from runtime.connection import ConnectionLost
from runtime.service import Refused
from runtime.settings import Settings
from simulation import faults, patches
from simulation.broker import Broker, Network
from simulation.bugs import Bug
from simulation.invariants import check, differing_tables
from simulation.loop import Livelock, Process, SimulatedLoop
from simulation.postgres import SimulatedPostgres, expected_tables
from simulation.snapshots import KeptSnapshots
from simulation.workload import Client, Operation, Read

log = logging.getLogger(__name__)

_STANDBY_CHANCE = 0.7
_CALM_AFTER = (1.0, 5.0)
_COLLECT_EACH = 25
_PATIENCE_SECONDS = 60.0
"""By when everything must be well again once the faults have ended."""

Main = Callable[[Settings, asyncio.Event], Awaitable[None]]


@dataclass
class Outcome:
    """What became of a run."""

    seed: int
    violations: list[str]
    commits: int
    operations: int
    seconds: float
    steps: int
    faults: int


class Service:
    """A service under a supervisor: started again a moment after each end, unless its time is over."""

    def __init__(self, world: "World", name: str, main: Main, *, lasting: bool = True) -> None:
        self.world = world
        self.name = name
        self._main = main
        self._lasting = lasting
        self.process: Process | None = None
        self._stop: asyncio.Event | None = None
        self.clock = 0
        self.is_recorder = main is recorder.service.main
        world.services.append(self)
        world.ever.append(self)

    def start(self) -> None:
        process = self.process = Process(self.world.loop, self.name)
        process.clock = self.clock
        process.on_death.append(partial(self._ended, process))
        self._stop = asyncio.Event()
        process.spawn(self._run(process, self._stop))

    async def _run(self, process: Process, stop: asyncio.Event) -> None:
        try:
            await self._main(self.world.settings, stop)
        except (Exception, asyncio.CancelledError) as error:
            process.exit = error
        process.kill()

    def _ended(self, process: Process) -> None:
        self.process = None
        error = process.exit
        self.world.say(f"{self.name} ended: {error!r}" if error else f"{self.name} ended")
        if error is not None and not self._may_end_with(error):
            self.world.report(f"{self.name} ended with {error!r}")
        if self._lasting:
            self.world.later(0.02 + self.world.random.random() * 0.3, self._start_again)
        else:
            self.world.services.remove(self)

    def _may_end_with(self, error: BaseException) -> bool:
        if isinstance(error, ConnectionLost | NatsError | TimeoutError | MonitorUnreachable):
            return True  # crash-only: the broker did not answer while it was starting
        if not isinstance(error, Refused):
            return False
        if "another recorder writes" in str(error):
            return self.world.had_two_recorders
        return "another matcher took over" in str(error)  # may also be itself, killed with its barrier on the way

    def _start_again(self) -> None:
        self.world.say(f"{self.name} starts again")
        self.start()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def stop(self) -> None:
        if self._stop is not None and self.process is not None:
            before, self.world.loop.current = self.world.loop.current, self.process
            self._stop.set()
            self.world.loop.current = before


class World:
    def __init__(self, seed: int, bug: Bug | None = None, trace: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self._bug = bug
        self.random = Random(seed)
        self.loop = SimulatedLoop(seed)  # type: ignore[abstract]
        self.trace = trace
        self.network = Network(self.loop, self.random)
        self.network.linger = self.random.choice((0.0, 0.0, 3.0))
        self.broker = Broker(self.loop, self.network, self.random, patches.EPOCH)
        self.postgres = SimulatedPostgres(self.loop, self.network, self.random)
        self.settings = Settings(
            nats_url="nats://simulated",
            nats_monitor_url="http://simulated",
            recorder_wait_seconds=0.5,
            snapshot_commits=self.random.choice((0, 3, 8)),
        )
        # As a setting it may not be so small, for which a run would have to be much longer.
        force_setattr(self.settings, "journal_keep_commits", self.random.choice((0, 4)))
        self.until = self.random.uniform(*_CALM_AFTER)
        """When the faults end."""
        self.operations: list[Operation] = []
        self.reads: list[Read] = []
        self.told = 0
        self.found: dict[str, None] = {}
        """What went wrong during the run, each once."""
        self.pauses: list[Process] = []
        self.is_calm = False
        self.disks: dict[str, KeptSnapshots] = {}
        self._one_disk = self.random.random() < 0.5
        self._unique = 0
        self.services: list[Service] = []
        self.ever: list[Service] = []
        self._faults = 0

    # What happens

    def run(self) -> Outcome:
        planted = self._bug.plant(self) if self._bug is not None else []
        with patches.installed(self, planted):
            try:
                self._run()
            except Livelock as error:
                self.report(f"livelock: {error}")
            steps, seconds = self.loop.steps, self.loop.time()
            journal = self._journal()
            found, fold = check(journal, self.operations, self.reads)
            found += differing_tables(
                expected_tables(fold), {name: list(table.values()) for name, table in self.postgres.tables.items()}
            )
            self.loop.dispose()
        return Outcome(
            self.seed, [*self.found, *found], len(journal), len(self.operations), seconds, steps, self._faults
        )

    def forget(self) -> None:
        """Let go of everything: what is left for the garbage collector to find costs as much as the run did."""
        for each in (*self.clients, *self.services, *self.broker.streams.values(), *self.broker.links):
            vars(each).clear()
        for process in self.loop.processes:
            vars(process).clear()
        for part in (self.broker, self.postgres, self.network, self.loop, self):
            vars(part).clear()

    def _run(self) -> None:
        random, loop = self.random, self.loop
        self.calm = asyncio.Event()
        Service(self, "matcher", matcher.service.main)
        Service(self, "recorder", recorder.service.main)
        if random.random() < _STANDBY_CHANCE:
            Service(self, "standby", matcher.service.main)
        for service in self.services:
            service.start()
        commands = random.randint(6, 20)
        self.pace = random.choice((0.02, *(times * self.until / commands for times in (1, 2, 3))))
        self.clients = [Client(self, number, random, commands) for number in range(random.randint(1, 3))]
        for client in self.clients:
            Process(loop, client.name).spawn(client.run())
        until = self.until
        for moment, fault in faults.schedule(random, until):
            loop.call_at(0.05 + moment, self._strike, fault)
        loop.run_until(until)
        self._become_calm()
        if not loop.run_until(until + _PATIENCE_SECONDS, self._is_settled):
            self.report(self._what_is_missing())

    def _strike(self, fault: faults.Fault) -> None:
        self._faults += 1
        fault(self, self.random)

    def _become_calm(self) -> None:
        """All faults end; whatever is down is started, and everything must be well soon."""
        self.say("CALM")
        self.is_calm = True
        self.network.slow = self.broker.slow_writes = 0.0
        self.network.held.clear()
        self.broker.ack_faults.next.clear()
        self.postgres.held_until = 0.0
        self.postgres.on_statement = self.broker.disk.on_written = None
        if self.broker.disk.is_dead:
            self.broker.crash()
        for process in self.pauses:
            if process.paused:
                process.resume()
        self.broker.start()
        self.postgres.start()
        self.calm.set()

    def _is_settled(self) -> bool:
        if not all(client.served for client in self.clients):
            return False
        return bool(self.postgres.position[0] == self.broker.streams[JOURNAL_STREAM].last_sequence)

    def _what_is_missing(self) -> str:
        waiting = [client.name for client in self.clients if not client.served]
        recorded = self.postgres.position[0]
        return f"not well {_PATIENCE_SECONDS} s after the last fault: {waiting} not served, {recorded} recorded"

    def _journal(self) -> list[tuple[int, bytes]]:
        """What is in the stream, and before that what was trimmed from it, as Postgres keeps it."""
        stream = self.broker.streams.get(JOURNAL_STREAM)
        kept = [(stored.sequence, stored.payload) for stored in stream] if stream else []
        begins = kept[0][0] if kept else 1
        commits = self.postgres.tables["journal_commits"]
        return [(sequence, commits[sequence][2]) for sequence in sorted(commits) if sequence < begins] + kept

    # What faults and clients ask of it

    def say(self, what: str) -> None:
        if self.trace is not None:
            self.trace(f"{self.loop.time():9.4f}  {what}")

    def report(self, violation: str) -> None:
        self.say(f"VIOLATION {violation}")
        self.found[violation] = None

    def tell(self, sequence: int) -> None:
        """A client has been told of this journal sequence."""
        self.told = max(self.told, sequence)

    def unique(self) -> int:
        """A quantity that no other order has."""
        self._unique += 1
        return self._unique

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.loop.call_at(self.loop.time() + seconds, action, process=self.loop.nature)

    @property
    def connected(self) -> list[str]:
        """Whose connection may break; matchers twice, as there is most to go wrong."""
        matchers = [service.name for service in self.services if not service.is_recorder]
        return [service.name for service in self.services] + [client.name for client in self.clients] + matchers

    def any_service(self, random: Random) -> Service:
        """Most often a matcher: there is most to go wrong."""
        matchers = [each for each in self.services if not each.is_recorder]
        return random.choice(matchers if random.random() < 0.5 else self.services)

    def snapshots_of(self, process: Process) -> KeptSnapshots:
        """What is on the disk of the machine that this process runs on."""
        return self.disks.setdefault("" if self._one_disk else process.name, KeptSnapshots())

    @property
    def had_two_recorders(self) -> bool:
        return sum(each.is_recorder for each in self.ever) > 1

    def start_another(self, kind: str) -> None:
        """Of matchers and recorders there may be any number; of recorders one at a time works."""
        name = f"{kind}-{sum(each.name.startswith(kind) for each in self.services) + 1}"
        if name.endswith("-3"):
            return
        main = matcher.service.main if kind == "matcher" else recorder.service.main
        Service(self, name, main, lasting=kind == "matcher").start()

    def cut_off(self, name: str, seconds: float) -> None:
        until = self.loop.time() + seconds
        self.network.held[name] = until
        for link in self.broker.links:
            if link.client.process.name == name:
                link.up.held_until = link.down.held_until = until
                if seconds > 2.5:
                    self.loop.call_at(
                        self.loop.time() + 2 + self.random.random(), link.client.lost, link, process=link.client.process
                    )

    def break_connections(self, name: str) -> None:
        for link in list(self.broker.links):
            if link.client.process.name == name:
                self.loop.call_at(self.loop.time(), link.client.lost, link, process=link.client.process)

    def fast_network(self) -> None:
        self.network.slow = 0.0

    def fast_disk(self) -> None:
        self.broker.slow_writes = 0.0


@contextmanager
def quiet() -> Iterator[None]:
    """Services say a lot, and nobody reads it."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def simulate(seed: int, bug: Bug | None = None) -> Outcome:
    """Run one seed without a word."""
    with quiet():
        world = World(seed, bug)
        outcome = world.run()
        world.forget()
    if seed % _COLLECT_EACH == 0:
        gc.collect()
    return outcome


def retrace(seed: int, bug: Bug | None = None) -> tuple[Outcome, list[str]]:
    """Run one seed, and tell everything that happens."""
    lines: list[str] = []
    world = World(seed, bug, lines.append)
    handler = _LogHandler(world)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        return world.run(), lines
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


class _LogHandler(logging.Handler):
    """What services log, into the trace: said by the process whose turn it is."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.say(f"{self._world.loop.current}: {record.getMessage()}")
