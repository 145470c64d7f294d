"""Snapshots: taken by a child, proved by another process, and the newest good one is gone on from.

Goal: a start goes on from what it can trust and from nothing else, and what cannot be trusted is named.
Method: real children of this process, real files, and a real journal that is cut, exchanged and trimmed.
"""

import asyncio
import fcntl
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import nats
import psutil
import pytest
from nats.aio.client import Client

from contracts.commits import JournalBroken
from contracts.subjects import JOURNAL_STREAM
from matcher import snapshots, state, verify_snapshot
from matcher.engine import Engine
from matcher.replay import Replay
from matcher.snapshots import keep_taking, newest_good, read, snapshot_files, take
from runtime.settings import Settings
from runtime.snapshot_files import SnapshotFiles
from tests.support.journals import Journal, publish, random_journal
from tests.support.servers import NatsServer, wait_until

COMMITS = 30


@pytest.fixture
def files(tmp_path: Path) -> SnapshotFiles:
    return snapshot_files(tmp_path / "matcher")


@pytest.fixture(scope="module")
def journal() -> Journal:
    return random_journal(3, COMMITS, 5)


def replayed(journal: Journal, until: int | None = None) -> Replay:
    replay = Replay()
    for written in journal.written[:until]:
        replay.follow(written.commit.sequence, written.payload)
    return replay


def save(files: SnapshotFiles, journal: Journal, until: int) -> None:
    replay = replayed(journal, until)
    files.write(state.dump_parts(replay), replay.chain.sequence)


def resting(replay: Replay) -> Callable[[Callable[[Replay], None]], asyncio.Future[None]]:
    """A matcher that is at rest and durable at any time."""

    async def at_rest(use: Callable[[Replay], None]) -> None:
        use(replay)

    return lambda use: asyncio.ensure_future(at_rest(use))


def names(files: SnapshotFiles) -> list[str]:
    return sorted(file.name for file in files.folder.iterdir()) if files.folder.exists() else []


def children() -> list[psutil.Process]:
    return psutil.Process().children()


# Taking one


async def test_a_child_takes_it_and_another_process_proves_it(files: SnapshotFiles, journal: Journal) -> None:
    replay = replayed(journal)
    assert await take(files, resting(replay))
    (file,) = files.newest_first()
    assert names(files) == [f"state-{replay.chain.sequence:020d}.snapshot"]
    loaded = read(files, file)
    assert loaded.chain == replay.chain
    assert loaded.engine.state_hash() == replay.engine.state_hash()


async def test_what_never_gets_durable_gets_no_name(files: SnapshotFiles, journal: Journal) -> None:
    replay = replayed(journal, 9)

    async def fenced(use: Callable[[Replay], None]) -> None:
        use(replay)
        await asyncio.to_thread(wait_until, lambda: bool(names(files)))
        raise ConnectionError("another matcher took over")

    assert not await take(files, fenced)
    assert files.newest_first() == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_whose_matcher_dies_before_it_was_durable_throws_it_away(
    files: SnapshotFiles, journal: Journal
) -> None:
    replay = replayed(journal, 9)
    matcher = os.fork()
    if matcher == 0:
        snapshots._Taking(files).fork(replay)
        signal.pause()
    assert wait_until(lambda: bool(names(files)))
    os.kill(matcher, signal.SIGKILL)
    os.waitpid(matcher, 0)
    assert wait_until(lambda: not names(files))


async def test_a_canceled_one_leaves_no_process(files: SnapshotFiles, journal: Journal) -> None:
    replay, forked = replayed(journal), asyncio.Event()

    async def never_durable(use: Callable[[Replay], None]) -> None:
        use(replay)
        forked.set()
        await asyncio.Event().wait()

    before = children()
    taking = asyncio.ensure_future(take(files, never_durable))
    await forked.wait()
    assert children() != before
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert children() == before


async def test_a_child_that_is_killed_costs_no_more_than_the_snapshot(
    files: SnapshotFiles, journal: Journal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "dump_parts", lambda replay: os.kill(os.getpid(), signal.SIGKILL))
    assert not await take(files, resting(replayed(journal)))
    assert "ended by signal 9" in caplog.text
    assert files.newest_first() == []


async def test_a_folder_that_cannot_be_written_costs_no_more_than_the_snapshot(
    tmp_path: Path, journal: Journal
) -> None:
    (tmp_path / "matcher").write_text("a file where the folder should be")
    assert not await take(snapshot_files(tmp_path / "matcher"), resting(replayed(journal)))


async def test_a_child_holds_nothing_of_the_matcher_open(files: SnapshotFiles, journal: Journal) -> None:
    """A killed matcher is noticed by its connections being closed: its child must not keep them."""
    ours, theirs = os.pipe()
    high = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, 300)  # beyond the pipes that the child needs

    async def at_rest(use: Callable[[Replay], None]) -> None:
        use(replayed(journal))
        os.close(theirs)
        os.close(high)
        loop, closed = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(ours, closed.set)
        await asyncio.wait_for(closed.wait(), 20)
        loop.remove_reader(ours)

    assert await take(files, at_rest)
    os.close(ours)


