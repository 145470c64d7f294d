"""One service with a clock in its hand: `python -m bench.stamps MODULE NAME` writes down when an order passes by.

The code is the product's, which knows nothing of this. The functions that an order passes by are wrapped from outside,
and each time one of them is entered or left, the moment goes into a file: CLOCK_MONOTONIC, which is the same clock in
every process of a machine.
"""

import functools
import importlib
import inspect
import itertools
import mmap
import os
import runpy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any

FOLDER = "BENCH_STAMPS"
_MOST_STAMPS = 1_000_000
_stamp = Struct("=Hq")
"""Number of the point, nanoseconds."""


@dataclass(frozen=True, slots=True)
class Point:
    """`function` of `module`, or `Class.method`; `when`: as it is entered, or as it is left."""

    service: str
    name: str
    module: str
    function: str
    when: str


POINTS = (
    Point("gateway", "request is here", "runtime.server", "HttpConnection.data_received", "entered"),
    Point("gateway", "order is understood", "entry.submission", "Submission.submit", "entered"),
    Point("gateway", "command is published", "entry.matcher_client", "MatcherClient._send", "left"),
    Point("gateway", "answer of the matcher is here", "entry.matcher_client", "MatcherClient._on_reply", "entered"),
    Point("gateway", "answer is written", "gateway.answer_writer", "AnswerWriter.write", "left"),
    Point("matcher", "command is here", "matcher.service", "Matcher._on_request", "entered"),
    Point("matcher", "command is executed", "matcher.service", "Matcher._on_request", "left"),
    Point("matcher", "commit is published", "matcher.service", "write_commit", "entered"),
    Point("matcher", "commit is durable", "matcher.service", "write_commit", "left"),
    Point("matcher", "answer is published", "matcher.service", "Matcher._answer", "left"),
    Point("recorder", "commit is here", "recorder.runs", "Runs.add", "entered"),
    Point("recorder", "commit is in Postgres", "recorder.store", "Store.record", "left"),
    Point("broadcaster", "commit is here", "broadcaster.follower", "_take", "entered"),
    Point("broadcaster", "clients are written to", "broadcaster.live", "Live.passed", "left"),
)

Stamp = tuple[Point, int]


def wrap_points(service: str, note: Callable[[int], None]) -> None:
    """Fails when one is not there: a stage would silently be missing."""
    for number, point in enumerate(POINTS):
        if point.service == service:
            owner, name = owner_of(point)
            setattr(owner, name, _wrapped(getattr(owner, name), functools.partial(note, number), point.when))


def owner_of(point: Point) -> tuple[Any, str]:
    """The module or class that has the function, and its name there."""
    owner: Any = importlib.import_module(point.module)
    *classes, name = point.function.split(".")
    for each in classes:
        owner = getattr(owner, each)
    return owner, name


def _wrapped(function: Callable[..., Any], note: Callable[[], None], when: str) -> Callable[..., Any]:
    is_entered = when == "entered"

    @functools.wraps(function)
    def plain(*arguments: Any, **named: Any) -> Any:
        if is_entered:
            note()
        result = function(*arguments, **named)
        if not is_entered:
            note()
        return result

    @functools.wraps(function)
    async def waited_for(*arguments: Any, **named: Any) -> Any:
        if is_entered:
            note()
        result = await function(*arguments, **named)
        if not is_entered:
            note()
        return result

    return waited_for if inspect.iscoroutinefunction(function) else plain


def note_into(path: Path) -> Callable[[int], None]:
    """Into memory that is the file's: services leave by os._exit, which flushes nothing."""
    path.write_bytes(b"")
    os.truncate(path, _MOST_STAMPS * _stamp.size)
    with path.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    pack, clock, next_number = _stamp.pack_into, time.monotonic_ns, itertools.count().__next__

    def note(number: int) -> None:
        pack(memory, next_number() * _stamp.size, number, clock())

    return note


def read_stamps(folder: Path) -> list[Stamp]:
    """Of all services, in the order of time."""
    stamps = (_stamp.iter_unpack(path.read_bytes()) for path in folder.glob("*.stamps"))
    found = [(POINTS[number], at) for each in stamps for number, at in each if at]
    return sorted(found, key=lambda stamp: stamp[1])


def main(module: str, name: str) -> None:
    path = Path(os.environ.pop(FOLDER)) / f"{name}-{os.getpid()}.stamps"
    wrap_points(module, note_into(path))
    sys.argv[:] = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
