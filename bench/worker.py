"""Processes that measure and are told what to do line by line, so that many of them can take turns."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.programs import NotStarted

_LINE_LIMIT = 2**24


class Worker:
    """Reads a line for each thing to do and answers each with a line of JSON."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self._name = name
        self._process = process
        self._log = log

    async def ask(self, line: str, seconds: float = 120.0) -> Any:
        """Raises NotStarted when it has ended or takes too long; the message ends with what it said last."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            async with asyncio.timeout(seconds):
                answer = await self._process.stdout.readline()
        except (TimeoutError, OSError) as error:
            raise self._broken(f"has not answered ({error or f'in {seconds:.0f} s'})") from error
        if not answer:
            raise self._broken("ended")
        return json.loads(answer)

    def _broken(self, what: str) -> NotStarted:
        return NotStarted(f"{self._name} {what}. It said:\n{self._log.read_text()[-1000:]}")


@asynccontextmanager
async def worker(
    name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> AsyncIterator[Worker]:
    """A process that is killed at the end: it has nothing to lose."""
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=output,
            env=dict(environment),
            limit=_LINE_LIMIT,
        )
    try:
        yield Worker(name, process, log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]
