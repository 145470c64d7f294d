"""The comparison that a user would make: other Python engines on the same flow, and an exchange as it is usually begun.

    python -m bench.peers                      # some minutes, and packages from PyPI; --quick: one
    python -m bench.peers --write              # and put the result into docs/benchmarks/peers.md
    python -m bench.peers --environments DIR   # keep the environments there for the next time

Each engine runs in a process and an environment of its own and is handed the same operations; what its interface wants
beyond them, like objects for orders, is made inside the clock, ours too. Rounds take turns. That all trade alike is
checked first, order by order.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from bench import usual
from bench.client import WrongAnswer
from bench.command import forget_settings
from bench.environments import environment
from bench.floors import bare_operations
from bench.flow import Flow
from bench.machine import describe, load
from bench.peer_engines import Operation
from bench.programs import ROOT, NotStarted
from bench.report import REACHED
from bench.rounds import Row
from bench.scale import SEED
from bench.worker import Worker, worker

REPORT = ROOT / "docs" / "benchmarks" / "peers.md"
OURS = "pricetime"
GOAL = 2.0
_SCRIPT = Path(__file__).with_name("peer_engines.py")
_QUANTITY = 1_000_000
"""Quantities of the flow are multiples of it; engines that take floats should not have to take large ones."""
PURE, CYTHON, RUST = "Python", "Cython", "Rust"


@dataclass(frozen=True, slots=True)
class Package:
    name: str
    requirements: tuple[str, ...]
    language: str
    lacks: str
    """What it does not do, or does otherwise, seen from who needs an exchange."""

    @property
    def version(self) -> str:
        return self.requirements[0].partition("==")[2]


_SORTED = "sortedcontainers==2.4.0"
PACKAGES = (
    Package(
        "lightmatchingengine",
        ("lightmatchingengine==2019.1.4",),
        PURE,
        "limit orders alone; the best price is searched among all, a cancel among all of its price",
    ),
    Package(
        "pyorderbook",
        ("pyorderbook==0.4.9",),
        PURE,
        "limit orders alone; ids are random UUIDs, so no two runs are alike",
    ),
    Package(
        "akhil4n-orderbook",
        ("akhil4n-orderbook==0.1.1", _SORTED),
        PURE,
        "limit and market orders; trades are in one log, which grows, and an order's answer is empty",
    ),
    Package("lobby", ("lobby==0.1.3",), PURE, "limit and market orders; PyLOB for Python 3; keeps every trade"),
    Package(
        "fastlob",
        ("fastlob==0.0.24", _SORTED, "termcolor==2.5.0"),
        PURE,
        "GTC, FOK, GTD; prices and quantities in hundredths; keeps every order",
    ),
    Package(
        "manticore-orderbook",
        ("manticore-orderbook==1.0.1", "tabulate==0.10.0"),
        PURE,
        "many order types and events; prices and quantities are floats; its log was turned off",
    ),
    Package(
        "order-matching",
        (
            "order-matching==0.12.0",
            "Faker==40.54.0",
            "loguru==0.7.3",
            "numpy==2.4.6",
            "polars==2.1.0",
            "pandera==0.35.0",
        ),
        PURE,
        "limit and market orders, expiry; made for analysis of whole sets of orders, so one at a time is not its best",
    ),
    Package(
        "cython-orderbook",
        ("cython-orderbook==0.1.2", _SORTED),
        CYTHON,
        "limit and market orders; trades are printed, not returned: quantities alone could be compared",
    ),
    Package(
        "litebook",
        ("litebook==0.0.1",),
        RUST,
        "limit orders alone; trades are at the price of the taker, not the maker",
    ),
    Package(
        "bourse",
        ("bourse==0.4.0", "numpy==2.4.6", "pandas==3.1.1", "tqdm==4.70.1"),
        RUST,
        "limit and market orders; keeps all orders and trades; trades are asked for apart, which was not timed",
    ),
)
NOT_COMPARED = (
    ("OrderBook 0.1.2", "is Python 2: it does not import"),
    ("hft-lob", "a program to be run, without an interface for Python"),
)


@dataclass(frozen=True, slots=True)
class Book:
    """The flow with so many orders in the book, on so many prices."""

    name: str
    resting: int
    near: int


SMALL, LARGE = Book("about 1,500 orders", 1_000, 20), Book("about 30,000 orders", 20_000, 4_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    rounds: int = 7
    commands: int = 20_000
    """Of a round, at most; so many as an engine does in `seconds`."""
    seconds: float = 1.0
    checked: int = 6_000
    fill_seconds: float = 20.0
    orders: int = 2_000
    """Of a round, over REST."""


QUICK = Scale(rounds=3, commands=6_000, seconds=0.3, checked=3_000, fill_seconds=4.0, orders=400)


# Engines


def operations_of(book: Book, count: int) -> list[Operation]:
    """For engines that know no IOC: in this flow takers are filled, so it makes no difference."""
    flow = bare_operations(Flow(SEED, resting=book.resting, near=book.near).next_commands(count))
    return [
        (-sign, price, quantity // _QUANTITY, rests) if sign else (0, price - 1, 0, 0)
        for sign, price, quantity, rests in flow
    ]


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one engine: commands per second by round, without any when it is too slow to fill the book."""

    name: str
    rates: tuple[float, ...]
    differing: int | None = None
    """Orders, of those checked, that did not trade as ours did; None when nothing was checked."""

    @property
    def rate(self) -> float:
        return median(self.rates)