# Proving one


def test_a_good_one_gets_its_name(files: SnapshotFiles, journal: Journal) -> None:
    replay = replayed(journal)
    aside = files.write_aside(state.dump_parts(replay), replay.chain.sequence)
    assert verify_snapshot.main(aside) == 0
    assert files.sequences() == [replay.chain.sequence]


@pytest.mark.parametrize("place", [20, 60, 300, -1])
def test_one_that_was_damaged_on_its_way_to_the_disk_gets_none(
    files: SnapshotFiles, journal: Journal, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    aside = files.write_aside(state.dump_parts(replayed(journal)), COMMITS + 2)
    content = bytearray(aside.read_bytes())
    content[place] ^= 4
    aside.write_bytes(content)
    assert verify_snapshot.main(aside) == 1
    assert "thrown away" in caplog.text
    assert names(files) == []


@pytest.mark.parametrize("what", ["last order id", "a fill", "a window", "a level's order"])
def test_one_of_a_state_that_was_not_the_matchers_gets_none(files: SnapshotFiles, journal: Journal, what: str) -> None:
    """What a bit that flips in the child's memory, or an error in `state`, would make."""
    replay = replayed(journal)
    header, *parts = state.dump_parts(replay)
    engine = replay.engine
    order = next(iter(engine._open.values()))
    match what:
        case "last order id":
            engine._last_order_id += 1
        case "a fill":
            order.notional += 1
        case "a window":
            engine._client_order_ids._uses[engine._client_order_ids._oldest_first[0]] = bytes(24)
        case "a level's order":
            order.created_at += 1
    _, *other = state.dump_parts(replay)
    assert parts != other
    assert verify_snapshot.main(files.write_aside([header, *other], replay.chain.sequence)) == 1
    assert names(files) == []


def test_one_with_another_ones_name_is_not_used(
    files: SnapshotFiles, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    aside = files.write_aside(state.dump_parts(replayed(journal)), 5)
    assert verify_snapshot.main(aside) == 1
    assert "its name is not its own" in caplog.text


# When


class Taken:
    """Stands in for `take`: notes at which position snapshots were taken, and names them at once."""

    def __init__(self, files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch, *, succeeds: bool = True) -> None:
        self.position = 0
        self.at: list[int] = []
        self._files, self._succeeds = files, succeeds
        self.looked = 0
        monkeypatch.setattr(snapshots, "take", self.take)
        monkeypatch.setattr(snapshots, "_LOOK_SECONDS", 0)
        monkeypatch.setattr(snapshots, "_PAUSE_FACTOR", 0)

    async def take(self, files: SnapshotFiles, at_rest: object) -> bool:
        self.at.append(self.position)
        if self._succeeds:
            files.write([b""], self.position)
        return self._succeeds

    def where(self) -> int:
        self.looked += 1
        return self.position

    async def go_to(self, position: int) -> None:
        self.position = position
        looked = self.looked
        while self.looked < looked + 3:  # noqa: ASYNC110 (nothing else happens meanwhile)
            await asyncio.sleep(0)


async def at_rest(use: Callable[[Replay], None]) -> None:
    raise AssertionError("`take` is another one here")


async def taken_on_the_way(
    taken: Taken, files: SnapshotFiles, settings: Settings, positions: list[int], *, standby: bool = False
) -> list[int]:
    async def answers() -> bool:
        return standby

    taking = asyncio.ensure_future(keep_taking(files, settings, taken.where, at_rest, answers))
    for position in positions:
        await taken.go_to(position)
    taking.cancel()
    return taken.at


async def test_after_so_many_commits(files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken(files, monkeypatch)
    settings = Settings(snapshot_commits=100)
    assert await taken_on_the_way(taken, files, settings, [99, 100, 199, 205, 304, 305]) == [100, 205, 305]


async def test_those_that_are_there_count(files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write([b""], 50)
    taken = Taken(files, monkeypatch)
    assert await taken_on_the_way(taken, files, Settings(snapshot_commits=100), [100, 149, 150]) == [150]


async def test_after_some_time_if_there_were_enough(files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken(files, monkeypatch)
    settings = Settings(snapshot_commits=100_000, snapshot_seconds=0.000001)
    assert await taken_on_the_way(taken, files, settings, [999, 1000, 1999, 2000]) == [1000, 2000]


async def test_one_that_fails_is_not_tried_again_at_once(files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken(files, monkeypatch, succeeds=False)
    assert await taken_on_the_way(taken, files, Settings(snapshot_commits=100), [100, 199, 200]) == [100, 200]


async def test_one_that_takes_long_is_taken_less_often(files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken(files, monkeypatch)
    monkeypatch.setattr(snapshots, "_PAUSE_FACTOR", 1e9)
    assert await taken_on_the_way(taken, files, Settings(snapshot_commits=100), [100, 200, 300]) == [100]


async def test_a_leader_leaves_them_to_its_standby_until_these_fail(
    files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = Taken(files, monkeypatch)
    settings = Settings(snapshot_commits=100)
    assert await taken_on_the_way(taken, files, settings, [100, 199, 200, 399], standby=True) == [200]


async def test_never_when_the_setting_says_so(files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Taken(files, monkeypatch)
    taking = asyncio.ensure_future(keep_taking(files, Settings(snapshot_commits=0), taken.where, at_rest))
    done, _ = await asyncio.wait([taking], timeout=0.05)
    assert not done
    assert taken.looked == 0
    taking.cancel()


# Going on from one


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[Client]:
    connection = await nats.connect(nats_server.url)
    yield connection
    await connection.close()


@pytest.mark.stack
async def test_the_newest_is_gone_on_from(files: SnapshotFiles, connection: Client, journal: Journal) -> None:
    await publish(connection, journal.written)
    assert (await newest_good(files, connection)).chain.sequence == 0
    save(files, journal, 10)
    save(files, journal, 20)
    replay = await newest_good(files, connection)
    assert replay.chain.sequence == 20
    for written in journal.written[20:]:
        replay.follow(written.commit.sequence, written.payload)
    assert replay.engine.state_hash() == journal.engine.state_hash()


@pytest.mark.stack
async def test_damaged_ones_are_passed_over_and_named(
    files: SnapshotFiles, connection: Client, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(connection, journal.written)
    for sequence in (10, 20, 30):
        save(files, journal, sequence)
    newest, second, oldest = files.newest_first()
    newest.write_bytes(newest.read_bytes()[:-1])
    second.write_bytes(second.read_bytes().replace(b"PTENGINE", b"PTENGINF"))
    assert (await newest_good(files, connection)).chain.sequence == 10
    assert f"snapshot {newest.name} is not used: its bytes do not match its hash; it is damaged" in caplog.text
    assert f"snapshot {second.name} is not used: it is no snapshot of a matcher's state" in caplog.text
    oldest.write_bytes(b"")
    replay = await newest_good(files, connection)
    assert replay.chain.sequence == 0
    assert replay.engine.state_hash() == Engine().state_hash()


@pytest.mark.stack
async def test_one_of_a_later_version_is_passed_over_and_named(
    files: SnapshotFiles,
    connection: Client,
    journal: Journal,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await publish(connection, journal.written)
    later = snapshot_files(files.folder)
    object.__setattr__(later, "format", state.FORMAT + 1)
    save(later, journal, 30)
    monkeypatch.setattr(state, "VERSION", 99)
    save(files, journal, 20)
    monkeypatch.undo()
    save(files, journal, 10)
    assert (await newest_good(files, connection)).chain.sequence == 10
    assert f"it has format {state.FORMAT + 1}, this program reads {state.FORMAT}" in caplog.text
    assert "it is of journal version 99, this program writes 2" in caplog.text


@pytest.mark.stack
async def test_one_of_another_journal_is_put_aside(
    files: SnapshotFiles, connection: Client, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """It must not stand in the way of this one's, which may have lower numbers."""
    await publish(connection, journal.written)
    other = Journal("another")
    other.barrier()
    save(files, other, 1)
    with caplog.at_level(logging.WARNING):
        assert (await newest_good(files, connection)).chain.sequence == 0
    assert "it is of journal another, this is journal test-journal" in caplog.text
    assert names(files) == ["state-00000000000000000001.of-another-journal"]


@pytest.mark.stack
async def test_a_journal_that_ends_before_one_is_refused(
    files: SnapshotFiles, connection: Client, journal: Journal
) -> None:
    """What a snapshot was taken of was durable: going on would use sequence numbers again."""
    await publish(connection, journal.written[:8])
    save(files, journal, 9)
    with pytest.raises(JournalBroken, match=r"sequence 9: was there when .*, but the journal ends at 8"):
        await newest_good(files, connection)


@pytest.mark.stack
async def test_a_journal_that_went_on_otherwise_is_refused(
    files: SnapshotFiles, connection: Client, journal: Journal
) -> None:
    await publish(connection, random_journal(4, COMMITS, 5).written)
    save(files, journal, 9)
    with pytest.raises(JournalBroken, match="the journal has another commit 9"):
        await newest_good(files, connection)


@pytest.mark.stack
@pytest.mark.parametrize("kept_from", [9, 10, 11, 25])
async def test_the_journal_may_be_trimmed(
    files: SnapshotFiles, connection: Client, journal: Journal, kept_from: int
) -> None:
    """Up to the snapshot, which the next commit then speaks for; beyond it the archive has what is missing."""
    await publish(connection, journal.written)
    await connection.jsm().purge_stream(JOURNAL_STREAM, seq=kept_from)
    save(files, journal, 10)
    assert (await newest_good(files, connection)).chain.sequence == 10


@pytest.mark.stack
async def test_of_a_trimmed_journal_the_next_commit_must_follow(
    files: SnapshotFiles, connection: Client, journal: Journal
) -> None:
    other = random_journal(4, COMMITS, 5)
    await publish(connection, other.written)
    await connection.jsm().purge_stream(JOURNAL_STREAM, seq=11)
    save(files, journal, 10)
    with pytest.raises(JournalBroken, match="the journal has another commit 10"):
        await newest_good(files, connection)
