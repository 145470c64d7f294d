"""`pricetime verify` beside a running stack: identical when nothing was touched, and each tampering named.

Goal: one row changed in Postgres, one byte of a commit, one outcome (in a journal that chains perfectly) and a book
that differs are each found and named. Method: a real stack, tampered with behind its back.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import httpx
import msgspec
import nats
import pytest
from nats.aio.client import Client

from cli.runfile import write_run_file
from contracts.commits import GENESIS_HASH, decode_commit, encode_commit
from contracts.messages import Commit, LevelChanged
from contracts.subjects import JOURNAL, JOURNAL_STREAM
from runtime.connection import connect
from runtime.journal import stream_config
from tests.support.servers import NatsServer, remove_stream
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.stack

COMMITS = 12
"""Of `traded`."""


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
                {"side": "buy", "type": "stop", "stop_price": "100.00", "quantity": "1", "account": "anna"},
            ):
                assert client.post("/orders", json=body).status_code == 201
            assert client.delete("/orders/3").status_code == 200
            for path, change in (
                ("/orders/4", {"price": "98.50"}),
                ("/accounts/anna/limits", {"max_open_orders": 5, "symbols": {"BTC-USD": {"max_position": "7"}}}),
                ("/accounts/anna/kill-switch", {"engaged": False}),
                ("/accounts/anna/cancel-all-after", {"seconds": 3600}),
            ):
                assert client.put(path, json=change).status_code == 200
        yield stack


def verify(data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "cli.main", "verify", "--data", str(data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def assert_identical(data: Path) -> None:
    result = verify(data)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"identical: {COMMITS} commits, 5 orders and 2 trades agree")


def assert_different(data: Path, difference: str) -> None:
    result = verify(data)
    assert (result.returncode, result.stdout) == (1, "")
    assert difference in result.stderr


def test_an_untouched_exchange_is_identical(traded: Stack) -> None:
    assert_identical(traded.data)


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
            "update trades set price = price - 1 where trade_id = 1",
            "update trades set price = price + 1 where trade_id = 1",
            "Postgres table trades, trade_id 1: price is 9999, the journal gives 10000",
        ),
        (
            "insert into trades select 3, symbol, price, quantity, taker_side, maker_order_id, taker_order_id, "
            "executed_at, journal_sequence from trades where trade_id = 1",
            "delete from trades where trade_id = 3",
            "Postgres table trades: a row that the journal does not give: (3,",
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
            "Postgres table recorder_position: its hash is not that of journal sequence 12",
        ),
        (
            "update orders set placed_price = 1 where order_id = 4",
            "update orders set placed_price = 9800 where order_id = 4",
            "Postgres table orders, order_id 4: placed_price is 1, the journal gives 9800",
        ),
        (
            "update order_events set after_trade_id = 0 where event = 'triggered'",
            "update order_events set after_trade_id = 1 where event = 'triggered'",
            "Postgres table order_events, order_id 5, sequence 7, number 0: after_trade_id is 0, the journal gives 1",
        ),
        (
            "insert into order_events select order_id, sequence + 1, number, event, price, quantity, stop_price, "
            "priority_kept, trade_id, after_trade_id, time from order_events where order_id = 5",
            "delete from order_events where order_id = 5 and sequence = 8",
            "Postgres table order_events: a row that the journal does not give: order_id 5, sequence 8, number 0",
        ),
        (
            "update candles set volume = volume + 1 where length_seconds = 3600",
            "update candles set volume = volume - 1 where length_seconds = 3600",
            "volume is 500000001, the journal gives 500000000",
        ),
        (
            "insert into open_orders values (999)",
            "delete from open_orders where order_id = 999",
            "Postgres table open_orders: a row that the journal does not give: order_id 999",
        ),
        (
            "update positions set quantity = 0 where account = 'anna'",
            "update positions set quantity = 100000000 where account = 'anna'",
            "Postgres table positions, account anna, symbol BTC-USD: quantity is 0, the journal gives 100000000",
        ),
        (
            "update account_limits set max_open_orders = null",
            "update account_limits set max_open_orders = 5",
            "Postgres table account_limits, account anna: max_open_orders is None, the journal gives 5",
        ),
        (
            "update symbol_limits set symbol = 'ETH-USD'",
            "update symbol_limits set symbol = 'BTC-USD'",
            "Postgres table symbol_limits, account anna, symbol BTC-USD: the row is missing",
        ),
        (
            "update kill_switches set engaged = true",
            "update kill_switches set engaged = false",
            "Postgres table kill_switches, account anna: engaged is True, the journal gives False",
        ),
        (
            "update dead_mans_switches set deadline = deadline + interval '1 second'",
            "update dead_mans_switches set deadline = deadline - interval '1 second'",
            "Postgres table dead_mans_switches, account anna: deadline is",
        ),
    ],
)
async def test_a_changed_row_is_named(traded: Stack, change: str, undo: str, difference: str) -> None:
    postgres = await asyncpg.connect(traded.postgres)
    try:
        await postgres.execute(change)
        await asyncio.to_thread(assert_different, traded.data, difference)
        await postgres.execute(undo)
    finally:
        await postgres.close()
    await asyncio.to_thread(assert_identical, traded.data)


async def test_an_order_row_that_is_gone_is_named(traded: Stack) -> None:
    postgres = await asyncpg.connect(traded.postgres)
    try:
        await postgres.execute("create table kept as select * from orders where order_id = 2")
        await postgres.execute("delete from orders where order_id = 2")
        await asyncio.to_thread(assert_different, traded.data, "Postgres table orders, order_id 2: the row is missing")
        await postgres.execute("insert into orders select * from kept; drop table kept")
    finally:
        await postgres.close()


Tamper = Callable[[list[bytes]], list[bytes]]
Rewrite = Callable[[Tamper], Awaitable[Path]]


@pytest.fixture
async def rewrite(traded: Stack, module_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Rewrite]:
    """Puts a changed copy of the journal on a broker of its own, since nobody may touch the real one's.

    Returns the folder for `pricetime verify`, of an exchange with that journal and the real Postgres.
    """
    broker = await nats.connect(module_nats_server.url)

    async def tampered(tamper: Tamper) -> Path:
        await _replace(broker, tamper(await _read(traded.nats)))
        content = msgspec.structs.replace(traded.run_file, nats=module_nats_server.url)
        await asyncio.to_thread(write_run_file, tmp_path, content)
        return tmp_path

    yield tampered
    await broker.close()


async def _read(url: str) -> list[bytes]:
    connection = await connect(url, "reader")
    manager = connection.jsm()
    last = (await manager.stream_info(JOURNAL_STREAM)).state.last_seq
    payloads = [(await manager.get_msg(JOURNAL_STREAM, sequence)).data or b"" for sequence in range(1, last + 1)]
    await connection.close()
    return payloads


async def _replace(connection: Client, payloads: list[bytes]) -> None:
    manager = connection.jsm()
    await remove_stream(connection, JOURNAL_STREAM)
    await manager.add_stream(stream_config(replicas=1))
    for payload in payloads:
        await connection.jetstream().publish(JOURNAL, payload)


async def test_a_true_copy_lacks_only_the_parts_that_do_not_answer(rewrite: Rewrite) -> None:
    """So the tests below fail for what they change."""
    result = await asyncio.to_thread(verify, await rewrite(lambda payloads: payloads))
    assert result.returncode == 1
    assert result.stderr.startswith("different: the matcher does not answer")
    assert "sequence" not in result.stderr


async def test_a_flipped_byte_of_a_commit_is_named(rewrite: Rewrite) -> None:
    def flip(payloads: list[bytes]) -> list[bytes]:
        payloads[4] = payloads[4][:70] + bytes([payloads[4][70] ^ 1]) + payloads[4][71:]
        return payloads

    await asyncio.to_thread(
        assert_different,
        await rewrite(flip),
        "journal sequence 5: its bytes do not match its hash; the message is damaged",
    )


async def test_an_outcome_changed_in_a_journal_that_chains_is_named(rewrite: Rewrite) -> None:
    data = await rewrite(_change_outcome_of_commit_four)
    await asyncio.to_thread(assert_different, data, "journal sequence 4: command 1, PlaceOrder(")


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


async def test_a_journal_that_lost_its_end_is_named(rewrite: Rewrite) -> None:
    data = await rewrite(lambda payloads: payloads[:-2])
    await asyncio.to_thread(assert_different, data, f"journal sequence {COMMITS - 1}")
