"""What is measured of order entry, in every service that takes orders."""

from collections.abc import Iterator

from entry.admission import Admission
from entry.matcher_client import MatcherClient
from runtime import metrics
from runtime.metrics import Measure


def of_admission(admission: Admission) -> Iterator[Measure]:
    for pool in admission.pools:
        yield metrics.ENTRY_AT_WORK.of(pool.at_work, pool.name)
        yield metrics.ENTRY_ROOM.of(admission.room, pool.name)
        yield metrics.ENTRY_REFUSED.of(pool.all_refused, pool.name)


def of_matcher_client(matcher: MatcherClient) -> Iterator[Measure]:
    if matcher.round_trips is not None:
        yield metrics.ENTRY_ROUND_TRIP.of(matcher.round_trips)
    yield metrics.ENTRY_WAITING.of(matcher.waiting)
    yield metrics.ENTRY_UNKNOWN.of(matcher.unknown)
    yield metrics.ENTRY_UNAVAILABLE.of(matcher.unavailable)
