"""What is measured and traced of commits."""

from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from matcher.measures import CommitObserver, of_follower
from matcher.sequencer import Sealed
from runtime.clock import now
from runtime.settings import Settings
from runtime.tracing import Tracing, traceparent


def sealed(sequence: int, commands: int, *reply_to: str) -> Sealed:
    return Sealed(sequence, b"x" * 100, [(each, b"") for each in reply_to], [], commands)


def told(measures: Any) -> dict[str, Any]:
    return {each.metric.name.removeprefix("pricetime_").removeprefix("matcher_"): each.value for each in measures}


def test_commits_are_counted_with_what_is_in_them() -> None:
    observer = CommitObserver()
    for sequence, commands in ((1, 1), (2, 30)):
        observer.begin_write(sealed(sequence, commands))
        observer.end_write(now() - 2_000)
    found = told(observer.measures())
    assert (found["commits_total"], found["commands_total"], found["journal_bytes_total"]) == (2, 31, 200)
    assert found["commit_commands"].sum == 31
    assert found["journal_write_seconds"].count == found["commit_seconds"].count == 2
    assert found["commit_seconds"].sum >= 0.004


def test_a_commit_that_is_on_its_way_grows_older() -> None:
    observer = CommitObserver()
    assert told(observer.measures())["commit_age_seconds"] == 0
    observer.begin_write(sealed(1, 1))
    first = told(observer.measures())["commit_age_seconds"]
    assert 0 < first < told(observer.measures())["commit_age_seconds"]
    observer.end_write(now())
    assert told(observer.measures())["commit_age_seconds"] == 0


def test_a_request_takes_from_when_it_is_read_to_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    time = iter([10.0, 10.25, 12.0, 13.0])
    monkeypatch.setattr("matcher.measures.steady", lambda: next(time))
    observer = CommitObserver()
    for reply_to in ("one", "two"):
        observer.on_request(reply_to, None)
    observer.on_request("", None)  # nobody waits for it
    observer.on_answers([("two", b""), ("", b"")])
    observer.on_answers([("one", b""), ("two", b"")])
    found = told(observer.measures())
    assert (found["nats_requests_total"], found["nats_request_errors_total"]) == (3, 0)
    assert (found["nats_request_seconds"].count, found["nats_request_seconds"].sum) == (2, 1.75 + 3.0)
    assert observer._waiting == {}


def test_a_request_that_is_turned_away_counts_and_does_not_make_the_others_look_fast() -> None:
    """Whether it is told so or not."""
    observer = CommitObserver()
    observer.on_request("one", None)
    observer.on_turned_away("one")
    observer.on_answers([("one", b"")])
    observer.on_request("two", None)
    observer.on_turned_away("two")
    found = told(observer.measures())
    assert (found["nats_requests_total"], found["nats_request_errors_total"]) == (2, 2)
    assert found["nats_request_seconds"].count == 0
    assert observer._waiting == {}


def test_a_clock_that_was_set_back_makes_no_wait_negative() -> None:
    observer = CommitObserver()
    observer.begin_write(sealed(1, 1))
    observer.end_write(now() + 60_000_000)
    assert told(observer.measures())["commit_seconds"].sum == 0


def test_where_one_is_that_still_reads_the_journal_is_not_told() -> None:
    """Its way there is no progress of the exchange."""
    assert told(of_follower(7, 3, ready=False)) == {"serving": 0, "standing_by": 0}
    assert told(of_follower(7, 3, ready=True)) == {"serving": 0, "standing_by": 1, "sequence": 7, "epoch": 3}


def test_each_trace_of_a_commit_has_the_write_of_it() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(Settings(tracing_endpoint="x", tracing_ratio=1.0), "matcher", exporter)
    clients: list[Any] = [tracing.begin(name) for name in "abc"]
    observer = CommitObserver(tracing)
    first, second, third = map(traceparent, clients)
    observer.on_request("one", {"traceparent": first, "traceparents": second})
    observer.on_request("two", {"traceparent": third})
    observer.on_request("none", {"Status": "503"})
    commit = sealed(12, 5, "one", "none")
    observer.begin_write(commit)
    observer.end_write(now())
    observer.on_answers(commit.answers)
    tracing.close()
    found = exporter.get_finished_spans()
    written = [span for span in found if span.name == "journal write"]
    answered = [span for span in found if span.name == "matcher"]
    assert [span.context.trace_id for span in written] == [each.get_span_context().trace_id for each in clients[:2]]
    assert {span.parent.span_id for span in written if span.parent} == {span.context.span_id for span in answered}
    for span in (*written, *answered):
        assert dict(span.attributes or {}) == {"pricetime.journal_sequence": 12, "pricetime.commands": 5}


def test_requests_that_are_never_answered_do_not_pile_up() -> None:
    """One whose reply never leaves: the gateway has given it up by then."""
    tracing = Tracing(Settings(tracing_endpoint="x", tracing_ratio=1.0), "matcher", InMemorySpanExporter())
    client: Any = tracing.begin("a")
    observer = CommitObserver(tracing)
    for number in range(1_500):
        observer.on_request(f"inbox.{number}", {"traceparent": traceparent(client)})
    assert len(observer._traced) == 1_000
    tracing.close()
