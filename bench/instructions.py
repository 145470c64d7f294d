"""How many bytecodes the pure core executes for each command: figures that are the same on every run, everywhere.

    python -m bench.instructions                  # count, and compare with bench/instructions.json
    python -m bench.instructions --write          # write the figures of this Python version anew

A timing on a shared machine cannot be asserted; a count can. What runs in C (dicts, msgspec, SHA-256) counts as the one
call that it is: a count does not say how fast something is, it says that nobody made its way longer unknowingly.

Figures are kept for each Python minor version that they were taken with, and hold within 5 %, both ways: what became
cheaper is written down, too, or it could get lost again. Other versions compile to other bytecodes. There each stage is
seen relative to the bare order book, counted by the same version, and may be 15 % dearer than with the nearest version
that is known.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from bench.feature_flow import FeatureFlow, Timed
from bench.floors import BareBook, bare_operations
from bench.flow import LISTING, Flow
from bench.measure_rest import order_body
from broadcaster.market import Market
from contracts.commits import HASH_SIZE, Chain
from contracts.keys import OPEN
from contracts.messages import AnswerPart, Command, Commit, Event, PlaceOrder
from contracts.views import Instrument, answer_view, defined_instrument, step_of
from entry.bodies import read_fields
from entry.commands import PLACE_FIELDS, place_order
from entry.plain_orders import command_of, read_plain_order
from matcher.engine import Engine
from matcher.replay import Replay
from matcher.sequencer import Sequencer
from recorder.rows import Fold

KEPT = Path(__file__).with_suffix(".json")
FLOOR = "bare book"
WITHIN = 0.05
WITHIN_OF_UNKNOWN_VERSION = 0.15
_FILL, _COUNTED = 1_000, 2_000
"""Commands that fill the book first, and those that are counted."""
_PER_COMMIT = 20
_TIME = 1_700_000_000_000_000

Counts = Mapping[str, float]
"""Bytecodes per command, by stage."""
Work = Callable[[], object]


# Counting


class Counter:
    """The bytecodes that this thread executes while it counts."""

    def __init__(self) -> None:
        self.executed = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        gc.disable()
        with self._noting():
            yield
        gc.enable()

    if sys.version_info >= (3, 12):

        @contextmanager
        def _noting(self) -> Iterator[None]:
            def on_instruction(code: object, offset: int) -> None:
                self.executed += 1

            monitoring, tool = sys.monitoring, sys.monitoring.PROFILER_ID
            monitoring.use_tool_id(tool, "bench.instructions")
            monitoring.register_callback(tool, monitoring.events.INSTRUCTION, on_instruction)
            monitoring.set_events(tool, monitoring.events.INSTRUCTION)
            try:
                yield
            finally:
                monitoring.set_events(tool, 0)
                monitoring.free_tool_id(tool)

    else:

        @contextmanager
        def _noting(self) -> Iterator[None]:
            def on_opcode(frame: FrameType, event: str, argument: Any) -> Any:
                if event == "opcode":
                    self.executed += 1
                return on_opcode

            def on_call(frame: FrameType, event: str, argument: Any) -> Any:
                frame.f_trace_opcodes = True
                frame.f_trace_lines = False
                return on_opcode

            before = sys.gettrace()
            sys.settrace(on_call)
            try:
                yield
            finally:
                sys.settrace(before)


def executed_by(work: Work) -> int:
    """What `work` executes, without the little that counting does itself."""
    counter = Counter()
    with counter.counting():
        pass
    around = counter.executed
    with counter.counting():
        work()
    return counter.executed - 2 * around


# What is counted


def counts() -> Counts:
    """Of every stage. The figures are those of a process with PYTHONHASHSEED=0 that did nothing else before."""
    return {name: round(executed_by(work) / commands, 1) for name, commands, work in _stages()}


def _stages() -> Iterator[tuple[str, int, Work]]:
    """Name, how many commands it counts for, and what to run."""
    step_of.cache_clear()  # decimals that were read or written before are known: here none is
    plain = Flow(1).next_commands(_FILL + _COUNTED)
    yield from _engine_stages(plain)
    journal = _journal(plain)
    skipped = _FILL // _PER_COMMIT + 1
    yield from _journal_stages(journal[:skipped], journal[skipped:])
    bodies = [order_body(command) for command in plain if isinstance(command, PlaceOrder)][:_COUNTED]
    instrument = defined_instrument(LISTING)
    yield "order entry: body to command", len(bodies), lambda: [_command(body, instrument) for body in bodies]
    yield (
        "order entry: plain body to command",
        len(bodies),
        lambda: [_plain_command(body, instrument) for body in bodies],
    )


def _command(body: bytes, instrument: Instrument) -> PlaceOrder:
    return place_order(read_fields(body, PLACE_FIELDS), instrument)


def _plain_command(body: bytes, instrument: Instrument) -> PlaceOrder:
    order = read_plain_order(body)
    assert order is not None
    command = command_of(order, instrument, OPEN)
    assert command is not None
    return command


def _engine_stages(plain: list[Command]) -> Iterator[tuple[str, int, Work]]:
    operations, book = bare_operations(plain), BareBook()
    book.run(operations[:_FILL])
    yield FLOOR, _COUNTED, partial(book.run, operations[_FILL:])
    for name, timed in (("engine: plain flow", _at_one_time(plain)), ("engine: every feature", _features())):
        engine, counted = Engine(), timed[-_COUNTED:]
        _apply(engine, timed[:-_COUNTED])
        yield name, _COUNTED, partial(_apply, engine, counted)
    for requests in (1, _PER_COMMIT):
        sequencer = Sequencer(Engine(), Chain(journal_epoch="bench"), 100_000)
        payloads = [_encoded(commands) for commands in _chunks(plain, requests)]
        _sequence(sequencer, [_encoded([LISTING]), *payloads[: _FILL // requests]], requests)
        name = f"sequencer: requests of {requests}, commits of {_PER_COMMIT}"
        yield name, _COUNTED, partial(_sequence, sequencer, payloads[_FILL // requests :], requests)


def _journal_stages(before: Sequence[bytes], counted: Sequence[bytes]) -> Iterator[tuple[str, int, Work]]:
    chain, replay, fold, market = Chain(), Replay(), Fold(), Market()
    commits: list[Commit] = []

    def decode(payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            commits.append(chain.follow(chain.sequence + 1, payload))

    def recover(payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            replay.apply(replay.chain.sequence + 1, payload)

    def record(payloads: Sequence[bytes]) -> None:
        for commit, payload in zip(commits, payloads, strict=True):
            fold.add(commit, payload, payload[:HASH_SIZE])

    def show(payloads: Sequence[bytes]) -> None:
        for commit in commits:
            market.apply(commit)

    stages = {
        "commits: check and decode": decode,
        "recovery: replay": recover,
        "recorder: rows": record,
        "broadcaster: market": show,
    }
    for work in stages.values():
        work(before)
    commits.clear()
    for name, work in stages.items():
        yield name, _COUNTED, partial(work, counted)
    placed = _placed(commits)
    yield "order entry: events to answer", len(placed), lambda: [answer_view(*each) for each in placed]


def _placed(commits: Sequence[Commit]) -> list[tuple[AnswerPart, PlaceOrder, tuple[Event, ...], Instrument]]:
    """What the answers to orders are made of."""
    instrument = defined_instrument(LISTING)
    return [
        (AnswerPart(commit.sequence, commit.time, ()), command, outcome.events, instrument)
        for commit in commits
        for command, outcome in zip(commit.commands, commit.outcomes, strict=True)
        if isinstance(command, PlaceOrder)
    ]


def _at_one_time(commands: Sequence[Command]) -> list[Timed]:
    return [(command, _TIME) for command in (LISTING, *commands)]


def _features() -> list[Timed]:
    flow = FeatureFlow(1)
    return flow.opening + flow.next_commands(_FILL + _COUNTED)


def _apply(engine: Engine, commands: Sequence[Timed]) -> None:
    for command, time in commands:
        engine.apply(command, time)


def _sequence(sequencer: Sequencer, payloads: Sequence[bytes], commands_each: int) -> list[bytes]:
    """The journal messages of commits of about _PER_COMMIT commands."""
    written = []
    for requests in _chunks(payloads, _PER_COMMIT // commands_each):
        for payload in requests:
            sequencer.submit("inbox", payload, _TIME)
        sealed = sequencer.seal(_TIME)
        assert sealed is not None
        assert sealed.payload is not None
        written.append(sealed.payload)
    return written


def _journal(commands: Sequence[Command]) -> list[bytes]:
    sequencer = Sequencer(Engine(), Chain(journal_epoch="bench"), 100_000)
    payloads = [_encoded(some) for some in _chunks(commands, _PER_COMMIT)]
    return _sequence(sequencer, [_encoded([LISTING]), *payloads], _PER_COMMIT)


def _encoded(commands: Sequence[Command]) -> bytes:
    return msgspec.msgpack.encode(commands)


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[begin : begin + size] for begin in range(0, len(items), size))


# Keeping and comparing


def counted_apart() -> Counts:
    """`counts` of a process of its own: nothing that this one did before can show in them."""
    command = [sys.executable, "-m", "bench.instructions", "--print"]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if ran.returncode:
        raise RuntimeError(f"counting failed:\n{ran.stderr}")
    found: Counts = json.loads(ran.stdout)
    return found


def this_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def read_kept() -> dict[str, Counts]:
    """Of each Python version."""
    kept: dict[str, Counts] = json.loads(KEPT.read_text())
    return kept


def differences(found: Counts, kept: Mapping[str, Counts], version: str) -> list[str]:
    """What does not hold, a line each."""
    if version in kept:
        return _beyond(found, kept[version])
    nearest = min(kept, key=lambda known: abs(_minor(known) - _minor(version)))
    return _beyond_of_floor(found, kept[nearest], nearest)


def _minor(version: str) -> int:
    return int(version.partition(".")[2])


def _beyond(found: Counts, kept: Counts) -> list[str]:
    lines = [f"{name}: not counted any more" for name in kept.keys() - found.keys()]
    for name, executed in found.items():
        if name not in kept:
            lines.append(f"{name}: {executed:,.1f} bytecodes per command, and no figure is kept")
        elif abs(executed / kept[name] - 1) > WITHIN:
            change = 100 * (executed / kept[name] - 1)
            lines.append(f"{name}: {executed:,.1f} bytecodes per command, was {kept[name]:,.1f} ({change:+.1f} %)")
    return lines


def _beyond_of_floor(found: Counts, kept: Counts, version: str) -> list[str]:
    lines = []
    for name in kept.keys() & found.keys():
        ratio, before = found[name] / found[FLOOR], kept[name] / kept[FLOOR]
        if ratio > before * (1 + WITHIN_OF_UNKNOWN_VERSION):
            lines.append(f"{name}: {ratio:.2f} times the {FLOOR}; with Python {version} it is {before:.2f}")
    return lines


def table(found: Counts, kept: Counts) -> str:
    lines = [f"{'bytecodes per command':<45} {'now':>8} {'kept':>8}   of the {FLOOR}"]
    for name, executed in found.items():
        before = f"{kept[name]:,.1f}" if name in kept else ""
        lines.append(f"{name:<45} {executed:>8,.1f} {before:>8}   {executed / found[FLOOR]:.2f}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.instructions", description="Bytecodes per command, held within 5 %."
    )
    parser.add_argument("--write", action="store_true", help=f"keep what is counted now, in {KEPT.name}")
    parser.add_argument("--print", action="store_true", help="count here and print JSON; for the processes that do it")
    arguments = parser.parse_args()
    if arguments.print:
        print(json.dumps(counts()))
        return 0
    kept = read_kept() if KEPT.exists() else {}
    found, version = counted_apart(), this_version()
    print(table(found, kept.get(version, {})))
    if arguments.write:
        KEPT.write_text(json.dumps(dict(sorted((kept | {version: found}).items())), indent=1) + "\n")
        return 0
    wrong = differences(found, kept, version)
    if wrong:
        print("", *wrong, "If that is meant: python -m bench.instructions --write", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
