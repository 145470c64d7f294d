"""A whole exchange that a run may break: `pricetime up` with wrapped services, proxies in between, ports that stay.

`Exchange` is started, killed as a whole, and started again on the same data or on other data: what a power cut left.
"""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import psutil

from chaos.launch import CONTROLLED, NODES, PROXIES, ROOT, TARGETS
from chaos.loop_disk import LoopDisk
from chaos.proxy import Proxy, proxy_before
from chaos.service import make_clock
from cli.errors import CommandError
from cli.processes import Program, spawn_options
from cli.runfile import RunFile, read_run_file, remove_run_file
from cli.servers import free_port
from runtime.settings import PREFIX

READY_SECONDS = 90.0
_POLL_SECONDS = 0.03
BEHIND_PROXIES = ("matcher", "standby", "recorder", "broadcaster", "gateway")
TO_POSTGRES = ("recorder", "gateway")


class NotReady(Exception):
    """The exchange does not serve, and will not: something is wrong with it, or with this harness."""


@dataclass
class Exchange:
    """`work` is the run's own folder; `data` is the exchange's, which can be moved to another disk."""

    work: Path
    data: Path
    options: tuple[str, ...] = ()
    """Of `pricetime up`: --standby, --nats-nodes 3."""
    settings: dict[str, str] = field(default_factory=dict)
    proxies: dict[tuple[str, str], Proxy] = field(default_factory=dict)
    """By service and by what it reaches: nats or postgres."""
    routes: dict[tuple[str, str], Proxy] = field(default_factory=dict)
    """Of a cluster: by node and by the node that it reaches."""
    http_port: int = field(default_factory=lambda: free_port("127.0.0.1"))
    ws_port: int = field(default_factory=lambda: free_port("127.0.0.1"))
    nats_port: int = field(default_factory=lambda: free_port("127.0.0.1"))
    process: subprocess.Popen[bytes] | None = None
    disk: LoopDisk | None = None
    """The disk that holds `data`, if it is one of its own."""

    # Where it is

    @property
    def run_file(self) -> RunFile:
        return read_run_file(self.data)

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.ws_port}"

    @property
    def pids(self) -> dict[str, int]:
        return self.run_file.pids

    @property
    def parts(self) -> list[str]:
        return sorted(self.pids)

    @property
    def nats_parts(self) -> list[str]:
        return [name for name in self.parts if name.startswith("nats")]

    @property
    def output(self) -> str:
        """What `pricetime up` has printed, over all its starts."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    @property
    def _output(self) -> Path:
        return self.work / "up.out"

    def logs(self, bytes_each: int = 2000) -> str:
        files = sorted((self.data / "logs").glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-bytes_each:]}" for log in files)

    # Start and end

    def launch(self) -> None:
        remove_run_file(self.data)  # one that was killed with -9 has left its own
        ports = ("--http-port", self.http_port, "--ws-port", self.ws_port, "--nats-port", self.nats_port)
        launcher = (sys.executable, "-m", "chaos.launch", str(self.work), "up", "--data", str(self.data))
        command = (*launcher, *map(str, ports), *self.options)
        program = Program(name="up", command=command, stop_seconds=60)
        options = spawn_options(program, subprocess.PIPE)
        inherited = {name: value for name, value in options["env"].items() if not name.startswith(PREFIX)}
        with self._output.open("ab") as output:
            options |= {"stdout": output, "env": {**inherited, "PYTHONPATH": str(ROOT), **self.settings}}
            self.process = subprocess.Popen(command, **options)

    async def start(self) -> None:
        """Returns when orders can be placed."""
        self.launch()
        await self.until_ready()

    def is_ready(self) -> bool:
        try:
            return self.run_file.ready
        except CommandError:
            return False

    async def until_ready(self, seconds: float = READY_SECONDS) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.is_ready():
            if self.process is None or self.process.poll() is not None:
                raise NotReady(f"`pricetime up` has ended:\n{self.output[-3000:]}")
            if asyncio.get_running_loop().time() > deadline:
                raise NotReady(f"not ready after {seconds} s:\n{self.output[-3000:]}\n{self.logs()}")
            await asyncio.sleep(_POLL_SECONDS)

    async def stop(self) -> None:
        """Ctrl-C, in effect."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            await asyncio.to_thread(self._wait, 60)

    def _wait(self, seconds: float) -> None:
        assert self.process is not None
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_everything()
        self.process = None

    def kill_everything(self) -> None:
        """kill -9 of `pricetime up` and all below it at one moment: what a machine that goes down does."""
        if self.process is None:
            return
        everything = self.everything()
        for each in everything:
            with suppress(psutil.NoSuchProcess):
                each.suspend()  # nobody may act on the end of another
        for each in everything:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(everything, 10)
        self.process.wait()
        self.process = None

    def everything(self) -> list[psutil.Process]:
        """`pricetime up` and all that it started, Postgres's own children included."""
        if self.process is None or self.process.poll() is not None:
            return []
        above = psutil.Process(self.process.pid)
        return [above, *above.children(recursive=True)]

    # Its parts

    def processes_of(self, part: str) -> list[psutil.Process]:
        """The part's process and its children. Empty while it is being started again."""
        try:
            process = psutil.Process(self.pids[part])
            return [process, *process.children(recursive=True)]
        except (psutil.NoSuchProcess, KeyError, CommandError):
            return []

    def signal(self, part: str, number: signal.Signals, *, with_children: bool = False) -> int | None:
        """The process id that got it; None if the part is just being started again."""
        processes = self.processes_of(part)
        for each in processes if with_children else processes[:1]:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)
        return processes[0].pid if processes else None

    async def until_other(self, part: str, pid: int, seconds: float = READY_SECONDS) -> None:
        """Until the part runs as another process than `pid`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self._pid(part) in (pid, None):
            if asyncio.get_running_loop().time() > deadline:
                raise NotReady(f"{part} was not started again:\n{self.output[-3000:]}")
            await asyncio.sleep(_POLL_SECONDS)

    def _pid(self, part: str) -> int | None:
        try:
            return self.pids.get(part)
        except CommandError:
            return None


@asynccontextmanager
async def exchange(
    work: Path,
    data: Path,
    options: tuple[str, ...] = (),
    settings: dict[str, str] | None = None,
    control: str | None = None,
) -> AsyncIterator[Exchange]:
    """Not started yet; whatever of it runs at the end is killed."""
    made = Exchange(work, data, options, settings or {})
    make_clock(work)
    if control is not None:
        (work / CONTROLLED).write_text(control)
    async with AsyncExitStack() as stack:
        for service in BEHIND_PROXIES:
            for server in ("nats", "postgres") if service in TO_POSTGRES else ("nats",):
                made.proxies[service, server] = await stack.enter_async_context(_proxy(work, server))
        if "--nats-nodes" in options:
            for near, far in permutations(NODES, 2):
                made.routes[near, far] = await stack.enter_async_context(_proxy(work, far))
        _name_proxies(made)
        try:
            yield made
        finally:
            made.kill_everything()


@asynccontextmanager
async def _proxy(work: Path, server: str) -> AsyncIterator[Proxy]:
    def target() -> tuple[str, int]:
        targets: dict[str, int] = json.loads((work / TARGETS).read_text())
        return "127.0.0.1", targets[str(proxy.port)]

    async with proxy_before(target, reads_frames=server == "nats") as proxy:
        yield proxy


def _name_proxies(made: Exchange) -> None:
    ports: dict[str, dict[str, int]] = {}
    for (service, server), proxy in (*made.proxies.items(), *made.routes.items()):
        ports.setdefault(service, {})[server] = proxy.port
    (made.work / PROXIES).write_text(json.dumps(ports))
