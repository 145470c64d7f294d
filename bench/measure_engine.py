"""The engine alone: no network, no disk, no encoding. Its floor is the bare book, or itself with less to do.

It works in one thread and waits for nothing, so what is timed is that thread's processor time, which a busy machine
changes less than the clock.
"""

import gc
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

from bench.feature_flow import FeatureFlow, Timed
from bench.floors import BareBook, bare_operations
from bench.flow import LISTING, Flow
from bench.programs import ROOT
from bench.rounds import BYTES, PER_SECOND, Row, Sample, column, interleaved
from bench.run import Say
from bench.scale import SEED, Scale
from bench.worker import worker
from matcher.engine import Engine

_BARE_GOAL, _FEATURES_GOAL, _RESTING_GOAL = 0.6, 0.5, 0.7
_BYTES_GOAL = 400.0
_FILL_SECONDS = 300.0
_MOST_IN_A_ROUND = 20_000


async def measure(scale: Scale, folder: Path, say: Say) -> list[Row]:
    say("the plain flow")
    rows = [await _plain(scale)]
    say("every feature used")
    rows.append(await _features(scale))
    say("many resting orders")
    rows += await _resting(scale, folder)
    say("memory of resting orders")
    return rows + await _memory(scale, folder)


async def _plain(scale: Scale) -> Row:
    commands = Flow(SEED).next_commands(scale.engine_commands)
    operations = bare_operations(commands)
    timed: list[Timed] = [(LISTING, 0), *((command, 0) for command in commands)]

    async def floor() -> Sample:
        book = BareBook()
        gc.collect()
        started = time.thread_time()
        book.run(operations)
        return {"rate": len(operations) / (time.thread_time() - started)}

    floors, figures = await interleaved(scale.rounds, floor, lambda: _applied(timed[:1], timed[1:]))
    return _rate("engine: commands", "bare book on SortedDict", figures, floors, _BARE_GOAL)


async def _features(scale: Scale) -> Row:
    plain: list[Timed] = [(command, 0) for command in Flow(SEED).next_commands(scale.engine_commands // 2)]
    flow = FeatureFlow(SEED)
    opening, commands = flow.opening, flow.next_commands(scale.engine_commands // 2)
    floors, figures = await interleaved(
        scale.rounds, lambda: _applied([(LISTING, 0)], plain), lambda: _applied(opening, commands)
    )
    return _rate("engine, every feature used: commands", "the plain flow", figures, floors, _FEATURES_GOAL)


async def _applied(opening: list[Timed], commands: list[Timed]) -> Sample:
    """To a new engine."""
    engine = Engine()
    for command, at in opening:
        engine.apply(command, at)
    apply = engine.apply
    gc.collect()
    started = time.thread_time()
    for command, at in commands:
        apply(command, at)
    return {"rate": len(commands) / (time.thread_time() - started)}


def _rate(name: str, floor_name: str, figures: list[Sample], floors: list[Sample], ratio_goal: float) -> Row:
    rates = column(figures, "rate"), column(floors, "rate")
    return Row(name, floor_name, PER_SECOND, *rates, ratio_goal=ratio_goal)


async def _resting(scale: Scale, folder: Path) -> list[Row]:
    """A process for each size, taking turns. The bare book shows what so many orders cost anybody."""
    count = min(scale.engine_commands, _MOST_IN_A_ROUND)
    engine: dict[int, list[float]] = {size: [] for size in scale.resting}
    bare: dict[int, list[float]] = {size: [] for size in scale.resting}
    async with AsyncExitStack() as stack:
        workers = {}
        for size in scale.resting:
            command = (sys.executable, "-m", "bench.resting", "flow", str(size))
            workers[size] = await stack.enter_async_context(worker(f"resting-{size}", command, folder, _environment()))
            await workers[size].ask(str(count), _FILL_SECONDS)
        for _ in range(scale.rounds):
            for size, process in workers.items():
                seconds = await process.ask(str(count))
                engine[size].append(count / seconds[0])
                bare[size].append(count / seconds[1])
    return [*_size_rows("engine", engine, _RESTING_GOAL), *_size_rows("bare book", bare, None)]


def _size_rows(who: str, rates: dict[int, list[float]], ratio_goal: float | None) -> list[Row]:
    """Each size beside the first."""
    (first, floor), *others = rates.items()
    name = f"{who}, {first:,} resting orders"
    floors = tuple(floor)
    return [Row(f"{name}: commands", "", PER_SECOND, floors, ())] + [
        Row(
            f"{who}, {size:,} resting orders: commands", name, PER_SECOND, tuple(figures), floors, ratio_goal=ratio_goal
        )
        for size, figures in others
    ]


async def _memory(scale: Scale, folder: Path) -> list[Row]:
    """Once: it is the same every time, but for some pages."""
    count = scale.resting_for_memory
    bare, plain, named = [await _bytes_each(kind, count, folder) for kind in ("bare", "engine", "named")]
    name, floor_name = f"engine, {count:,} resting orders: memory of each", "bare book on SortedDict"
    return [
        Row(name, floor_name, BYTES, (plain,), (bare,), goal=_BYTES_GOAL),
        Row(
            f"{name}, with a client order id",
            floor_name,
            BYTES,
            (named,),
            (bare,),
            note="with its place among the last million client order ids, which are remembered when orders are gone",
        ),
    ]


async def _bytes_each(kind: str, count: int, folder: Path) -> float:
    command = (sys.executable, "-m", "bench.resting", "memory", kind, str(count))
    async with worker(f"memory-{kind}", command, folder, _environment()) as process:
        return float(await process.ask("", _FILL_SECONDS))


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}