async def measure_engines(book: Book, scale: Scale, pythons: Mapping[str, Path], folder: Path) -> list[Found]:
    warm = 2 * book.resting
    operations = folder / f"operations-{book.resting}.json"
    operations.write_text(json.dumps(operations_of(book, warm + scale.rounds * scale.commands)))
    async with AsyncExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, python in pythons.items():
            command = (str(python), str(_SCRIPT), name, str(operations))
            variables = os.environ | ({"PYTHONPATH": str(ROOT)} if name == OURS else {})
            log = folder / f"{book.resting}"
            log.mkdir(exist_ok=True)
            workers[name] = await stack.enter_async_context(worker(name, command, log, variables))
        differing = await _differing(workers, scale.checked) if scale.checked else {}
        return [replace(each, differing=differing.get(each.name)) for each in await _rounds(workers, warm, scale)]


async def _differing(workers: Mapping[str, Worker], count: int) -> dict[str, int]:
    trades = {name: await each.ask(f"check {count}") for name, each in workers.items()}
    return {name: differences(trades[OURS], found) for name, found in trades.items()}


def differences(ours: Sequence[Any], theirs: Sequence[Any]) -> int:
    """Orders that did not trade the same quantity at each price; at price 0 an engine says that it tells no prices."""
    return sum(_told(mine, other) != other for mine, other in zip(ours, theirs, strict=True))


