"""The engine alone, in this process: no network, no disk, no encoding. Its floor is the bare book."""

import gc
import time
from pathlib import Path

from bench.floors import BareBook, bare_operations
from bench.flow import LISTING, Flow
from bench.rounds import PER_SECOND, Row, Sample, column, interleaved
from bench.run import Say
from bench.scale import SEED, Scale
from matcher.engine import Engine


async def measure(scale: Scale, folder: Path, say: Say) -> list[Row]:
    say("the engine alone")
    commands = Flow(SEED).next_commands(scale.engine_commands)
    operations = bare_operations(commands)

    async def floor() -> Sample:
        book = BareBook()
        gc.collect()
        started = time.perf_counter()
        book.run(operations)
        return {"rate": len(operations) / (time.perf_counter() - started)}

    async def figure() -> Sample:
        engine = Engine()
        engine.apply(LISTING, 0)
        gc.collect()
        started = time.perf_counter()
        for command in commands:
            engine.apply(command, 0)
        return {"rate": len(commands) / (time.perf_counter() - started)}

    floors, figures = await interleaved(scale.rounds, floor, figure)
    name, floor_name = "engine: commands", "bare book on SortedDict"
    return [Row(name, floor_name, PER_SECOND, column(figures, "rate"), column(floors, "rate"))]
