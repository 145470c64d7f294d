"""The pictures are looked at by people; here only that everything is on them, the same each time."""

from pathlib import Path

import pytest

from bench import plots
from bench.latency import distribution
from bench.rounds import MILLISECONDS, PER_SECOND, SECONDS, Row

DISTRIBUTIONS = (
    distribution("REST on schedule", [[number / 1_000 for number in range(1, 20_000)]]),
    distribution("bare POST", [[number / 9_000 for number in range(1, 20_000)]]),
)
ROWS = [
    Row("orders", "echo", PER_SECOND, (50, 70, 60), (100, 100, 100), ratio_goal=0.7),
    Row("latency", "echo", MILLISECONDS, (3, 2, 1), (2, 1, 0.5), ratio_goal=3, distributions=DISTRIBUTIONS),
    Row("start", "", SECONDS, (3, 4), (), goal=5),
]


def test_every_ratio_with_its_goal_and_every_latency_is_drawn(tmp_path: Path) -> None:
    plots.draw(ROWS, tmp_path)
    ratios, latency = ((tmp_path / name).read_text() for name in plots.PICTURES)
    assert all(f">{text}<" in ratios for text in ("orders", "latency", "  0.60", "  2.00"))
    assert ">start<" not in ratios  # it has no floor
    assert all(f">{text}<" in latency for text in ("REST on schedule", "bare POST", "p50", "p99.99"))


def test_figures_of_one_name_say_beside_which_floor_they_stand(tmp_path: Path) -> None:
    plots.draw([*ROWS, Row("orders", "nothing", PER_SECOND, (1,), (2,))], tmp_path)
    drawn = (tmp_path / plots.RATIOS).read_text()
    assert ">orders / echo<" in drawn
    assert ">orders / nothing<" in drawn


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[2:], []])
def test_a_picture_of_the_same_rows_is_the_same_file(rows: list[Row], tmp_path: Path) -> None:
    written = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        plots.draw(rows, tmp_path / name)
        written.append([(tmp_path / name / each).read_bytes() for each in plots.PICTURES])
    assert written[0] == written[1]
