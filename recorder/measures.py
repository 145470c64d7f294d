"""What is measured of a recorder: how far Postgres is, and each transaction."""

from collections.abc import Iterator

from nats.js.api import StreamState

from recorder.runs import Run
from recorder.store import Store
from runtime import metrics
from runtime.clock import now
from runtime.metrics import SIZES, Histogram, Measure


class RunMeasures:
    """Of the runs recorded so far."""

    def __init__(self) -> None:
        self._commits = 0
        self._seconds, self._sizes, self._delays = Histogram(), Histogram(SIZES), Histogram()

    def add(self, run: Run, seconds: float) -> None:
        commits = len(run.fold.commits)
        self._commits += commits
        self._sizes.observe(commits)
        self._seconds.observe(seconds)
        self._delays.observe(max(now() - run.time, 0) / 1e6)

    def measures(self) -> Iterator[Measure]:
        yield metrics.RECORDER_COMMITS.of(self._commits)
        yield metrics.RECORDER_SECONDS.of(self._seconds)
        yield metrics.RECORDER_SIZE.of(self._sizes)
        yield metrics.RECORDER_DELAY.of(self._delays)


def of_recorder(store: Store, last_sequence: int, journal: StreamState | None) -> Iterator[Measure]:
    position = store.position.sequence
    yield metrics.RECORDER_SEQUENCE.of(position)
    yield metrics.RECORDER_LAG.of(max(last_sequence - position, 0))
    yield metrics.RECORDER_CONNECTED.of(store.is_connected)
    yield metrics.RECORDER_FAILURES.of(store.failures)
    if journal is not None:
        yield metrics.JOURNAL_FIRST.of(journal.first_seq)
        yield metrics.JOURNAL_LAST.of(max(journal.last_seq, position))
        yield metrics.JOURNAL_BYTES.of(journal.bytes)