def _told(mine: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
    if other and other[0][0] == 0:
        return [[0, sum(quantity for _, quantity in mine)]]
    return mine


async def _rounds(workers: Mapping[str, Worker], warm: int, scale: Scale) -> list[Found]:
    rates: dict[str, list[float]] = {name: [] for name in workers}
    going = dict(workers)
    for name, each in workers.items():
        done, _ = await each.ask(f"time {warm} {scale.fill_seconds}", 10 * scale.fill_seconds + 60)
        if done < warm:
            del going[name]
    for _ in range(scale.rounds):
        for name, each in going.items():
            done, seconds = await each.ask(f"time {scale.commands} {scale.seconds}")
            rates[name].append(done / seconds)
    return [Found(name, tuple(rates[name])) for name in workers]


def ratio(ours: Found, other: Found) -> float:
    """How many times as fast ours is, round by round, then the median."""
    return median(mine / theirs for mine, theirs in zip(ours.rates, other.rates, strict=True))


def fastest_pure(found: Iterable[Found]) -> Found:
    pure = {package.name for package in PACKAGES if package.language == PURE}
    return max((each for each in found if each.name in pure and each.rates), key=lambda each: each.rate)


# What is written


def report(
    engines: Mapping[Book, Sequence[Found]], rows: Sequence[Row], machine: Mapping[str, str], scale: Scale
) -> str:
    lines = [
        "# Beside others",
        "",
        "Written by `python -m bench.peers --write`; [README.md](README.md#beside-others) tells how it is measured.",
        "",
        *(f"- {name}: {value}" for name, value in machine.items()),
        "",
        "## Engines that install from PyPI",
        "",
        f"Commands per second of processor time, median of {scale.rounds} rounds that took turns, on the plain flow:"
        " orders that rest, cancels and takers. Ours is the whole engine: ids, outcomes, rules and checks.",
    ]
    for book, found in engines.items():
        lines += _engine_table(book, found)
    lines += ["", "Not in the tables:", "", *(f"- {name}: {why}." for name, why in NOT_COMPARED)]
    lines += ["", "## What they do not do", "", *_line_table(("engine", "written in", "to know"), _package_cells())]
    lines += ["", _WHAT_NONE_DOES, "", "## An exchange as it is usually begun", "", _WHAT_IS_USUAL]
    headings = (
        "figure",
        "ours",
        "lowest - highest",
        "FastAPI and a row for each order",
        "lowest - highest",
        "ours / that",
    )
    return "\n".join([*lines, "", *_line_table(headings, map(_usual_cells, rows))]) + "\n"


_WHAT_NONE_DOES = (
    "None of them stores what it does while it does it, or gives an order that is sent again its first answer. Ours"
    " does neither in the times above either: they are those of books alone. What comes around a book is below."
)
_WHAT_IS_USUAL = (
    "[usual_service.py](../../bench/usual_service.py): FastAPI, SQLAlchemy with asyncpg, two processes, and one"
    " transaction for each order: lock the instrument, insert the order, read and update the makers, insert the trades,"
    " commit. It gets the same orders as ours does, over 32 connections and over one. Both run with all of their parts"
    " and are durable: Postgres with fsync there, the synced journal here, from which the recorder fills Postgres as"
    " well. It has no streams, no client order ids and no cancels, which these orders do not need."
)


def _engine_table(book: Book, found: Sequence[Found]) -> list[str]:
    ours = next(each for each in found if each.name == OURS)
    others = sorted((each for each in found if each is not ours), key=lambda each: -each.rate if each.rates else 0)
    best = fastest_pure(found)
    reached = ratio(ours, best)
    goal = f"Ours is {reached:.2f} times as fast as the fastest in pure Python, {best.name}."
    if book is SMALL:
        goal += f" Goal: >= {GOAL:g}, {REACHED[reached >= GOAL]}."
    headings = ("engine", "written in", "commands/s", "lowest - highest", "ours / that", "trades as ours does")
    rows = [_engine_cells(ours, each) for each in (ours, *others)]
    return ["", f"### With {book.name} in the book", "", *_line_table(headings, rows), "", goal]


def _engine_cells(ours: Found, each: Found) -> tuple[str, ...]:
    package = next((package for package in PACKAGES if package.name == each.name), None)
    name, language = (f"**{OURS}**", PURE) if package is None else (f"{each.name} {package.version}", package.language)
    if not each.rates:
        return name, language, "too slow to fill the book", "", "", _agreement(each)
    span = f"{min(each.rates):,.0f} - {max(each.rates):,.0f}"
    return name, language, f"{each.rate:,.0f}", span, f"{ratio(ours, each):.2f}", _agreement(each)


def _agreement(each: Found) -> str:
    if each.differing is None:
        return ""
    return f"no: {each.differing:,} orders" if each.differing else "yes"


def _package_cells() -> list[tuple[str, ...]]:
    return [(f"{each.name} {each.version}", each.language, each.lacks) for each in PACKAGES]


def _usual_cells(row: Row) -> tuple[str, ...]:
    assert row.floor is not None
    unit = row.unit

    def cells(values: Sequence[float]) -> tuple[str, str]:
        numbers = [f"{value:,.{unit.decimals}f}" for value in (median(values), min(values), max(values))]
        return f"{numbers[0]} {unit.name}", f"{numbers[1]} - {numbers[2]}"

    return row.name, *cells(row.figures), *cells(row.floors), f"{row.ratio:.2f}"


def _line_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows)]


# The command


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="Ours beside others. Needs PyPI.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--write", action="store_true", help="write the result into docs/benchmarks/peers.md")
    parser.add_argument("--environments", type=Path, metavar="DIR", help="keep the environments of the others there")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the data goes meanwhile: on a real disk")
    arguments = parser.parse_args()
    forget_settings()
    try:
        with tempfile.TemporaryDirectory(
            prefix="pricetime-bench-", dir=arguments.folder, ignore_cleanup_errors=True
        ) as at:
            text = uvloop.run(_measure(QUICK if arguments.quick else Scale(), Path(at), arguments.environments))
    except (NotStarted, WrongAnswer, TimeoutError) as error:
        print(f"bench: {error or 'it took too long'}", file=sys.stderr)
        return 1
    print(text)
    if arguments.write:
        REPORT.write_text(text)
    return 0


async def _measure(scale: Scale, folder: Path, environments: Path | None) -> str:
    environments = environments or folder / "environments"
    environments.mkdir(parents=True, exist_ok=True)
    machine = describe(folder)
    pythons = {OURS: Path(sys.executable)}
    for package in PACKAGES:
        _say(f"the environment of {package.name}")
        pythons[package.name] = await environment(environments / package.name, package.requirements)
    engines = {}
    for book in (SMALL, LARGE):
        _say(f"engines with {book.name}")
        checked = scale.checked if book is SMALL else 0
        engines[book] = await measure_engines(book, replace(scale, checked=checked), pythons, folder)
    rows = await usual.measure(scale.rounds, scale.orders, folder, environments, _say)
    machine["load after"] = load()
    return report(engines, rows, machine, scale)


def _say(what: str) -> None:
    print(f"measuring: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
