"""`python -m bench.waterfall`: where the time of one order goes, from the client's socket and back to it.

The whole stack runs as `pricetime up` runs it, but each service writes down when the order passes (bench/stamps.py).
Orders are sent over REST, one at a time and with pauses, so every stamp belongs to the order that was sent last.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from bench.client import HttpPool, WrongAnswer, post_request
from bench.command import forget_settings
from bench.flow import Flow
from bench.machine import describe
from bench.measure_rest import order_body
from bench.programs import ROOT, NotStarted, pool, whole_stack
from bench.scale import SEED
from bench.stamps import Point, Stamp, read_stamps
from bench.ws_crowd import Listener

REPORT = ROOT / "docs" / "benchmarks" / "waterfall.md"
CLIENT = "client"
_PAUSE_SECONDS = 0.02
_PATIENCE_SECONDS = 10.0
_WARM_UP = 100
_FOLLOW = b'"op":"subscribe","channel":"orders","account":"default"}'

SENT = Point(CLIENT, "request is sent", "", "", "")
ANSWERED = Point(CLIENT, "answer is here", "", "", "")
TOLD = Point(CLIENT, "a listener has it", "", "", "")


@dataclass(frozen=True, slots=True)
class Stage:
    """From the last point of one service's row to the next, by name; who works in it, and what happens."""

    begin: tuple[str, str]
    end: tuple[str, str]
    who: str
    what: str
    is_waited_for: bool = True


