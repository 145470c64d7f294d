"""Start and graceful stop of a service: one entry point, one way to fail."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence

import uvloop

from runtime import logs
from runtime.settings import Settings, SettingsError, load_settings

log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_SETTINGS = 2
EXIT_REFUSED = 3
"""The service looked around and will not serve; starting it again changes nothing until somebody acts."""

_CANCEL_AGAIN_SECONDS = 1.0
_COLLECT_AFTER = 20_000
"""Objects more than were freed, before the collector looks for cycles."""


class Refused(Exception):
    """Serving would be wrong; the message says why and what to do."""


def run(name: str, main: Callable[[Settings, asyncio.Event], Awaitable[None]]) -> None:
    """Run `main(settings, stop)` until it returns; SIGTERM and SIGINT set `stop`. Exits the process."""
    logs.set_up(name)
    os.umask(0o077)  # what is written here, snapshots with everybody's orders, is for nobody else on this machine
    gc.freeze()  # the modules stay; and what services do leaves few cycles behind, so the collector may come less often
    gc.set_threshold(_COLLECT_AFTER)
    code = _outcome(main)
    sys.stdout.flush()
    logging.shutdown()
    os._exit(code)  # at once: a task of some library that does not let itself be canceled must not keep the process


def _outcome(main: Callable[[Settings, asyncio.Event], Awaitable[None]]) -> int:
    """Run `main` to its end. The process's exit code."""
    try:
        settings = load_settings()
        asyncio.Runner(loop_factory=uvloop.new_event_loop).run(_until_stopped(settings, main))
    except SettingsError as error:
        log.error("%s", error)
        return EXIT_SETTINGS
    except Refused as error:
        log.error("refusing to serve: %s", error)
        return EXIT_REFUSED
    except (Exception, asyncio.CancelledError):
        log.exception("stopping: this must not happen")
        return EXIT_FAILED
    return 0


async def _until_stopped(settings: Settings, main: Callable[[Settings, asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await main(settings, stop)


async def first_of(*awaitables: Awaitable[object]) -> None:
    """Wait for the first to end, cancel the others, and raise what the first one raised."""
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await _end(tasks)


async def _end(tasks: Sequence[asyncio.Future[object]]) -> None:
    """Cancel, and again, until each has ended: nats-py and Python 3.11's wait_for can swallow a cancelation."""
    interrupted = None
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)
        except asyncio.CancelledError as error:
            interrupted = error
    await asyncio.gather(*tasks, return_exceptions=True)
    if interrupted is not None:
        raise interrupted
