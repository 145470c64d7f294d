"""`pricetime verify` beside a running stack: identical when nothing was touched, and each tampering named.

Goal: one row changed in Postgres, one byte of a commit, one outcome (in a journal that chains perfectly) and a book
that differs are each found and named. Method: a real stack, tampered with behind its back.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import asyncpg
import httpx
import msgspec
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig

from contracts.commits import GENESIS_HASH, decode_commit, encode_commit
from contracts.messages import Commit, LevelChanged
from contracts.subjects import JOURNAL, JOURNAL_STREAM
from runtime.connection import connect
from runtime.journal import stream_config
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def traded() -> Iterator[Stack]:
    """A stack of this module's own, with one of everything in its journal; each test puts back what it changed."""
    with running_stack() as stack:
        with httpx.Client(base_url=stack.http) as client:
            for body in (
                {"side": "sell", "price": "100.00", "quantity": "10"},
                {"side": "buy", "price": "100.00", "quantity": "4"},
                {"side": "buy", "price": "99.00", "quantity": "1"},
                {"side": "buy", "price": "98.00", "quantity": "1", "client_order_id": "c-1"},
            ):
                assert client.post("/orders", json=body).status_code == 201
            assert client.delete("/orders/3").status_code == 200
            assert client.put("/orders/4", json={"price": "98.50"}).status_code == 200
        yield stack


