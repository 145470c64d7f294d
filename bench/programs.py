"""What is measured, as processes of its own on free ports: servers, services, and the floors beside them.

Everything is a context manager that stops, by process id, exactly what it started.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.errors import Error as NatsError

from bench.client import HttpPool, NatsAsker, WebSocketPool, WrongAnswer, post_request
from bench.echo import ECHO
from cli.errors import CommandError
from cli.processes import Program, spawn, stop
from cli.runfile import RunFile, read_run_file
from cli.servers import NatsPlan, listening_socket, nats_plan, nats_program
from contracts.subjects import MATCHER_INSTRUMENTS
from runtime.connection import connect

ROOT = Path(__file__).parent.parent
_START_SECONDS = 60.0


class NotStarted(Exception):
    """Something that is to be measured does not run; the message ends with what it said last."""


@dataclass(frozen=True, slots=True)
class Running:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Poll until it holds. Raises NotStarted when the program ends before that, or it takes too long."""
        deadline = time.monotonic() + _START_SECONDS
        while not await condition():
            if self.process.poll() is not None:
                raise self._not_started(f"ended with exit code {self.process.returncode}")
            if time.monotonic() > deadline:
                raise self._not_started(f"is not ready after {_START_SECONDS:.0f} s")
            await asyncio.sleep(0.05)

    def _not_started(self, what: str) -> NotStarted:
        return NotStarted(f"{self.name} {what}. It said:\n{self.log.read_text()[-2000:]}")


@contextmanager
def running(program: Program, log: Path) -> Iterator[Running]:
    with log.open("ab") as output:
        process = spawn(program, output)
    try:
        yield Running(program.name, process, log)
    finally:
        stop(process, program)


def python(module: str, *arguments: str, fds: tuple[int, ...] = (), **settings: str) -> Program:
    """A module of the repository; `settings` are its PRICETIME_ variables."""
    environment = {f"PRICETIME_{name.upper()}": value for name, value in settings.items()}
    environment["PYTHONPATH"] = str(ROOT)
    command = (sys.executable, "-m", module, *arguments)
    return Program(name=module, command=command, environment=environment, inherited_fds=fds)


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[tuple[Client, NatsAsker]]:
    connection = await connect(url, "bench")
    try:
        asker = NatsAsker(connection)
        await asker.start()
        yield connection, asker
    finally:
        await connection.close()


async def answers(asker: NatsAsker, subject: str) -> bool:
    try:
        await asyncio.wait_for(asker.ask(subject, b"{}"), 2)
        return True
    except (WrongAnswer, NatsError, TimeoutError):
        return False


@asynccontextmanager
async def matcher_alone(folder: Path) -> AsyncIterator[str]:
    """nats-server, syncing every write, and one matcher. Gives the address of NATS."""
    plan = nats_plan(folder / "nats")
    matcher = python(
        "matcher",
        nats_url=plan.url,
        nats_monitor_url=plan.monitor_url,
        data_dir=str(folder),
        recorder_wait_seconds="0.2",
    )
    with running(nats_program(plan), folder / "nats.log") as server:
        await server.until(lambda: listens(plan))
        with running(matcher, folder / "matcher.log") as service:
            async with asking(plan.url) as (_, asker):
                await service.until(lambda: answers(asker, MATCHER_INSTRUMENTS))
            yield plan.url


async def listens(plan: NatsPlan) -> bool:
    try:
        _, writer = await asyncio.open_connection(plan.host, plan.port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def whole_stack(
    folder: Path, *more: str, launcher: tuple[str, ...] = ("cli.main",), **settings: str
) -> AsyncIterator[RunFile]:
    """Everything, as `pricetime up` runs it, with `more` options and these settings. Gives the addresses."""
    data = folder / "stack"
    options = ("--http-port", "0", "--ws-port", "0", "--nats-port", "0", *more)
    program = python(*launcher, "up", "--data", str(data), *options, fds=(), **settings)

    async def is_ready() -> bool:
        try:
            return read_run_file(data).ready
        except CommandError:
            return False

    # the supervisor stops its parts in order, Postgres among them; orphan_signal lets it do so when we are killed
    program = Program(
        name="pricetime up",
        command=program.command,
        environment=program.environment,
        stop_seconds=45.0,
        orphan_signal=program.stop_signal,
    )
    with running(program, folder / "stack.log") as stack:
        await stack.until(is_ready)
        yield read_run_file(data)


@asynccontextmanager
async def echo(nats_url: str, folder: Path) -> AsyncIterator[None]:
    """The floor of requests over NATS."""
    with running(python("bench.echo", nats_url=nats_url), folder / "echo.log") as program:
        async with asking(nats_url) as (_, asker):
            await program.until(lambda: answers(asker, ECHO))
        yield


@asynccontextmanager
async def bare_rest(nats_url: str, folder: Path) -> AsyncIterator[str]:
    """The floor of orders over REST; it needs the echo. Gives its address."""
    with listening_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        program = python("bench.bare_rest", str(listener.fileno()), nats_url=nats_url, fds=(listener.fileno(),))
        url = f"http://127.0.0.1:{port}"
        with running(program, folder / "bare_rest.log") as server:
            await server.until(lambda: _serves(url))
            yield url


async def _serves(url: str) -> bool:
    """Answers at all; what it answers to this does not matter. The socket listens before anybody serves it."""
    try:
        async with asyncio.timeout(2), pool(url, 1) as http:
            await http.ask(post_request("/nothing", "127.0.0.1", b""))
        return True
    except (WrongAnswer, OSError, TimeoutError):
        return False


@asynccontextmanager
async def pool(url: str, connections: int) -> AsyncIterator[HttpPool]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    http = HttpPool(connections)
    try:
        await http.open(parts.hostname, parts.port)
        yield http
    finally:
        http.close()


@asynccontextmanager
async def websockets(url: str, connections: int) -> AsyncIterator[WebSocketPool]:
    """Connections to /ws, for orders."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    opened = WebSocketPool()
    try:
        await opened.open(parts.hostname, parts.port, connections)
        yield opened
    finally:
        opened.close()
