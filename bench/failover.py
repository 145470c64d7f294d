"""How long nobody is served when the matcher that serves is lost, or told to hand over; and that nothing else is lost.

    python -m bench.failover --kills 50                        # some three minutes
    python -m bench.failover --kills 50 --resting 100000       # with so many orders in the book
    python -m bench.failover --kills 50 --write                # and put the result into docs/benchmarks/failover.md

Measured is a whole exchange, as `pricetime up --standby` runs it, from outside: clients place orders over REST without
pause. *Nobody served* is the longest time between two answers to anybody, *longest wait* that of a single order. Every
fault strikes at a random moment, once the two matchers are a pair again. At the end every answer is looked up in the
journal.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import msgspec
import uvloop
from nats.aio.client import Client
from nats.errors import Error as NatsError

from bench.machine import describe, load
from bench.programs import NotStarted, whole_stack
from bench.rounds import percentile
from cli.handover import hand_over
from cli.runfile import RunFile
from contracts.messages import OrderAccepted, OrderType, PlaceOrder, Side
from contracts.subjects import MATCHER_STATUS, ORDERS_SUBMIT
from matcher.replay import Replay
from matcher.standby import standbys
from runtime.connection import close, connect
from runtime.journal import JournalReader, journal_state
from runtime.settings import PREFIX

REPORT = Path(__file__).parent.parent / "docs" / "benchmarks" / "failover.md"
GOALS = {"kill": 2.0, "handover": 0.5}
WORDS = {
    "kill": "kill -9 of the matcher that serves",
    "pause": "it stops for good without a word (SIGSTOP)",
    "handover": "`pricetime handover`",
}
_ACCOUNT = "failover"
_TOGETHER = 500
_PAIR_SECONDS = 60.0
_WARM_SECONDS = 0.5
_AFTER_SECONDS = 0.3


@dataclass(slots=True)
class Clients:
    """Orders without pause. Each is sent again, under the same id, until it is answered for good."""

    http: str
    workers: int
    answered: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By client order id: order id and journal sequence, as told."""
    moments: list[tuple[float, float]] = field(default_factory=list)
    """When each answer came, and how long it took."""
    refused: int = 0
    stopping: bool = False

    async def run(self) -> None:
        await asyncio.gather(*(self._place(worker) for worker in range(self.workers)))

    async def _place(self, worker: int) -> None:
        chance, number = random.Random(worker), 0
        async with httpx.AsyncClient(base_url=self.http, trust_env=False, timeout=30) as client:
            while not self.stopping:
                number += 1
                await self._place_one(client, f"{worker}-{number}", chance)

    async def _place_one(self, client: httpx.AsyncClient, name: str, chance: random.Random) -> None:
        price = f"{100 + chance.randint(-5, 5)}.00"
        body = {
            "side": chance.choice(("buy", "sell")),
            "price": price,
            "quantity": "1",
            "account": _ACCOUNT,
            "client_order_id": name,
        }
        started = time.perf_counter()
        while True:
            answer = await client.post("/orders", json=body)
            if answer.is_success:
                break
            self.refused += 1
            await asyncio.sleep(0.02)
        now = time.perf_counter()
        self.moments.append((now, now - started))
        order: dict[str, Any] = answer.json()
        self.answered[name] = (order["order_id"], order["sequence"])

    def between(self, begin: float, end: float) -> tuple[float, float]:
        """Longest time without an answer, and longest wait for one, among answers in this stretch."""
        before = max((at for at, _ in self.moments if at < begin), default=begin)
        within = [(at, wait) for at, wait in self.moments if begin <= at <= end]
        moments = [before, *sorted(at for at, _ in within), end]
        gap = max(later - earlier for earlier, later in pairwise(moments))
        return gap, max((wait for _, wait in within), default=end - begin)


@dataclass(frozen=True, slots=True)
class Struck:
    kind: str
    gap: float
    wait: float


# Faults


class _Leading(msgspec.Struct):
    pid: int
    matcher_epoch: int


async def leading(connection: Client) -> _Leading | None:
    try:
        answer = await connection.request(MATCHER_STATUS, b"{}", timeout=0.5)
        return msgspec.json.decode(answer.data, type=_Leading)
    except (NatsError, TimeoutError):
        return None


async def until_paired(connection: Client) -> _Leading:
    """One matcher serves, and another one has followed it to the journal's end."""
    async with asyncio.timeout(_PAIR_SECONDS):
        while True:
            leader = await leading(connection)
            if leader is not None and any(each.ready for each in await standbys(connection, 0.1)):
                return leader


async def until_taken_over(connection: Client, epoch: int) -> None:
    async with asyncio.timeout(_PAIR_SECONDS):
        while True:
            leader = await leading(connection)
            if leader is not None and leader.matcher_epoch > epoch:
                return
            await asyncio.sleep(0.02)


