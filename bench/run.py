"""The measurements of a run, each with the processes that it needs and a folder of its own."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Protocol

from bench.rounds import Row
from bench.scale import Scale

Say = Callable[[str], None]


class Measurement(Protocol):
    """A module `bench/measure_<name>.py`."""

    async def measure(self, scale: Scale, folder: Path, say: Say) -> list[Row]:
        """Start what is needed in `folder`, measure, stop it. `say` is told what is being measured."""


MEASUREMENTS = ("engine", "nats", "rest", "ws", "recorder", "broadcaster", "start")
"""In this order, which is that of the table."""


def measurement(name: str) -> Measurement:
    module: Measurement = import_module(f"bench.measure_{name}")
    return module


async def measure(name: str, scale: Scale, folder: Path, say: Say) -> list[Row]:
    own = folder / name
    own.mkdir()
    return await measurement(name).measure(scale, own, lambda what: say(f"{name}: {what}"))
