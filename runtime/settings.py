"""What a service is told by its environment: each field below is the variable PRICETIME_<FIELD NAME>."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from contracts.messages import MAX_COMMANDS
from runtime.proxies import TrustedProxies

PREFIX = "PRICETIME_"
CLIENT_URL, CLIENT_KEY = "PRICETIME_URL", "PRICETIME_KEY"
"""Where a client finds the exchange, and its key: no settings of the services, which may well be started beside it."""
MIN_KEPT_COMMITS = 1_000


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults fit a stack on one machine. docs/settings.md lists them with their reasons."""

    nats_url: str = "nats://127.0.0.1:4222"
    """nats-server, or the nodes of its cluster with commas between (runtime.connection.servers_of)."""
    nats_monitor_url: str = "http://127.0.0.1:8222"
    """Where nats-server answers /varz and /healthz; the matcher reads there whether the server syncs every write. Of
    a cluster: every node's, with commas between."""
    nats_open: bool = True
    """Whether one who comes to NATS without a password may trade, while there are no keys and only loopback is served.
    If not, or otherwise, such a one may read market data. Acted on by `pricetime up`."""
    nats_tls_ca: str | None = None
    """File of the authorities that nats-server's certificate must come from. Without it, with an address that begins
    with tls://, those that this machine trusts."""
    nats_tls_cert: str | None = None
    nats_tls_key: str | None = None
    """Our own certificate, for a nats-server that wants one."""
    nats_tls_pin: str | None = None
    """nats-server's very certificate, whatever names are in it. `pricetime up` sets it."""
    postgres_url: str = "postgresql://postgres@127.0.0.1:5432/postgres"
    data_dir: str = ".pricetime"
    """Where a service keeps files that it can do without: the snapshots of broadcaster and matcher."""
    log_level: str = "INFO"
    log_format: Literal["text", "json"] = "text"
    """json: one object a line, for programs that collect logs."""
    log_requests: bool = False
    """Whether the gateway logs each request, with the journal sequence and order that it led to."""
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    """Where Prometheus reads what a service measures: GET /metrics. 0: nowhere."""
    metrics_fd: int | None = None
    """A listening socket inherited from the supervisor; wins over host and port."""
    watched_folders: str = ""
    """Folders whose disks the recorder watches, as NAME=FOLDER, separated by commas: where nats-server and Postgres
    keep their files, if that is not the disk of `data_dir`."""
    tracing_endpoint: str | None = None
    """Where traces go: the address of an OpenTelemetry collector, for OTLP over HTTP. Needs pricetime[tracing]."""
    tracing_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01
    """Which part of the requests that bring no trace of their own begins one."""

    http_host: str = "127.0.0.1"
    http_port: int = 8000
    http_fd: int | None = None
    """A listening socket inherited from the supervisor; wins over host and port."""
    ws_host: str = "127.0.0.1"
    ws_port: int = 8001
    ws_fd: int | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    """Files of certificate and key: with them REST and WebSocket are served with TLS, and not without."""
    allowed_hosts: str = ""
    """Names under which REST and WebSocket may be reached, separated by commas. Without it: any, once there are keys;
    before that only addresses and localhost, so that no web page gets here by a name of its own."""
    cors_origins: str = ""
    """Origins whose web pages may use REST and WebSocket from a browser, separated by commas; `*` for any."""
    public_ws_url: str = ""
    """Where browsers and clients reach /ws, as GET /config.json tells them: an address, or a path such as `/ws` if that
    is on the host and port of REST. Without it: the host that was asked, and `ws_port`."""
    http_connections: Annotated[int, msgspec.Meta(ge=1)] = 4_096
    ws_connections: Annotated[int, msgspec.Meta(ge=1)] = 20_000
    """How many connections a gateway, and a broadcaster, has at most; more are answered 503 and closed."""
    connections_per_address: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How many of them may come from one address; 0: any number. Those of `trusted_proxies` are not counted, but for
    WebSockets, each of which counts for the client behind."""
    trusted_proxies: str = ""
    """Addresses and networks of the proxies in front, separated by commas: what they say in X-Forwarded-For, and they
    alone, is the client's address. Without it: nobody is asked, and the address is where the connection is from."""
    request_seconds: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    """How long a client may take to send one request, and to read some of an answer that waits for it."""
    ws_heartbeat_seconds: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    ws_subscriptions: Annotated[int, msgspec.Meta(ge=1)] = 100
    """How many subscriptions one connection to /ws may have."""
    ws_requests_per_second: Annotated[int, msgspec.Meta(ge=1)] = 1_000
    """How many messages one connection to /ws may send."""
    requests_in_flight: Annotated[int, msgspec.Meta(ge=1)] = 500
    """How many requests of a kind (orders, reads, requests to be stored) a gateway works on at once, and how many
    orders a broadcaster; cancelations have a quarter more. Beyond it they are refused as overloaded."""
    order_wait_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.25
    """How long an order by REST waits for room before it is refused; 0: it is refused at once."""

    replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 1
    """How many nodes of a cluster keep each stream and bucket; on a single nats-server 1."""
    journal_keep_commits: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How many commits the journal keeps at least when its beginning is trimmed, 1,000 or more. 0: it is never trimmed.
    What is trimmed is in Postgres alone."""
    default_instrument: str = "BTC-USD"
    """Listed when the journal is new, and meant by an order that names no symbol."""
    default_tick_size: str = "0.01"
    default_lot_size: str = "0.00000001"
    backlog_commands: Annotated[int, msgspec.Meta(ge=MAX_COMMANDS)] = 20_000
    """Commands that may wait in the matcher; beyond it a request is refused as overloaded."""
    lease_seconds: Annotated[float, msgspec.Meta(ge=1)] = 1.0
    """How long a matcher may go without renewing its lease before a standby takes over."""
    snapshot_commits: Annotated[int, msgspec.Meta(ge=0)] = 50_000
    """The matcher's state is saved after so many commits: about as many are replayed at the next start. 0: never."""
    snapshot_seconds: Annotated[float, msgspec.Meta(gt=0)] = 300.0
    """It is saved after so many seconds, too, if at least 1,000 commits came."""
    recorder_wait_seconds: float = 3.0
    """How long a starting matcher waits for the recorder's position before it goes on without that check."""

    command_timeout_seconds: float = 5.0
    """How long the gateway waits for the matcher's answer before it calls the result unknown."""
    command_retry_seconds: float = 1.0
    """After how long without an answer the gateway sends a command again that is safe to repeat; then twice that."""
    read_wait_seconds: float = 2.0
    """How long a read waits for Postgres or the broadcaster to reach what the client has been told."""
    max_body_bytes: int = 1_000_000

    deferred_commands: Annotated[int, msgspec.Meta(ge=1)] = 100_000
    """Requests answered with 202 that may wait; beyond it they are refused. So are those beyond `deferred_bytes`."""
    deferred_bytes: Annotated[int, msgspec.Meta(ge=1_000_000)] = 256_000_000
    deferred_patience_seconds: Annotated[float, msgspec.Meta(gt=0)] = 86_400.0
    """How long a deferred command may wait to be carried out before it fails."""
    deferred_results_seconds: Annotated[float, msgspec.Meta(ge=1)] = 604_800.0
    """How long the result of a deferred command is kept."""

    require_keys: Literal["auto", "always"] = "auto"
    """auto: as soon as the first key has been made. Before that, only loopback is served."""
    published_host: str | None = None
    """Where others reach gateway and broadcaster, if not at the address they listen on: of a container, the host's.
    Several, with commas between, when a proxy is reached elsewhere than they are."""
    rate_limit: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Requests a second: of each key that has no rate of its own, and of each address that brings no key. 0: any."""
    signature_window_seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 5.0
    """How far the timestamp of a signed request may be from the server's clock."""

    def __post_init__(self) -> None:
        if 0 < self.journal_keep_commits < MIN_KEPT_COMMITS:
            raise SettingsError(
                f"{PREFIX}JOURNAL_KEEP_COMMITS is {self.journal_keep_commits}: give at least {MIN_KEPT_COMMITS}, or 0 "
                "to keep all"
            )
        named_folders(self.watched_folders)
        try:
            TrustedProxies(self.trusted_proxies)
        except ValueError as error:
            raise SettingsError(
                f"{PREFIX}TRUSTED_PROXIES: {error}; give addresses and networks, like 127.0.0.1,10.0.0.0/8"
            ) from None


class SettingsError(Exception):
    """The environment holds a value that cannot be used; the message names the variable."""


def named_folders(text: str) -> dict[str, str]:
    """`watched_folders`, by name. Raises SettingsError."""
    found = {}
    for each in filter(None, (part.strip() for part in text.split(","))):
        name, _, folder = each.partition("=")
        if not name or not folder:
            raise SettingsError(
                f"{PREFIX}WATCHED_FOLDERS has {each!r}: write NAME=FOLDER, several with commas between, like "
                "nats=/disks/nats"
            )
        found[name] = folder
    return found


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment. Raises SettingsError."""
    return Settings(
        **{
            name.removeprefix(PREFIX).lower(): _read(name, text)
            for name, text in environment.items()
            if name.startswith(PREFIX) and name not in (CLIENT_URL, CLIENT_KEY)
        }
    )


def _read(name: str, text: str) -> Any:
    kind = _TYPES.get(name.removeprefix(PREFIX).lower())
    if kind is None:
        raise SettingsError(f"{name} is not a setting")
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{name} is {text!r}: {error}") from error


_TYPES = {field.name: field.type for field in msgspec.structs.fields(Settings)}
