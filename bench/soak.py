"""`python -m bench.soak`: does it stay as it is? Half an hour at 70 % of what it can do, then every order looked for.

The whole stack runs as `pricetime up` runs it. First its capacity: REST, NATS and WebSocket pressed at the same time.
Then all three send on schedule, at 70 % of what each of them reached, while listeners follow trades, books and orders.
Memory of every process, latency, and how far recorder and broadcaster are behind are noted throughout. At the end each
answered order must be in the journal once, with the number that was answered, and `pricetime verify` must be content.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
import uvloop

from bench.client import NatsAsker, WrongAnswer
from bench.command import forget_settings
from bench.crowd import NO_ANSWER, NOT_SENT
from bench.machine import describe
from bench.machine import load as machine_load
from bench.pace import ticking
from bench.programs import ROOT, NotStarted, asking, whole_stack
from bench.soak_load import Source, open_sources
from bench.soak_report import LAG, MEMORY, Sent, Series, Soak, latencies, markdown, plot
from bench.ws_crowd import Listener
from cli.runfile import RunFile
from contracts.commits import Chain
from contracts.messages import Commit, OrderAccepted, PlaceOrder
from contracts.subjects import BROADCASTER_STATUS, MATCHER_STATUS, RECORDER_STATUS
from runtime.journal import JournalReader, journal_state

FOLDER = ROOT / "docs" / "benchmarks"
_TICK_SECONDS = 0.001
_SAMPLE_SECONDS = 1.0
_MEMORY_SECONDS = 5.0
_PRESSED = {"REST": 48, "NATS": 16, "WebSocket": 16}
"""How many are in flight while the capacity is measured."""
_LISTENERS = 8
_SUBSCRIPTIONS = tuple(
    b'"op":"subscribe",' + each
    for each in (
        b'"channel":"trades","symbol":"BTC-USD"}',
        b'"channel":"book","symbol":"BTC-USD"}',
        b'"channel":"ticker","symbol":"BTC-USD"}',
    )
)
_ALL_ORDERS = b'"op":"subscribe","channel":"orders","account":"default"}'
"""Which one of the listeners follows."""
_CATCH_UP_SECONDS = 300.0
_ASK_SECONDS = 10.0
_MEGABYTE = 2**20

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Scale:
    seconds: float
    capacity_seconds: float = 10.0
    warm_up_seconds: float = 5.0
    share: float = 0.7


# Watching


@dataclass(slots=True)
class Watch:
    """Memory of each process, and how far recorder and broadcaster are behind; by seconds from the start."""

    processes: dict[str, psutil.Process]
    asker: NatsAsker
    started: float
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    lags: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    async def run(self) -> None:
        next_memory = 0.0
        while True:
            at = time.perf_counter() - self.started
            await self._note_lags(at)
            if at >= next_memory:
                next_memory = at + _MEMORY_SECONDS
                for name, process in self.processes.items():
                    self.memory.setdefault(name, []).append((at, memory_of(process) / _MEGABYTE))
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def _note_lags(self, at: float) -> None:
        """The matcher is asked last, so a lag reads a little too large rather than too small."""
        behind = {}
        for name, subject in (("recorder", RECORDER_STATUS), ("broadcaster", BROADCASTER_STATUS)):
            behind[name] = await sequence_of(self.asker, subject)
        matcher = await sequence_of(self.asker, MATCHER_STATUS)
        for name, sequence in behind.items():
            self.lags.setdefault(name, []).append((at, max(0.0, matcher - sequence)))

    def series(self) -> list[Series]:
        lags = [Series(f"{name} behind", "lag", "commits", points, LAG) for name, points in self.lags.items()]
        return [
            *(Series(name, "memory", "MB", points, MEMORY) for name, points in self.memory.items()),
            *lags,
        ]


def memory_of(process: psutil.Process) -> int:
    """Resident, its children's included; what processes share (Postgres's buffers) is counted once."""
    every = [process, *process.children(recursive=True)]
    if len(every) == 1:
        return int(process.memory_info().rss)
    total = 0
    for each in every:
        with suppress(psutil.Error):  # it has just ended
            memory = each.memory_full_info()
            total += int(getattr(memory, "pss", memory.uss))  # which only Linux tells
    return total


async def sequence_of(asker: NatsAsker, subject: str) -> int:
    async with asyncio.timeout(_ASK_SECONDS):
        return int(json.loads(await asker.ask(subject, b"{}"))["sequence"])


# The load


async def capacities(sources: Sequence[Source], seconds: float) -> list[float]:
    """Orders a second that each way accepts while all of them are pressed."""
    before = [_accepted(source) for source in sources]
    for source in sources:
        source.press(_PRESSED[source.name])
    await asyncio.sleep(seconds)
    pressed = [(_accepted(source) - accepted) / seconds for source, accepted in zip(sources, before, strict=True)]
    for source in sources:
        source.is_pressing = False
    for source in sources:
        await source.crowd.settle()
    return pressed


def _accepted(source: Source) -> int:
    return source.crowd.tally.settled - source.refused.total()


async def on_schedule(sources: Sequence[Source], seconds: float, started: float) -> None:
    over = asyncio.Event()

    def send_what_is_due() -> None:
        now = time.perf_counter()
        if now >= started + seconds:
            over.set()
            return
        for source in sources:
            source.send_due(started, now)

    with ticking(_TICK_SECONDS, send_what_is_due):
        await over.wait()
    for source in sources:
        await source.crowd.settle()


# Afterwards


async def caught_up(asker: NatsAsker) -> None:
    """Return when recorder and broadcaster have all that there is."""
    async with asyncio.timeout(_CATCH_UP_SECONDS):
        end = await sequence_of(asker, MATCHER_STATUS)
        for subject in (RECORDER_STATUS, BROADCASTER_STATUS):
            while await sequence_of(asker, subject) < end:  # noqa: ASYNC110 (other processes do it)
                await asyncio.sleep(0.1)


class Search:
    """Looks for the orders of the load in the journal: each that was answered must be there once, as answered."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = {source.name: source for source in sources}
        self._found = {source.name: array("q", bytes(8 * len(source.order_ids))) for source in sources}
        self._twice: list[str] = []
        self.commits = 0
        self.commands = 0

    async def read(self, url: str) -> None:
        async with asking(url) as (connection, _):
            chain, end = Chain(), (await journal_state(connection)).last_seq
            async with JournalReader(connection, 1) as reader:
                async for messages in reader:
                    for sequence, payload in messages:
                        self.look_at(chain.follow(sequence, payload))
                    if chain.sequence >= end:
                        break

    def look_at(self, commit: Commit) -> None:
        self.commits += 1
        self.commands += len(commit.commands)
        for command, outcome in zip(commit.commands, commit.outcomes, strict=True):
            if isinstance(command, PlaceOrder) and command.client_order_id is not None:
                accepted = outcome.events[0]
                assert isinstance(accepted, OrderAccepted)
                self._note(command.client_order_id, accepted.order_id)

    def _note(self, name: str, order_id: int) -> None:
        way, _, number = name.partition("-")
        if way in self._found:
            if self._found[way][int(number)]:
                self._twice.append(f"{name} is in the journal twice")
            self._found[way][int(number)] = order_id

    def wrong(self) -> list[str]:
        """A line each; of many the first ten."""
        lost = [
            f"{source.name_of(number)} was answered with order {order_id}, the journal has {found or 'none'}"
            for source in self._sources.values()
            for number, (order_id, found) in enumerate(zip(source.order_ids, self._found[source.name], strict=True))
            if order_id and order_id != found
        ]
        return (self._twice + lost)[:10]


