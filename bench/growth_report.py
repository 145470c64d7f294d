"""What bench.growth found: a table and a plot for each axis, and whether anything bends upward.

Pure, but for the plots.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench.capacity import Costs
from bench.plots import figure_of, save

REPORT = Path(__file__).parent.parent / "docs" / "benchmarks" / "growth.md"
AXES = {
    "symbols": "symbols",
    "accounts": "accounts, each with an order that rests",
    "resting": "resting orders",
    "clients": "WebSocket clients that watch trades",
    "journal": "commands in the journal",
}
BOUND = 1.3
"""An order may cost so many times as much processor at the end of an axis as at its beginning."""


@dataclass(frozen=True, slots=True)
class Point:
    """`at`: where on the axis. Processor: microseconds for each order, or message to a client. Memory: megabytes."""

    at: int
    rate: float
    p50: float
    p99: float
    processor: Mapping[str, float]
    memory: Mapping[str, float] = field(default_factory=dict)
    yardstick: float = 1.0
    """Milliseconds of processor that a fixed piece of work took then: it measures the machine."""
    commands: int = 0
    """In the journal by then."""
    journal_bytes: int = 0
    postgres_bytes: int = 0

    @property
    def work(self) -> float:
        return sum(self.processor.values())


@dataclass(frozen=True, slots=True)
class Axis:
    name: str
    points: tuple[Point, ...]

    @property
    def growth(self) -> float:
        """What an order costs at the end, as a multiple of what it costs at the beginning."""
        return self.points[-1].work / self.points[0].work / self._slower

    @property
    def _slower(self) -> float:
        """How much slower the machine was at the end."""
        return self.points[-1].yardstick / self.points[0].yardstick

    @property
    def bends(self) -> list[str]:
        """The processes whose work for an order grows beyond the bound, unless it is next to nothing."""
        first, last = self.points[0].processor, self.points[-1].processor
        least = 0.05 * self.points[-1].work
        fair = {part: spent * self._slower for part, spent in first.items()}
        return [part for part in last if last[part] > BOUND * fair[part] and last[part] - fair[part] > least]


_MEGABYTE = 1_000_000
COMMIT = 20
"""Orders in each commit while the processor time is taken: it depends on that more than on anything else."""
_HEAD = (
    "# What growth costs",
    "",
    "Written by `python -m bench.growth --write`. The same pairs of orders at every point, one that rests and one",
    "that takes it, spread over all symbols and accounts: over NATS, single commands, 64 in flight for the rate, one",
    "at a time for the latency. Every service runs, on the same cores as the load. *Processor* is microseconds of all",
    f"processes for each order, in commits of {COMMIT}. *Yardstick* is what the same fixed work took of it at that",
    "point: on a busy machine everything takes more. Where a process takes more for an order at the last point than",
    f"at the first, by a factor of more than {BOUND} beside the yardstick, the axis says BENDS and names it.",
    "",
)


def lines(axes: Sequence[Axis], machine: Mapping[str, str]) -> list[str]:
    """As Markdown."""
    said = [*_HEAD, *(f"- {name}: {value}" for name, value in machine.items())]
    for axis in axes:
        said += ["", *_axis_lines(axis)]
    return said


def _axis_lines(axis: Axis) -> list[str]:
    what = "message" if axis.name == "clients" else "order"
    parts = list(axis.points[0].processor)
    heads = [
        axis.name,
        "per second",
        "p50 ms",
        "p99 ms",
        f"processor, us per {what}",
        *parts,
        "yardstick, ms",
        "memory, MB",
    ]
    verdict = f"An {what} costs {axis.growth:.2f} times as much at the end as at the beginning"
    bends = f": BENDS ({', '.join(axis.bends)})." if axis.bends else "."
    return [
        f"## {AXES[axis.name]}",
        "",
        verdict.replace("An message", "A message") + bends,
        "",
        _row(heads),
        _row("---:" for _ in heads),
        *(_row(_cells(point, parts)) for point in axis.points),
        "",
        f"![{AXES[axis.name]}](growth-{axis.name}.svg)",
    ]


def _cells(point: Point, parts: Sequence[str]) -> list[str]:
    return [
        f"{point.at:,}",
        f"{point.rate:,.0f}",
        f"{point.p50:.2f}",
        f"{point.p99:.2f}",
        f"{point.work:,.1f}",
        *(f"{point.processor[part]:,.1f}" for part in parts),
        f"{point.yardstick:.1f}",
        ", ".join(f"{part} {megabytes:,.0f}" for part, megabytes in point.memory.items()),
    ]


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def costs(axes: Sequence[Axis], gateway: float) -> Costs:
    """What bench.capacity counts with; `gateway`: its microseconds of processor for an order over REST."""
    found = {axis.name: axis for axis in axes}
    first, last = found["journal"].points[0], found["journal"].points[-1]
    commands = max(1, last.commands - first.commands)
    resting = _bytes_for_each(found["resting"])
    accounts = {part: max(0.0, each - resting[part]) for part, each in _bytes_for_each(found["accounts"]).items()}
    return Costs(
        processor={part: spent for part, spent in first.processor.items() if part != "gateway"},
        gateway=gateway,
        message=found["clients"].points[-1].processor["broadcaster"],
        journal=(last.journal_bytes - first.journal_bytes) / commands,
        postgres=(last.postgres_bytes - first.postgres_bytes) / commands,
        resting=resting,
        account=accounts,
        symbol=_bytes_for_each(found["symbols"]),
        client=_bytes_for_each(found["clients"])["broadcaster"],
        base={part: megabytes * _MEGABYTE for part, megabytes in first.memory.items()},
    )


def _bytes_for_each(axis: Axis) -> dict[str, float]:
    """What memory each process took for one more, from the first point to the last."""
    first, last = axis.points[0], axis.points[-1]
    count = max(1, last.at - first.at)
    return {part: max(0.0, last.memory[part] - first.memory[part]) * _MEGABYTE / count for part in last.memory}


def as_json(axes: Sequence[Axis], machine: Mapping[str, str], measured: Costs) -> bytes:
    document = {
        "machine": dict(machine),
        "costs": measured,
        "axes": {axis.name: list(axis.points) for axis in axes},
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def draw(axes: Sequence[Axis], folder: Path) -> None:
    """growth-<axis>.svg: processor of each process, and rate and latency, over the axis."""
    for axis in axes:
        _draw(axis, folder / f"growth-{axis.name}.svg")


def _draw(axis: Axis, path: Path) -> None:
    figure = figure_of(10, 3.6)
    work, speed = figure.subplots(1, 2)
    places = [point.at for point in axis.points]
    parts = list(axis.points[0].processor)
    work.stackplot(places, [[point.processor[part] for point in axis.points] for part in parts], labels=parts)
    work.set_ylabel("microseconds of processor")
    work.legend(fontsize="small", loc="lower left")
    for name, color in (("p50", "tab:blue"), ("p99", "tab:orange")):
        speed.plot(
            places, [getattr(point, name) for point in axis.points], label=f"{name}, ms", color=color, marker="o"
        )
    speed.set_ylabel("milliseconds")
    rates = speed.twinx()
    rates.plot(places, [point.rate for point in axis.points], label="per second", color="tab:gray", marker="s")
    rates.set_ylim(bottom=0)
    rates.set_ylabel("per second")
    speed.legend(fontsize="small", loc="upper left")
    rates.legend(fontsize="small", loc="lower right")
    for axes in (work, speed):
        axes.set_xscale("log")
        axes.set_xlabel(AXES[axis.name])
        axes.set_ylim(bottom=0)
    save(figure, path)
