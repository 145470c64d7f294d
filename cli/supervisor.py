"""Keeps programs running: starts them, starts again the ones that end, stops them, keeps their output in files."""

import asyncio
import json
import re
import shutil
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cli.processes import Program, spawn_options

LOG_BYTES = 20_000_000
"""A log longer than this becomes <name>.log.1, replacing the one before."""
EXIT_REFUSED = 3
"""What a service answers when serving would be wrong (runtime.service): starting it at once again is no use."""

_STEADY_SECONDS = 3.0
_TIMESTAMP = re.compile(r"^(\[\d+\] )?\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d\S* (UTC \[\d+\] )?")
_TELLING = re.compile(r"ERROR|FATAL|PANIC|\[FTL\]|\w(Error|Exception)\b")


def pause_before_restart(exit_code: int, failures: int) -> float:
    """Seconds to wait. `failures` counts the starts in a row that did not last."""
    if exit_code == EXIT_REFUSED:
        return 3.0
    if exit_code < 0:  # killed from outside: not a sign that the next start will fail
        return 0.1
    return min(0.1 * (1 << min(failures - 1, 5)), 3.0)


def is_worth_saying(failures: int) -> bool:
    """The first, second, fourth, eighth ... failure in a row."""
    return failures & (failures - 1) == 0


def why_it_ended(exit_code: int, last_line: str) -> str:
    if exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}"
    if exit_code == 0:
        return "has finished"  # it was told to, or has handed over
    verb = "refuses to serve" if exit_code == EXIT_REFUSED else f"ended with exit code {exit_code}"
    return f"{verb}: {last_line}" if last_line else verb


@dataclass
class _Part:
    program: Program
    log: Path
    process: Process | None = None
    log_start: int = 0
    """How long the log was when this process started."""
    ended_by_us: bool = False
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    keeper: asyncio.Task[None] | None = None


class Supervisor:
    """`report` is told what a person should see; `changed` is called whenever a part has ended or was started."""

    def __init__(self, logs: Path, report: Callable[[str], None], changed: Callable[[], None]) -> None:
        self._logs = logs
        self._report = report
        self._changed = changed
        self._parts: dict[str, _Part] = {}

    @property
    def pids(self) -> dict[str, int]:
        """The latest process id of each part; one that is just being started again shows its last."""
        return {name: part.process.pid for name, part in self._parts.items() if part.process is not None}

    @property
    def missing(self) -> list[str]:
        """The parts that are not running at this moment."""
        return [
            name for name, part in self._parts.items() if part.process is None or part.process.returncode is not None
        ]

    async def start(self, program: Program) -> None:
        """Start it, and from now on start it again whenever it ends."""
        part = _Part(program, self._logs / f"{program.name}.log")
        self._parts[program.name] = part
        await self._spawn(part)
        part.keeper = asyncio.create_task(self._keep_running(part))

    async def restart(self, name: str) -> None:
        """Stop its process; it is started again by itself. Why is for the caller to say."""
        part = self._parts[name]
        if part.process is not None:
            part.ended_by_us = True
            await _end(part.process, part.program)

    def signal(self, name: str, number: signal.Signals) -> None:
        """To its process, if it runs."""
        process = self._parts[name].process
        if process is not None:
            _signal(process, number)

    async def stop(self, name: str) -> None:
        """Stop it for good. A part that was never started is stopped already."""
        part = self._parts.get(name)
        if part is None or part.process is None:
            return
        part.stopping.set()
        await _end(part.process, part.program)
        if part.keeper is not None:
            await part.keeper

    async def stop_all(self) -> None:
        await asyncio.gather(*(self.stop(name) for name in self._parts))

    def kill_all(self) -> None:
        """The last resort: every process at once, without asking."""
        for part in self._parts.values():
            part.stopping.set()
            if part.process is not None:
                _signal(part.process, signal.SIGKILL)

    def trim_logs(self) -> None:
        for part in self._parts.values():
            trim_log(part.log)

    async def _spawn(self, part: _Part) -> None:
        trim_log(part.log)
        with part.log.open("ab") as output:
            part.log_start = output.tell()
            options = spawn_options(part.program, output)
            part.ended_by_us = False
            part.process = await asyncio.create_subprocess_exec(*part.program.command, **options)
        self._changed()

    async def _keep_running(self, part: _Part) -> None:
        failures = 0
        while True:
            started = time.monotonic()
            assert part.process is not None
            exit_code = await part.process.wait()
            if part.stopping.is_set():
                return
            self._changed()
            failures = 1 if time.monotonic() - started > _STEADY_SECONDS else failures + 1
            if is_worth_saying(failures) and not part.ended_by_us:
                why = why_it_ended(exit_code, last_line(part.log, part.log_start))
                self._report(f"{part.program.name} {why}; starting it again")
            try:
                await asyncio.wait_for(part.stopping.wait(), pause_before_restart(exit_code, failures))
                return
            except TimeoutError:
                await self._spawn_again(part)

    async def _spawn_again(self, part: _Part) -> None:
        """The machine may be out of memory or processes for a while: keep trying."""
        while not part.stopping.is_set():
            try:
                await self._spawn(part)
                return
            except OSError as error:
                self._report(f"{part.program.name} cannot be started ({error}); trying again")
                await asyncio.sleep(1)


async def _end(process: Process, program: Program) -> None:
    _signal(process, program.stop_signal)
    try:
        await asyncio.wait_for(process.wait(), program.stop_seconds)
    except TimeoutError:
        _signal(process, signal.SIGKILL)
        await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    if process.returncode is None:
        try:
            process.send_signal(number)
        except ProcessLookupError:
            pass  # it has just ended by itself


def trim_log(log: Path, limit: int = LOG_BYTES) -> None:
    """Move a long log's text aside. Its writer goes on at the new end, because it appends."""
    if not log.exists() or log.stat().st_size <= limit:
        return
    aside = log.with_name(log.name + ".1")
    try:
        shutil.copyfile(log, aside)
    except OSError:
        aside.unlink(missing_ok=True)  # the disk is full: room matters more than old log lines
    with log.open("r+b") as file:
        file.truncate(0)


def last_line(log: Path, start: int) -> str:
    """What the log says about the end of a process that began to write at position `start`, without its timestamp.

    The last line that speaks of an error, because hints and good-byes may follow it; or else the last line.
    """
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(min(start, size), size - 8192))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line)] or lines
    return _words_of(telling[-1])[:500] if telling else ""


def _words_of(line: str) -> str:
    """Without the timestamp; of a line of JSON the message."""
    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(line)["message"])
    return _TIMESTAMP.sub("", line)
