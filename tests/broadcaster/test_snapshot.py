"""Snapshots: the good one is used, anything else is passed over and named."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from broadcaster import snapshot
from broadcaster.live import Live
from broadcaster.snapshot import keep_saving, newest_good, read, save, snapshot_files
from contracts.messages import Side
from runtime.snapshot_files import SnapshotFiles, Unusable
from tests.support.broadcaster_journal import SYMBOL, HandmadeJournal, JournalWriter
from tests.support.servers import NatsServer, wait_until


@pytest.fixture
def files(tmp_path: Path) -> SnapshotFiles:
    return snapshot_files(tmp_path / "broadcaster")


def busy_journal(epoch: str = "handmade") -> HandmadeJournal:
    journal = HandmadeJournal(epoch)
    journal.begin()
    journal.next([journal.resting(Side.SELL, 10_000, 9), journal.traded(10_000, 4, left=5)])
    journal.next([journal.resting(Side.BUY, 9_000, 2)])
    return journal


def folded(journal: HandmadeJournal, until: int | None = None) -> Live:
    live = Live()
    for sequence, message in enumerate(journal.messages[:until], 1):
        live.fold(sequence, message)
    return live


def test_a_whole_file_that_holds_no_market_is_unusable(files: SnapshotFiles) -> None:
    files.write([b"\x93"], 1)
    with pytest.raises(Unusable, match="cannot be read"):
        read(files, files.newest_first()[0])


def test_a_market_goes_through_the_folder_unchanged(files: SnapshotFiles) -> None:
    journal = busy_journal()
    live = folded(journal)
    save(files, live)
    market, position = read(files, files.newest_first()[0])
    assert position == journal.position
    assert market.depth(SYMBOL, 10) == live.market.depth(SYMBOL, 10)
    assert market.view(SYMBOL, journal.time) == live.market.view(SYMBOL, journal.time)
    assert list(market.recent) == list(live.market.recent)


def test_nothing_is_saved_before_the_first_commit(files: SnapshotFiles) -> None:
    save(files, Live())
    assert files.newest_first() == []


async def test_it_saves_in_the_background_when_something_happened(
    files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "SAVE_SECONDS", 0.01)
    journal = busy_journal()
    live = folded(journal, until=3)
    saving = asyncio.create_task(keep_saving(files, live))
    await asyncio.sleep(0)  # it begins
    live.fold(4, journal.messages[3])
    assert await asyncio.to_thread(wait_until, lambda: bool(files.newest_first()))
    saving.cancel()
    assert read(files, files.newest_first()[0])[1].sequence == 4


async def test_a_snapshot_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broadcaster").write_text("a file where the folder should be")
    save(snapshot_files(tmp_path / "broadcaster"), folded(busy_journal()))
    assert "not written" in caplog.text


# Against a real journal


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[Client]:
    connection = await nats.connect(nats_server.url)
    yield connection
    await connection.close()


@pytest.fixture
async def journal(connection: Client) -> HandmadeJournal:
    journal = busy_journal()
    writer = JournalWriter(connection, journal)
    await writer.write()
    return journal


async def sequence_found(files: SnapshotFiles, connection: Client) -> int:
    market, position = await newest_good(files, connection)
    assert market.sequence == position.sequence
    return position.sequence


@pytest.mark.stack
async def test_the_newest_that_fits_the_journal_is_used(
    files: SnapshotFiles, connection: Client, journal: HandmadeJournal
) -> None:
    assert await sequence_found(files, connection) == 0
    save(files, folded(journal, until=2))
    save(files, folded(journal))
    market, position = await newest_good(files, connection)
    assert position == journal.position
    assert market.depth(SYMBOL, 1).asks == [("100.00", "0.005")]


@pytest.mark.stack
async def test_a_damaged_one_is_passed_over_for_the_one_before(
    files: SnapshotFiles, connection: Client, journal: HandmadeJournal, caplog: pytest.LogCaptureFixture
) -> None:
    save(files, folded(journal, until=2))
    save(files, folded(journal))
    newest = files.newest_first()[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    assert await sequence_found(files, connection) == 2
    assert "damaged" in caplog.text


@pytest.mark.stack
@pytest.mark.parametrize(
    ("other", "why"),
    [(busy_journal("another"), "is of journal another"), (busy_journal(), "ends at 4, this was taken after commit 5")],
)
async def test_one_of_another_journal_or_ahead_of_this_one_is_not_used(
    files: SnapshotFiles,
    connection: Client,
    journal: HandmadeJournal,
    other: HandmadeJournal,
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if other.position == journal.position:
        other.next([other.resting(Side.BUY, 1, 1)])
    save(files, folded(other))
    with caplog.at_level(logging.WARNING):
        assert await sequence_found(files, connection) == 0
    assert why in caplog.text
