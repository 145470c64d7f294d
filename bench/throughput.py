"""Rows of how many a second, and who spent the processor on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.load import Load
from bench.rounds import PER_SECOND, Row

_LEAST_SHARE = 0.01
"""Of all processes together: who has less is not named."""


@dataclass(frozen=True, slots=True)
class Side:
    """The rounds of a figure or of a floor; `count` commands or orders were done in each."""

    name: str
    rounds: Sequence[Load]
    count: float

    @property
    def rates(self) -> tuple[float, ...]:
        return tuple(self.count / load.seconds for load in self.rounds)

    @property
    def processor(self) -> str:
        """Microseconds for each, of every process, medians of the rounds."""
        names = {name for load in self.rounds for name in load.processor}
        medians = {name: 1e6 * median(load.processor[name] for load in self.rounds) / self.count for name in names}
        least = _LEAST_SHARE * sum(medians.values())
        told = sorted(((value, name) for name, value in medians.items() if value > least), reverse=True)
        return ", ".join(f"{name} {value:.1f}" for value, name in told) or "hardly any"


def rate_row(figure: Side, floor: Side, goal: float | None = None, ratio_goal: float | None = None) -> Row:
    return Row(
        figure.name,
        floor.name,
        PER_SECOND,
        figure.rates,
        floor.rates,
        goal=goal,
        ratio_goal=ratio_goal,
        note=f"processor microseconds for each: {figure.processor}; for each of the floor: {floor.processor}",
    )
