"""Real servers for tests: a nats-server of one's own on free ports, and one Postgres with a fresh database per test.

    async def test_something(nats_server: NatsServer, database: str) -> None:
        connection = await nats.connect(nats_server.url)
        pool = await asyncpg.connect(database)

`nats_server` is one per test, `module_nats_server` one per test file; `start_nats(folder)` is for tests that need
several. Each can be killed, stopped and started again on the same data and ports.
"""

import asyncio
import json
import secrets
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from cli.processes import Program, spawn, stop
from cli.servers import NatsPlan, PostgresPlan, nats_plan, nats_program, postgres_program, prepare_postgres

_T = TypeVar("_T")
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy


@dataclass
class Server:
    """A program that can be started again after `stop` or `kill`; its output is in `log`."""

    program: Program
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it and return when it serves."""
        for attempt in range(50):
            with self.log.open("ab") as output:
                self.process = spawn(self.program, output)
            if wait_until(lambda: self.is_well() or self._has_ended(), 60) and not self._has_ended():
                return
            self.stop()
            time.sleep(0.1 + 0.02 * attempt)  # what a killed one leaves behind is gone in a moment
        raise AssertionError(f"{self.program.name} does not start; see {self.log}:\n{self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process, self.program)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def is_well(self) -> bool:
        raise NotImplementedError

    def _has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None


@dataclass
class NatsServer(Server):
    plan: NatsPlan

    @property
    def url(self) -> str:
        return self.plan.url

    @property
    def monitor_url(self) -> str:
        return self.plan.monitor_url

    @property
    def name(self) -> str:
        return self.plan.name

    def is_well(self) -> bool:
        """True when healthy. Raises if what answers on our port is somebody else's server."""
        try:
            if json.loads(_get(f"{self.monitor_url}/healthz"))["status"] != "ok":
                return False
            found = json.loads(_get(f"{self.monitor_url}/varz"))["server_name"]
        except OSError:
            return False
        assert found == self.name, f"{self.monitor_url} is {found}, not our {self.name}"
        return True


@dataclass
class PostgresServer(Server):
    plan: PostgresPlan

    @property
    def url(self) -> str:
        """Of the maintenance database; tests use the fixture `database`."""
        return self.plan.url("postgres")

    def is_well(self) -> bool:
        try:
            self.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    def execute(self, statement: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self.url, timeout=60)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        run_apart(run)

    @contextmanager
    def fresh_database(self) -> Iterator[str]:
        """The URL of an empty database, dropped afterwards even when somebody is still connected."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        yield self.plan.url(name)
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def start_nats(folder: Path) -> NatsServer:
    """A nats-server with its data in `folder`, syncing every write as in production. The caller stops it."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = nats_plan(folder / "nats")
    server = NatsServer(nats_program(plan), folder / "nats.log", plan)
    server.start()
    return server


def start_postgres(folder: Path) -> PostgresServer:
    """A Postgres with its data in `folder`. The caller stops it."""
    plan = prepare_postgres(folder / "postgres", sync=False)
    server = PostgresServer(postgres_program(plan), folder / "postgres.log", plan)
    server.start()
    return server


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Outside pytest's own: that one is closed to the user Postgres runs as, and closed again by each new pytest."""
    with tempfile.TemporaryDirectory(prefix="pricetime-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def nats_server() -> Iterator[NatsServer]:
    with temporary_folder() as folder:
        server = start_nats(folder)
        yield server
        server.stop()


@pytest.fixture(scope="module")
def module_nats_server() -> Iterator[NatsServer]:
    with temporary_folder() as folder:
        server = start_nats(folder)
        yield server
        server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with temporary_folder() as folder:
        server = start_postgres(folder)
        yield server
        server.stop()


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    with postgres.fresh_database() as url:
        yield url


async def remove_stream(connection: Client, *names: str) -> None:
    """Delete streams, if they are there, so that they can be made again at once and are empty then."""
    manager = connection.jsm()
    await keep_a_stream(connection)
    for name in names:
        with suppress(NotFoundError):
            await manager.purge_stream(name)  # a second delete may fail silently while the first one is tidied up
            await manager.delete_stream(name)


async def keep_a_stream(connection: Client) -> None:
    """Make one that stays. nats-server deletes the folder of an account's last stream after it has answered, and
    what is created meanwhile fails with "error creating store for stream"."""
    await connection.jsm().add_stream(name="STAYS", subjects=["test.stays"])


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """`wait_until` in an event loop, where what is waited for runs as well. Fails when it does not come true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def run_apart(coroutine: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run it in an event loop of its own, in another thread, so that it works inside and outside async tests."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(coroutine())).result()


def _get(url: str) -> bytes:
    with _direct.open(url, timeout=2) as answer:
        body: bytes = answer.read()
    return body
