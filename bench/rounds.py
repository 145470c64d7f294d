"""Figures and their floors over interleaved rounds: floor, figure, floor, figure, ... Pure but for what it is given.

A machine is faster in one minute than in the next. Rounds that take turns see the same machine, so the ratio of a
figure to its floor says more than either number alone.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Sample = Mapping[str, float]
"""What one round measured: the name of a quantity and its value."""


@dataclass(frozen=True, slots=True)
class Unit:
    name: str
    decimals: int
    more_is_better: bool


PER_SECOND = Unit("/s", 0, more_is_better=True)
MILLISECONDS = Unit("ms", 3, more_is_better=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, its floor beside it: a value for each round, in order."""

    name: str
    floor_name: str
    unit: Unit
    figures: tuple[float, ...]
    floors: tuple[float, ...]
    goal: float | None = None

    @property
    def figure(self) -> float:
        return median(self.figures)

    @property
    def floor(self) -> float:
        return median(self.floors)

    @property
    def ratio(self) -> float:
        """Figure to floor, round by round, then the median: what slows one round slows both sides of it."""
        return median(figure / floor for figure, floor in zip(self.figures, self.floors, strict=True))

    @property
    def spread(self) -> float:
        """From the lowest round to the highest, as a share of the median."""
        return (max(self.figures) - min(self.figures)) / self.figure

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.figure >= self.goal if self.unit.more_is_better else self.figure <= self.goal


async def interleaved(
    rounds: int, floor: Callable[[], Awaitable[Sample]], figure: Callable[[], Awaitable[Sample]]
) -> tuple[list[Sample], list[Sample]]:
    """The samples of the floor and of the figure, taking turns."""
    floors: list[Sample] = []
    figures: list[Sample] = []
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