@contextmanager
def paused(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def strike(kind: str, connection: Client, clients: Clients) -> Struck:
    leader = await until_paired(connection)
    await asyncio.sleep(_WARM_SECONDS + random.random() / 5)
    begin = time.perf_counter()
    if kind == "handover":
        await hand_over(connection)
    elif kind == "kill":
        os.kill(leader.pid, signal.SIGKILL)
        await until_taken_over(connection, leader.matcher_epoch)
    else:
        with paused(leader.pid):
            await until_taken_over(connection, leader.matcher_epoch)
    await asyncio.sleep(_AFTER_SECONDS)
    gap, wait = clients.between(begin, time.perf_counter())
    return Struck(kind, gap, wait)


# The journal afterwards


async def check(connection: Client, clients: Clients) -> list[str]:
    """What is wrong; nothing, when every answer stands in the journal as it was given, and no order is there twice."""
    placed: dict[str, list[tuple[int, int]]] = {}
    end, replay = (await journal_state(connection)).last_seq, Replay()
    async with JournalReader(connection, 1) as reader:
        async for messages in reader:
            for sequence, payload in messages:
                commit = replay.follow(sequence, payload)
                for command, outcome in zip(commit.commands, commit.outcomes, strict=True):
                    if isinstance(command, PlaceOrder) and command.account == _ACCOUNT:
                        accepted = outcome.events[0]
                        assert isinstance(accepted, OrderAccepted)
                        placed.setdefault(command.client_order_id or "", []).append((accepted.order_id, sequence))
            if replay.chain.sequence >= end:
                break
    twice = [f"{name} is there {len(found)} times" for name, found in placed.items() if len(found) > 1]
    lost = [
        f"{name} was answered with order {told[0]}; the journal has {placed.get(name)}"
        for name, told in clients.answered.items()
        if told[0] not in [order_id for order_id, _ in placed.get(name, [])]
    ]
    return twice + lost


# The run


async def fill_book(connection: Client, orders: int) -> None:
    """Orders far from the price, which stay."""
    for begin in range(0, orders, _TOGETHER):
        some = range(begin, min(begin + _TOGETHER, orders))
        resting = tuple(
            PlaceOrder("BTC-USD", Side.BUY, OrderType.LIMIT, 1, 1 + n % 1000, account=f"a{n % 1000}") for n in some
        )
        await connection.request(ORDERS_SUBMIT, msgspec.msgpack.encode(resting), timeout=30)


async def measure(running: RunFile, arguments: argparse.Namespace) -> tuple[list[Struck], Clients, list[str]]:
    connection = await connect(running.nats, "operator")
    clients = Clients(running.http, arguments.clients)
    faults = ["kill"] * arguments.kills + ["handover"] * arguments.handovers + ["pause"] * arguments.pauses
    random.shuffle(faults)
    try:
        await fill_book(connection, arguments.resting)
        flow = asyncio.create_task(clients.run())
        struck = []
        for number, kind in enumerate(faults, 1):
            struck.append(await strike(kind, connection, clients))
            print(f"\r{number} of {len(faults)} ", end="", file=sys.stderr, flush=True)
        clients.stopping = True
        await flow
        print("\r", end="", file=sys.stderr)
        return struck, clients, await check(connection, clients)
    finally:
        await close(connection)


def table(struck: list[Struck]) -> list[str]:
    lines = [
        "| fault | count | nobody served: median | 90 % | longest | goal | longest wait for one order: median "
        "| longest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, words in WORDS.items():
        gaps, waits = ([getattr(each, name) for each in struck if each.kind == kind] for name in ("gap", "wait"))
        if gaps:
            goal = f"{GOALS[kind]:g} s" if kind in GOALS else ""
            lines.append(
                f"| {words} | {len(gaps)} | {median(gaps):.3f} s | {percentile(sorted(gaps), 0.9):.3f} s "
                f"| {max(gaps):.3f} s | {goal} | {median(waits):.3f} s | {max(waits):.3f} s |"
            )
    return lines


def report(struck: list[Struck], clients: Clients, wrong: list[str], machine: dict[str, str], resting: int) -> str:
    verdict = "\n".join(wrong[:10]) if wrong else "Each is in the journal as it was answered, and none is there twice."
    return "\n".join(
        [
            "# Failover",
            "",
            "Written by `python -m bench.failover --write`; docs/decisions/0022 has the reasons.",
            "",
            *(f"- {name}: {value}" for name, value in machine.items()),
            f"- {clients.workers} clients over REST; {resting:,} orders resting in the book from the start",
            "",
            *table(struck),
            "",
            f"{len(clients.answered):,} orders answered, {clients.refused:,} refusals on the way. {verdict}",
            "",
            f"Load after: {load()}",
        ]
    )


async def _run(arguments: argparse.Namespace, folder: Path) -> int:
    machine = describe(folder)
    async with whole_stack(folder, "--standby") as running:
        struck, clients, wrong = await measure(running, arguments)
    text = report(struck, clients, wrong, machine, arguments.resting)
    print(text)
    if arguments.write:
        REPORT.write_text(text + "\n")
    late = [each for each in struck if each.gap > GOALS.get(each.kind, 1e9)]
    return 1 if wrong or late else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description="Time without service at a failover.")
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="kill -9 of the leader (default: 50)")
    parser.add_argument("--handovers", type=int, default=None, metavar="N", help="planned (default: as many as kills)")
    parser.add_argument("--pauses", type=int, default=None, metavar="N", help="SIGSTOP (default: a fifth of the kills)")
    parser.add_argument("--clients", type=int, default=8, metavar="N", help="who place orders (default: 8)")
    parser.add_argument("--resting", type=int, default=0, metavar="N", help="orders in the book before (default: 0)")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/benchmarks/failover.md")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the data goes meanwhile: on a real disk")
    arguments = parser.parse_args()
    arguments.handovers = arguments.kills if arguments.handovers is None else arguments.handovers
    arguments.pauses = arguments.kills // 5 if arguments.pauses is None else arguments.pauses
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="pricetime-bench-", dir=arguments.folder, ignore_cleanup_errors=True) as at:
        try:
            return uvloop.run(_run(arguments, Path(at)))
        except (NotStarted, TimeoutError) as error:
            print(f"bench: {error or 'it took too long'}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
