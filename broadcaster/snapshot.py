"""The market on disk, so that a start reads only the end of the journal (docs/decisions/0007).

A snapshot is a convenience: whatever is wrong with one (damaged, of another format, of another journal, ahead of the
journal) it is passed over with a warning, and the journal, which is the truth, is read from its start.
"""

import asyncio
import contextlib
import logging
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from broadcaster.live import Live
from broadcaster.market import Frozen, Market, dump, freeze, load, pack_parts
from contracts.commits import Chain, JournalBroken, decode_commit
from contracts.subjects import JOURNAL_STREAM

log = logging.getLogger(__name__)

FORMAT = 2
SAVE_SECONDS = 10.0
_PAUSE_FACTOR = 20
"""A market with so many orders that saving takes long is saved less often."""
_MAGIC = b"PTMARKET"
_HEADER_SIZE = len(_MAGIC) + 4
_HASH_SIZE = 32
_KEPT = 2


class Unusable(Exception):
    """This snapshot cannot be built on; the message says why."""


def pack(body: bytes) -> bytes:
    """Magic and format version, SHA-256 over them and the body, the body."""
    header = _MAGIC + FORMAT.to_bytes(4, "big")
    return header + sha256(header + body).digest() + body


def unpack(content: bytes) -> bytes:
    """The body. Raises Unusable."""
    header, digest = content[:_HEADER_SIZE], content[_HEADER_SIZE : _HEADER_SIZE + _HASH_SIZE]
    body = content[_HEADER_SIZE + _HASH_SIZE :]
    if header[: len(_MAGIC)] != _MAGIC:
        raise Unusable("it is no snapshot of the market")
    if (version := int.from_bytes(header[len(_MAGIC) :], "big")) != FORMAT:
        raise Unusable(f"it has format {version}, this program reads {FORMAT}")
    if sha256(header + body).digest() != digest:
        raise Unusable("its bytes do not match its hash; it is damaged")
    return body


@dataclass(frozen=True, slots=True)
class SnapshotFolder:
    """The newest snapshots, one file each, named by the journal sequence they were taken after."""

    path: Path

    def write(self, body: bytes, sequence: int) -> None:
        """Store a dump: after a crash at any moment there is the whole file under its name, or no such name."""
        self.path.mkdir(parents=True, exist_ok=True)
        target = self.path / f"market-{sequence:020d}.snapshot"
        temporary = target.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            file.write(pack(body))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        self._sync()
        self._tidy()

    def _sync(self) -> None:
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _tidy(self) -> None:
        """Keep the newest few, and nothing that a crash left half written."""
        for file in [*self.newest_first()[_KEPT:], *self.path.glob("*.tmp")]:
            with contextlib.suppress(FileNotFoundError):  # a second broadcaster on this folder was faster
                file.unlink()

    def newest_first(self) -> list[Path]:
        return sorted(self.path.glob("market-*.snapshot"), reverse=True)

    def read(self, file: Path) -> tuple[Market, Chain]:
        """Raises Unusable."""
        try:
            return load(unpack(file.read_bytes()))
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            raise Unusable(f"it cannot be read ({error})") from error


def save(folder: SnapshotFolder, live: Live) -> None:
    """At a clean stop."""
    if live.position.sequence:
        _write(folder, dump(live.market, live.position), live.position.sequence)


async def keep_saving(folder: SnapshotFolder, live: Live) -> None:
    """Now and then, without end. The market is frozen between two commits, the rest is left to a thread."""
    saved, pause, loop = live.position.sequence, SAVE_SECONDS, asyncio.get_running_loop()
    while True:
        await asyncio.sleep(pause)
        if live.position.sequence > saved:
            saved, begun = live.position.sequence, loop.time()
            await asyncio.to_thread(_write_frozen, folder, freeze(live.market, live.position), saved)
            pause = max(SAVE_SECONDS, _PAUSE_FACTOR * (loop.time() - begun))


def _write_frozen(folder: SnapshotFolder, frozen: Frozen, sequence: int) -> None:
    _write(folder, pack_parts(frozen.parts()), sequence)


def _write(folder: SnapshotFolder, body: bytes, sequence: int) -> None:
    try:
        folder.write(body, sequence)
    except OSError as error:
        log.warning("snapshot: not written (%s); the next start reads more of the journal", error)


async def newest_good(folder: SnapshotFolder, connection: Client) -> tuple[Market, Chain]:
    """The newest snapshot that fits the journal, or an empty market at the journal's start."""
    for file in folder.newest_first():
        try:
            market, position = folder.read(file)
            await _check_fits(position, connection)
        except Unusable as error:
            log.warning("snapshot %s is not used: %s", file, error)
        else:
            log.info("snapshot %s: going on after commit %d", file.name, position.sequence)
            return market, position
    return Market(), Chain()


async def _check_fits(position: Chain, connection: Client) -> None:
    """The journal must still hold the commit that the snapshot was taken after: not direct get, which may be stale."""
    try:
        message = await connection.jsm().get_msg(JOURNAL_STREAM, position.sequence)
        _, digest = decode_commit(position.sequence, message.data or b"")
    except NotFoundError as error:
        raise Unusable(f"the journal has no commit {position.sequence}") from error
    except JournalBroken as error:
        raise Unusable(str(error)) from error
    if digest != position.hash:
        raise Unusable(f"the journal has another commit {position.sequence}")
