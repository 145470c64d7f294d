"""JetStream's part of the simulated nats-server: streams of one replica, and pull consumers.

A stream takes one message after the other. Each is checked against what it expects, written, synced, and only then
seen, acknowledged and delivered; what was being written when the server dies may be there afterwards or not.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from simulation.loop import SimulatedLoop

WRONG_LAST_SEQUENCE = 10071
_HEARTBEAT = {"Status": "100", "Description": "Idle Heartbeat"}


class Stored(NamedTuple):
    sequence: int
    subject: str
    payload: bytes
    headers: dict[str, str]
    time: float
    expires: float | None


class Arrived(NamedTuple):
    subject: str
    payload: bytes
    headers: dict[str, str]
    acknowledge: Callable[[dict[str, Any]], None]


class ApiError(Exception):
    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(description)
        self.content = {"code": code, "err_code": err_code, "description": description}


@dataclass
class Pull:
    """A client's wish for so many messages to its inbox."""

    reply: str
    left: int
    bytes_left: int
    expires: float
    heartbeat: float
    heard: float


class Disk:
    """How long the next write takes, and whether it ever ends. Faults change it."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.seconds = seconds
        self.on_written: Callable[[], bool] | None = None
        """Asked once a message is written, and not yet acknowledged: does the server die now?"""
        self.is_dead = False
        """After an error: nothing is stored or answered until the server is started again."""
        self.syncs = True
        """Not: what is acknowledged may be gone after a crash, as with nats-server's default configuration."""


