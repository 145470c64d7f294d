"""A clock for sending on schedule: wakes the event loop many times in a millisecond.

The timers of asyncio and uvloop count in whole milliseconds, which is longer than many an answer takes. Linux has
timers that are read like files; elsewhere the loop's own timers have to do, and latency under load reads up to one
millisecond higher.
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CLOCK_MONOTONIC = 1
_NONBLOCK = os.O_NONBLOCK


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Interval(ctypes.Structure):
    _fields_ = [("every", _Timespec), ("first", _Timespec)]


@contextmanager
def ticking(seconds: float, on_tick: Callable[[], None]) -> Iterator[None]:
    """Call `on_tick` about every so many seconds (less than one). A tick that comes late is not made up for."""
    if sys.platform == "linux":
        with _timer_file(seconds) as timer, _reading(timer, on_tick):
            yield
    else:
        task = asyncio.create_task(_tick_forever(seconds, on_tick))
        try:
            yield
        finally:
            task.cancel()


@contextmanager
def _timer_file(seconds: float) -> Iterator[int]:
    library = ctypes.CDLL(None, use_errno=True)
    timer: int = library.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK)
    if timer < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    try:
        period = _Timespec(0, max(1, int(seconds * 1e9)))
        if library.timerfd_settime(timer, 0, ctypes.byref(_Interval(period, period)), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        yield timer
    finally:
        os.close(timer)


@contextmanager
def _reading(timer: int, on_tick: Callable[[], None]) -> Iterator[None]:
    def on_readable() -> None:
        os.read(timer, 8)
        on_tick()

    loop = asyncio.get_running_loop()
    loop.add_reader(timer, on_readable)
    try:
        yield
    finally:
        loop.remove_reader(timer)


async def _tick_forever(seconds: float, on_tick: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        on_tick()
