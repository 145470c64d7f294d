"""Figures and their floors over interleaved rounds: floor, figure, floor, figure, ... Pure but for what it is given.

A machine is faster in one minute than in the next. Rounds that take turns see the same machine, so the ratio of a
figure to its floor says more than either number alone.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")

Sample = Mapping[str, float]
"""What one round measured: the name of a quantity and its value."""


@dataclass(frozen=True, slots=True)
class Unit:
    name: str
    decimals: int
    more_is_better: bool


PER_SECOND = Unit("/s", 0, more_is_better=True)
MILLISECONDS = Unit("ms", 3, more_is_better=False)
SECONDS = Unit("s", 2, more_is_better=False)
BYTES = Unit("B", 0, more_is_better=False)
MEGABYTES = Unit("MB", 1, more_is_better=False)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Latencies of all rounds: `points` are (share of the requests, milliseconds that they did not exceed)."""

    name: str
    count: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, its floor beside it: a value for each round, in order. Without a floor, `floors` is empty."""

    name: str
    floor_name: str
    unit: Unit
    figures: tuple[float, ...]
    floors: tuple[float, ...]
    goal: float | None = None
    ratio_goal: float | None = None
    note: str = ""
    """What a reader must know beside the figure."""
    distributions: tuple[Distribution, ...] = ()
    """All latencies behind it, of the figure and of its floor, where somebody wants more than this figure."""

    @property
    def figure(self) -> float:
        return median(self.figures)

    @property
    def floor(self) -> float | None:
        return median(self.floors) if self.floors else None

    @property
    def ratio(self) -> float | None:
        """Figure to floor, round by round, then the median: what slows one round slows both sides of it."""
        if not self.floors:
            return None
        return median(figure / floor for figure, floor in zip(self.figures, self.floors, strict=True))

    @property
    def spread(self) -> float:
        """From the lowest round to the highest, as a share of the median."""
        return (max(self.figures) - min(self.figures)) / self.figure

    @property
    def goal_reached(self) -> bool | None:
        """None without a goal for the figure."""
        return None if self.goal is None else self._is_as_good(self.figure, self.goal)

    @property
    def ratio_goal_reached(self) -> bool | None:
        """None without a goal for the ratio, which has no meaning without a floor."""
        if self.ratio_goal is None:
            return None
        assert self.ratio is not None
        return self._is_as_good(self.ratio, self.ratio_goal)

    @property
    def reached(self) -> bool | None:
        """Whether all of its goals are reached; None without any."""
        judged = [each for each in (self.goal_reached, self.ratio_goal_reached) if each is not None]
        return all(judged) if judged else None

    def _is_as_good(self, value: float, goal: float) -> bool:
        return value >= goal if self.unit.more_is_better else value <= goal


async def interleaved(
    rounds: int, floor: Callable[[], Awaitable[T]], figure: Callable[[], Awaitable[T]]
) -> tuple[list[T], list[T]]:
    """What came of the floor and of the figure, taking turns."""
    floors: list[T] = []
    figures: list[T] = []
    for _ in range(rounds):
        floors.append(await floor())
        figures.append(await figure())
    return floors, figures


def column(samples: Sequence[Sample], name: str) -> tuple[float, ...]:
    return tuple(sample[name] for sample in samples)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 1)
    return ordered[max(0, int(rank) - 1)]
