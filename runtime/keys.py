"""The API keys as a service knows them: all in memory, kept up to date from the key-value bucket KEYS.

Whether keys are needed is decided here, and never falls open: a service does not start before it has read the bucket;
once it has seen a key, keys are needed as long as it runs; and as revoked keys stay in the bucket, also after that.
While NATS is away, what was known last holds. docs/decisions/0015 has the reasons.
"""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, RePublish, StorageType, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from contracts.keys import (
    OPEN,
    PUBLIC,
    Access,
    KeyRecord,
    KeyRefusal,
    SeenSignatures,
    SignedRequest,
    judge_key,
    judge_signed,
    parse_key,
)
from contracts.subjects import KEYS, KEYS_CHANGED
from runtime.clock import now
from runtime.leadership import certain_stream_info
from runtime.service import Refused
from runtime.settings import Settings

log = logging.getLogger(__name__)

_STREAM = f"KV_{KEYS}"
_SUBJECT = f"$KV.{KEYS}."
_LOOK_SECONDS = 2.0
"""A change is told at once; this often it is looked for all the same, as word of it can be lost."""
_RETRY_SECONDS = 0.2
_RELOAD_RETRIES = 10
_WRONG_LAST_SEQUENCE = (10071, 10164)

_Answer = TypeVar("_Answer")
_encode = msgspec.json.encode
_decoder = msgspec.json.Decoder(KeyRecord)


class KeyChanged(Exception):
    """Somebody else has written this key meanwhile. Nothing was written."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One entry of the bucket. `record` is None if it was deleted, or cannot be read."""

    id: str
    sequence: int
    record: KeyRecord | None


class KeyStore:
    """The bucket: read in the order written, and written to."""

    def __init__(self, connection: Client, replicas: int = 1) -> None:
        self._connection = connection
        self._replicas = replicas

    async def state(self) -> StreamInfo:
        """Of the bucket, which is made if there is none."""
        manager = self._connection.jsm()
        try:
            return await _patiently(lambda: manager.stream_info(_STREAM))
        except NotFoundError:
            return await _patiently(lambda: manager.add_stream(_bucket(self._replicas)))

    async def after(self, sequence: int) -> StoredKey | None:
        """The first entry written after this one that still stands; None if there is none."""
        manager = self._connection.jsm()
        try:
            message = await _patiently(lambda: manager.get_msg(_STREAM, sequence + 1, f"{_SUBJECT}>", next=True))
        except NotFoundError:
            return None
        assert message.seq is not None
        assert message.subject is not None
        key_id = message.subject.removeprefix(_SUBJECT)
        return StoredKey(key_id, message.seq, _read(key_id, message.data))

    async def all(self) -> list[StoredKey]:
        await self.state()
        found: list[StoredKey] = []
        while (entry := await self.after(found[-1].sequence if found else 0)) is not None:
            found.append(entry)
        return found

    async def write(self, record: KeyRecord, after: int = 0) -> None:
        """Durably. `after`: the sequence of the entry that it replaces, 0 for a new one. Raises KeyChanged."""
        await self.state()
        headers = {"Nats-Expected-Last-Subject-Sequence": str(after)}
        try:
            await self._connection.jetstream().publish(f"{_SUBJECT}{record.id}", _encode(record), headers=headers)
        except APIError as error:
            if error.err_code in _WRONG_LAST_SEQUENCE:
                raise KeyChanged(record.id) from error
            raise


