"""What nats-server keeps on disk, as far as it must be read without nats-server: to mend it, and to save what it lost.

A message is a record of a block file (nats-server's filestore.go):

    length u32 (its highest bit: has headers) | sequence u64 | time i64 | length of the subject u16 | subject
    [| length of the headers u32 | headers] | message | checksum of 8 bytes

nats-server forgets more than what is damaged: from one flipped bit on, all that follows in the block or in the stream.
But a commit carries its own hash, so each one is found by itself here, whatever is around it.
"""

import shutil
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from contracts.commits import HASH_SIZE
from contracts.subjects import JOURNAL, JOURNAL_STREAM

_HEADER = struct.Struct("<IQqH")
_HAS_HEADERS = 1 << 31
_CHECKSUM_SIZE = 8
_SUBJECT = struct.pack("<H", len(JOURNAL)) + JOURNAL.encode()


def stream_folders(store: Path) -> list[Path]:
    """Of every account."""
    return sorted(store.glob("jetstream/*/streams/*"))


def journal_folders(stores: Iterable[Path]) -> list[Path]:
    return [folder for store in stores for folder in stream_folders(store) if folder.name == JOURNAL_STREAM]


# Streams that were never finished


def is_whole(stream: Path) -> bool:
    """Has it what nats-server needs to know it again?"""
    return all((stream / name).is_file() and (stream / name).stat().st_size for name in ("meta.inf", "meta.sum"))


def holds_messages(stream: Path) -> bool:
    """Whether there ever was one: a stream that was emptied has an index or marks of what is gone."""
    return any(file.stat().st_size for file in (stream / "msgs").glob("*"))


def remove_unfinished(store: Path) -> list[str]:
    """Remove streams that were only being made when nats-server was killed: it would never be well again.

    What makes a stream is synced before the first message is taken, so nothing that anybody was told is in them.
    Returns their names.
    """
    unfinished = [stream for stream in stream_folders(store) if not is_whole(stream) and not holds_messages(stream)]
    for stream in unfinished:
        shutil.rmtree(stream)
    return [stream.name for stream in unfinished]


def damaged_streams(store: Path) -> list[Path]:
    """Those that hold messages, and that nats-server will not know again."""
    return [stream for stream in stream_folders(store) if not is_whole(stream) and holds_messages(stream)]


# The journal's commits


class Record(NamedTuple):
    sequence: int
    time: int
    payload: bytes


def records(block: bytes) -> Iterator[Record]:
    """Every commit of a block file that is whole."""
    at = block.find(_SUBJECT)
    while at >= 0:
        if (found := _record(block, at - _HEADER.size + 2)) is not None:
            yield found
        at = block.find(_SUBJECT, at + 1)


def _record(block: bytes, start: int) -> Record | None:
    """The record that begins there, if one does."""
    if start < 0:
        return None
    length, sequence, time, _ = _HEADER.unpack_from(block, start)
    end = start + (length & ~_HAS_HEADERS) - _CHECKSUM_SIZE
    body = start + _HEADER.size + len(JOURNAL)
    if length & _HAS_HEADERS and body + 4 <= len(block):
        body += 4 + int.from_bytes(block[body : body + 4], "little")
    payload = block[body:end]
    if end > len(block) or len(payload) <= HASH_SIZE or sha256(payload[HASH_SIZE:]).digest() != payload[:HASH_SIZE]:
        return None
    return Record(sequence, time, payload)


class SavedCommits:
    """The commits in the block files of one or more folders of the stream: in memory is where they are, and a block."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._blocks: list[tuple[list[int], Path]] = []
        for folder in folders:
            for file in sorted((folder / "msgs").glob("*.blk")):
                if sequences := sorted({record.sequence for record in records(file.read_bytes())}):
                    self._blocks.append((sequences, file))
        self._loaded: tuple[Path | None, dict[int, list[Record]]] = (None, {})

    @property
    def first(self) -> int:
        return min((sequences[0] for sequences, _ in self._blocks), default=0)

    @property
    def last(self) -> int:
        return max((sequences[-1] for sequences, _ in self._blocks), default=0)

    def at(self, sequence: int) -> list[bytes]:
        """What was stored under this sequence, the latest first: more than one, if the journal was once cut."""
        found = [record for file in self._files(sequence) for record in self._read(file).get(sequence, [])]
        return [record.payload for record in sorted(found, key=lambda record: record.time, reverse=True)]

    def _files(self, sequence: int) -> list[Path]:
        return [file for sequences, file in self._blocks if _contains(sequences, sequence)]

    def _read(self, file: Path) -> dict[int, list[Record]]:
        if self._loaded[0] != file:
            by_sequence: dict[int, list[Record]] = {}
            for record in records(file.read_bytes()):
                by_sequence.setdefault(record.sequence, []).append(record)
            self._loaded = (file, by_sequence)
        return self._loaded[1]


def _contains(values: list[int], value: int) -> bool:
    at = bisect_left(values, value)
    return at < len(values) and values[at] == value
