"""The journal as a JetStream stream: its configuration, and reading it in order.

The reader keeps a pull of its own open on a private inbox instead of nats-py's `fetch`: several times faster, and the
server waits for it, so a slow reader costs nobody memory (docs/decisions/0006).
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from types import TracebackType

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StoreCompression,
    StreamConfig,
    StreamState,
)
from nats.js.errors import NotFoundError

from contracts.commits import JournalBroken
from contracts.subjects import JOURNAL, JOURNAL_STREAM
from runtime.archive import read_archive
from runtime.leadership import certain_stream_info

log = logging.getLogger(__name__)

_BATCH = 500
_MAX_BYTES = 8 * 1024 * 1024
_EXPIRES_SECONDS = 30
_HEARTBEAT_SECONDS = 1
_SILENCE_SECONDS = 3.5
_GAP_SECONDS = 0.05
_RETRY_SECONDS = 0.2


def stream_config(replicas: int) -> StreamConfig:
    """What the journal must be: kept for good on disk, refusing writes when full, no single message deletable."""
    return StreamConfig(
        name=JOURNAL_STREAM,
        description="Pricetime's journal: every commit, in order",
        subjects=[JOURNAL],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        num_replicas=replicas,
        max_age=0,
        max_msgs=-1,
        max_bytes=-1,
        deny_delete=True,
        compression=StoreCompression.NONE,
        allow_direct=False,
    )


_MUST_MATCH = (
    "subjects",
    "retention",
    "storage",
    "discard",
    "max_age",
    "max_msgs",
    "max_bytes",
    "deny_delete",
    "compression",
)


async def ensure_stream(connection: Client, replicas: int) -> list[str]:
    """Create the journal's stream if there is none. Returns what is wrong with the one that is there, if anything."""
    manager = connection.jsm()
    wanted = stream_config(replicas)
    try:
        found = (await manager.stream_info(JOURNAL_STREAM)).config
    except NotFoundError:
        found = (await manager.add_stream(wanted)).config
    return [
        f"{name} is {_plain(getattr(found, name))!r}, must be {_plain(getattr(wanted, name))!r}"
        for name in _MUST_MATCH
        if _plain(getattr(found, name)) != _plain(getattr(wanted, name))
    ]


def _plain(value: object) -> object:
    plain = getattr(value, "value", value)
    return 0 if plain in (None, 0.0, -1) else plain


async def journal_state(connection: Client, *, timeout: float = 5) -> StreamState:
    """First and last sequence of the journal. Raises NotFoundError while there is no journal."""
    return (await connection.jsm(timeout=timeout).stream_info(JOURNAL_STREAM)).state


async def journal_state_reaching(connection: Client, sequence: int) -> StreamState:
    """The journal's state, asked for until it is certain whether it reaches `sequence`.

    That it is too short is never concluded from a leader that may have been replaced unawares.
    """
    while True:
        try:
            state = await journal_state(connection)
            if state.last_seq < sequence:
                state = (await certain_stream_info(connection, JOURNAL_STREAM)).state
            return state
        except (NatsError, TimeoutError) as error:
            await _try_again(error)


async def wait_for_journal(connection: Client) -> None:
    """Return once the journal's stream exists: the matcher creates it."""
    while True:
        try:
            await journal_state(connection)
            return
        except (NotFoundError, NatsError, TimeoutError):
            await asyncio.sleep(0.1)