def verify(stack: Stack) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "cli.main", "verify", "--data", str(stack.data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def assert_identical(stack: Stack) -> None:
    result = verify(stack)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("identical: 8 commits, 4 orders and 1 trades agree")


def assert_different(stack: Stack, difference: str) -> None:
    result = verify(stack)
    assert (result.returncode, result.stdout) == (1, "")
    assert difference in result.stderr


def test_an_untouched_exchange_is_identical(traded: Stack) -> None:
    assert_identical(traded)


@pytest.mark.parametrize(
    ("change", "undo", "difference"),
    [
        (
            "update orders set filled_quantity = filled_quantity + 1 where order_id = 2",
            "update orders set filled_quantity = filled_quantity - 1 where order_id = 2",
            "Postgres table orders, order_id 2: filled_quantity is 400000001, the journal gives 400000000",
        ),
        (
            "update orders set status = 'open' where order_id = 3",
            "update orders set status = 'canceled' where order_id = 3",
            "Postgres table orders, order_id 3: status is 'open', the journal gives 'canceled'",
        ),
        (
            "update orders set updated_at = updated_at + interval '1 microsecond' where order_id = 1",
            "update orders set updated_at = updated_at - interval '1 microsecond' where order_id = 1",
            "Postgres table orders, order_id 1: updated_at is",
        ),
        (
            "update trades set price = price - 1",
            "update trades set price = price + 1",
            "Postgres table trades, trade_id 1: price is 9999, the journal gives 10000",
        ),
        (
            "insert into trades select 2, symbol, price, quantity, taker_side, maker_order_id, taker_order_id, "
            "executed_at, journal_sequence from trades",
            "delete from trades where trade_id = 2",
            "Postgres table trades: a row that the journal does not give: (2,",
        ),
        (
            "update instruments set max_quantity = 7",
            "update instruments set max_quantity = 1000000000000",
            "Postgres table instruments, symbol BTC-USD: max_quantity is 7",
        ),
        (
            "update journal_commits set payload = set_byte(payload, 60, get_byte(payload, 60) # 1) where sequence = 4",
            "update journal_commits set payload = set_byte(payload, 60, get_byte(payload, 60) # 1) where sequence = 4",
            "Postgres table journal_commits: sequence 4 is not the commit in the journal",
        ),
        (
            "update recorder_position set hash = sha256(hash)",
            "update recorder_position set hash = (select hash from journal_commits order by sequence desc limit 1)",
            "Postgres table recorder_position: its hash is not that of journal sequence 8",
        ),
    ],
)
async def test_a_changed_row_is_named(traded: Stack, change: str, undo: str, difference: str) -> None:
    postgres = await asyncpg.connect(traded.postgres)
    try:
        await postgres.execute(change)
        await asyncio.to_thread(assert_different, traded, difference)
        await postgres.execute(undo)
    finally:
        await postgres.close()
    await asyncio.to_thread(assert_identical, traded)


async def test_an_order_row_that_is_gone_is_named(traded: Stack) -> None:
    postgres = await asyncpg.connect(traded.postgres)
    try:
        await postgres.execute("create table kept as select * from orders where order_id = 2")
        await postgres.execute("delete from orders where order_id = 2")
        await asyncio.to_thread(assert_different, traded, "Postgres table orders, order_id 2: the row is missing")
        await postgres.execute("insert into orders select * from kept; drop table kept")
    finally:
        await postgres.close()


Tamper = Callable[[list[bytes]], list[bytes]]
Rewrite = Callable[[Tamper], Awaitable[None]]


@pytest.fixture
async def rewrite(traded: Stack) -> AsyncIterator[Rewrite]:
    """Replaces the journal's messages behind the exchange's back; puts the true ones back afterwards."""
    connection = await connect(traded.nats, "tamperer")
    true = await _read(connection)

    async def tampered(tamper: Tamper) -> None:
        await _replace(connection, tamper(list(true)))

    yield tampered
    await _replace(connection, true)
    await connection.close()


async def _read(connection: Client) -> list[bytes]:
    manager = connection.jsm()
    last = (await manager.stream_info(JOURNAL_STREAM)).state.last_seq
    return [(await manager.get_msg(JOURNAL_STREAM, sequence)).data or b"" for sequence in range(1, last + 1)]


async def _replace(connection: Client, payloads: list[bytes]) -> None:
    manager = connection.jsm()
    await manager.delete_stream(JOURNAL_STREAM)
    config: StreamConfig = stream_config(replicas=1)
    await manager.add_stream(config)
    for payload in payloads:
        await connection.jetstream().publish(JOURNAL, payload)


async def test_a_flipped_byte_of_a_commit_is_named(traded: Stack, rewrite: Rewrite) -> None:
    def flip(payloads: list[bytes]) -> list[bytes]:
        payloads[4] = payloads[4][:70] + bytes([payloads[4][70] ^ 1]) + payloads[4][71:]
        return payloads

    await rewrite(flip)
    await asyncio.to_thread(
        assert_different, traded, "journal sequence 5: its bytes do not match its hash; the message is damaged"
    )


async def test_an_outcome_changed_in_a_journal_that_chains_is_named(traded: Stack, rewrite: Rewrite) -> None:
    await rewrite(_change_outcome_of_commit_four)
    await asyncio.to_thread(assert_different, traded, "journal sequence 4: command 1, PlaceOrder(")


def _change_outcome_of_commit_four(payloads: list[bytes]) -> list[bytes]:
    """The level that the trade left behind is one lot larger; every hash from there on is made to fit."""
    commits = [decode_commit(sequence, payload)[0] for sequence, payload in enumerate(payloads, 1)]
    outcome = commits[3].outcomes[0]
    level = outcome.levels[0]
    wrong = LevelChanged(level.symbol, level.side, level.price, level.quantity + 1)
    changed = msgspec.structs.replace(outcome, levels=(wrong,))
    commits[3] = msgspec.structs.replace(commits[3], outcomes=(changed,))
    return _chained(commits)


def _chained(commits: list[Commit]) -> list[bytes]:
    payloads, previous = [], GENESIS_HASH
    for commit in commits:
        payload, previous = encode_commit(msgspec.structs.replace(commit, previous_hash=previous))
        payloads.append(payload)
    return payloads


async def test_a_journal_that_lost_its_end_is_named(traded: Stack, rewrite: Rewrite) -> None:
    await rewrite(lambda payloads: payloads[:-2])
    result = await asyncio.to_thread(verify, traded)
    assert result.returncode == 1
    assert "journal sequence 7" in result.stderr
