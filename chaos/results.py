"""What came of a round, as it is handed from the process that ran it to the one that adds up. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from msgspec import Struct


class Injected(Struct, frozen=True):
    """One fault. `orders_seconds`: from its end until an order placed after it was acknowledged; `reads_seconds`: until
    that order could be read back."""

    kind: str
    detail: str
    at_seconds: float
    orders_seconds: float
    reads_seconds: float


class RoundResult(Struct, frozen=True, kw_only=True):
    seed: int
    profile: str
    injected: tuple[Injected, ...] = ()
    not_injected: tuple[str, ...] = ()
    """Faults that could not be brought about when their turn came, with the reason."""
    violations: tuple[str, ...] = ()
    acknowledged: int = 0
    operations: int = 0
    commits: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


class Row(Struct, frozen=True):
    """A line of the table."""

    kind: str
    count: int
    violations: int
    orders_median: float
    orders_max: float
    reads_median: float
    reads_max: float


def rows(results: Iterable[RoundResult]) -> list[Row]:
    """Per kind of fault, in the order of the kinds' names. A violation counts for each kind of its round."""
    by_kind: dict[str, list[Injected]] = defaultdict(list)
    violations: dict[str, int] = defaultdict(int)
    for result in results:
        for each in result.injected:
            by_kind[each.kind].append(each)
        for kind in {each.kind for each in result.injected}:
            violations[kind] += len(result.violations)
    return [
        Row(
            kind,
            len(found),
            violations[kind],
            median(each.orders_seconds for each in found),
            max(each.orders_seconds for each in found),
            median(each.reads_seconds for each in found),
            max(each.reads_seconds for each in found),
        )
        for kind, found in sorted(by_kind.items())
    ]
