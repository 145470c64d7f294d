"""What the trading page used, in words: is it little, and is it as much at the end as in the middle? Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.soak_report import Bound, Series

GOAL = 0.5
"""Of a core."""
LEAST = 0.95
"""Of the changes that were asked for; with fewer the page had less to do than it is to show."""
HEAP = Bound(0.05, 0.5)
"""Megabytes."""
NODES = Bound(0.02, 50.0)


@dataclass(frozen=True, slots=True)
class Sample:
    """`at` the end of so many seconds; what was used since the one before, in shares of a core.

    `tasks`, `script` and `layout` are the main thread's by the clock: on a busy machine waiting for a core is in them.
    `main_thread` and `processes` are processor time. Memory is what is still in use.
    """

    at: float
    changes: float
    main_thread: float
    tasks: float
    script: float
    layout: float
    processes: Mapping[str, float]
    heap_megabytes: float
    nodes: int
    listeners: int

    @property
    def renderer(self) -> float:
        return self.processes.get("renderer", 0.0)

    @property
    def everything(self) -> float:
        return sum(self.processes.values())


@dataclass(frozen=True, slots=True)
class Scene:
    browser: str
    rows: int
    canvases: int
    tape: int


@dataclass(frozen=True, slots=True)
class PageRun:
    levels: int
    rate: float
    scene: Scene
    samples: Sequence[Sample]
    problems: Sequence[str]
    """What the page said on its console, and changes that were refused."""

    @property
    def minutes(self) -> float:
        return self.samples[-1].at / 60

    @property
    def kept(self) -> list[Series]:
        return [
            self._series("heap in use", "MB", HEAP, lambda each: each.heap_megabytes),
            self._series("nodes", "", NODES, lambda each: each.nodes),
            self._series("event listeners", "", NODES, lambda each: each.listeners),
        ]

    @property
    def judged(self) -> dict[str, float]:
        """Shares of a core that must be below the goal."""
        return {
            "main thread of the page": median(each.main_thread for each in self.samples),
            "renderer process, all of its threads": median(each.renderer for each in self.samples),
        }

    @property
    def changes(self) -> float:
        """That were made in a second."""
        return median(each.changes for each in self.samples)

    @property
    def wrong(self) -> list[str]:
        if self.changes >= LEAST * self.rate:
            return list(self.problems)
        return [*self.problems, f"only {self.changes:.0f} of {self.rate:g} changes a second were made"]

    @property
    def is_good(self) -> bool:
        is_light = all(share < GOAL for share in self.judged.values())
        return is_light and all(each.is_flat for each in self.kept) and not self.wrong

    def _series(self, name: str, unit: str, bound: Bound, value: Callable[[Sample], float]) -> Series:
        return Series(name, "memory", unit, [(each.at, value(each)) for each in self.samples], bound)


def markdown(run: PageRun, machine: Mapping[str, str], made_at: str) -> str:
    """As docs/benchmarks/page.md has it."""
    verdict = "held" if run.is_good else "NOT HELD"
    lines = [f"# The trading page for {run.minutes:.1f} minutes, {made_at}: {verdict}", ""]
    lines += ["Written by `make page-load ARGS=--write`; README.md beside it explains it.", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += [f"- browser: {run.scene.browser}, headless, drawing without a graphics card, 1440 x 900", ""]
    lines += [
        f"{run.levels} levels on each side, {run.rate:g} changes a second asked for, "
        f"{run.changes:.0f} made; {run.scene.rows} rows in the ladder, "
        f"{run.scene.tape} in the tape, {run.scene.canvases} canvases.",
        "",
    ]
    lines += [*_work_lines(run), "", *_memory_lines(run), ""]
    lines += [f"- **WRONG**: {each}" for each in run.wrong] or ["- Nothing on the console, no change refused."]
    return "\n".join(lines) + "\n"


def _work_lines(run: PageRun) -> Iterator[str]:
    yield "| share of a core | median | most in a sample | goal | |"
    yield "| --- | ---: | ---: | ---: | --- |"
    parts: dict[str, Callable[[Sample], float]] = {
        "main thread of the page": lambda each: each.main_thread,
        "renderer process, all of its threads": lambda each: each.renderer,
        "all processes of the browser": lambda each: each.everything,
        "main thread by the clock, waiting for a core included": lambda each: each.tasks,
        "of that scripts": lambda each: each.script,
        "of that styles and layout": lambda each: each.layout,
    }
    for name, value in parts.items():
        shares = [value(each) for each in run.samples]
        goal = f"{GOAL:.2f} | {'reached' if run.judged[name] < GOAL else 'NOT REACHED'}" if name in run.judged else "|"
        yield f"| {name} | {median(shares):.2f} | {max(shares):.2f} | {goal} |"


def _memory_lines(run: PageRun) -> Iterator[str]:
    yield "| after collecting garbage | first | line through the second half | rise | may rise | |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for each in run.kept:
        assert each.bound is not None
        line = each.line
        yield (
            f"| {each.name} | {each.points[0][1]:,.1f} | {line.begin:,.1f} to {line.end:,.1f} {each.unit} "
            f"| {line.rise:+.2f} | {each.bound.of(line.begin):.1f} | {'flat' if each.is_flat else 'GROWS'} |"
        )