class JournalReader:
    """Journal messages from `start` on, in order, without end.

    Use as an async context manager and iterate: each item is a non-empty list of (sequence, payload). What has been
    trimmed from the stream's beginning, before or while it is read, comes from Postgres (runtime.archive), unless
    `archived` is false. Raises JournalBroken when the journal turns out to be shorter than what was already read. A gap
    that the server really has is handed on as it is: contracts.commits.Chain names it.
    """

    def __init__(self, connection: Client, start: int, *, archived: bool = True) -> None:
        self._connection = connection
        self._next = start
        self._archived = archived
        self._gap_at: int | None = None
        self._received: list[tuple[int, bytes]] = []
        self._outstanding = 0
        self._arrived = asyncio.Event()
        self._consumer: str | None = None
        self._delivered = 0
        self._broken = False
        self._reconnects = 0

    async def __aenter__(self) -> "JournalReader":
        self._inbox = self._connection.new_inbox()
        self._subscription = await self._connection.subscribe(
            f"{self._inbox}.*", cb=self._on_message, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection.is_connected:
            await self._subscription.unsubscribe()
            await self._drop_consumer()

    async def __aiter__(self) -> AsyncIterator[list[tuple[int, bytes]]]:
        while True:
            if self._consumer is None:
                begins = await self._begins()
                if self._archived and begins > self._next:
                    yield await self._read_archive(begins)
                    continue
                await self._create_consumer()
                # A journal cut short since we asked has no message for this consumer, which would wait there unawares.
                self._check_reaches(await journal_state_reaching(self._connection, self._next - 1))
            if self._outstanding <= _BATCH // 2:
                await self._pull()
            if not self._received:
                await self._wait()
                continue
            received, self._received = self._received, []
            self._arrived.clear()
            yield received

    async def _wait(self) -> None:
        """Until something arrives, or the consumer has to be given up: after a gap, a reconnect, a long silence."""
        patience = _GAP_SECONDS if self._broken else _SILENCE_SECONDS
        while patience > 0 and self._reconnects == self._connection.stats["reconnects"]:
            try:
                await asyncio.wait_for(self._arrived.wait(), _GAP_SECONDS)
                self._arrived.clear()
                return
            except TimeoutError:
                patience -= _GAP_SECONDS
        self._start_over()

    def _start_over(self) -> None:
        """Forget the consumer; the next one goes on after the last message received."""
        self._consumer = None
        self._broken = False

    def _check_reaches(self, state: StreamState) -> None:
        if state.last_seq + 1 < self._next:
            raise JournalBroken(
                state.last_seq + 1,
                f"is missing: the journal ends at {state.last_seq}, but {self._next - 1} has been read before",
            )
        if not state.messages and state.last_seq >= self._next:
            raise JournalBroken(self._next, f"is missing: the journal was emptied up to {state.last_seq}")

    async def _begins(self) -> int:
        """The first sequence in the stream, which reaches up to ours. Tries until the server answers."""
        self._reconnects = self._connection.stats["reconnects"]
        state = await journal_state_reaching(self._connection, self._next - 1)
        self._check_reaches(state)
        return state.first_seq

    async def _read_archive(self, begins: int) -> list[tuple[int, bytes]]:
        messages = await read_archive(self._connection, self._next, begins - 1)
        self._next = messages[-1][0] + 1
        return messages

    async def _create_consumer(self) -> None:
        """A fresh ephemeral consumer at the next sequence. Tries until the server answers."""
        while True:
            try:
                self._generation = self._connection.new_inbox().rsplit(".", 1)[-1]
                info = await self._connection.jsm().add_consumer(
                    JOURNAL_STREAM,
                    ConsumerConfig(
                        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                        opt_start_seq=self._next,
                        ack_policy=AckPolicy.NONE,
                        inactive_threshold=30.0,
                        mem_storage=True,
                        num_replicas=1,
                    ),
                )
                self._consumer = info.name
                self._outstanding = 0
                self._delivered = 0
                return
            except (NatsError, TimeoutError) as error:
                await _try_again(error)

    async def _drop_consumer(self) -> None:
        if self._consumer is not None:
            try:
                await self._connection.jsm(timeout=1).delete_consumer(JOURNAL_STREAM, self._consumer)
            except (NatsError, TimeoutError):
                pass  # it removes itself after inactive_threshold

    async def _pull(self) -> None:
        request = {
            "batch": _BATCH,
            "max_bytes": _MAX_BYTES,
            "expires": _EXPIRES_SECONDS * 1_000_000_000,
            "idle_heartbeat": _HEARTBEAT_SECONDS * 1_000_000_000,
        }
        self._outstanding += _BATCH
        await self._connection.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{JOURNAL_STREAM}.{self._consumer}",
            json.dumps(request).encode(),
            reply=f"{self._inbox}.{self._generation}",
        )

    async def _on_message(self, message: Msg) -> None:
        if message.subject == JOURNAL:
            self._on_delivery(message)
        else:
            self._on_status(message)

    def _on_delivery(self, message: Msg) -> None:
        consumer, sequence, delivered = _delivery(message.reply)
        if consumer != self._consumer:
            return
        self._outstanding -= 1
        if delivered != self._delivered + 1:
            self._broken = True  # one before it was lost on the way: ask again
            return
        if self._next not in (sequence, self._gap_at):
            self._gap_at = self._next  # perhaps trimmed this moment: ask again where the stream begins
            self._broken = True
            return
        self._delivered = delivered
        self._next = sequence + 1
        self._received.append((sequence, message.data))
        self._arrived.set()

    def _on_status(self, message: Msg) -> None:
        """Statuses of a pull: 100 is a heartbeat; 404, 408 and 409 end it early; anything else loses the consumer."""
        if message.subject != f"{self._inbox}.{self._generation}":
            return
        headers = message.headers or {}
        status = headers.get("Status", "")
        if status in ("408", "409", "404") and "Nats-Pending-Messages" in headers:
            self._outstanding -= int(headers["Nats-Pending-Messages"])
        elif status != "100":
            self._broken = True
        self._arrived.set()  # a sign of life: the silence is over


async def _try_again(error: Exception) -> None:
    log.warning("journal: cannot read yet (%s)", error or type(error).__name__)
    await asyncio.sleep(_RETRY_SECONDS)


def _delivery(reply: str) -> tuple[str, int, int]:
    """Consumer, stream sequence, and how many messages the consumer has sent: from an ack subject.

    `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<sent>...`; a longer form of nats-server has domain and
    account before the stream.
    """
    tokens = reply.split(".")
    consumer = 3 if len(tokens) == 9 else 5
    return tokens[consumer], int(tokens[consumer + 2]), int(tokens[consumer + 3])
