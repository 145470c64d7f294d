"""nats-server's files read without it: what a real one wrote, damaged in ways that lose it more than is damaged."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest

from cli.errors import CommandError
from cli.stream_files import SavedCommits, damaged_streams, journal_folders, records, remove_unfinished
from cli.up import mend_streams
from tests.support.journals import Written, publish, random_journal
from tests.support.servers import run_apart, start_nats, temporary_folder

pytestmark = pytest.mark.stack

JOURNAL = random_journal(31, commits=198, commands_per_commit=4).written
"""200 commits."""
PAYLOADS = {each.commit.sequence: each.payload for each in JOURNAL}


def write(folder: Path, written: list[Written]) -> Path:
    """The store of a nats-server that was killed after these commits."""
    server = start_nats(folder)

    async def fill() -> None:
        connection = await nats.connect(server.url)
        await publish(connection, written)
        await connection.close()

    run_apart(fill)
    server.kill()
    return folder / "nats"


@pytest.fixture(scope="module")
def written() -> Iterator[Path]:
    with temporary_folder() as folder:
        yield write(folder, JOURNAL)


@pytest.fixture
def store(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "nats")
    return tmp_path / "nats"


def block_of(store: Path) -> Path:
    (folder,) = journal_folders([store])
    (block,) = (folder / "msgs").glob("*.blk")
    return block


def saved(store: Path) -> dict[int, bytes]:
    commits = SavedCommits(journal_folders([store]))
    return {n: found[0] for n in range(1, commits.last + 1) if (found := commits.at(n))}


def test_every_commit_byte_for_byte(store: Path) -> None:
    assert saved(store) == PAYLOADS


def test_without_any_file_but_the_block(store: Path) -> None:
    block = block_of(store)
    content = block.read_bytes()
    shutil.rmtree(block.parent)
    block.parent.mkdir()
    block.write_bytes(content)
    assert saved(store) == PAYLOADS


def test_a_flipped_bit_costs_the_commit_it_is_in_and_no_other(store: Path) -> None:
    block, chance = block_of(store), random.Random(7)
    whole = block.read_bytes()
    for _ in range(200):
        at = chance.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[at] ^= 1 << chance.randrange(8)
        found = {record.sequence: record.payload for record in records(bytes(damaged))}
        lost = PAYLOADS.keys() - found.keys()
        wrong = {n for n in found if found[n] != PAYLOADS.get(n)}
        assert len(lost) <= 1, at
        assert wrong <= found.keys() - PAYLOADS.keys(), "a payload is never wrong; the number before it may be"


def test_a_truncated_block_has_what_is_before_the_cut(store: Path) -> None:
    block = block_of(store)
    whole = block.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1, len(whole)):
        block.write_bytes(whole[:size])
        found = saved(store)
        assert list(found) == list(range(1, len(found) + 1))
        assert all(found[n] == PAYLOADS[n] for n in found)
    assert len(found) == 200


def test_garbage_between_the_commits_is_passed_over(store: Path) -> None:
    block, chance = block_of(store), random.Random(3)
    whole = block.read_bytes()
    second = whole.find(b"\x07\x00journal", 100) - 20
    block.write_bytes(chance.randbytes(999) + whole[:second] + b"\x07\x00journal" * 50 + whole[second:])
    assert saved(store) == PAYLOADS


def test_of_two_that_were_stored_under_one_number_the_later_comes_first(store: Path, tmp_path: Path) -> None:
    """As after a journal that was cut and went on."""
    other = random_journal(32, commits=3, commands_per_commit=1).written
    again = write(tmp_path / "again", other)
    shutil.copy(block_of(again), block_of(store).with_name("2.blk"))
    commits = SavedCommits(journal_folders([store]))
    assert commits.at(3) == [other[2].payload, PAYLOADS[3]]
    assert commits.at(100) == [PAYLOADS[100]]
    assert (commits.first, commits.last) == (1, 200)
    assert commits.at(201) == []


def test_no_store_at_all(tmp_path: Path) -> None:
    commits = SavedCommits(journal_folders([tmp_path]))
    assert (commits.first, commits.last, commits.at(1)) == (0, 0, [])


# Streams that were never finished: what nats-server leaves when it is killed while it makes one


def unfinished(store: Path, *names: str) -> Path:
    (journal,) = journal_folders([store])
    stream = journal.with_name("OTHER")
    for name in names:
        file = stream / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    stream.mkdir(parents=True, exist_ok=True)
    return stream


@pytest.mark.parametrize(
    "names",
    [(), ("msgs/1.blk",), ("msgs/1.blk", "meta.inf.tmp"), ("msgs/1.blk", "meta.inf"), ("meta.inf", "meta.sum")],
)
def test_a_stream_that_was_only_being_made_goes(store: Path, names: tuple[str, ...]) -> None:
    stream = unfinished(store, *names)
    assert remove_unfinished(store) == ["OTHER"]
    assert not stream.exists()
    assert saved(store) == PAYLOADS
    assert remove_unfinished(store) == []


@pytest.mark.parametrize("name", ["meta.inf", "meta.sum"])
def test_a_stream_with_messages_is_never_removed(store: Path, name: str) -> None:
    (journal,) = journal_folders([store])
    (journal / name).unlink()
    assert remove_unfinished(store) == []
    assert damaged_streams(store) == [journal]
    for file in (journal / "msgs").glob("*.blk"):
        file.write_bytes(b"")
    (journal / "msgs" / "index.db").write_bytes(b"messages there were")
    assert remove_unfinished(store) == []


def test_up_says_what_it_does_about_it_or_what_to_do(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unfinished(store, "msgs/1.blk")
    mend_streams(store, Path("DIR"))
    assert "stream OTHER was only being made when nats-server was killed" in capsys.readouterr().out
    (journal,) = journal_folders([store])
    (journal / "meta.sum").unlink()
    with pytest.raises(CommandError, match="run `pricetime rebuild journal --data DIR`"):
        mend_streams(store, Path("DIR"))
    journal.rename(journal.with_name("KV_KEYS"))
    with pytest.raises(CommandError, match=r"KV_KEYS is damaged.*bring that folder back"):
        mend_streams(store, Path("DIR"))


def test_nats_server_is_well_again_without_it(store: Path) -> None:
    async def first() -> int:
        connection = await nats.connect(server.url)
        state = (await connection.jetstream().stream_info("JOURNAL")).state
        await connection.close()
        return state.messages

    unfinished(store, "msgs/1.blk")
    remove_unfinished(store)
    server = start_nats(store.parent)
    try:
        assert run_apart(first) == 200
    finally:
        server.stop()


def test_an_empty_stream_of_a_real_server_is_whole(tmp_path: Path) -> None:
    async def make() -> None:
        connection = await nats.connect(server.url)
        await publish(connection, [])
        await connection.close()

    server = start_nats(tmp_path)
    run_apart(make)
    server.kill()
    (stream,) = journal_folders([tmp_path / "nats"])
    assert remove_unfinished(tmp_path / "nats") == []
    assert stream.exists()
