"""One service of the exchange as a chaos run starts it: `python -m chaos.service MODULE NAME`.

Its code is the product's. Around it: the clock, which can be set forward and back (a file holds the microseconds),
the named points at which it can be made to crash, and what a negative control takes away.
"""

import functools
import mmap
import os
import runpy
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from chaos import controls, crash_points
from runtime import clock

FOLDER = "CHAOS_FOLDER"
CLOCK_FILE = "clock"
CONTROL = "CHAOS_CONTROL"
_offset = struct.Struct("=q")


def make_clock(folder: Path) -> None:
    (folder / CLOCK_FILE).write_bytes(_offset.pack(0))


def set_clock(folder: Path, microseconds: int) -> None:
    """Every service's clock is off by so much from now on."""
    with (folder / CLOCK_FILE).open("r+b") as file:
        file.write(_offset.pack(microseconds))


def _shifted(folder: Path, true_now: Callable[[], int]) -> Callable[[], int]:
    with (folder / CLOCK_FILE).open("rb") as file:
        shown = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    return lambda: true_now() + int(_offset.unpack(shown[:])[0])


def hold_few_messages(few: int) -> None:
    """Each subscription of this process drops what comes while so many messages wait in it."""
    subscribe = Client.subscribe

    @functools.wraps(subscribe)
    async def with_small_limit(*arguments: Any, **named: Any) -> Any:
        return await subscribe(*arguments, **{**named, "pending_msgs_limit": few})

    anything: Any = Client
    anything.subscribe = with_small_limit


def main(module: str, name: str) -> None:
    folder = Path(os.environ.pop(FOLDER))
    clock.now = _shifted(folder, clock.now)
    if control := os.environ.pop(CONTROL, None):
        controls.take_away(control)
    if (limit := folder / f"pending-{name}").exists():
        hold_few_messages(int(limit.read_text()))
    crash_points.install(name, folder)
    sys.argv[:] = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
