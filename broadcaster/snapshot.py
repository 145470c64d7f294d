"""The market on disk, so that a start reads only the end of the journal (docs/decisions/0007).

A snapshot is a convenience: whatever is wrong with one (damaged, of another format, of another journal, ahead of the
journal) it is passed over with a warning, and the journal, which is the truth, is read from its start.
"""

import asyncio
import logging
from pathlib import Path

import msgspec
from nats.aio.client import Client

from broadcaster.live import Live
from broadcaster.market import Frozen, Market, dump, freeze, load, pack_parts
from contracts.commits import Chain
from runtime.snapshot_files import SnapshotFiles, Unusable
from runtime.snapshot_fit import check_fits

log = logging.getLogger(__name__)

FORMAT = 2
SAVE_SECONDS = 10.0
_PAUSE_FACTOR = 20
"""A market with so many orders that saving takes long is saved less often."""
_KEPT = 2


def snapshot_files(folder: Path) -> SnapshotFiles:
    return SnapshotFiles(folder, "market", "the market", b"PTMARKET", FORMAT, _KEPT)


def read(files: SnapshotFiles, file: Path) -> tuple[Market, Chain]:
    """Raises Unusable."""
    try:
        return load(files.read(file))
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unusable(f"it cannot be read ({error})") from error


def save(files: SnapshotFiles, live: Live) -> None:
    """At a clean stop."""
    if live.position.sequence:
        _write(files, dump(live.market, live.position), live.position.sequence)


async def keep_saving(files: SnapshotFiles, live: Live) -> None:
    """Now and then, without end. The market is frozen between two commits, the rest is left to a thread."""
    saved, pause, loop = live.position.sequence, SAVE_SECONDS, asyncio.get_running_loop()
    while True:
        await asyncio.sleep(pause)
        if live.position.sequence > saved:
            saved, begun = live.position.sequence, loop.time()
            await asyncio.to_thread(_write_frozen, files, freeze(live.market, live.position), saved)
            pause = max(SAVE_SECONDS, _PAUSE_FACTOR * (loop.time() - begun))


def _write_frozen(files: SnapshotFiles, frozen: Frozen, sequence: int) -> None:
    _write(files, pack_parts(frozen.parts()), sequence)


def _write(files: SnapshotFiles, body: bytes, sequence: int) -> None:
    try:
        files.write([body], sequence)
    except OSError as error:
        log.warning("snapshot: not written (%s); the next start reads more of the journal", error)


async def newest_good(files: SnapshotFiles, connection: Client) -> tuple[Market, Chain]:
    """The newest snapshot that fits the journal, or an empty market at the journal's start."""
    for file in files.newest_first():
        try:
            market, position = read(files, file)
            await check_fits(position, connection)
        except Unusable as error:
            log.warning("snapshot %s is not used: %s", file, error)
        else:
            log.info("snapshot %s: going on after commit %d", file.name, position.sequence)
            return market, position
    return Market(), Chain()
