"""`pricetime rebuild`: from whatever is left of the journal and of Postgres, the whole of it, or a refusal.

On folders as a stopped stack leaves them, written by a real nats-server and a real Postgres.
tests/faults/test_trimmed.py does it to a whole exchange.
"""

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import nats
import pytest

from cli.main import main
from cli.servers import CLUSTER_NAME, postgres_program, prepare_postgres
from cli.stream_files import journal_folders
from contracts.commits import Chain
from contracts.subjects import JOURNAL_STREAM
from recorder.store import Store
from runtime.journal import journal_state
from tests.support.journals import Written, publish, random_journal
from tests.support.recorded import expected, fold, tables
from tests.support.servers import PostgresServer, run_apart, start_nats, start_postgres, temporary_folder

pytestmark = pytest.mark.stack

JOURNAL = random_journal(17, commits=118, commands_per_commit=4).written
"""120 commits."""
RECORDED = 100
DATABASE = "pricetime"


@dataclass
class Exchange:
    """The folder of a stopped exchange."""

    data: Path
    capsys: pytest.CaptureFixture[str]

    def rebuild(self, what: str) -> tuple[int, str]:
        """Exit code, and all that it said."""
        code = main(["rebuild", what, "--data", str(self.data)])
        return code, "".join(self.capsys.readouterr())

    @property
    def block(self) -> Path:
        (folder,) = journal_folders([self.data / "nats"])
        return next((folder / "msgs").glob("*.blk"))

    def damage(self, sequence: int) -> None:
        """One bit in the middle of that commit."""
        content = bytearray(self.block.read_bytes())
        at = content.find(JOURNAL[sequence - 1].payload)
        content[at + len(JOURNAL[sequence - 1].payload) // 2] ^= 4
        self.block.write_bytes(content)

    def in_postgres(self, *statements: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(server.plan.url())
            for statement in statements:
                await connection.execute(statement)
            await connection.close()

        with self._postgres() as server:
            run_apart(run)

    def tables(self) -> dict[str, list[tuple[object, ...]]]:
        with self._postgres() as server:
            return run_apart(lambda: tables(server.plan.url()))

    def journal(self) -> list[bytes]:
        """As a nats-server reads it, proved."""

        async def read() -> list[bytes]:
            connection = await nats.connect(server.url)
            state = await journal_state(connection)
            messages = [
                await connection.jsm().get_msg(JOURNAL_STREAM, n) for n in range(state.first_seq, state.last_seq + 1)
            ]
            await connection.close()
            return [message.data or b"" for message in messages]

        folder = self.data / "nats" / "jetstream"
        (folder / "EXCHANGE").rename(folder / "$G")  # a server without users has no account but this
        server = start_nats(self.data)
        try:
            found = run_apart(read)
        finally:
            server.stop()
        chain = Chain()
        for sequence, payload in enumerate(found, 1):
            chain.follow(sequence, payload)
        return found

    def _postgres(self) -> "_Running":
        return _Running(self.data)


class _Running:
    def __init__(self, data: Path) -> None:
        plan = prepare_postgres(data / "postgres")
        self._server = PostgresServer(postgres_program(plan), data / "postgres.log", plan)

    def __enter__(self) -> PostgresServer:
        self._server.start()
        return self._server

    def __exit__(self, *_: object) -> None:
        self._server.stop()


@pytest.fixture(scope="module")
def whole() -> Iterator[Path]:
    """120 commits in the journal, the first 100 of them in Postgres."""
    with temporary_folder() as data:
        postgres, server = start_postgres(data), start_nats(data)
        postgres.execute(f"CREATE DATABASE {DATABASE}")

        async def fill() -> None:
            connection = await nats.connect(server.url)
            await publish(connection, JOURNAL)
            await connection.jetstream().create_key_value(bucket="KEYS")
            await (await connection.jetstream().key_value("KEYS")).put("a", b"a key")
            await connection.close()
            store = Store(postgres.plan.url())
            await store.open()
            await store.record(*fold(JOURNAL[:RECORDED]))
            store.close()

        run_apart(fill)
        server.stop()
        postgres.stop()
        (data / "lock").touch()
        yield data


@pytest.fixture
def exchange(whole: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Exchange]:
    with temporary_folder() as folder:
        shutil.copystat(whole, folder)
        data = folder / "data"
        # cp keeps the owner: Postgres insists on owning its data
        asyncio.run(_copy(whole, data))
        yield Exchange(data, capsys)


async def _copy(source: Path, target: Path) -> None:
    done = await asyncio.create_subprocess_exec("cp", "-a", str(source), str(target))
    assert await done.wait() == 0


def payloads(written: list[Written]) -> list[bytes]:
    return [each.payload for each in written]


def test_the_journal_from_postgres_and_the_tail_from_the_files(exchange: Exchange) -> None:
    exchange.damage(50)
    code, said = exchange.rebuild("journal")
    assert code == 0
    assert "120 commits, every hash proved (100 from Postgres and 20 from nats-server's files)" in said
    (kept,) = exchange.data.glob("nats-before-*")
    assert str(kept) in said
    assert journal_folders([kept]), "the old one is kept"
    assert exchange.journal() == payloads(JOURNAL)
    (keys,) = (exchange.data / "nats" / "jetstream").glob("*/streams/KV_KEYS")
    assert any(b"a key" in file.read_bytes() for file in keys.rglob("*.blk")), "the rest of the store stays"


def test_the_journal_when_little_of_it_is_left(exchange: Exchange) -> None:
    (exchange.block.parents[1] / "meta.inf").unlink()
    assert "120 commits, every hash proved" in exchange.rebuild("journal")[1]
    shutil.rmtree(exchange.data / "nats")
    assert "100 commits, every hash proved (100 from Postgres)" in exchange.rebuild("journal")[1]
    assert exchange.journal() == payloads(JOURNAL[:RECORDED])


def test_a_commit_after_postgres_that_is_damaged_is_named(exchange: Exchange) -> None:
    """Nobody has it: what follows does not chain. The matcher's snapshots of it are put aside."""
    exchange.damage(110)
    folder = exchange.data / "matcher"
    folder.mkdir()
    for sequence in (105, 115):
        (folder / f"state-{sequence:020d}.snapshot").touch()
    code, said = exchange.rebuild("journal")
    assert code == 1
    assert "Not to be had: commits 110 to 120, of which something is left. journal sequence 110: is missing" in said
    assert "Not to be had: commits 110 to 115;" in said
    assert [file.name for file in sorted(folder.iterdir())] == [
        f"state-{105:020d}.snapshot",
        f"state-{115:020d}.of-lost-commits",
    ]
    assert exchange.journal() == payloads(JOURNAL[:109])


def test_both_damaged_in_different_places(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    exchange.in_postgres(
        "delete from journal_commits where sequence = 30",
        "update journal_commits set payload = set_byte(payload, 50, get_byte(payload, 50) # 1) where sequence = 31",
    )
    exchange.damage(60)
    with monkeypatch.context() as patch:  # an interrupted try is no obstacle
        patch.setattr("cli.rebuild._refuse_less_than", interrupt)
        assert [exchange.rebuild(what)[0] for what in ("journal", "postgres")] == [130, 130]
    code, said = exchange.rebuild("journal")
    assert (code, "(98 from Postgres and 22 from nats-server's files)" in said) == (0, True)
    code, said = exchange.rebuild("postgres")
    assert (code, "120 commits, every hash proved (120 from nats-server's files)" in said) == (0, True)
    assert exchange.tables() == expected(JOURNAL)


def test_postgres_that_does_not_start(exchange: Exchange) -> None:
    (exchange.data / "postgres" / "global" / "pg_control").write_bytes(b"")
    assert exchange.rebuild("journal")[0] == 2, "without it there is nothing to gain"
    code, said = exchange.rebuild("postgres")
    assert (code, "120 commits, every hash proved (120 from nats-server's files)" in said) == (0, True)
    assert exchange.tables() == expected(JOURNAL)
    assert len(list(exchange.data.glob("postgres-before-*"))) == 1


def trim(exchange: Exchange, first_left: int) -> None:
    async def purge() -> None:
        connection = await nats.connect(server.url)
        await connection.jsm().purge_stream(JOURNAL_STREAM, seq=first_left)
        await connection.close()

    server = start_nats(exchange.data)
    run_apart(purge)
    server.stop()
    content = exchange.block.read_bytes()  # as nats-server does when enough is purged
    exchange.block.write_bytes(content[content.rfind(b"\x07\x00journal", 0, content.find(_payload(first_left))) - 20 :])


def _payload(sequence: int) -> bytes:
    return JOURNAL[sequence - 1].payload


def test_a_trimmed_journal(exchange: Exchange) -> None:
    """Postgres is made anew from its own copy of what is trimmed, and of the journal. Never from less than all."""
    trim(exchange, 81)
    exchange.in_postgres("delete from trades", "update orders set price = price + 1")
    code, said = exchange.rebuild("postgres")
    assert (code, "(80 from Postgres and 40 from nats-server's files)" in said) == (0, True)
    assert "The old one is the database pricetime_before_" in said
    assert exchange.tables() == expected(JOURNAL)
    exchange.in_postgres("delete from journal_commits where sequence > 60")
    for what in ("journal", "postgres"):
        code, said = exchange.rebuild(what)
        assert code == 2
        assert "nothing was changed: journal sequence 61: is missing" in said
        assert "begin with 81" in said
    exchange.in_postgres("drop table recorder_position")
    code, said = exchange.rebuild("postgres")
    assert (code, "nothing was changed: journal sequence 1: is missing" in said) == (2, True)
    assert not list(exchange.data.glob("nats*before*")) + list(exchange.data.glob("nats.rebuilt*"))


def test_only_on_a_stopped_exchange_that_is_there(exchange: Exchange, tmp_path: Path) -> None:
    from cli.up import only_one

    with only_one(exchange.data):
        code, said = exchange.rebuild("journal")
    assert (code, "runs on" in said, "stop it first" in said) == (2, True, True)
    (exchange.data / CLUSTER_NAME).write_text("pricetime-1")
    code, said = exchange.rebuild("journal")
    assert (code, "the data of a cluster" in said) == (2, True)
    assert Exchange(tmp_path / "none", exchange.capsys).rebuild("journal")[0] == 2
