"""What can be measured of a service, by name; and the plain numbers that it is measured with.

Nothing here knows Prometheus. A service keeps integers that it keeps anyhow, and `Histogram`s, and tells a *source*:
a function that names what they are now. It is called when somebody scrapes (runtime.metrics_server), and never
otherwise. So what is not asked for costs nothing, and an order costs no look-up of a label
(docs/decisions/0041-metrics-are-read-not-written.md). docs/reference/metrics.md is made from the names below.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


class Histogram:
    """How often something was how large, in ranges. An `observe` takes a tenth of a microsecond."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        """The upper end of each range, which belongs to it; the last range has none."""
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self.counts)


class Measure(NamedTuple):
    metric: "Metric"
    labels: tuple[str, ...]
    value: float | Histogram


class Metric(NamedTuple):
    """A name and what it means. What is told of it has a value for each of its labels."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()

    def of(self, value: float | Histogram, *labels: str) -> Measure:
        assert len(labels) == len(self.labels)
        return Measure(self, labels, value)


Source = Callable[[], Iterable[Measure]]


def gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"pricetime_{name}", "gauge", text, labels)


def counter(name: str, text: str, *labels: str) -> Metric:
    assert name.endswith("_total")
    return Metric(f"pricetime_{name}", "counter", text, labels)


def histogram(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"pricetime_{name}", "histogram", text, labels)


# Of every service

INFO = gauge("info", "1; which service and version this is", "service", "version")
LOOP_LAG = histogram("event_loop_lag_seconds", "How late the event loop was for a timer, twenty times a second")
DATA_FREE = gauge("data_free_bytes", "Free space where the service keeps its files")
DATA_SIZE = gauge("data_size_bytes", "Size of the file system where the service keeps its files")
NATS_CONNECTED = gauge("nats_connected", "1 while the connection to nats-server stands", "connection")
NATS_RECONNECTS = counter("nats_reconnects_total", "How often it had to be made anew", "connection")
NATS_MESSAGES = counter("nats_messages_total", "Messages read and written", "connection", "direction")
NATS_BYTES = counter("nats_bytes_total", "Bytes of their contents", "connection", "direction")
NATS_PENDING = gauge("nats_pending_bytes", "Bytes that wait to be written", "connection")
NATS_REQUESTS = counter("nats_requests_total", "Requests answered over NATS", "subject")
NATS_REQUEST_ERRORS = counter("nats_request_errors_total", "Those of them that were refused", "subject")
NATS_REQUEST_SECONDS = histogram(
    "nats_request_seconds", "From reading a request that was let in to sending its answer", "subject"
)

# Of the matcher

MATCHER_SERVING = gauge("matcher_serving", "1 for the matcher that serves while its journal takes writes")
MATCHER_STANDING_BY = gauge("matcher_standing_by", "1 for one that stands by and has read the whole journal")
MATCHER_EPOCH = gauge("matcher_epoch", "How often a matcher has taken over since the journal began")
MATCHER_SEQUENCE = gauge("matcher_sequence", "Journal sequence of the last commit that it has written or followed")
MATCHER_COMMITS = counter("matcher_commits_total", "Commits written")
MATCHER_COMMANDS = counter("matcher_commands_total", "Commands in them")
MATCHER_BYTES = counter("matcher_journal_bytes_total", "Bytes of them")
MATCHER_COMMIT_COMMANDS = histogram("matcher_commit_commands", "Commands in one commit")
MATCHER_COMMIT_SECONDS = histogram(
    "matcher_commit_seconds", "From a commit's first command to when it is on disk and its answers leave"
)
MATCHER_WRITE_SECONDS = histogram("matcher_journal_write_seconds", "From sending a commit to JetStream to its PubAck")
MATCHER_COMMIT_AGE = gauge("matcher_commit_age_seconds", "How long the commit that is being written has taken so far")
MATCHER_BACKLOG = gauge("matcher_backlog_commands", "Commands that wait for room in a commit")
MATCHER_BACKLOG_ROOM = gauge("matcher_backlog_room_commands", "How many may wait")
MATCHER_TURNED_AWAY = counter("matcher_turned_away_total", "Requests turned away: backlog full, or journal stalled")
MATCHER_RESTING = gauge("matcher_resting_orders", "Open orders in all books")
MATCHER_SNAPSHOT = gauge("matcher_snapshot_sequence", "Journal sequence of its newest proved snapshot; 0 for none")