async def _patiently(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """While nats-server reads its configuration anew (the first key sees to that) JetStream is not there at all."""
    for _ in range(_RELOAD_RETRIES):
        try:
            return await ask()
        except ServiceUnavailableError:
            await asyncio.sleep(_RETRY_SECONDS)
    return await ask()


def _bucket(replicas: int) -> StreamConfig:
    return StreamConfig(
        name=_STREAM,
        description="Pricetime's API keys, hashed",
        subjects=[f"{_SUBJECT}>"],
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        num_replicas=replicas,
        max_msgs_per_subject=1,
        allow_rollup_hdrs=True,
        deny_delete=True,
        allow_direct=False,
        republish=RePublish(src=f"{_SUBJECT}>", dest=KEYS_CHANGED, headers_only=True),
    )


def _read(key_id: str, content: bytes | None) -> KeyRecord | None:
    if not content:
        return None  # a marker: deleted with another tool
    try:
        record = _decoder.decode(content)
    except msgspec.MsgspecError as error:
        log.error("keys: entry %s cannot be read and gives no access: %s", key_id, error)
        return None
    return record if record.id == key_id else None


class Keys:
    """All keys, live. `start` it, keep `run` running, then ask.

    Each of `listeners` is called after every reading of the bucket: at once when a key has changed, and every two
    seconds. Whoever keeps connections open asks `is_good` then, of each.
    """

    def __init__(self, connection: Client, settings: Settings, clock: Callable[[], int] = now) -> None:
        self.listeners: list[Callable[[], None]] = []
        self._connection = connection
        self._store = KeyStore(connection, settings.replicas)
        self._always = settings.require_keys == "always"
        self._window = int(settings.signature_window_seconds * 1_000_000)
        self._clock = clock
        self._started_at = clock()
        self._seen = SeenSignatures(self._window)
        self._entries: dict[str, KeyRecord | None] = {}
        self._created: object = None
        self._sequence = 0
        self._ever = False
        self._troubled = False
        self._changed = asyncio.Event()

    @property
    def any_exist(self) -> bool:
        """Whether there is, or was since this process started, any key at all, revoked ones included."""
        return self._ever

    @property
    def required(self) -> bool:
        return self._always or self._ever

    @property
    def anonymous(self) -> Access:
        """What someone may do who brings no key."""
        return PUBLIC if self.required else OPEN

    def find(self, presented: str) -> Access | KeyRefusal:
        """What the owner of this key, `pt_<id>_<secret>`, may do."""
        parts = parse_key(presented)
        if parts is None:
            return KeyRefusal.UNKNOWN
        return judge_key(self._entries.get(parts[0]), parts[1], self._clock())

    def find_signed(self, key_id: str, request: SignedRequest, signature: str) -> Access | KeyRefusal:
        """What the signer of this request may do. A signature is good once.

        One dated before this process started could have been used with the process before it, and is too old. One
        that was dated ahead of our clock then is not noticed: docs/access.md says so.
        """
        time = self._clock()
        found = judge_signed(self._entries.get(key_id), request, signature, time, self._window)
        if isinstance(found, KeyRefusal):
            return found
        if request.time is None or request.time < self._started_at:
            return KeyRefusal.TIMESTAMP_OUTSIDE_WINDOW
        return found if self._seen.is_new(signature, time) else KeyRefusal.SIGNATURE_REPEATED

    def is_good(self, access: Access) -> bool:
        """Whether what was found before would be found again: not if the key was revoked or has expired since."""
        if access.key_id is None:
            return access == self.anonymous
        record = self._entries.get(access.key_id)
        return record is not None and record.ended(self._clock()) is None and record.access == access

    async def start(self) -> None:
        """Returns when the bucket has been read, however long it takes."""
        await self._connection.subscribe(KEYS_CHANGED, cb=self._on_change)
        while True:
            if await self._look():
                return
            await asyncio.sleep(_RETRY_SECONDS)

    async def run(self) -> None:
        """Keep up to date. Returns never."""
        while True:
            try:
                await asyncio.wait_for(self._changed.wait(), _LOOK_SECONDS)
            except TimeoutError:
                pass  # time to look all the same
            self._changed.clear()
            if await self._look():
                for listener in self.listeners:
                    listener()

    async def _on_change(self, _: Msg) -> None:
        self._changed.set()

    async def _look(self) -> bool:
        """Read what is new. False if the bucket cannot be read; then what is known stays."""
        try:
            if self._connection.is_connected:
                await self._catch_up(await self._store.state())
                self._troubled = False
                return True
        except (NatsError, TimeoutError) as error:
            if not self._troubled:
                log.warning("keys: cannot be read now (%s); trying on", error or type(error).__name__)
            self._troubled = True
        return False

    async def _catch_up(self, info: StreamInfo) -> None:
        """Read on. From the start if what is known cannot have come from this bucket: restored, purged or made anew."""
        if info.state.last_seq < self._sequence:  # perhaps only to a leader that was replaced unawares
            info = await certain_stream_info(self._connection, _STREAM)
        if info.created != self._created or info.state.last_seq < self._sequence:
            await self._read_all(info)
            return
        await self._read_on()
        if info.state.last_seq == self._sequence and info.state.messages != len(self._entries):
            await self._read_all(info)

    async def _read_all(self, info: StreamInfo) -> None:
        """What is known now holds until all is read."""
        entries: dict[str, KeyRecord | None] = {}
        sequence = await self._read_into(entries, 0)
        self._entries, self._sequence, self._created = entries, sequence, info.created
        self._note()

    async def _read_on(self) -> None:
        self._sequence = await self._read_into(self._entries, self._sequence)
        self._note()

    async def _read_into(self, entries: dict[str, KeyRecord | None], sequence: int) -> int:
        """Entries written after `sequence`. Returns the last one's."""
        while (entry := await self._store.after(sequence)) is not None:
            entries[entry.id] = entry.record
            sequence = entry.sequence
        return sequence

    def _note(self) -> None:
        self._ever = self._ever or bool(self._entries)


def check_binding(listener: socket.socket, settings: Settings, keys: Keys) -> None:
    """Without keys only this machine is served. Raises Refused. `keys` must have been started."""
    hosts = (settings.published_host or str(listener.getsockname()[0])).split(",")
    open_to_others = [host for host in hosts if not is_loopback(host)]
    if keys.required or not open_to_others:
        return
    raise Refused(
        f"{open_to_others[0]} can be reached by others, and there are no keys: whoever comes could trade. Make a key "
        "with `pricetime keys create --scopes admin`, then start again; or serve this machine only, on 127.0.0.1"
    )


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
