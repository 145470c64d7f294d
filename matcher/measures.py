"""What is measured of a matcher: whether it serves, how far it is, and each commit on its way to the disk."""

from collections.abc import Iterator, Sequence
from typing import Any

from contracts.subjects import ORDERS_SUBMIT
from matcher.sequencer import Sealed, Sequencer
from runtime import metrics
from runtime.clock import now, steady
from runtime.metrics import SIZES, Histogram, Measure
from runtime.snapshot_files import SnapshotFiles
from runtime.tracing import Tracing, parents_in

_MAX_TRACED = 1_000


class CommitObserver:
    """Is told of each commit, and of each request and its answer. A matcher that nobody looks at has none."""

    def __init__(self, tracing: Tracing | None = None) -> None:
        self._tracing = tracing
        self._commits = self._commands = self._bytes = 0
        self._sizes, self._writes, self._whole = Histogram(SIZES), Histogram(), Histogram()
        self._writing_since: float | None = None
        self._requests = self._turned_away = 0
        self._seconds = Histogram()
        self._waiting: dict[str, float] = {}
        """Since when, by the reply subject of their request. Each is answered, turned away, or the process ends."""
        self._traced: dict[str, list[Any]] = {}
        """By the reply subject of their request: the spans of requests that are to be answered."""
        self._write_spans: list[Any] = []

    # Commits

    def begin_write(self, sealed: Sealed) -> None:
        assert sealed.payload is not None
        self._commits += 1
        self._commands += sealed.commands
        self._bytes += len(sealed.payload)
        self._sizes.observe(sealed.commands)
        self._writing_since = steady()
        if self._traced:
            self._trace_write(sealed)

    def end_write(self, began: int) -> None:
        """It is on disk. `began`: the time of the commit, which is that of its first command."""
        assert self._writing_since is not None
        self._writes.observe(steady() - self._writing_since)
        self._whole.observe(max(now() - began, 0) / 1e6)
        self._writing_since = None
        for span in self._write_spans:
            span.end()
        self._write_spans = []

    def measures(self) -> Iterator[Measure]:
        yield metrics.MATCHER_COMMITS.of(self._commits)
        yield metrics.MATCHER_COMMANDS.of(self._commands)
        yield metrics.MATCHER_BYTES.of(self._bytes)
        yield metrics.MATCHER_COMMIT_COMMANDS.of(self._sizes)
        yield metrics.MATCHER_WRITE_SECONDS.of(self._writes)
        yield metrics.MATCHER_COMMIT_SECONDS.of(self._whole)
        since = self._writing_since
        yield metrics.MATCHER_COMMIT_AGE.of(0 if since is None else steady() - since)
        yield metrics.NATS_REQUESTS.of(self._requests, ORDERS_SUBMIT)
        yield metrics.NATS_REQUEST_ERRORS.of(self._turned_away, ORDERS_SUBMIT)
        yield metrics.NATS_REQUEST_SECONDS.of(self._seconds, ORDERS_SUBMIT)

    # Requests

    def on_request(self, reply_to: str, headers: dict[str, str] | None) -> None:
        self._requests += 1
        if reply_to:
            self._waiting[reply_to] = steady()
            if headers is not None:
                self._trace_request(reply_to, headers)

    def on_turned_away(self, reply_to: str) -> None:
        """It took no time, and would make the others look fast."""
        self._turned_away += 1
        self._waiting.pop(reply_to, None)

    def on_answers(self, answers: Sequence[tuple[str, bytes]]) -> None:
        left = steady()
        for reply_to, _ in answers:
            came = self._waiting.pop(reply_to, None)
            if came is not None:
                self._seconds.observe(left - came)
        if self._traced:
            self._end_traces(answers)

    # Traces

    def _trace_request(self, reply_to: str, headers: dict[str, str]) -> None:
        if self._tracing is None or len(self._traced) >= _MAX_TRACED:
            return
        begin = self._tracing.begin
        spans = [begin("matcher", parent=parent, kind="SERVER") for parent in parents_in(headers)]
        if found := [span for span in spans if span is not None]:
            self._traced[reply_to] = found

    def _end_traces(self, answers: Sequence[tuple[str, bytes]]) -> None:
        for reply_to, _ in answers:
            for span in self._traced.pop(reply_to, ()):
                span.end()

    def _trace_write(self, sealed: Sealed) -> None:
        assert self._tracing is not None
        attributes = {"pricetime.journal_sequence": sealed.sequence, "pricetime.commands": sealed.commands}
        for reply_to, _ in sealed.answers:
            for request in self._traced.get(reply_to, ()):
                request.set_attributes(attributes)
                span = self._tracing.begin("journal write", parent=request, kind="PRODUCER", attributes=attributes)
                if span is not None:
                    self._write_spans.append(span)


def of_leader(sequencer: Sequencer, snapshots: SnapshotFiles, turned_away: int, *, serving: bool) -> Iterator[Measure]:
    yield metrics.MATCHER_SERVING.of(serving)
    yield metrics.MATCHER_STANDING_BY.of(0)
    yield metrics.MATCHER_SEQUENCE.of(sequencer.chain.sequence)
    yield metrics.MATCHER_EPOCH.of(sequencer.chain.matcher_epoch)
    yield metrics.MATCHER_BACKLOG.of(sequencer.backlog)
    yield metrics.MATCHER_BACKLOG_ROOM.of(sequencer.backlog_room)
    yield metrics.MATCHER_TURNED_AWAY.of(turned_away)
    yield metrics.MATCHER_RESTING.of(sequencer.engine.resting_orders)
    yield metrics.MATCHER_SNAPSHOT.of(max(snapshots.sequences(), default=0))


def of_follower(sequence: int, matcher_epoch: int, *, ready: bool) -> Iterator[Measure]:
    """Of one that stands by, or has not got that far."""
    yield metrics.MATCHER_SERVING.of(0)
    yield metrics.MATCHER_STANDING_BY.of(ready)
    if ready:  # what it passes on its way through the journal is long ago
        yield metrics.MATCHER_SEQUENCE.of(sequence)
        yield metrics.MATCHER_EPOCH.of(matcher_epoch)
