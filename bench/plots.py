"""What a run found, as pictures: every ratio with its goal, and latency to the last of ten thousand. SVG files.

Needs the extra `bench` (matplotlib).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.latency import SHARES, share_name
from bench.report import distributions
from bench.rounds import Distribution, Row

RATIOS, LATENCY = "ratios.svg", "latency.svg"
PICTURES = {
    RATIOS: "Each figure as a share of its floor, and the goal of that share",
    LATENCY: "Latency on schedule against the share of the requests that it holds for",
}
_COLORS = {True: "tab:green", False: "tab:red", None: "tab:gray"}
_INCHES_PER_ROW = 0.27


def draw(rows: Sequence[Row], folder: Path) -> None:
    ratios(rows, folder / RATIOS)
    latency(distributions(rows), folder / LATENCY)


def ratios(rows: Sequence[Row], path: Path) -> None:
    """Two panels: where more is better, and where less is. Goals are black ticks."""
    shown = [row for row in rows if row.ratio is not None]
    more = [row for row in shown if row.unit.more_is_better]
    less = [row for row in shown if not row.unit.more_is_better]
    figure = figure_of(10, 1.5 + _INCHES_PER_ROW * len(shown))
    heights = [max(1, len(part)) for part in (more, less)]
    above, below = figure.subplots(2, 1, gridspec_kw={"height_ratios": heights})
    _bars(above, more, "of the floor's speed: more is better")
    _bars(below, less, "times as long as the floor takes: less is better")
    save(figure, path)


def _bars(axes: Any, rows: Sequence[Row], what: str) -> None:
    """From the floor, which is 1, to the ratio, on logarithms: a tenth has as much room as ten times."""
    places = range(len(rows))
    ratios = [row.ratio or 1.0 for row in rows]
    colors = [_COLORS[row.ratio_goal_reached] for row in rows]
    axes.barh(places, [ratio - 1 for ratio in ratios], left=1, color=colors, height=0.6)
    for place, row, ratio in zip(places, rows, ratios, strict=True):
        if row.ratio_goal is not None:
            axes.plot([row.ratio_goal] * 2, [place - 0.4, place + 0.4], color="black", linewidth=2)
        axes.annotate(f"  {ratio:.2f}", (max(1, ratio, row.ratio_goal or 0), place), va="center", fontsize="small")
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(places, _labels(rows), fontsize="small")
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_title(what, fontsize="medium")


def _labels(rows: Sequence[Row]) -> list[str]:
    """A figure that stands beside several floors says which one."""
    names = [row.name for row in rows]
    return [row.name if names.count(row.name) == 1 else f"{row.name} / {row.floor_name}" for row in rows]


def latency(found: Sequence[Distribution], path: Path) -> None:
    """One panel for each figure with its floor, as they come in pairs. Each further nine gets as much room."""
    pairs = [found[start : start + 2] for start in range(0, len(found), 2)]
    figure = figure_of(5.5 * max(1, len(pairs)), 4)
    panels = figure.subplots(1, max(1, len(pairs)), squeeze=False, sharey=True)[0]
    for axes, pair in zip(panels, pairs, strict=False):
        for each, color in zip(pair, ("tab:blue", "tab:gray"), strict=False):
            places = [_place(share, each.count) for share, _ in each.points]
            axes.plot(places, [milliseconds for _, milliseconds in each.points], label=each.name, color=color)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks([_place(share, 0) for share in SHARES[:-1]], [share_name(share) for share in SHARES[:-1]])
        axes.minorticks_off()
        axes.grid(True, color="lightgray", linewidth=0.5)
        axes.legend(fontsize="small", loc="lower right")
    panels[0].set_ylabel("milliseconds from when it was due")
    save(figure, path)


def _place(share: float, count: int) -> float:
    """On an axis of 1/(1 - share); the longest of all is where the share would be that leaves out one."""
    return max(count, 1) if share == 1 else 1 / (1 - share)


def figure_of(width: float, height: float) -> Any:
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench"})
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