# Of the journal, as the recorder sees it

JOURNAL_FIRST = gauge("journal_first_sequence", "The oldest commit in the journal's stream")
JOURNAL_LAST = gauge("journal_last_sequence", "The newest commit in the journal's stream")
JOURNAL_BYTES = gauge("journal_bytes", "Size of the journal's stream")

# Of the recorder

RECORDER_SEQUENCE = gauge("recorder_sequence", "Journal sequence that Postgres has reached")
RECORDER_LAG = gauge("recorder_lag_commits", "Commits that Postgres is behind the journal")
RECORDER_COMMITS = counter("recorder_commits_total", "Commits recorded")
RECORDER_SECONDS = histogram("recorder_transaction_seconds", "How long writing one transaction took, tries included")
RECORDER_SIZE = histogram("recorder_transaction_commits", "Commits in one transaction")
RECORDER_DELAY = histogram("recorder_commit_to_postgres_seconds", "Age of a transaction's newest commit once it is in")
RECORDER_CONNECTED = gauge("recorder_postgres_connected", "1 while the connection to Postgres stands")
RECORDER_FAILURES = counter("recorder_postgres_failures_total", "Tries that Postgres did not let through")

# Of nats-server and Postgres, as the recorder sees them (docs/decisions/0047)

NATS_SERVER_UP = gauge("nats_server_up", "1 while it answers at its monitoring port", "node")
NATS_SERVER_HEALTHY = gauge("nats_server_healthy", "1 while it calls itself healthy, JetStream included", "node")
NATS_SERVER_STARTED = gauge("nats_server_start_time_seconds", "When it was started, since 1970", "node")
NATS_SERVER_CONNECTIONS = gauge("nats_server_connections", "Connections of clients to it", "node")
NATS_SERVER_ROOM = gauge("nats_server_connections_room", "How many there may be", "node")
NATS_SERVER_SLOW = counter(
    "nats_server_slow_consumers_total", "Connections that it ended because they did not read, since it started", "node"
)
NATS_SERVER_CPU = gauge("nats_server_cpu_cores", "Cores that it keeps busy", "node")
NATS_SERVER_MEMORY = gauge("nats_server_memory_bytes", "Memory that it uses", "node")
JETSTREAM_BYTES = gauge("jetstream_bytes", "What its streams take on disk, all together", "node")
JETSTREAM_ROOM = gauge("jetstream_room_bytes", "How much they may take by its configuration", "node")
JETSTREAM_ERRORS = counter(
    "jetstream_api_errors_total", "Requests that its JetStream refused, since it started", "node"
)
STREAM_BYTES = gauge("jetstream_stream_bytes", "Size of a stream, of the fifty largest", "node", "stream")
STREAM_MESSAGES = gauge("jetstream_stream_messages", "Messages in it", "node", "stream")

POSTGRES_UP = gauge("postgres_up", "1 while it answers what is asked for the figures below")
POSTGRES_STARTED = gauge("postgres_start_time_seconds", "When it was started, since 1970")
POSTGRES_BYTES = gauge("postgres_database_bytes", "Size of the exchange's database")
POSTGRES_CONNECTIONS = gauge("postgres_connections", "Connections of clients to it", "state")
POSTGRES_ROOM = gauge("postgres_connections_room", "How many there may be, but for those reserved for administrators")
POSTGRES_WAITING = gauge("postgres_waiting_for_locks", "Connections that wait for a lock that another has")
POSTGRES_OLDEST = gauge("postgres_oldest_transaction_seconds", "How long the oldest open transaction has lasted")
POSTGRES_IDS_USED = gauge("postgres_transaction_ids_used", "Transactions since the oldest that is not frozen")
POSTGRES_TRANSACTIONS = counter("postgres_transactions_total", "Transactions in the exchange's database", "outcome")
POSTGRES_DEADLOCKS = counter("postgres_deadlocks_total", "Deadlocks in it, each of which cost somebody a transaction")

