"""What a soak found: is everything as flat at the end as it was in the middle? Pure, but for the plot's file.

Judged is the second half, by a straight line through it (least squares): the first half is for caches, windows and
pools to fill. A line that rises by more than its bound from its first point to its last is growth, unless the points
scatter so much that the rise lies within two standard errors of none.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.crowd import Tally
from bench.rounds import percentile

BIN_SECONDS = 10.0
SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
_GOOD = (200, 201)


@dataclass(frozen=True, slots=True)
class Bound:
    """How much a line may rise: a share of where it begins, and so much in any case."""

    share: float
    least: float

    def of(self, begin: float) -> float:
        return self.share * begin + self.least


MEMORY = Bound(0.02, 4.0)
"""Megabytes."""
LATENCY = Bound(0.25, 0.5)
"""Milliseconds."""
LAG = Bound(0.25, 20.0)
"""Commits."""


@dataclass(frozen=True, slots=True)
class Line:
    """Through points in time: its value at the first and at the last, and the standard error of the difference."""

    begin: float
    end: float
    error: float

    @property
    def rise(self) -> float:
        return self.end - self.begin

    def is_flat(self, bound: Bound) -> bool:
        return self.rise <= bound.of(max(0.0, self.begin)) or self.rise <= 2 * self.error


Points = Sequence[tuple[float, float]]


def line_through(points: Points) -> Line:
    """Least squares; of fewer than three points, the line from the first to the last."""
    count = len(points)
    if count < 3:
        return Line(points[0][1], points[-1][1], 0.0)
    middle, level = sum(at for at, _ in points) / count, sum(value for _, value in points) / count
    width = sum((at - middle) ** 2 for at, _ in points)
    slope = sum((at - middle) * (value - level) for at, value in points) / width
    left = sum((value - level - slope * (at - middle)) ** 2 for at, value in points)
    length = points[-1][0] - points[0][0]
    error = math.sqrt(left / (count - 2) / width) * length
    begin = level + slope * (points[0][0] - middle)
    return Line(begin, begin + slope * length, error)


def second_half(points: Points) -> Points:
    return points[len(points) // 2 :]


@dataclass(frozen=True, slots=True)
class Series:
    """One thing over time, and how flat it must be."""

    name: str
    group: str
    unit: str
    points: Points
    bound: Bound | None = None

    @property
    def line(self) -> Line:
        return line_through(second_half(self.points))

    @property
    def is_flat(self) -> bool:
        return self.bound is None or self.line.is_flat(self.bound)


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of the requests of one way."""

    name: str
    capacity: float
    rate: float
    accepted: int
    refused: int
    unanswered: int
    first_refusals: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Soak:
    minutes: float
    share: float
    sent: Sequence[Sent]
    series: Sequence[Series]
    wrong: Sequence[str]
    """What the journal lacks or has twice, listeners that were cut off, a verification that found something."""
    checked: Sequence[str]
    """What was looked at, in sentences."""

    @property
    def is_good(self) -> bool:
        return not self.wrong and all(each.is_flat for each in self.series)


def latencies(name: str, tally: Tally, numbers: range, started: float) -> list[Series]:
    """Of the accepted requests of one way, in milliseconds, by when they were due, 10 s at a time."""
    bins: dict[int, list[float]] = {}
    for number in numbers:
        if tally.status[number] in _GOOD:
            bins.setdefault(int((tally.due[number] - started) / BIN_SECONDS), []).append(1000 * tally.seconds[number])
    return [
        Series(
            f"{name} {words}",
            "latency",
            "ms",
            [(each * BIN_SECONDS, percentile(values, share)) for each, values in sorted(bins.items())],
            LATENCY if share < 0.999 else None,
        )
        for words, share in SHARES.items()
    ]


# As text


def markdown(soak: Soak, machine: Mapping[str, str], made_at: str) -> str:
    """The report; `README.md` beside it has the words for the columns."""
    verdict = "held" if soak.is_good else "NOT HELD"
    lines = [f"# Soak of {soak.minutes:g} minutes, {made_at}: {verdict}", ""]
    lines += ["Written by `python -m bench.soak --write`; README.md beside it explains it.", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += ["", "![memory, latency and lag over time](soak.svg)", "", *_load_lines(soak), "", *_flat_lines(soak), ""]
    lines += [f"- {each}" for each in soak.checked]
    lines += [f"- **WRONG**: {each}" for each in soak.wrong] or ["- Nothing was lost, and nothing is there twice."]
    return "\n".join(lines) + "\n"


def _load_lines(soak: Soak) -> Iterator[str]:
    yield f"| way | capacity, all at once | sent: {100 * soak.share:.0f} % of it | accepted | refused | no answer |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for each in soak.sent:
        yield (
            f"| {each.name} | {each.capacity:,.0f}/s | {each.rate:,.0f}/s | {each.accepted:,} | {each.refused:,} "
            f"| {each.unanswered:,} |"
        )
    for each in soak.sent:
        for refusal in each.first_refusals:
            yield f"\n{each.name} refused, for example: `{refusal}`"


def _flat_lines(soak: Soak) -> Iterator[str]:
    yield "| | line through the second half | rise | may rise | two standard errors | |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for each in soak.series:
        line = each.line
        bound = "" if each.bound is None else f"{each.bound.of(max(0.0, line.begin)):.1f}"
        verdict = "" if each.bound is None else "flat" if each.is_flat else "GROWS"
        yield (
            f"| {each.group}: {each.name} | {line.begin:,.1f} to {line.end:,.1f} {each.unit} | {line.rise:+.1f} "
            f"| {bound} | {2 * line.error:.1f} | {verdict} |"
        )


# As a plot


def plot(soak: Soak, path: Path) -> None:
    """Needs the extra `bench` (matplotlib)."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "soak"})
    groups = list(dict.fromkeys(each.group for each in soak.series))
    figure = Figure(figsize=(10, 3.2 * len(groups)), layout="constrained")
    axes = figure.subplots(len(groups), 1, squeeze=False, sharex=True)[:, 0]
    for axis, group in zip(axes, groups, strict=True):
        _draw(axis, [each for each in soak.series if each.group == group], group)
    axes[0].set_title(f"{soak.minutes:g} minutes at {100 * soak.share:.0f} % of the measured capacity")
    axes[-1].set_xlabel("minutes")
    figure.savefig(path, metadata={"Date": None})


def _draw(axis: Any, series: Sequence[Series], group: str) -> None:
    for each in series:
        axis.plot([at / 60 for at, _ in each.points], [value for _, value in each.points], label=each.name, linewidth=1)
    axis.set_ylabel(f"{group}, {series[0].unit}")
    if group == "latency":
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)
    axis.grid(visible=True, color="lightgray", linewidth=0.4)
    axis.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
