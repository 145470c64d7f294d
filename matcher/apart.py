"""Work on the engine's whole state that would hold up the matcher: done by a forked child, on its own copy of it."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from matcher.engine import Engine

log = logging.getLogger(__name__)

_NICE = 10
SOON_HASHED = 20_000
"""The hash of a state no larger than this is computed on the spot. A larger one would hold up everything, the lease
included. A barrier has none of a larger one: nobody is served before it is written (docs/decisions/0022)."""


class Apart:
    """One piece of work. `begin` it at the moment at which the state is the right one, then wait for its `result`."""

    def __init__(self, work: Callable[[], bytes]) -> None:
        self._work = work
        self._child = 0
        self._end = -1

    def begin(self) -> None:
        """Costs milliseconds."""
        self._end, written = os.pipe()
        self._child = fork(lambda: _carry_out(self._work, written))
        os.close(written)

    async def result(self) -> bytes:
        """Empty if the child did not come to an end. Leaves nothing behind, also when it is canceled."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._end, ready.set)
        try:
            await ready.wait()
            return os.read(self._end, 65_536)
        finally:
            loop.remove_reader(self._end)
            os.close(self._end)
            self._reap()

    def _reap(self) -> None:
        """It has ended, or does so now."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)


def begin_hash(engine: Engine) -> bytes | Apart:
    """The hash of the engine's state as it is now, or who computes it."""
    if engine.size <= SOON_HASHED:
        return engine.state_hash()
    apart = Apart(engine.state_hash)
    apart.begin()
    return apart


async def hash_begun(begun: object) -> bytes:
    """What `begin_hash` led to. Empty if it came to nothing."""
    found = await begun.result() if isinstance(begun, Apart) else begun
    assert isinstance(found, bytes)
    return found


def _carry_out(work: Callable[[], bytes], written: int) -> NoReturn:
    try:
        become_a_background_process(keep=(written, written))
        os.write(written, work())
    except BaseException:
        log.exception("work on the state could not be done: this must not happen")
    finally:
        os._exit(0)


def fork(child: Callable[[], NoReturn]) -> int:
    """Start a process that has the state as it is now, and does this. Returns its id at once, after milliseconds."""
    gc.freeze()  # or the collector would soon write to every object here, and the kernel copy each for the child
    with warnings.catch_warnings():
        # Newer Pythons warn of threads here. The child works on its own copy: it needs no lock of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process == 0:
        child()
    return process


def become_a_background_process(keep: tuple[int, int]) -> None:
    """Nothing that is the matcher's may stay open here: that it died must show at once in its closed connections."""
    first, second = sorted(keep)
    os.closerange(3, first)
    os.closerange(first + 1, second)
    os.closerange(second + 1, os.sysconf("SC_OPEN_MAX"))
    gc.disable()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.nice(_NICE)
    with contextlib.suppress(OSError):  # if memory runs out, this process is to go and not the matcher
        Path("/proc/self/oom_score_adj").write_text("1000")
