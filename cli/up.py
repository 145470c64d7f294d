"""`pricetime up`: the whole exchange on this machine, kept running until Ctrl-C.

nats-server, Postgres and the four services run as processes of their own. Everything they store lies in one folder,
so the next start goes on where this one stopped. docs/decisions/0008 has the reasons.
"""

import argparse
import asyncio
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from cli.broker_users import adopt_journal, prepare_broker_users
from cli.errors import CommandError
from cli.processes import Program
from cli.runfile import DATA, remove_run_file
from cli.servers import (
    CLUSTER_NODES,
    NatsPlan,
    ServerTls,
    listening_socket,
    nats_cluster_plans,
    nats_nodes_of,
    nats_plan,
    prepare_postgres,
)
from cli.stack import Stack, StackPlan, services
from cli.stream_files import damaged_streams, remove_unfinished
from contracts.subjects import JOURNAL_STREAM
from runtime.settings import Settings, SettingsError, load_settings
from runtime.tls import server_context

FIRST_METRICS_PORT = 9400


def add_arguments(parser: argparse.ArgumentParser, data: Path = DATA) -> None:
    parser.add_argument(
        "--data", type=Path, default=data, metavar="DIR", help="folder for all that is stored (default: %(default)s)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="address to serve; beyond this machine only once there are API keys (default: 127.0.0.1)",
    )
    for name, port, what in (("http", 8000, "REST"), ("ws", 8001, "WebSocket"), ("nats", 4222, "NATS")):
        parser.add_argument(
            f"--{name}-port", type=_port, default=port, metavar="N", help=f"{what} (default: {port}; 0: any free port)"
        )
    parser.add_argument(
        "--nats-nodes",
        type=int,
        choices=(1, CLUSTER_NODES),
        metavar="N",
        help="1 nats-server, or a cluster of 3 that goes on when one is lost (default: as the data is, 1 for new data)",
    )
    parser.add_argument(
        "--standby", action="store_true", help="run a second matcher, which goes on within a moment when the first ends"
    )
    for name, what in (("cert", "certificate, with its chain"), ("key", "its key")):
        parser.add_argument(
            f"--tls-{name}", type=Path, metavar="FILE", help=f"serve REST and WebSocket with TLS: {what}, as PEM"
        )
    parser.add_argument("--nats-tls", action="store_true", help="serve NATS with the same certificate, too")
    parser.add_argument(
        "--metrics",
        type=_port,
        nargs="?",
        const=FIRST_METRICS_PORT,
        metavar="N",
        help="let Prometheus read what each service measures, on ports from N on (default: "
        f"{FIRST_METRICS_PORT}; 0: any free ports)",
    )
    parser.epilog = (
        "While it runs, addresses and process ids are in DIR/run.json and logs in DIR/logs. Ctrl-C stops it."
    )


def run(arguments: argparse.Namespace) -> int:
    return run_with(arguments, lambda plan: ())


def run_with(arguments: argparse.Namespace, guests: Callable[[StackPlan], tuple[Program, ...]]) -> int:
    """`guests`: programs that use the exchange while it runs."""
    settings = _settings()
    tls = _tls(arguments, settings)
    data = arguments.data.absolute()
    with only_one(data), _sockets(arguments) as (http, ws), _metrics(arguments, settings) as metrics:
        remove_run_file(data)  # one that was killed with -9 has left its own
        say(f"Pricetime, data in {arguments.data}")
        nats = tuple(replace(each, tls=tls if arguments.nats_tls else None) for each in _nats_plans(arguments, data))
        if not (data / "postgres").exists():
            say("  setting up Postgres (once, some seconds) ...")
        postgres = prepare_postgres(data / "postgres")
        users = prepare_broker_users(data / "nats-users")
        adopt_journal(data / "nats")
        if len(nats) == 1:
            mend_streams(data / "nats", arguments.data)
        plan = StackPlan(data, arguments.host, http, ws, nats, users, postgres, tls, arguments.standby, metrics)
        asyncio.run(_run_stack(plan, guests(plan)))
    return 0


