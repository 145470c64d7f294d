"""The store against a real Postgres: every run once, whatever happens to the connection."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from contracts.commits import GENESIS_HASH
from contracts.decimals import Step
from contracts.messages import (
    DefineInstrument,
    InstrumentDefined,
    InstrumentStatus,
    InstrumentStatusChanged,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderReduced,
    OrderTriggered,
    Outcome,
    PlaceOrder,
    SetInstrumentStatus,
    TradeExecuted,
)
from contracts.orders import Standing, accepted, attributed, concerned, follow
from recorder.store import Position, Store
from runtime.service import Refused
from tests.matcher.flows import RICH_PROFILES, Profile
from tests.support.journals import FIRST_TIME, Journal, Written, random_journal
from tests.support.recorded import expected, fold, tables
from tests.support.rich_journals import rich_journal
from tests.support.servers import PostgresServer

pytestmark = pytest.mark.stack

FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=FIRST_TIME)
NAMES = {
    OrderAccepted: "accepted",
    TradeExecuted: "trade",
    OrderAmended: "amended",
    OrderReduced: "reduced",
    OrderTriggered: "triggered",
}


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    store = Store(database)
    await store.open()
    yield store
    store.close()


@pytest.fixture
async def admin(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def test_an_empty_database_is_at_the_beginning(store: Store) -> None:
    assert store.position == Position(0, GENESIS_HASH, None)
    assert await store.payload(1) is None


async def test_runs_add_up_to_the_whole_journal(store: Store, database: str) -> None:
    written = random_journal(1, commits=60, commands_per_commit=20).written
    for at in range(0, len(written), 7):
        await store.record(*fold(written[at : at + 7], store.last_trade_id))
    assert await tables(database) == expected(written)
    assert await store.payload(5) == written[4].payload


@pytest.mark.parametrize("profile", RICH_PROFILES, ids=lambda profile: profile.name)
async def test_runs_of_everything_add_up_to_the_whole_journal(store: Store, database: str, profile: Profile) -> None:
    """Whatever was placed in an earlier run: the SQL that changes it says the same as the fold that knows it all."""
    written = rich_journal(3, profile=profile)[0].written
    assert fold(written[60:], 0)[0].changes
    for at in range(0, len(written), 20):
        await store.record(*fold(written[at : at + 20], store.last_trade_id))
    assert await tables(database) == expected(written)


async def test_a_status_outlives_runs_and_new_definitions(store: Store, admin: asyncpg.Connection) -> None:
    journal = Journal()
    define = DefineInstrument("A", "0.01", "0.001"), Outcome((InstrumentDefined("A"),))
    halt = SetInstrumentStatus("A", InstrumentStatus.HALTED)
    journal.commit(define)
    journal.commit((halt, Outcome((InstrumentStatusChanged("A", InstrumentStatus.HALTED),))))
    journal.commit(define)
    for at, status in enumerate(("trading", "halted", "halted")):
        await store.record(*fold(journal.written[at : at + 1]))
        row = await admin.fetchrow("select status, sequence from instruments")
        assert tuple(row) == (status, at + 1)


async def test_a_status_of_an_instrument_that_is_not_there_is_refused(store: Store) -> None:
    journal = Journal()
    halt = SetInstrumentStatus("A", InstrumentStatus.HALTED)
    journal.commit((halt, Outcome((InstrumentStatusChanged("A", InstrumentStatus.HALTED),))))
    with pytest.raises(Refused, match=r"changes the status of A.*pricetime verify"):
        await store.record(*fold(journal.written))


async def test_the_position_is_found_again(store: Store, database: str) -> None:
    written = random_journal(2, commits=5, commands_per_commit=3).written
    await store.record(*fold(written))
    again = Store(database)
    await again.open()
    assert again.position == store.position == fold(written)[1]
    assert again.last_trade_id == fold(written)[0].trades[-1].trade_id
    again.close()


async def test_only_one_of_two_recorders_goes_on(store: Store, database: str) -> None:
    written = random_journal(3, commits=20, commands_per_commit=5).written
    other = Store(database)
    await other.open()
    results = await asyncio.gather(
        store.record(*fold(written[:10])), other.record(*fold(written[:15])), return_exceptions=True
    )
    (refused,) = [result for result in results if result is not None]
    assert isinstance(refused, Refused)
    assert "another recorder" in str(refused)
    kept = written[:10] if results[0] is None else written[:15]
    assert await tables(database) == expected(kept)
    other.close()


async def test_one_that_misses_commits_looks_whether_another_has_them(store: Store, database: str) -> None:
    """Before it calls the journal cut: the other may have recorded them, and they may have been trimmed since."""
    other = Store(database)
    await other.open()
    await other.check_alone()
    await store.record(*fold(random_journal(3, commits=4, commands_per_commit=2).written))
    await store.check_alone()
    with pytest.raises(Refused, match="another recorder"):
        await other.check_alone()
    other.close()


async def test_two_recorders_with_the_same_run_do_not_both_go_on(store: Store, database: str) -> None:
    written = random_journal(3, commits=20, commands_per_commit=5).written
    other = Store(database)
    await other.open()
    await store.record(*fold(written))
    with pytest.raises(Refused, match="another recorder"):
        await other.record(*fold(written))
    assert await tables(database) == expected(written)


async def test_terminated_connections_lose_and_double_nothing(
    store: Store, database: str, admin: asyncpg.Connection
) -> None:
    """Goal: exactly once when the connection breaks anywhere in a transaction, COMMIT included. Method: terminate the
    recorder's session at random moments of some of its transactions, while it records."""
    written = random_journal(4, commits=400, commands_per_commit=10).written
    chance = random.Random(4)

    terminated: list[asyncpg.Record] = []

    async def terminate() -> None:
        while len(terminated) < 15:
            await asyncio.sleep(chance.uniform(0, 0.08))
            terminated.extend(
                await admin.fetch(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
                    "and application_name = 'pricetime-recorder' and backend_xid is not null"
                )
            )

    async def record() -> None:
        for at in range(0, len(written), 4):
            await store.record(*fold(written[at : at + 4], store.last_trade_id))

    terminating = asyncio.create_task(terminate())
    await record()
    terminating.cancel()
    await asyncio.gather(terminating, return_exceptions=True)
    assert terminated
    assert await tables(database) == expected(written)


