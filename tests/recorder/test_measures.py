"""What is measured of a recorder."""

from typing import Any

from nats.js.api import StreamState

from contracts.messages import Commit
from recorder.measures import RunMeasures, of_recorder
from recorder.runs import Run
from recorder.store import Position, Store
from runtime.clock import now

STATE = StreamState(messages=5, bytes=700, first_seq=3, last_seq=40, consumer_count=0)


def told(measures: Any) -> dict[str, Any]:
    return {each.metric.name.removeprefix("pricetime_"): each.value for each in measures}


def store_at(sequence: int) -> Store:
    store = Store("postgresql://nobody@127.0.0.1:1/none")
    store.position = Position(sequence)
    store.failures = 2
    return store


def test_how_far_postgres_is_behind() -> None:
    found = told(of_recorder(store_at(30), 40, STATE))
    assert (found["recorder_sequence"], found["recorder_lag_commits"]) == (30, 10)
    assert (found["journal_first_sequence"], found["journal_last_sequence"], found["journal_bytes"]) == (3, 40, 700)
    assert (found["recorder_postgres_connected"], found["recorder_postgres_failures_total"]) == (False, 2)


def test_what_was_seen_of_the_journal_may_be_older_than_what_is_recorded() -> None:
    found = told(of_recorder(store_at(50), 40, STATE))
    assert (found["recorder_lag_commits"], found["journal_last_sequence"]) == (0, 50)
    assert "journal_bytes" not in told(of_recorder(store_at(0), 0, None)), "it was not asked about yet"


def test_each_transaction_counts_with_its_commits_and_their_age() -> None:
    recorded = RunMeasures()
    for first, count in ((1, 1), (2, 3)):
        run = Run()
        for sequence in range(first, first + count):
            run.add(Commit(2, "epoch", 1, sequence, b"", now() - 3_000, (), ()), b"payload", b"hash")
        recorded.add(run, 0.25)
    found = told(recorded.measures())
    assert found["recorder_commits_total"] == 4
    assert (found["recorder_transaction_commits"].sum, found["recorder_transaction_commits"].count) == (4, 2)
    assert found["recorder_transaction_seconds"].sum == 0.5
    assert 0.006 <= found["recorder_commit_to_postgres_seconds"].sum < 60
