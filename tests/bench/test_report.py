"""What people and programs get to see of a run; a goal that is not reached is never hidden."""

import io
import json

from rich.console import Console

from bench.latency import distribution
from bench.report import as_json, cells, latency_cells, markdown, notes, table
from bench.rounds import MILLISECONDS, PER_SECOND, SECONDS, Row

FAST = Row(
    "batches: commands",
    "publishes",
    PER_SECOND,
    (150_000.4, 170_000, 160_000),
    (320_000,) * 3,
    goal=100_000,
    ratio_goal=0.6,
)
SLOW = Row("alone: latency p50", "echo", MILLISECONDS, (2.0, 2.5, 3.0), (0.5, 0.5, 0.5), goal=1.5)
MACHINE = {"processor": "two cores", "Python": "3.11"}


def rendered() -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    console.print(table([FAST, SLOW]))
    assert isinstance(console.file, io.StringIO)
    return [line for line in console.file.getvalue().splitlines() if ":" in line]


def test_the_table_shows_figure_floor_ratio_and_goal() -> None:
    fast, slow = rendered()
    expected = "batches: commands 160,000 /s 150,000 - 170,000 publishes 320,000 /s 0.50 >= 100,000 /s reached;"
    assert " ".join(fast.split()).startswith(expected)
    assert "ratio >= 0.6 NOT REACHED" in fast
    assert "2.500 ms" in slow
    assert "5.00" in slow
    assert "<= 1.5 ms NOT REACHED" in slow


def test_the_written_table_has_the_machine_and_every_row() -> None:
    lines = markdown([FAST, SLOW], MACHINE, "Figures of today", {"ratios.svg": "ratios"}).splitlines()
    assert lines[0] == "# Figures of today"
    assert "- processor: two cores" in lines
    assert "| alone: latency p50 | 2.500 ms | 2.000 - 3.000 | echo | 0.500 ms | 5.00 | <= 1.5 ms NOT REACHED |" in lines


def test_json_holds_every_round() -> None:
    document = json.loads(as_json([FAST, SLOW], MACHINE, {"made_at": "today", "rounds": 3}))
    assert document["made_at"] == "today"
    assert document["machine"] == MACHINE
    assert document["rows"][1] == {
        "figure": "alone: latency p50",
        "unit": "ms",
        "median": 2.5,
        "rounds": [2.0, 2.5, 3.0],
        "spread": 0.4,
        "floor": "echo",
        "floor_median": 0.5,
        "floor_rounds": [0.5, 0.5, 0.5],
        "ratio": 5.0,
        "goal": 1.5,
        "ratio_goal": None,
        "reached": False,
        "note": "",
        "distributions": [],
    }


def test_a_row_without_a_floor_says_nothing_of_one() -> None:
    row = Row("start", "", SECONDS, (4.0, 6.0, 5.0), (), goal=4, note="100,000 orders")
    assert cells(row) == ("start", "5.00 s", "4.00 - 6.00", "", "", "", "<= 4 s NOT REACHED")


def test_notes_are_below_the_table() -> None:
    row = Row("start", "nothing", SECONDS, (4.0,), (1.0,), note="100,000 orders")
    assert "- start, beside nothing: 100,000 orders" in markdown([FAST, row], MACHINE, "Figures", {}).splitlines()
    alone = Row("start", "", SECONDS, (4.0,), (), note="100,000 orders")
    assert list(notes([FAST, alone])) == ["start: 100,000 orders"]


def test_latencies_are_written_below_the_table_and_pictures_below_them() -> None:
    found = distribution("REST", [[number / 1_000 for number in range(1, 1_001)]])
    assert latency_cells(found) == ("REST", "1,000", "500.00", "900.00", "990.00", "999.00", "", "1,000.00")
    row = Row("p50", "echo", MILLISECONDS, (1.0,), (1.0,), distributions=(found,))
    lines = markdown([row], MACHINE, "Figures", {"latency.svg": "latencies"}).splitlines()
    assert f"| {' | '.join(latency_cells(found))} |" in lines
    assert lines[-1] == "![latencies](latency.svg)"
    assert json.loads(as_json([row], MACHINE, {}))["rows"][0]["distributions"][0]["count"] == 1_000