async def test_a_commit_whose_answer_is_lost_is_not_repeated(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = random_journal(5, commits=5, commands_per_commit=5).written
    execute = asyncpg.Connection.execute

    async def lose_the_answer(self: asyncpg.Connection, query: str, *arguments: object, **options: object) -> str:
        answer = await execute(self, query, *arguments, **options)
        if query == "commit":
            monkeypatch.undo()
            raise ConnectionResetError("the answer to COMMIT was lost")
        return answer

    monkeypatch.setattr(asyncpg.Connection, "execute", lose_the_answer)
    await store.record(*fold(written))
    assert store.position == fold(written)[1]
    assert await tables(database) == expected(written)


async def test_a_dead_recorders_commit_is_waited_for(store: Store, database: str, admin: asyncpg.Connection) -> None:
    """A transaction that has moved the position may still succeed after its recorder is gone."""
    written = random_journal(6, commits=2, commands_per_commit=2).written
    _, reached = fold(written)
    await admin.execute("begin")
    await admin.execute("update recorder_position set sequence = $1, hash = $2, journal_epoch = $3", *reached)
    successor = Store(database)
    opening = asyncio.create_task(successor.open())
    watcher = await asyncpg.connect(database)
    while not await watcher.fetchval("select exists (select from pg_locks where not granted)"):
        assert not opening.done()
        await asyncio.sleep(0.01)
    await admin.execute("commit")
    await opening
    assert successor.position == reached
    successor.close()
    await watcher.close()


async def test_a_change_to_a_missing_order_is_refused(store: Store, admin: asyncpg.Connection, database: str) -> None:
    written = random_journal(7, commits=40, commands_per_commit=10).written
    await store.record(*fold(written[:20]))
    await admin.execute("delete from orders")
    with pytest.raises(Refused, match="pricetime verify"):
        await store.record(*fold(written[20:], store.last_trade_id))
    assert (await tables(database))["recorder_position"] == [fold(written[:20])[1]]


async def test_a_row_that_is_there_already_is_refused(store: Store, admin: asyncpg.Connection) -> None:
    written = random_journal(8, commits=20, commands_per_commit=10).written
    await admin.execute("insert into trades values (1, 'BTC-USD', 1, 1, 'buy', 1, 2, now(), 1)")
    with pytest.raises(Refused, match="the journal does not explain"):
        await store.record(*fold(written))


async def test_a_wrong_database_is_refused(postgres: PostgresServer) -> None:
    with pytest.raises(Refused, match="PRICETIME_POSTGRES_URL"):
        await Store(postgres.plan.url("no_such_database")).open()


async def test_the_views_show_decimals(store: Store, admin: asyncpg.Connection) -> None:
    written = random_journal(9, commits=50, commands_per_commit=10).written
    rows, position = fold(written)
    await store.record(rows, position)
    trade = rows.trades[0]
    shown = await admin.fetchrow("select * from trades_decimal where trade_id = $1", trade.trade_id)
    assert (str(shown["price"]), str(shown["quantity"])) == (
        str(Decimal(trade.price).scaleb(-2)),
        str(Decimal(trade.quantity).scaleb(-3)),
    )
    for order in rows.orders.values():
        shown = await admin.fetchrow("select * from orders_decimal where order_id = $1", order.order_id)
        remaining = 0 if order.status == "canceled" else order.quantity - order.filled_quantity
        assert shown["remaining_quantity"] == Decimal(remaining).scaleb(-3)
        if order.filled_quantity:
            average = Step.of("0.01").format_ratio(order.filled_notional, order.filled_quantity)
            assert str(shown["average_price"]) == average
        else:
            assert shown["average_price"] is None


@pytest.mark.parametrize("tick_size", ["0.01", "0.025", "1", "50", "0.000000000001"])
async def test_an_average_price_has_the_same_digits_as_elsewhere(
    store: Store, admin: asyncpg.Connection, tick_size: str
) -> None:
    step, chance = Step.of(tick_size), random.Random(tick_size)
    pairs = [(chance.randint(1, 10**27), chance.randint(1, 10**12)) for _ in range(50)]
    pairs += [(chance.randint(1, 50), 2 ** chance.randint(1, 14) * 5 ** chance.randint(0, 9)) for _ in range(300)]
    for notional, quantity in pairs:  # the latter: ends at the ninth decimal, often halfway
        shown = await admin.fetchval(
            "select average_price($1, $2, trim_scale($3::text::numeric))::text", notional, quantity, tick_size
        )
        assert shown == step.format_ratio(notional, quantity)


async def test_ranges_of_time_are_found_by_halving(store: Store, admin: asyncpg.Connection) -> None:
    written = rich_journal(5)[0].written
    rows, position = fold(written)
    assert await admin.fetchval("select first_trade_since(now())") == 1
    await store.record(rows, position)
    for commit in rows.commits[::7]:
        for microsecond in (-1, 0, 1):
            since = FIRST_MOMENT + timedelta(microseconds=commit.time - FIRST_TIME + microsecond)
            trades = sum(each.executed_at < commit.time + microsecond for each in rows.trades)
            orders = sum(each.created_at < commit.time + microsecond for each in rows.orders.values())
            assert await admin.fetchval("select first_trade_since($1)", since) == trades + 1
            assert await admin.fetchval("select first_order_since($1)", since) == orders + 1


@pytest.mark.parametrize("profile", RICH_PROFILES, ids=lambda profile: profile.name)
async def test_the_history_of_every_order_is_in_true_order(
    store: Store, admin: asyncpg.Connection, profile: Profile
) -> None:
    """Goal: the view tells each order's events as the journal has them. Method: follow each with contracts/orders.py,
    and compare name, sequence, terms and fills after each event."""
    written = rich_journal(6, profile=profile)[0].written
    for at in range(0, len(written), 40):
        await store.record(*fold(written[at : at + 40], store.last_trade_id))
    histories: dict[int, list[tuple[object, ...]]] = {}
    for order_id, sequence, name, standing in _followed(written):
        order, stop_price = standing.order, standing.order.terms.stop_price if standing.order.terms else None
        entry = (sequence, name, order.price, order.quantity, stop_price, order.filled_quantity)
        histories.setdefault(order_id, []).append(entry)
    found: dict[int, list[tuple[object, ...]]] = {}
    for row in await admin.fetch("select * from order_history order by order_id, number"):
        found.setdefault(row["order_id"], []).append(
            (row["sequence"], row["event"], row["price"], row["quantity"], row["stop_price"], row["filled_quantity"])
        )
        assert row["number"] == len(found[row["order_id"]])
    assert found == histories


def _followed(written: Sequence[Written]) -> Iterator[tuple[int, int, str, Standing]]:
    standings: dict[int, Standing] = {}
    for commit, _, _ in written:
        for command, outcome in zip(commit.commands, commit.outcomes, strict=True):
            for origin, event in attributed(command, outcome.events):
                if isinstance(event, OrderAccepted):
                    assert isinstance(origin, PlaceOrder)
                    standings[event.order_id] = accepted(event, origin, commit.time)
                for order_id in concerned(event):
                    standings[order_id] = standing = follow(standings[order_id], event)
                    name = standing.status.value if isinstance(event, OrderCanceled) else NAMES[type(event)]
                    yield order_id, commit.sequence, name, standing
