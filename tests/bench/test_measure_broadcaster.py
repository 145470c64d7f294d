"""The floor of streaming and the broadcaster send the same bytes to everyone; both on a real nats-server."""

from pathlib import Path

import pytest

from bench.measure_broadcaster import Journal, streaming
from bench.rounds import PER_SECOND
from broadcaster.feed import frame
from broadcaster.market import Market
from contracts.commits import Chain
from contracts.messages import TradeExecuted


def test_a_journal_says_what_each_of_its_commits_shows() -> None:
    journal, chain, market = Journal(1), Chain(), Market()
    streamed = journal.next(50, 10)
    assert streamed.messages >= 50
    for number, payload in enumerate([*journal.begin, *streamed.commits], 1):
        commit = chain.follow(number, payload)
        market.apply(commit)
        if number > len(journal.begin):
            trades = [each for outcome in commit.outcomes for each in outcome.events if type(each) is TradeExecuted]
            assert len(trades) == len(streamed.texts[number - len(journal.begin) - 1])
    assert b"".join(streamed.frames).count(frame(b"")[:1]) >= streamed.messages


@pytest.mark.stack
async def test_both_send_all_trades_to_all_clients(tmp_path: Path) -> None:
    async with streaming(tmp_path, 1) as measurements:
        rows = [*await measurements.all_at_once(3, 100, 1), *await measurements.one_by_one(2, 3, 1)]
        spent = await measurements.spent(2, 3)
    assert [row.name for row in rows] == [
        "WebSocket, 3 clients: trades delivered",
        "WebSocket, 3 clients: trades delivered",
        "WebSocket, 2 clients: commit to client p50",
        "WebSocket, 2 clients: commit to client p99",
    ]
    assert rows[0].unit is PER_SECOND
    assert rows[0].ratio_goal == 0.8
    assert all(row.figure > 0 and row.floor for row in rows)
    assert spent.rate > 0
