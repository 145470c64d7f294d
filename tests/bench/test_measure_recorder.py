import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.client import WrongAnswer
from bench.measure_recorder import (
    LagMeasurements,
    Positions,
    behind,
    flow_journal,
    highest,
    journal_sequence,
    storing,
    trades_journal,
)
from bench.programs import asking, pool
from contracts.commits import Chain
from recorder.rows import Fold
from tests.support.stack import Stack


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pricetime-bench-test-", ignore_cleanup_errors=True) as path:
        yield Path(path)


def folded(journal: Iterator[bytes]) -> Fold:
    """Raises when the commits are no journal."""
    chain, rows = Chain(), Fold()
    for sequence, payload in enumerate(journal, 1):
        commit = chain.follow(sequence, payload)
        rows.add(commit, payload, chain.hash)
    return rows


def test_the_flow_is_a_journal_of_many_accounts_whose_orders_have_names() -> None:
    rows = folded(flow_journal(1_010))
    assert len(rows.commits) == 2 + 51
    assert len({order.account for order in rows.orders.values()}) > 100
    names = {order.client_order_id for order in rows.orders.values()}
    assert len(names) == len(rows.orders)
    assert None not in names


def test_a_journal_of_trades_has_so_many_and_leaves_nothing_open() -> None:
    rows = folded(trades_journal(1_000))
    assert len(rows.trades) == 1_000
    assert not rows.open_orders()


def test_the_same_journal_each_time() -> None:
    assert list(flow_journal(100)) == list(flow_journal(100))
    assert list(trades_journal(100)) == list(trades_journal(100))


def test_an_answer_is_behind_until_its_sequence_is_reached() -> None:
    reached = [(1.0, 10), (2.0, 20), (3.0, 30)]
    answered = [(0.5, 10), (0.5, 11), (1.5, 20), (2.5, 20)]
    assert behind(answered, reached) == [0.5, 1.5, 0.5, 0.0]


def test_an_answer_says_which_commit_holds_the_order() -> None:
    assert journal_sequence(b"HTTP/1.1 201 Created\r\nJournal-Sequence: 17\r\nContent-Length: 2\r\n\r\n{}") == 17
    with pytest.raises(WrongAnswer, match="503"):
        journal_sequence(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}")


def test_memory_of_a_part_of_the_journal() -> None:
    samples = [(1, 5.0), (10, 7.0), (15, 9.0), (20, 6.0)]
    assert highest(samples, 10, 20) == 9.0
    assert highest(samples, 16, 20) == 9.0, "nothing was seen there: the most until then"


@pytest.mark.stack
async def test_rows_beside_copy_and_memory(folder: Path) -> None:
    async with storing(folder / "rows", flow_journal(3_000)) as measurements:
        rows = await measurements.rows(1)
        memory = await measurements.memory(100)
    assert rows.ratio is not None
    assert rows.ratio > 0
    assert rows.ratio_goal == 0.5
    assert memory.figure > 10


@pytest.mark.stack
async def test_how_far_behind_answers_it_is(stack: Stack) -> None:
    async with asking(stack.nats) as (connection, _), pool(stack.http, 32) as http:
        positions = Positions(connection)
        await positions.listen()
        p50, p99 = await LagMeasurements(http, positions, 100).rows(1)
    assert p99.goal == 100
    assert 0 < p50.figure <= p99.figure
