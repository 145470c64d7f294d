"""The parts of a local stack together: their order, their settings, when they are ready, and run.json."""

import asyncio
import logging
import signal
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
import msgspec

from cli.broker_users import BrokerUsers, write_anyone, write_configuration
from cli.errors import CommandError
from cli.health import POSTGRES_STUCK_SECONDS, Health, HealthWatch, is_recovering, nats_health
from cli.processes import Program
from cli.runfile import RunFile, remove_run_file, write_run_file
from cli.servers import (
    POSTGRES_DATABASE,
    NatsPlan,
    PostgresPlan,
    ServerTls,
    in_url,
    nats_configuration,
    nats_program,
    postgres_program,
    remove_stale_pid_file,
)
from cli.supervisor import Supervisor
from runtime.connection import close, connect
from runtime.keys import Keys, is_loopback
from runtime.settings import Settings, load_settings
from runtime.tls import NatsTls, pinned_context

SERVICES = ("matcher", "recorder", "broadcaster", "gateway")
STANDBY = "standby"
"""A second matcher. After a while it may be the one that serves, and `matcher` the one that stands by."""
STOP_ORDER = ("gateway", "broadcaster", "standby", "matcher", "recorder", "nats", "postgres")
"""First those who take orders, last those who hold the data."""

_POLL_SECONDS = 0.1
_WATCH_SECONDS = 1.0
_WATCH_POSTGRES_SECONDS = 3.0
_IMPATIENT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What a stack is made of. The sockets listen already; the services inherit them."""

    data: Path
    host: str
    http: socket.socket
    ws: socket.socket
    nats: tuple[NatsPlan, ...]
    users: BrokerUsers
    postgres: PostgresPlan
    tls: ServerTls | None = None
    """Of REST and WebSocket; of nats-server, its plan says."""
    standby: bool = False
    """Whether a second matcher runs."""
    metrics: Mapping[str, socket.socket] = field(default_factory=dict)
    """Where each service shows what it measures; none where nobody wants to know."""

    @property
    def services(self) -> tuple[str, ...]:
        return services(standby=self.standby)

    @property
    def metrics_urls(self) -> dict[str, str]:
        names = {name: each.getsockname()[:2] for name, each in self.metrics.items()}
        return {name: f"http://{in_url(host)}:{port}/metrics" for name, (host, port) in names.items()}

    @property
    def https(self) -> ssl.SSLContext | bool:
        """What a client of our own is to verify."""
        return pinned_context(str(self.tls.cert)) if self.tls else True

    @property
    def nats_tls(self) -> NatsTls:
        secure = self.nats[0].tls
        return NatsTls(pin=str(secure.cert) if secure else None)

    @property
    def nats_url(self) -> str:
        """Of every node."""
        return ",".join(each.url for each in self.nats)

    @property
    def http_url(self) -> str:
        return f"http{'s' if self.tls else ''}://{in_url(self.host)}:{_port_of(self.http)}"

    @property
    def ws_url(self) -> str:
        return f"ws{'s' if self.tls else ''}://{in_url(self.host)}:{_port_of(self.ws)}"


def services(*, standby: bool) -> tuple[str, ...]:
    return (*SERVICES, STANDBY) if standby else SERVICES


def service_program(name: str, plan: StackPlan) -> Program:
    """`-P`: a folder named like a service, where the command was typed, must not be taken for it."""
    module = "matcher" if name == STANDBY else name
    environment = {
        "NATS_URL": plan.users.url(module, plan.nats_url),
        "NATS_MONITOR_URL": ",".join(each.monitor_url for each in plan.nats),
        "POSTGRES_URL": plan.postgres.url(),
        "DATA_DIR": str(plan.data),
        "HTTP_HOST": plan.host,
        "HTTP_PORT": str(_port_of(plan.http)),
        "WS_HOST": plan.host,
        "WS_PORT": str(_port_of(plan.ws)),
    }
    if len(plan.nats) > 1:
        environment["REPLICAS"] = str(len(plan.nats))
    if plan.tls is not None:
        environment |= {"TLS_CERT": str(plan.tls.cert), "TLS_KEY": str(plan.tls.key)}
    if plan.nats_tls.pin is not None:
        environment["NATS_TLS_PIN"] = plan.nats_tls.pin
    inherited: dict[str, int] = {}
    if name == "gateway":
        inherited["HTTP_FD"] = plan.http.fileno()
    elif name == "broadcaster":
        inherited["WS_FD"] = plan.ws.fileno()
    if name in plan.metrics:
        inherited["METRICS_FD"] = plan.metrics[name].fileno()
    environment |= {key: str(fd) for key, fd in inherited.items()}
    return Program(
        name=name,
        command=(sys.executable, "-P", "-m", module),
        environment={f"PRICETIME_{key}": value for key, value in environment.items()},
        inherited_fds=tuple(inherited.values()),
    )


class Stack:
    """Runs a plan until it is told to stop. `say` is given each line that a person should see.

    `guests`: programs that use the exchange. They are started once it is ready, kept running, and end before it.
    """

    def __init__(self, plan: StackPlan, say: Callable[[str], None], guests: tuple[Program, ...] = ()) -> None:
        self._plan = plan
        self._say = say
        self._supervisor = Supervisor(plan.data / "logs", say, self._on_change)
        self._guests = guests
        self._hosting = Supervisor(plan.data / "logs", say, lambda: None)
        self._ready = False
        self._nats_asked = 0
        self._nats_is_open: bool | None = False
        """Whether those without a password may trade; None if it could not be written down."""
        self._keys_are_known = False
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Returns after everything has stopped."""
        self._handle_signals()
        serving = asyncio.create_task(self._serve())
        asked = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((serving, asked), return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            serving.cancel()
            outcome = await asyncio.gather(serving, return_exceptions=True)
            await self._stop_all()
        if isinstance(outcome[0], Exception):
            raise outcome[0]

    async def _serve(self) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=2.0, verify=self._plan.https) as client:
            self._say("  starting nats-server and Postgres ...")
            self._configure_nats()
            for each in self._plan.nats:
                await self._supervisor.start(nats_program(each, self._plan.users))
            await self._supervisor.start(postgres_program(self._plan.postgres))
            await self._until("nats-server", lambda: self._nats_is_well(client))
            await self._until("Postgres", self._postgres_is_well)
            self._say(f"  starting {', '.join(self._plan.services)} ...")
            for name in self._plan.services:
                await self._supervisor.start(service_program(name, self._plan))
            watching = [self._watch_nats(client, each) for each in self._plan.nats]
            await asyncio.gather(
                self._announce(client), *watching, self._watch_postgres(), self._guard_nats(), self._tidy()
            )

    # Is it ready?

    async def _announce(self, client: httpx.AsyncClient) -> None:
        """Say when orders can be placed, each time anew after a part had to be started again."""
        words = self._addresses()
        while True:
            self._changed.clear()
            await self._until("the exchange", lambda: self._is_ready(client))
            if self._changed.is_set():  # a part ended while the gateway was being asked
                continue
            self._ready = True
            self._write_run_file()
            self._say(words)
            words = "ready again"
            await self._let_guests_in()
            await self._changed.wait()

    async def _let_guests_in(self) -> None:
        while self._guests:
            first, *others = self._guests
            self._guests = tuple(others)
            await self._hosting.start(first)

    async def _is_ready(self, client: httpx.AsyncClient) -> str | None:
        """None when it is; otherwise what is missing."""
        if missing := self._missing():
            return f"{', '.join(missing)} not running"
        if not self._keys_are_known:
            return "the API keys have not been read yet"
        try:
            answer = await client.get(f"{self._plan.http_url}/health/ready")
        except httpx.HTTPError as error:
            return f"the gateway does not answer ({type(error).__name__})"
        return None if answer.status_code == 200 else f"the gateway says {answer.status_code} {answer.text[:300]}"

    def _missing(self) -> list[str]:
        """The parts without which nothing is served: of a cluster's nodes the fewer half may be away, and one matcher
        of two."""
        missing = self._supervisor.missing
        nodes = {each.part for each in self._plan.nats}
        away = nodes.intersection(missing)
        spare = away if 2 * len(away) < len(nodes) else set()
        matchers = {"matcher", STANDBY} if self._plan.standby else {"matcher"}
        if not matchers <= set(missing):
            spare = spare | matchers
        return [name for name in missing if name not in spare]

    async def _nats_is_well(self, client: httpx.AsyncClient) -> str | None:
        """All nodes, because the first start needs all; most of them, when the others take too long."""
        findings = await asyncio.gather(*(nats_health(client, each) for each in self._plan.nats))
        lacking = [finding for finding in findings if finding.health is not Health.WELL]
        self._nats_asked += 1
        patient = self._nats_asked * _POLL_SECONDS < _IMPATIENT_SECONDS
        if not lacking or (2 * len(lacking) < len(findings) and not patient):
            return None
        return f"it {lacking[0].why}"

    async def _postgres_is_well(self) -> str | None:
        """Takes connections, and has our database."""
        try:
            connection = await asyncpg.connect(self._plan.postgres.url("postgres"), timeout=5)
            try:
                if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", POSTGRES_DATABASE):
                    await connection.execute(f"CREATE DATABASE {POSTGRES_DATABASE}")
            finally:
                await connection.close(timeout=5)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            return str(error) or type(error).__name__
        return None

    async def _until(self, what: str, missing: Callable[[], Awaitable[str | None]]) -> None:
        """Poll until nothing is missing; every ten seconds say what still is."""
        next_word = time.monotonic() + _IMPATIENT_SECONDS
        while (lack := await missing()) is not None:
            if time.monotonic() > next_word:
                self._say(f"  still waiting for {what}: {lack}")
                next_word += _IMPATIENT_SECONDS
            await asyncio.sleep(_POLL_SECONDS)

    # While it runs

    async def _watch_nats(self, client: httpx.AsyncClient, plan: NatsPlan) -> None:
        watch, pid = HealthWatch(), self._supervisor.pids[plan.part]
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if pid != self._supervisor.pids[plan.part]:
                watch, pid = HealthWatch(), self._supervisor.pids[plan.part]
            finding = await nats_health(client, plan)
            if watch.should_restart(finding.health, time.monotonic()):
                self._say(f"nats-server{plan.part.removeprefix('nats')} {finding.why}; starting it again")
                await self._supervisor.restart(plan.part)

    async def _watch_postgres(self) -> None:
        """One that says that it recovers, and has nobody at work on that, would say so for ever."""
        stuck_since: float | None = None
        while True:
            await asyncio.sleep(_WATCH_POSTGRES_SECONDS)
            pid = self._supervisor.pids["postgres"]
            if not await self._postgres_recovers() or is_recovering(pid):
                stuck_since = None
            elif stuck_since is None:
                stuck_since = time.monotonic()
            elif time.monotonic() - stuck_since > POSTGRES_STUCK_SECONDS:
                self._say("Postgres does not come out of its recovery, and nothing works on it; starting it again")
                await self._supervisor.restart("postgres")
                stuck_since = None

    async def _postgres_recovers(self) -> bool:
        """Whether it says so itself. One that is silent, or busy, is another matter."""
        try:
            await (await asyncpg.connect(self._plan.postgres.url("postgres"), timeout=5)).close(timeout=5)
        except asyncpg.CannotConnectNowError:
            return True
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return False

    async def _guard_nats(self) -> None:
        """Whoever comes to NATS without a password may trade only as long as nothing asks for keys."""
        logging.getLogger("runtime").setLevel(logging.ERROR)  # that nats-server is away is said by others
        settings = msgspec.structs.replace(load_settings(), replicas=len(self._plan.nats))
        connection = await connect(
            self._plan.users.url("operator", self._plan.nats_url), "operator", tls=self._plan.nats_tls
        )
        try:
            keys = Keys(connection, settings)
            keys.listeners.append(lambda: self._open_nats(settings, keys))
            await keys.start()
            self._open_nats(settings, keys)
            self._keys_are_known = True
            await keys.run()
        finally:
            await close(connection)

    def _open_nats(self, settings: Settings, keys: Keys) -> None:
        is_open = settings.nats_open and is_loopback(self._plan.host) and not keys.required
        if is_open != self._nats_is_open:
            self._let_anyone(may_trade=is_open)
            for each in self._plan.nats:
                self._supervisor.signal(each.part, signal.SIGHUP)

    def _let_anyone(self, *, may_trade: bool) -> None:
        """Write it down. If that cannot be done, it is tried again when the keys are read next."""
        try:
            write_anyone(self._plan.users.folder, may_trade=may_trade)
            self._nats_is_open = may_trade
        except CommandError as error:  # a full disk, say: the parts must be kept running all the same
            if self._nats_is_open is not None:
                self._say(f"who may use NATS without a password cannot be changed: {error}")
            self._nats_is_open = None

    def _configure_nats(self) -> None:
        """Closed, until it is known whether there are keys."""
        nodes = self._plan.nats
        write_configuration(
            self._plan.users, nats_configuration(), clustered=len(nodes) > 1, tls=nodes[0].tls is not None
        )
        self._let_anyone(may_trade=False)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(60)
            self._supervisor.trim_logs()
            self._hosting.trim_logs()

    def _on_change(self) -> None:
        """A part ended or was started: until the gateway says otherwise, orders cannot be placed."""
        self._ready = False
        self._changed.set()
        if not self._stop.is_set():
            self._write_run_file()

    def _write_run_file(self) -> None:
        plan = self._plan
        content = RunFile(
            http=plan.http_url,
            ws=plan.ws_url,
            nats=plan.users.url("operator", plan.nats_url),
            postgres=plan.postgres.url(),
            pids=self._supervisor.pids,
            ready=self._ready,
            certificate=str(plan.tls.cert) if plan.tls else None,
            metrics=plan.metrics_urls,
        )
        try:
            write_run_file(plan.data, content)
        except OSError as error:  # a full disk, say: the parts must be kept running all the same
            self._say(f"cannot write {plan.data / 'run.json'}: {error.strerror}")

    def _addresses(self) -> str:
        plan = self._plan
        metrics = "".join(f"  Metrics    {url}   {name}\n" for name, url in plan.metrics_urls.items())
        return (
            "Pricetime is ready.\n"
            f"  Page       {plan.http_url}/\n"
            f"  REST       {plan.http_url}   try {plan.http_url}/docs\n"
            f"  WebSocket  {plan.ws_url}/ws/trades, {plan.ws_url}/ws/orderbook\n"
            f"  NATS       {plan.nats_url}   try: nats sub 'market.>'\n"
            f"  Postgres   127.0.0.1:{plan.postgres.port}   address with password in {plan.data / 'run.json'}\n"
            f"{metrics}"
            f"  Logs       {plan.data / 'logs'}\n"
            "Ctrl-C stops it."
        )

    # The end

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hosting.kill_all()
            self._supervisor.kill_all()  # asked twice: somebody is in a hurry, and nothing is lost by it
        self._stop.set()

    async def _stop_all(self) -> None:
        self._stop.set()
        self._say("Stopping ...")
        remove_run_file(self._plan.data)
        await self._hosting.stop_all()
        self._plan.http.close()  # a caller who comes now is told at once instead of waiting for nobody
        self._plan.ws.close()
        for name in STOP_ORDER:
            for part in [each.part for each in self._plan.nats] if name == "nats" else [name]:
                await self._supervisor.stop(part)
        remove_stale_pid_file(self._plan.postgres.folder)
        self._say("Stopped. The next start goes on where this ended.")


def _port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port
