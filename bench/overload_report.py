"""What an overload run found: a table, and a plot of load, latency and memory. Pure, but for the plot's file."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.crowd import NO_ANSWER, NOT_SENT, Tally
from bench.rounds import percentile

SERVICES = ("gateway", "matcher", "broadcaster", "recorder", "nats")
_BIN_SECONDS = 0.25
_GOOD = (200, 201)
_RECOVERED_LOAD = 0.95
_RECOVERED_LATENCY = 2.0
_MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    memory: Mapping[str, int]
    """Resident bytes of each process."""
    processor: Mapping[str, float]
    """Share of one core."""


@dataclass(frozen=True, slots=True)
class Stage:
    factor: float
    """How much was asked for, in capacities."""
    began: float
    ended: float
    numbers: range


@dataclass(frozen=True, slots=True)
class Run:
    """One way in. `cancels`: the numbers of the cancelations in the careful client's tally."""

    name: str
    capacity: float
    stages: Sequence[Stage]
    tally: Tally
    samples: Sequence[Sample]
    careful: Tally
    cancels: range


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one stage; rates are per second, times in milliseconds."""

    offered: float
    accepted: float
    refused: float
    not_sent: int
    unanswered: int
    p50: float
    p99: float
    longest: float
    p99_since_sent: float
    refused_p50: float
    refused_p99: float


def figures(tally: Tally, numbers: Iterable[int], seconds: float) -> Figures:
    counts: Counter[int] = Counter()
    good: list[float] = []
    bad: list[float] = []
    since_sent: list[float] = []
    for number in numbers:
        status = tally.status[number]
        counts[status] += 1
        if status in _GOOD:
            good.append(1000 * tally.seconds[number])
            since_sent.append(1000 * (tally.seconds[number] - tally.waited[number]))
        elif status not in (NO_ANSWER, NOT_SENT):
            bad.append(1000 * tally.seconds[number])
    return Figures(
        offered=counts.total() / seconds,
        accepted=len(good) / seconds,
        refused=len(bad) / seconds,
        not_sent=counts[NOT_SENT],
        unanswered=counts[NO_ANSWER],
        p50=_share(good, 0.5),
        p99=_share(good, 0.99),
        longest=_share(good, 1.0),
        p99_since_sent=_share(since_sent, 0.99),
        refused_p50=_share(bad, 0.5),
        refused_p99=_share(bad, 0.99),
    )


def _share(values: Sequence[float], share: float) -> float:
    return percentile(values, share) if values else math.nan


def bins(tally: Tally, stage: Stage) -> Iterator[tuple[float, Figures]]:
    """The stage in short pieces, each with the moment at which it begins; by when requests were due."""
    pieces: dict[int, list[int]] = {}
    for number in stage.numbers:
        pieces.setdefault(int((tally.due[number] - stage.began) / _BIN_SECONDS), []).append(number)
    for piece, numbers in sorted(pieces.items()):
        yield stage.began + piece * _BIN_SECONDS, figures(tally, numbers, _BIN_SECONDS)


def seconds_to_full_speed(run: Run) -> float:
    """From the end of the overload until everything is accepted, as fast as before it. Infinite if that never came."""
    calm, after = run.stages[0], run.stages[-1]
    before = figures(run.tally, calm.numbers, calm.ended - calm.began)
    for at, found in bins(run.tally, after):
        if found.accepted >= _RECOVERED_LOAD * found.offered and found.p50 <= _RECOVERED_LATENCY * before.p50:
            return at - after.began
    return math.inf


def markdown(runs: Sequence[Run], machine: Mapping[str, str], made_at: str) -> str:
    lines = [f"# More load than fits: figures of {made_at}", ""]
    lines += ["Written by `python -m bench.overload --write`; README.md beside it explains the columns.", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += ["", "![load, latency and memory over time](overload.svg)", ""]
    for run in runs:
        lines += _run_lines(run)
    return "\n".join(lines) + "\n"


_COLUMNS = (
    *("load", "offered", "accepted", "of capacity", "refused", "not sent", "no answer", "accepted: p50", "p99"),
    *(
        "longest",
        "p99 since sent",
        "refused: p50",
        "p99",
        "cancels: done",
        "p99",
        *(f"{name}, MB" for name in SERVICES),
    ),
)


def _run_lines(run: Run) -> Iterator[str]:
    yield f"## {run.name}: capacity {run.capacity:,.0f} orders/s"
    yield ""
    yield f"| {' | '.join(_COLUMNS)} |"
    yield f"|{' ---: |' * len(_COLUMNS)}"
    for stage in run.stages:
        yield f"| {' | '.join(_cells(run, stage))} |"
    yield ""
    seconds = seconds_to_full_speed(run)
    yield (
        f"Full speed again {seconds:.2f} s after the overload." if seconds < math.inf else "Never at full speed again."
    )
    yield ""


def _cells(run: Run, stage: Stage) -> Iterator[str]:
    found = figures(run.tally, stage.numbers, stage.ended - stage.began)
    yield f"{stage.factor:g}x"
    yield f"{found.offered:,.0f}/s"
    yield f"{found.accepted:,.0f}/s"
    yield f"{100 * found.accepted / run.capacity:.0f} %"
    yield f"{found.refused:,.0f}/s"
    yield f"{found.not_sent:,}"
    yield f"{found.unanswered:,}"
    accepted = (found.p50, found.p99, found.longest, found.p99_since_sent)
    for milliseconds in (*accepted, found.refused_p50, found.refused_p99):
        yield _milliseconds(milliseconds)
    canceled = [each for each in run.cancels if stage.began <= run.careful.due[each] < stage.ended]
    cancels = figures(run.careful, canceled, stage.ended - stage.began)
    yield f"{round(cancels.accepted * (stage.ended - stage.began))} of {len(canceled)}"
    yield _milliseconds(cancels.p99)
    for name in SERVICES:
        yield f"{max(sample.memory[name] for sample in run.samples if _is_within(sample, stage)) / _MEGABYTE:.0f}"


def _milliseconds(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.0f} ms"


def _is_within(sample: Sample, stage: Stage) -> bool:
    return stage.began <= sample.at <= stage.ended + 2 * _BIN_SECONDS


def plot(runs: Sequence[Run], path: Path) -> None:
    """Needs the extra `bench` (matplotlib)."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "overload"})
    figure = Figure(figsize=(6 * len(runs), 9), layout="constrained")
    axes = figure.subplots(3, len(runs), squeeze=False, sharex="col")
    for column, run in enumerate(runs):
        started = run.stages[0].began
        pieces = [(at - started, found) for stage in run.stages for at, found in bins(run.tally, stage)]
        times = [at for at, _ in pieces]
        load, latency, memory = (axes[row][column] for row in range(3))
        load.set_title(f"{run.name}: capacity {run.capacity:,.0f} orders/s")
        load.step(times, [found.offered for _, found in pieces], label="offered", color="tab:gray")
        load.step(times, [found.refused for _, found in pieces], label="refused", color="tab:red")
        load.step(times, [found.accepted for _, found in pieces], label="accepted", color="tab:green")
        load.axhline(run.capacity, linestyle=":", color="black", linewidth=0.8)
        load.set_ylabel("requests/s")
        latency.plot(times, [found.p50 for _, found in pieces], label="accepted p50", color="tab:green")
        latency.plot(times, [found.p99 for _, found in pieces], label="accepted p99", color="tab:olive")
        latency.plot(times, [found.refused_p50 for _, found in pieces], label="refused p50", color="tab:red")
        latency.set_yscale("log")
        latency.set_ylabel("milliseconds")
        samples = [sample for sample in run.samples if sample.at >= started]
        for name in SERVICES:
            values = [sample.memory[name] / _MEGABYTE for sample in samples]
            memory.plot([sample.at - started for sample in samples], values, label=name)
        memory.set_ylim(bottom=0)
        memory.set_ylabel("memory, MB")
        memory.set_xlabel("seconds")
        for each in (load, latency, memory):
            for stage in run.stages:
                each.axvline(stage.began - started, color="lightgray", linewidth=0.8)
            each.legend(fontsize="small", loc="best")
    figure.savefig(path, metadata={"Date": None})