async def verified(data: Path) -> str:
    """What `pricetime verify` says at last; raises WrongAnswer when it finds a difference."""
    command = (sys.executable, "-m", "cli.main", "verify", "--data", str(data))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT, cwd=ROOT)
    output, _ = await process.communicate()
    said = output.decode(errors="replace").strip().splitlines() or ["nothing"]
    if process.returncode:
        raise WrongAnswer(f"pricetime verify: {said[-1]}")
    return said[-1]


# The run


async def soak(scale: Scale, folder: Path, say: Say) -> Soak:
    say("starting the whole stack")
    async with whole_stack(folder) as stack, asking(stack.nats) as (_, asker):
        sources, listeners = await open_sources(stack), [Listener() for _ in range(_LISTENERS)]
        try:
            for number, listener in enumerate(listeners):
                await listener.open(stack.ws, _SUBSCRIPTIONS + (() if number else (_ALL_ORDERS,)))
            say("its capacity: REST, NATS and WebSocket pressed at once")
            await capacities(sources, scale.warm_up_seconds)
            capacity = await capacities(sources, scale.capacity_seconds)
            await caught_up(asker)
            watch, first = await load(scale, stack, asker, sources, capacity, say)
            say("looking for every order in the journal")
            await caught_up(asker)
            wrong, checked = await examine(stack, folder / "stack", sources, listeners, say)
        finally:
            for listener in listeners:
                listener.close()
            for source in sources:
                source.crowd.close()
    sent = [sent_by(source, each, begin) for source, each, begin in zip(sources, capacity, first, strict=True)]
    return Soak(scale.seconds / 60, scale.share, sent, series(sources, watch, first), wrong, checked)


