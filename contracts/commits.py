"""The journal's bytes: how a commit is written, read and chained.

A journal message is 32 bytes of SHA-256 over the body, then the body: the Commit as MessagePack. The body holds the
hash of the commit before it, so one hash vouches for all of history. `Chain` is what every reader holds while it
follows the journal: it accepts the next commit or raises JournalBroken, and is never moved by a commit that does
not fit.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

import msgspec

from contracts.messages import Command, Commit, Message

VERSION = 2
READABLE_VERSIONS = (1, 2)
HASH_SIZE = 32
GENESIS_HASH = bytes(HASH_SIZE)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Commit)


class EncodedOutcomes(Message, frozen=True):
    """A Commit whose outcomes are left as the bytes that they are: for a reader who makes them anew and compares."""

    version: int
    journal_epoch: str
    matcher_epoch: int
    sequence: int
    previous_hash: bytes
    time: int
    commands: tuple[Command, ...]
    outcomes: msgspec.Raw
    state_hash: bytes | None

    @property
    def is_barrier(self) -> bool:
        return self.state_hash is not None


_half_decoder = msgspec.msgpack.Decoder(EncodedOutcomes)


class JournalBroken(Exception):
    """The journal cannot be trusted from `sequence` on."""

    def __init__(self, sequence: int, why: str) -> None:
        super().__init__(f"journal sequence {sequence}: {why}")
        self.sequence = sequence
        self.why = why


def encode_commit(commit: Commit) -> tuple[bytes, bytes]:
    """The journal message of a commit, and its hash."""
    body = _encoder.encode(commit)
    digest = sha256(body).digest()
    return digest + body, digest


def decode_commit(sequence: int, payload: bytes) -> tuple[Commit, bytes]:
    """The commit in a journal message and its hash. Raises JournalBroken when its bytes are damaged or unknown."""
    return _decode(sequence, payload, _decoder)


_Read = TypeVar("_Read", Commit, EncodedOutcomes)


def _decode(sequence: int, payload: bytes, decoder: "msgspec.msgpack.Decoder[_Read]") -> tuple[_Read, bytes]:
    digest, body = payload[:HASH_SIZE], payload[HASH_SIZE:]
    if sha256(body).digest() != digest:
        raise JournalBroken(sequence, "its bytes do not match its hash; the message is damaged")
    try:
        commit = decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise JournalBroken(sequence, f"cannot be read by this version ({error})") from error
    if commit.version not in READABLE_VERSIONS:
        readable = " and ".join(map(str, READABLE_VERSIONS))
        raise JournalBroken(sequence, f"has format version {commit.version}, this program reads {readable}")
    return commit, digest


@dataclass(slots=True)
class Chain:
    """A position in the journal: everything up to `sequence` has been read and fits together."""

    sequence: int = 0
    hash: bytes = GENESIS_HASH
    journal_epoch: str | None = None
    matcher_epoch: int = 0
    time: int = 0

    def check(self, sequence: int, payload: bytes) -> tuple[Commit, bytes]:
        """The next commit and its hash, without moving on. Raises JournalBroken if it does not follow this position."""
        commit, digest = self._check(sequence, payload, _decoder)
        if len(commit.commands) != len(commit.outcomes):
            raise JournalBroken(sequence, f"has {len(commit.commands)} commands and {len(commit.outcomes)} outcomes")
        return commit, digest

    def check_commands(self, sequence: int, payload: bytes) -> tuple[EncodedOutcomes, bytes]:
        """The same for a reader who compares the outcomes, and their number, as they are encoded: faster."""
        return self._check(sequence, payload, _half_decoder)

    def _check(self, sequence: int, payload: bytes, decoder: "msgspec.msgpack.Decoder[_Read]") -> tuple[_Read, bytes]:
        if sequence != self.sequence + 1:
            raise JournalBroken(self.sequence + 1, f"is missing; the next message there is {sequence}")
        commit, digest = _decode(sequence, payload, decoder)
        if why := self._misfit(commit):
            raise JournalBroken(sequence, why)
        return commit, digest

    def follow(self, sequence: int, payload: bytes) -> Commit:
        """Check the next commit and move on to it."""
        commit, digest = self.check(sequence, payload)
        self.advance(commit, digest)
        return commit

    def advance(self, commit: Commit | EncodedOutcomes, digest: bytes) -> None:
        """Move on to a commit known to fit: one that `check` returned, or that this process wrote."""
        self.sequence = commit.sequence
        self.hash = digest
        self.journal_epoch = commit.journal_epoch
        self.matcher_epoch = commit.matcher_epoch
        self.time = commit.time

    def _misfit(self, commit: Commit | EncodedOutcomes) -> str | None:
        if commit.sequence != self.sequence + 1:
            return f"says that it is commit {commit.sequence}; the journal was cut and its numbers used again"
        if commit.previous_hash != self.hash:
            return "does not chain: it follows another commit than the one before it"
        if self.journal_epoch is not None and commit.journal_epoch != self.journal_epoch:
            return f"belongs to journal {commit.journal_epoch}, the ones before it to {self.journal_epoch}"
        if commit.matcher_epoch != self.matcher_epoch + commit.is_barrier:
            return f"has matcher epoch {commit.matcher_epoch} after {self.matcher_epoch}"
        if commit.time < self.time:
            return "goes back in time"
        return None
