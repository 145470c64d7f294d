"""What a run found, as a table for people and as JSON for programs. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from bench.latency import SHARES, share_name
from bench.rounds import Distribution, Row, Unit

REACHED = {True: "reached", False: "NOT REACHED", None: ""}
_HEADINGS = ("figure", "median", "lowest - highest", "floor, in the same run", "median", "ratio", "goals")
_LATENCY_HEADINGS = ("latency from when a request was due", "requests", *map(share_name, SHARES))


def table(rows: Sequence[Row]) -> Table:
    result = _table(_HEADINGS, left={0, 3})
    for row in rows:
        style = "bold red" if row.reached is False else ""
        result.add_row(*(Text(cell, style=style) for cell in cells(row)))
    return result


def latency_table(found: Sequence[Distribution]) -> Table:
    result = _table(_LATENCY_HEADINGS, left={0})
    for each in found:
        result.add_row(*latency_cells(each))
    return result


def _table(headings: Sequence[str], left: Collection[int]) -> Table:
    result = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(headings):
        result.add_column(heading, justify="left" if number in left else "right", overflow="fold")
    return result


def notes(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        if row.note:
            yield f"{row.name}{row.floor_name and f', beside {row.floor_name}'}: {row.note}"


def distributions(rows: Iterable[Row]) -> list[Distribution]:
    return [each for row in rows for each in row.distributions]


def markdown(rows: Sequence[Row], machine: Mapping[str, str], title: str, pictures: Mapping[str, str]) -> str:
    """`pictures`: file names, and what each shows."""
    lines = [f"# {title}", "", "Written by the run; README.md beside it explains the rows.", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += _markdown_table(_HEADINGS, map(cells, rows))
    if told := list(notes(rows)):
        lines += ["", "## What else was found", "", *(f"- {each}" for each in told)]
    if found := distributions(rows):
        lines += ["", "## Latency on schedule, all rounds together, in milliseconds"]
        lines += _markdown_table(_LATENCY_HEADINGS, map(latency_cells, found))
    for name, what in pictures.items():
        lines += ["", f"![{what}]({name})"]
    return "\n".join(lines) + "\n"


def _markdown_table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield _line(headings)
    yield _line("---" for _ in headings)
    yield from map(_line, lines)


def _line(parts: Iterable[str]) -> str:
    return f"| {' | '.join(parts)} |"


def cells(row: Row) -> tuple[str, ...]:
    unit = row.unit
    lowest, highest = _number(min(row.figures), unit), _number(max(row.figures), unit)
    floor = "" if row.floor is None else f"{_number(row.floor, unit)} {unit.name}"
    return (
        row.name,
        f"{_number(row.figure, unit)} {unit.name}",
        f"{lowest} - {highest}",
        row.floor_name,
        floor,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "; ".join(_goals(row)),
    )


def latency_cells(found: Distribution) -> tuple[str, ...]:
    """A share that needs more requests than there were is left empty."""
    points = dict(found.points)
    values = (f"{points[share]:,.2f}" if share in points else "" for share in SHARES)
    return found.name, f"{found.count:,}", *values


def _goals(row: Row) -> Iterator[str]:
    relation = ">=" if row.unit.more_is_better else "<="
    if row.goal is not None:
        yield f"{relation} {row.goal:,g} {row.unit.name} {REACHED[row.goal_reached]}"
    if row.ratio_goal is not None:
        yield f"ratio {relation} {row.ratio_goal:g} {REACHED[row.ratio_goal_reached]}"


def _number(value: float, unit: Unit) -> str:
    return f"{value:,.{unit.decimals}f}"


def as_json(rows: Sequence[Row], machine: Mapping[str, str], run: Mapping[str, Any]) -> bytes:
    """`run` says how it was made: when, from which commit, with how many rounds."""
    document = {**run, "machine": dict(machine), "rows": [_row(row) for row in rows]}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _row(row: Row) -> dict[str, Any]:
    return {
        "figure": row.name,
        "unit": row.unit.name,
        "median": row.figure,
        "rounds": row.figures,
        "spread": row.spread,
        "floor": row.floor_name,
        "floor_median": row.floor,
        "floor_rounds": row.floors,
        "ratio": row.ratio,
        "goal": row.goal,
        "ratio_goal": row.ratio_goal,
        "reached": row.reached,
        "note": row.note,
        "distributions": row.distributions,
    }
