"""Servers for the time of one command, on ports of their own: nobody but this process knows them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from cli.errors import CommandError
from cli.processes import Program, spawn, stop
from cli.supervisor import last_line

_POLL_SECONDS = 0.05


class DoesNotStart(CommandError):
    """It ended by itself; the message has the last line of its log."""


@asynccontextmanager
async def running(program: Program, log: Path, is_well: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
    """The program, from when it is well until the end of the block."""
    with log.open("ab") as output:
        begins = output.tell()
        process = spawn(program, output)
    try:
        while not await is_well():
            if process.poll() is not None:
                raise DoesNotStart(
                    f"{program.name} does not start: {last_line(log, begins) or 'it says nothing'} ({log})"
                )
            await asyncio.sleep(_POLL_SECONDS)
        yield
    finally:
        await asyncio.to_thread(stop, process, program)