STAGES = (
    Stage((CLIENT, SENT.name), ("gateway", "request is here"), "network", "to the gateway's event loop"),
    Stage(
        ("gateway", "request is here"),
        ("gateway", "order is understood"),
        "gateway",
        "HTTP, who asks, JSON, ticks and lots",
    ),
    Stage(("gateway", "order is understood"), ("gateway", "command is published"), "gateway", "the command as bytes"),
    Stage(("gateway", "command is published"), ("matcher", "command is here"), "nats", "NATS to the matcher"),
    Stage(("matcher", "command is here"), ("matcher", "command is executed"), "matcher", "the engine"),
    Stage(
        ("matcher", "command is executed"), ("matcher", "commit is published"), "matcher", "the commit as bytes, hash"
    ),
    Stage(
        ("matcher", "commit is published"), ("matcher", "commit is durable"), "nats", "JetStream, the disk, its answer"
    ),
    Stage(("matcher", "commit is durable"), ("matcher", "answer is published"), "matcher", "the answer leaves"),
    Stage(
        ("matcher", "answer is published"),
        ("gateway", "answer of the matcher is here"),
        "nats",
        "NATS to the gateway",
    ),
    Stage(
        ("gateway", "answer of the matcher is here"),
        ("gateway", "answer is written"),
        "gateway",
        "the order as JSON, HTTP",
    ),
    Stage(("gateway", "answer is written"), (CLIENT, ANSWERED.name), "network", "to the client's event loop"),
    Stage(
        ("matcher", "commit is published"),
        ("recorder", "commit is here"),
        "nats",
        "JetStream, the disk, to the recorder",
        False,
    ),
    Stage(
        ("recorder", "commit is here"),
        ("recorder", "commit is in Postgres"),
        "recorder",
        "rows, one transaction, its fsync",
        False,
    ),
    Stage(
        ("matcher", "commit is published"),
        ("broadcaster", "commit is here"),
        "nats",
        "JetStream, the disk, to the broadcaster",
        False,
    ),
    Stage(
        ("broadcaster", "commit is here"),
        ("broadcaster", "clients are written to"),
        "broadcaster",
        "books, orders, JSON",
        False,
    ),
    Stage(
        ("broadcaster", "clients are written to"), (CLIENT, TOLD.name), "network", "to a listener's event loop", False
    ),
)
COLORS = {
    "network": "tab:gray",
    "gateway": "tab:blue",
    "nats": "tab:orange",
    "matcher": "tab:green",
    "recorder": "tab:purple",
    "broadcaster": "tab:red",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A stage as it was in the median: microseconds after the request was sent."""

    stage: Stage
    begin: float
    microseconds: float


def orders(stamps: Sequence[Stamp]) -> list[dict[tuple[str, str], int]]:
    """The first passing of each point, order by order, from one `request is sent` to the next."""
    found: list[dict[tuple[str, str], int]] = []
    for point, at in stamps:
        if point is SENT:
            found.append({})
        if found:
            found[-1].setdefault((point.service, point.name), at)
    return found


def bars(stamps: Sequence[Stamp]) -> list[Bar]:
    """Of the orders that passed every point. Raises WrongAnswer when those are few: a point must have been missed."""
    every = orders(stamps)
    whole = [each for each in every if all(stage.begin in each and stage.end in each for stage in STAGES)]
    if not whole or len(whole) < 0.8 * len(every):
        raise WrongAnswer(f"of {len(every)} orders only {len(whole)} passed every point: {_missed(every)}")
    start = (CLIENT, SENT.name)
    return [
        Bar(
            stage,
            median((each[stage.begin] - each[start]) / 1000 for each in whole),
            median((each[stage.end] - each[stage.begin]) / 1000 for each in whole),
        )
        for stage in STAGES
    ]


def _missed(every: Sequence[dict[tuple[str, str], int]]) -> str:
    missed = {": ".join(point) for each in every for stage in STAGES for point in (stage.end,) if point not in each}
    return ", ".join(sorted(missed)) or "no order was sent"


def table(found: Sequence[Bar]) -> list[str]:
    lines = ["| | who | µs | from | |", "| --- | --- | ---: | ---: | --- |"]
    for number, bar in enumerate(found, 1):
        waited = "" if bar.stage.is_waited_for else " (meanwhile)"
        lines.append(
            f"| {number} | {bar.stage.who} | {bar.microseconds:,.0f} | {bar.begin:,.0f} | {bar.stage.what}{waited} |"
        )
    total = sum(bar.microseconds for bar in found if bar.stage.is_waited_for)
    lines.append(f"| | **the client waits** | **{total:,.0f}** | | sum of the medians |")
    for who in COLORS:
        share = sum(bar.microseconds for bar in found if bar.stage.is_waited_for and bar.stage.who == who)
        if share:
            lines.append(f"| | of it {who} | {share:,.0f} | | {100 * share / total:.0f} % |")
    return lines


def report(found: Sequence[Bar], machine: Mapping[str, str], count: int) -> str:
    lines = ["# One order, from socket to socket", ""]
    lines += ["Written by `python -m bench.waterfall --write`; [what it tells](../performance.md).", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += [f"- medians of {count:,} orders over REST, one at a time, every service running", ""]
    return "\n".join([*lines, "![the stages over time](waterfall.svg)", "", *table(found)]) + "\n"


def plot(found: Sequence[Bar], path: Path) -> None:
    """Needs the extra `bench` (matplotlib)."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "waterfall"})
    figure = Figure(figsize=(10, 0.36 * len(found) + 1.2), layout="constrained")
    axis = figure.subplots()
    for row, bar in enumerate(found):
        opacity = 1.0 if bar.stage.is_waited_for else 0.45
        axis.barh(row, bar.microseconds, left=bar.begin, color=COLORS[bar.stage.who], alpha=opacity)
        axis.text(bar.begin + bar.microseconds, row, f" {bar.microseconds:,.0f}", va="center", fontsize=8)
    axis.set_yticks(range(len(found)), [f"{bar.stage.who}: {bar.stage.what}" for bar in found], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("microseconds after the client sent the order (pale: what nobody waits for)")
    axis.margins(x=0.08)
    figure.savefig(path, metadata={"Date": None})


# The run


class Follower(Listener):
    """`told`: when the first message about the latest order came."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.Event()
        self.at = 0

    def on_text(self, text: bytes) -> None:
        super().on_text(text)
        if b'"type":"update"' in text and not self.told.is_set():
            self.at = time.monotonic_ns()
            self.told.set()


async def measure(count: int, folder: Path) -> list[Bar]:
    own: list[Stamp] = []
    noted = folder / "stamps"
    noted.mkdir()
    launcher = ("bench.stamped", str(noted))
    async with whole_stack(folder, launcher=launcher) as stack, pool(stack.http, 1) as http:
        follower = Follower()
        await follower.open(stack.ws, [_FOLLOW])
        try:
            for number, command in enumerate(Flow(SEED, cancels=0, resting=100).next_commands(_WARM_UP + count)):
                request = post_request("/orders", "127.0.0.1", order_body(command))
                stamps = await _one(http, follower, request)
                own += stamps if number >= _WARM_UP else []
        finally:
            follower.close()
    return bars(sorted([*own, *read_stamps(noted)], key=lambda stamp: stamp[1]))


async def _one(http: HttpPool, follower: Follower, request: bytes) -> list[Stamp]:
    follower.told.clear()
    sent = time.monotonic_ns()
    answer = await http.ask(request)
    answered = time.monotonic_ns()
    if not answer.startswith(b"HTTP/1.1 201 "):
        raise WrongAnswer(f"an order was not taken: {answer[:500]!r}")
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await follower.told.wait()
    await asyncio.sleep(_PAUSE_SECONDS)
    return [(SENT, sent), (ANSWERED, answered), (TOLD, follower.at)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.waterfall", description="Where the time of one order goes.")
    parser.add_argument("--orders", type=int, default=1_000, metavar="N", help="how many (default: 1000)")
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name} and .svg into {REPORT.parent.name}/")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the data goes meanwhile: on a real disk")
    arguments = parser.parse_args()
    forget_settings()
    try:
        with tempfile.TemporaryDirectory(dir=arguments.folder, ignore_cleanup_errors=True) as at:
            machine = describe(Path(at))
            found = uvloop.run(measure(arguments.orders, Path(at)))
    except (NotStarted, WrongAnswer, TimeoutError) as error:
        print(f"bench: {error or 'it took too long'}", file=sys.stderr)
        return 1
    text = report(found, machine, arguments.orders)
    print(text)
    if arguments.write:
        REPORT.write_text(text)
        plot(found, REPORT.with_suffix(".svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