DISK_FREE = gauge("disk_free_bytes", "Free space where a folder of the setting watched_folders lies", "folder")
DISK_SIZE = gauge("disk_size_bytes", "Size of the file system there", "folder")

# Of order entry, in gateway and broadcaster

ENTRY_ROUND_TRIP = histogram("entry_round_trip_seconds", "From sending commands to the matcher to its answer")
ENTRY_WAITING = gauge("entry_waiting_commands", "Commands that wait for the matcher's answer")
ENTRY_UNKNOWN = counter("entry_results_unknown_total", "Commands given up without an answer: result_unknown")
ENTRY_UNAVAILABLE = counter("entry_unavailable_total", "Commands that no matcher took: matcher_unavailable")
ENTRY_AT_WORK = gauge("entry_at_work", "Requests at work, larger ones counted several times", "pool")
ENTRY_ROOM = gauge("entry_room", "How many may be", "pool")
ENTRY_REFUSED = counter("entry_refused_total", "Requests refused as overloaded", "pool")

# Of the gateway

GATEWAY_REQUESTS = counter(
    "gateway_requests_total", "HTTP requests answered, but for overloaded ones", "kind", "status"
)
GATEWAY_SECONDS = histogram("gateway_request_seconds", "From an HTTP request's last byte to its answer", "kind")
GATEWAY_CONNECTIONS = gauge("gateway_connections", "HTTP connections")
GATEWAY_POOL = gauge("gateway_postgres_connections", "Connections to Postgres, for reads of history", "state")
GATEWAY_POOL_ROOM = gauge("gateway_postgres_room", "How many there may be")
GATEWAY_POSTGRES_SILENT = gauge("gateway_postgres_silent", "1 while Postgres answers nobody and reads fail at once")
GATEWAY_DEFERRED = gauge("gateway_deferred_waiting", "Deferred commands that wait to be carried out")

# Of the broadcaster

BROADCASTER_SEQUENCE = gauge("broadcaster_sequence", "Journal sequence of the last commit that it has shown")
BROADCASTER_CAUGHT_UP = gauge("broadcaster_caught_up", "1 once the journal as it was at the start is read")
BROADCASTER_DELAY = histogram(
    "broadcaster_commit_to_client_seconds", "Age of a commit when it has been written to the clients"
)
BROADCASTER_SECONDS = histogram("broadcaster_request_seconds", "How long an order by WebSocket took", "operation")
BROADCASTER_DECLINED = counter("broadcaster_declined_total", "Orders by WebSocket that were declined", "code")
BROADCASTER_CLIENTS = gauge("broadcaster_clients", "WebSocket clients", "path")
BROADCASTER_SUBSCRIPTIONS = gauge("broadcaster_subscriptions", "Subscriptions of clients of /ws", "channel")
BROADCASTER_DROPPED = counter("broadcaster_dropped_clients_total", "Clients that were told to go", "code")
BROADCASTER_CONFLATED = counter("broadcaster_conflated_total", "Messages that slow clients were spared")
BROADCASTER_TRADES = counter("trades_total", "Trades since the journal began")
BROADCASTER_ORDERS = gauge("open_orders", "Open orders, stops that wait included")
BROADCASTER_SYMBOLS = gauge("symbols", "Instruments listed")
BROADCASTER_LEVELS = gauge(
    "book_levels", "Price levels in a book, of the hundred symbols listed first", "symbol", "side"
)

CATALOGUE: tuple[Metric, ...] = tuple(each for each in list(globals().values()) if isinstance(each, Metric))