def _nats_plans(arguments: argparse.Namespace, data: Path) -> tuple[NatsPlan, ...]:
    """nats-server takes the data of another number of nodes for left-overs, and would delete it."""
    found = nats_nodes_of(data)
    wanted = arguments.nats_nodes or found or 1
    if found not in (None, wanted):
        raise CommandError(
            f"the data in {arguments.data} is of --nats-nodes {found}, not {wanted}: start it with that, or choose "
            "another --data (docs/operations.md, A NATS cluster)"
        )
    if wanted == 1:
        return (nats_plan(data / "nats", arguments.host, arguments.nats_port),)
    return nats_cluster_plans(data, arguments.host, arguments.nats_port)


def mend_streams(store: Path, data: Path) -> None:
    """A nats-server that does not know a stream again is never well, and nothing would be started."""
    for name in remove_unfinished(store):
        say(f"  stream {name} was only being made when nats-server was killed: it is made again")
    for stream in damaged_streams(store):
        what_to_do = (
            f"run `pricetime rebuild journal --data {data}`"
            if stream.name == JOURNAL_STREAM
            else "bring that folder back from a copy, or move it away to go on without what it held"
        )
        raise CommandError(
            f"{stream} is damaged: meta.inf or meta.sum is missing, nats-server refuses it; {what_to_do}"
        )


async def _run_stack(plan: StackPlan, guests: tuple[Program, ...]) -> None:
    await Stack(plan, say, guests).run()


def say(line: str) -> None:
    with suppress(OSError):  # whoever read this has gone; the exchange goes on
        print(line, flush=True)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a number from 0 to 65535")
    return int(text)


def _settings() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        raise CommandError(str(error)) from error


def _tls(arguments: argparse.Namespace, settings: Settings) -> ServerTls | None:
    """As given, or as set for the services. Raises Refused for files that cannot be used."""
    cert, key = arguments.tls_cert or settings.tls_cert, arguments.tls_key or settings.tls_key
    if cert is None and key is None:
        if arguments.nats_tls:
            raise CommandError("--nats-tls needs a certificate: give --tls-cert FILE and --tls-key FILE")
        return None
    if cert is None or key is None:
        raise CommandError("--tls-cert and --tls-key are two halves: give both, or neither")
    server_context(structs.replace(settings, tls_cert=str(cert), tls_key=str(key)))
    return ServerTls(Path(cert).absolute(), Path(key).absolute())


@contextmanager
def only_one(data: Path) -> Iterator[None]:
    """Holds the folder for this process. The lock goes with the process, however that ends."""
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        (data / "logs").mkdir(exist_ok=True, mode=0o700)
        lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CommandError(f"cannot keep data in {data}: {error.strerror}") from error
    try:
        _lock(lock, data)
        yield
    finally:
        os.close(lock)


def _lock(lock: int, data: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(lock, 32).decode().strip() or "unknown"
        raise CommandError(
            f"`pricetime up` runs on {data} already (process {holder}); stop it first, or choose another --data"
        ) from error
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())


@contextmanager
def _sockets(arguments: argparse.Namespace) -> Iterator[tuple[socket.socket, socket.socket]]:
    """REST and WebSocket listen from here on: while their service is started again, callers wait and do not fail."""
    with (
        _listen(arguments.host, arguments.http_port, "--http-port") as http,
        _listen(arguments.host, arguments.ws_port, "--ws-port") as ws,
    ):
        for number in range(arguments.nats_nodes or nats_nodes_of(arguments.data) or 1) if arguments.nats_port else ():
            _listen(arguments.host, arguments.nats_port + number, "--nats-port").close()  # nats-server opens it itself
        yield http, ws


@contextmanager
def _metrics(arguments: argparse.Namespace, settings: Settings) -> Iterator[dict[str, socket.socket]]:
    """A socket for each service. With the setting alone, from the port that it names on."""
    first = arguments.metrics if arguments.metrics is not None else settings.metrics_port or None
    sockets: dict[str, socket.socket] = {}
    with ExitStack() as opened:
        for number, name in enumerate(services(standby=arguments.standby) if first is not None else ()):
            port = first + number if first else 0
            sockets[name] = opened.enter_context(_listen(settings.metrics_host, port, "--metrics"))
        yield sockets


def _listen(host: str, port: int, option: str) -> socket.socket:
    try:
        return listening_socket(host, port)
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened on {host} ({error.strerror})"
        raise CommandError(
            f"port {port} {why}; stop what uses it or choose another: pricetime up {option} N (0: any free port)"
        ) from error