async def load(
    scale: Scale, stack: RunFile, asker: NatsAsker, sources: Sequence[Source], capacity: Sequence[float], say: Say
) -> tuple[Watch, list[int]]:
    """Returns what was watched, and the number of the first request of each way."""
    first = [len(source.order_ids) for source in sources]
    for source, most in zip(sources, capacity, strict=True):
        source.rate = scale.share * most
        source.refused.clear()
        source.refusals.clear()
    rates = ", ".join(f"{source.name} {source.rate:,.0f}/s" for source in sources)
    say(f"{scale.seconds / 60:g} minutes of {rates}")
    watch = Watch({name: psutil.Process(pid) for name, pid in stack.pids.items()}, asker, time.perf_counter())
    watching = asyncio.create_task(watch.run())
    sending = asyncio.create_task(on_schedule(sources, scale.seconds, watch.started))
    await asyncio.wait((sending, watching), return_when=asyncio.FIRST_COMPLETED)
    for task in (sending, watching):
        task.cancel()
    sent, watched = await asyncio.gather(sending, watching, return_exceptions=True)
    if isinstance(sent, BaseException):  # watching went wrong before it was over
        raise WrongAnswer(f"a process ended, or did not tell how far it is: {watched!r}")
    return watch, first


async def examine(
    stack: RunFile, data: Path, sources: Sequence[Source], listeners: Sequence[Listener], say: Say
) -> tuple[list[str], list[str]]:
    """What is wrong, and what was looked at."""
    search = Search(sources)
    await search.read(stack.nats)
    answered = sum(1 for source in sources for order_id in source.order_ids if order_id)
    wrong = search.wrong()
    wrong += [f"a listener was cut off: {each.lost}" for each in listeners if each.lost]
    checked = [
        f"{answered:,} answered orders looked for in {search.commands:,} commands of {search.commits:,} commits.",
        f"{len(listeners)} WebSocket clients followed trades, book and ticker, one of them every order: "
        f"{sum(each.received for each in listeners) / _MEGABYTE:,.0f} MB.",
    ]
    say("pricetime verify")
    try:
        checked.append(f"`pricetime verify`: {await verified(data)}")
    except WrongAnswer as error:
        wrong.append(str(error))
    return wrong, checked


def sent_by(source: Source, capacity: float, first: int) -> Sent:
    tally = source.crowd.tally
    statuses = tally.status[first:]
    accepted = sum(status in (200, 201) for status in statuses)
    unanswered = sum(status in (NO_ANSWER, NOT_SENT) for status in statuses)
    words = [each.decode(errors="replace") for each in source.refusals]
    return Sent(source.name, capacity, source.rate, accepted, len(statuses) - accepted - unanswered, unanswered, words)


def series(sources: Sequence[Source], watch: Watch, first: Sequence[int]) -> list[Series]:
    found = watch.series()
    for source, begin in zip(sources, first, strict=True):
        tally = source.crowd.tally
        found += latencies(source.name, tally, range(begin, len(tally.due)), watch.started)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description="Half an hour at 70 % of capacity, and every order looked for."
    )
    parser.add_argument("--minutes", type=float, default=30.0, metavar="N", help="how long (default: 30)")
    parser.add_argument("--share", type=float, default=0.7, metavar="X", help="of the capacity (default: 0.7)")
    parser.add_argument("--write", action="store_true", help=f"write soak.md and soak.svg into {FOLDER.name}/")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the data goes meanwhile: on a real disk")
    arguments = parser.parse_args()
    forget_settings()
    scale = Scale(seconds=60 * arguments.minutes, share=arguments.share)
    try:
        with tempfile.TemporaryDirectory(
            prefix="pricetime-soak-", dir=arguments.folder, ignore_cleanup_errors=True
        ) as at:
            machine = describe(Path(at))
            found = uvloop.run(soak(scale, Path(at), lambda what: print(what, file=sys.stderr, flush=True)))
    except (NotStarted, WrongAnswer, TimeoutError) as error:
        print(f"bench: {error or 'it took too long'}", file=sys.stderr)
        return 1
    machine["load after"] = machine_load()
    report = markdown(found, machine, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    print(report)
    if arguments.write:
        (FOLDER / "soak.md").write_text(report)
        plot(found, FOLDER / "soak.svg")
    return 0 if found.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
