"""A whole running exchange for tests: `pricetime up` on free ports and data of its own.

`stack` is shared by all tests of a session: place orders for symbols and accounts of your own, and leave its processes
alone. `fresh_stack()` starts one that the test may kill, stop and start again.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from cli.errors import CommandError
from cli.processes import Program, spawn_options, stop
from cli.runfile import RunFile, read_run_file, remove_run_file
from tests.support.servers import temporary_folder, wait_until

PARTS = ("nats", "postgres", "matcher", "recorder", "broadcaster", "gateway")
READY_SECONDS = 120
_PRICETIME = (sys.executable, "-P", "-m", "cli.main")
_FREE_PORTS = ("--http-port", "0", "--ws-port", "0", "--nats-port", "0")


@dataclass
class Stack:
    """`pricetime up` on `data`. Addresses and process ids are read from run.json each time."""

    data: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    command: str = "up"
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def _program(self) -> Program:
        command = (*_PRICETIME, self.command, *_FREE_PORTS, "--data", str(self.data), *self.options)
        return Program(name=self.command, command=command, stop_seconds=60)

    @property
    def run_file(self) -> RunFile:
        return read_run_file(self.data)

    @property
    def http(self) -> str:
        return self.run_file.http

    @property
    def ws(self) -> str:
        return self.run_file.ws

    @property
    def nats(self) -> str:
        return self.run_file.nats

    @property
    def postgres(self) -> str:
        return self.run_file.postgres

    @property
    def pids(self) -> dict[str, int]:
        return self.run_file.pids

    @property
    def output(self) -> str:
        """What `pricetime up` has printed, over all its starts on this data."""
        return self._output.read_text(errors="replace")

    @property
    def _output(self) -> Path:
        return self.data.with_name(self.data.name + ".out")

    @property
    def violations(self) -> list[str]:
        """What nats-server has refused one of the services."""
        logs = sorted((self.data / "logs").glob("nats*.log"))
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
        return [
            line
            for line in lines
            if re.search(r"EXCHANGE/user:(matcher|recorder|broadcaster|gateway)\b.*Violation", line)
        ]

    def start(self) -> None:
        """Start it and return when orders can be placed."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        remove_run_file(self.data)  # one that was killed with -9 has left its own
        options = spawn_options(self._program, subprocess.PIPE)
        inherited = {name: value for name, value in options["env"].items() if not name.startswith("PRICETIME_")}
        with self._output.open("ab") as output:
            options |= {"stdout": output, "env": {**inherited, **self.environment}}
            self.process = subprocess.Popen(self._program.command, **options)

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        assert self.process is not None
        wait_until(lambda: self.is_ready() or self.process is None or self.process.poll() is not None, seconds)
        assert self.is_ready(), f"the stack is not ready:\n{self.output[-4000:]}\n{self._last_logs()}"

    def is_ready(self) -> bool:
        try:
            return self.run_file.ready
        except CommandError:
            return False

    def stop(self) -> None:
        """Ctrl-C, in effect; returns when everything has ended."""
        if self.process is not None:
            stop(self.process, self._program)
            self.process = None

    def end(self) -> None:
        """kill -9 of `pricetime up`, which takes all below it along: quicker than `stop`, for data that is given up."""
        if self.process is None:
            return
        everything = self.processes() if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        psutil.wait_procs(everything, 60)
        self.process = None

    def kill(self, part: str) -> int:
        """kill -9 of one part. Returns the process id that it had."""
        pid = self.pids[part]
        psutil.Process(pid).kill()
        return pid

    def wait_until_healed(self, part: str, killed: int, seconds: float = READY_SECONDS) -> None:
        """Until the part runs as another process than the killed one, and orders can be placed again."""
        wait_until(lambda: self.is_ready() and self.pids[part] != killed, seconds)
        assert self.pids[part] != killed, f"{part} was not started again:\n{self.output[-4000:]}"
        self.wait_until_ready()

    def processes(self) -> list[psutil.Process]:
        """`pricetime up` and everything below it."""
        assert self.process is not None
        above = psutil.Process(self.process.pid)
        return [above, *above.children(recursive=True)]

    def _last_logs(self) -> str:
        logs = sorted((self.data / "logs").glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)


@contextmanager
def running_stack(
    environment: Mapping[str, str] | None = None, options: tuple[str, ...] = (), command: str = "up"
) -> Iterator[Stack]:
    with temporary_folder() as folder:
        stack = Stack(folder / "data", environment or {}, options, command)
        try:
            stack.start()
            yield stack
        finally:
            stack.end()
        assert stack.violations == [], "a service lacks a right that it needs: nats/accounts.conf"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with running_stack() as started:
        yield started


@pytest.fixture
def fresh_stack() -> Iterator[Callable[[], Stack]]:
    """Each call starts another one; all are stopped after the test."""
    with ExitStack() as started:
        yield lambda: started.enter_context(running_stack())