class Stream:
    def __init__(self, loop: SimulatedLoop, disk: Disk, config: dict[str, Any]) -> None:
        self._loop = loop
        self._disk = disk
        self.config = config
        self.name: str = config["name"]
        self.messages: dict[int, Stored] = {}
        self.last_sequence = 0
        self.purged_to = 0
        self.consumers: dict[str, Consumer] = {}
        self._latest: dict[str, int] = {}
        """By subject, the sequence of its last message."""
        self._waiting: deque[Arrived] = deque()
        self._writing: Stored | None = None
        self._synced = 0
        self._generation = 0

    def __iter__(self) -> Iterator[Stored]:
        return iter(self.messages.values())

    @property
    def first_sequence(self) -> int:
        return next(iter(self.messages), self.last_sequence + 1)

    @property
    def state(self) -> dict[str, Any]:
        empty = not self.last_sequence
        return {
            "messages": len(self.messages),
            "bytes": sum(len(stored.payload) for stored in self.messages.values()),
            "first_seq": 0 if empty else self.first_sequence,
            "last_seq": self.last_sequence,
            "consumer_count": len(self.consumers),
        }

    def latest(self, subject: str) -> Stored | None:
        return self.messages.get(self._latest.get(subject, 0))

    # Writing

    def take(self, arrived: Arrived) -> None:
        self._waiting.append(arrived)
        if self._writing is None:
            self._write_next()

    def _write_next(self) -> None:
        while self._waiting and not self._disk.is_dead:
            arrived = self._waiting.popleft()
            if refusal := self._refusal(arrived):
                arrived.acknowledge({"error": refusal.content, "stream": self.name, "seq": 0})
                continue
            now = self._loop.time()
            lifetime = arrived.headers.get("Nats-TTL")
            expires = None if lifetime is None else now + float(lifetime.removesuffix("s"))
            number = self.last_sequence + 1
            self._writing = Stored(number, arrived.subject, arrived.payload, arrived.headers, now, expires)
            done = now + self._disk.seconds()
            self._loop.call_at(done, self._written, self._generation, arrived)
            return

    def _refusal(self, arrived: Arrived) -> ApiError | None:
        headers = arrived.headers
        expected = headers.get("Nats-Expected-Last-Sequence")
        if expected is not None and int(expected) != self.last_sequence:
            return ApiError(400, WRONG_LAST_SEQUENCE, f"wrong last sequence: {self.last_sequence}")
        expected = headers.get("Nats-Expected-Last-Subject-Sequence")
        if expected is not None:
            found = self.latest(arrived.subject)
            last = found.sequence if found else 0
            if int(expected) != last:
                return ApiError(400, WRONG_LAST_SEQUENCE, f"wrong last sequence: {last}")
        if "Nats-TTL" in headers and not self.config.get("allow_msg_ttl"):
            return ApiError(400, 10166, "per-message TTL is disabled")
        return None

    def _written(self, generation: int, arrived: Arrived) -> None:
        if generation != self._generation or self._writing is None or self._disk.is_dead:
            return
        if self._disk.on_written is not None and self._disk.on_written():
            return
        stored, self._writing = self._writing, None
        self._keep(stored)
        arrived.acknowledge({"stream": self.name, "seq": stored.sequence})
        for consumer in self.consumers.values():
            consumer.pump()
        self._write_next()

    def _keep(self, stored: Stored) -> None:
        self.messages[stored.sequence] = stored
        self.last_sequence = stored.sequence
        if self.config.get("max_msgs_per_subject") == 1:
            self.messages.pop(self._latest.get(stored.subject, 0), None)
        self._latest[stored.subject] = stored.sequence
        if self._disk.syncs:
            self._synced = stored.sequence
        if stored.expires is not None:
            self._loop.call_at(stored.expires, self._expire, stored)

    def _expire(self, stored: Stored) -> None:
        """A message at the end of its life; where the stream is configured so, a marker takes its place."""
        if self.messages.get(stored.sequence) is not stored:
            return
        del self.messages[stored.sequence]
        lifetime = self.config.get("subject_delete_marker_ttl")
        if lifetime and self._latest[stored.subject] == stored.sequence:
            now = self._loop.time()
            headers = {"Nats-Marker-Reason": "MaxAge", "Nats-TTL": str(lifetime // 1_000_000_000)}
            number = self.last_sequence + 1
            self._keep(Stored(number, stored.subject, b"", headers, now, now + lifetime / 1_000_000_000))
            for consumer in self.consumers.values():
                consumer.pump()

    def crash(self, keep_unsynced: Callable[[], bool], lost: Callable[[int], int]) -> None:
        """The server died: consumers in memory are gone, and what was half written is there or not."""
        self._generation += 1
        writing, self._writing = self._writing, None
        self._waiting.clear()
        self.consumers.clear()
        if writing is not None and keep_unsynced():
            self._keep(writing)
        if not self._disk.syncs:
            for _ in range(lost(self.last_sequence - self._synced)):
                self.messages.pop(self.last_sequence, None)
                self.last_sequence -= 1
            self._synced = self.last_sequence

    def purge(self, request: dict[str, Any]) -> int:
        """Below a sequence, or all but so many. How many are gone."""
        before = len(self.messages)
        below = request.get("seq") or self.last_sequence + 1
        if keep := request.get("keep"):
            below = min(below, sorted(self.messages)[-keep]) if keep < before else 0
        subject = request.get("filter")
        for sequence in [each for each in self.messages if each < below]:
            if subject in (None, "", self.messages[sequence].subject):
                del self.messages[sequence]
        return before - len(self.messages)

    def restore(self, messages: dict[int, Stored], last_sequence: int) -> None:
        """As an older copy of the server's files had it."""
        self.messages = dict(messages)
        self.last_sequence = self._synced = last_sequence


@dataclass
class Consumer:
    """An ephemeral pull consumer without acknowledgements."""

    stream: Stream
    name: str
    next: int
    send: Callable[[str, str, str, bytes, dict[str, str] | None], bool]
    """To inbox, subject, reply, payload, headers. False when nobody listens there."""
    loop: SimulatedLoop
    delivered: int = 0
    pulls: deque[Pull] = field(default_factory=deque)
    gone: bool = False

    def pull(self, reply: str, request: dict[str, Any]) -> None:
        now = self.loop.time()
        heartbeat = request.get("idle_heartbeat", 0) / 1e9
        expires = request.get("expires", 0) / 1e9
        pull = Pull(reply, request.get("batch", 1), request.get("max_bytes") or 2**60, now + expires, heartbeat, now)
        self.pulls.append(pull)
        self.pump()
        if request.get("no_wait") and pull.left:
            self._end(pull, "404", "No Messages")
        elif pull.left:
            self._watch(pull)

    def _watch(self, pull: Pull) -> None:
        if pull.heartbeat:
            self.loop.call_at(self.loop.time() + pull.heartbeat, self._beat, pull)
        elif pull.expires > self.loop.time():
            self.loop.call_at(pull.expires, self._beat, pull)

    def _beat(self, pull: Pull) -> None:
        if self.gone or pull not in self.pulls:
            return
        if pull.expires <= self.loop.time():
            self._end(pull, "408", "Request Timeout")
            return
        if self.send(pull.reply, pull.reply, "", b"", _HEARTBEAT):
            self._watch(pull)
        else:
            self.pulls.remove(pull)

    def end(self) -> None:
        """It is deleted."""
        self.gone = True
        for pull in list(self.pulls):
            self._end(pull, "409", "Consumer Deleted")

    def _end(self, pull: Pull, status: str, why: str) -> None:
        self.pulls.remove(pull)
        headers = {"Status": status, "Description": why, "Nats-Pending-Messages": str(pull.left)}
        self.send(pull.reply, pull.reply, "", b"", headers)

    def pump(self) -> None:
        """Deliver what is there to whoever asked first."""
        messages, last = self.stream.messages, self.stream.last_sequence
        self.next = max(self.next, self.stream.first_sequence) if messages else self.next
        while self.pulls and self.next <= last:
            stored = messages.get(self.next)
            if stored is None:
                self.next += 1
                continue
            pull = self.pulls[0]
            ack = f"$JS.ACK.{self.stream.name}.{self.name}.1.{stored.sequence}.{self.delivered + 1}.0.0"
            if not self.send(pull.reply, stored.subject, ack, stored.payload, stored.headers or None):
                self.pulls.popleft()
                continue
            self.next += 1
            self.delivered += 1
            pull.left -= 1
            pull.bytes_left -= len(stored.payload)
            if pull.left <= 0 or pull.bytes_left <= 0:
                self.pulls.popleft()
