"""Latencies of all requests of all rounds, to the last of ten thousand.

They are exact: every latency is kept and sorted, so no bucket is as wide as the others are far apart, and no library of
histograms is needed (docs/decisions/0034). An HDR histogram shows the same curve.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain

from bench.load import Load
from bench.rounds import MILLISECONDS, Distribution, Row, column, interleaved

SHARES = (0.5, 0.9, 0.99, 0.999, 0.9999, 1.0)
"""Those of the table: p50, p90, p99, p99.9, p99.99 and the longest."""
_STEPS_PER_DECADE = 20


async def on_schedule(
    name: str,
    floor_name: str,
    rounds: int,
    floor: Callable[[], Awaitable[Load]],
    figure: Callable[[], Awaitable[Load]],
) -> list[Row]:
    """Rows of p50 and p99 by rounds; with the first, the distributions over all rounds."""
    floors, figures = await interleaved(rounds, floor, figure)
    distributions = (
        distribution(name, (load.latencies for load in figures)),
        distribution(f"{floor_name}, the same rate", (load.latencies for load in floors)),
    )
    return latency_rows(name, floor_name, figures, floors, distributions=distributions)


def latency_rows(
    name: str,
    floor_name: str,
    figures: Sequence[Load],
    floors: Sequence[Load],
    p50_goal: float | None = None,
    p50_ratio_goal: float | None = None,
    distributions: tuple[Distribution, ...] = (),
) -> list[Row]:
    figure, floor = [load.latency for load in figures], [load.latency for load in floors]
    p50 = Row(
        f"{name}: latency p50",
        floor_name,
        MILLISECONDS,
        column(figure, "p50"),
        column(floor, "p50"),
        goal=p50_goal,
        ratio_goal=p50_ratio_goal,
        distributions=distributions,
    )
    p99 = Row(f"{name}: latency p99", floor_name, MILLISECONDS, column(figure, "p99"), column(floor, "p99"))
    return [p50, p99]


def distribution(name: str, rounds: Iterable[Sequence[float]]) -> Distribution:
    """Of latencies in seconds. Its points lie evenly on an axis that gives each further nine as much room."""
    latencies = sorted(chain.from_iterable(rounds))
    shares = sorted({*SHARES, *_curve(len(latencies))})
    points = ((share, 1000 * at_share(latencies, share)) for share in shares if can_tell(len(latencies), share))
    return Distribution(name, len(latencies), tuple(points))


def share_name(share: float) -> str:
    return "longest" if share == 1 else f"p{100 * share:.10g}"


def _curve(count: int) -> Iterable[float]:
    last = int(math.log10(count) * _STEPS_PER_DECADE)
    return (1 - 10 ** (-step / _STEPS_PER_DECADE) for step in range(last + 1))


def can_tell(count: int, share: float) -> bool:
    """Whether one of so many lies beyond that share: p99.99 of a thousand would be the longest by another name."""
    return share == 1 or count * (1 - share) > 1 - 1e-9


def at_share(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ordered values that at least this share of them does not exceed."""
    rank = math.ceil(len(ordered) * share - 1e-9)
    return ordered[max(0, rank - 1)]
