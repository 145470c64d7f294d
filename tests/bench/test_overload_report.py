import math
from pathlib import Path

from bench.crowd import NO_ANSWER, NOT_SENT, Tally
from bench.overload_report import SERVICES, Run, Sample, Stage, figures, markdown, plot, seconds_to_full_speed


def tally_of(requests: list[tuple[float, float, int]]) -> Tally:
    tally = Tally()
    for due, seconds, status in requests:
        number = tally.begin(due)
        tally.seconds[number] = seconds
        tally.status[number] = status
    return tally


def run_of(recovers_after: float) -> Run:
    """A hundred requests a second: one second at half load, one at five times of it, two at half load again."""
    calm = [(number / 50, 0.01, 201) for number in range(50)]
    storm = [(1 + number / 500, 0.05, 201 if number % 5 == 0 else 503) for number in range(500)]
    after = [(2 + number / 50, 0.01, 201 if number / 50 >= recovers_after else 503) for number in range(100)]
    stages = [
        Stage(0.5, 0, 1, range(50)),
        Stage(5, 1, 2, range(50, 550)),
        Stage(0.5, 2, 4, range(550, 650)),
    ]
    samples = [Sample(each / 4, dict.fromkeys(SERVICES, 50 * 2**20), {}) for each in range(17)]
    careful = tally_of([(each / 10, 0.02, 200) for each in range(40)])
    return Run("REST", 100, stages, tally_of(calm + storm + after), samples, careful, range(40))


def test_figures_count_every_request_once() -> None:
    tally = tally_of(
        [(0, 0.010, 201), (0, 0.030, 200), (0, 0.002, 503), (0, 0.004, 503), (0, 0, NO_ANSWER), (0, 0, NOT_SENT)]
    )
    tally.waited[1] = 0.018
    found = figures(tally, range(6), 0.5)
    assert (found.offered, found.accepted, found.refused) == (12, 4, 4)
    assert (found.unanswered, found.not_sent) == (1, 1)
    assert (found.p50, found.p99, found.longest, found.p99_since_sent) == (10, 30, 30, 12)
    assert (found.refused_p50, found.refused_p99) == (2, 4)
    assert math.isnan(figures(tally, range(2), 1).refused_p50)


def test_full_speed_is_when_everything_is_accepted_again() -> None:
    assert seconds_to_full_speed(run_of(0.0)) == 0
    assert seconds_to_full_speed(run_of(0.7)) == 0.75
    assert seconds_to_full_speed(run_of(9.0)) == math.inf


def test_the_table() -> None:
    text = markdown([run_of(0.0)], {"processor": "one"}, "today")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[:6] for row in rows[2:]] == [
        ["| 0.5x", "50/s", "50/s", "50 %", "0/s", "0"],
        ["| 5x", "500/s", "100/s", "100 %", "400/s", "0"],
        ["| 0.5x", "50/s", "50/s", "50 %", "0/s", "0"],
    ]
    assert "10 of 10 | 20 ms | 50 | 50 | 50 | 50 | 50 |" in rows[3]
    assert "Full speed again 0.00 s after the overload." in text
    assert "Never at full speed again." in markdown([run_of(9.0)], {}, "today")


def test_the_plot(tmp_path: Path) -> None:
    plot([run_of(0.5), run_of(0.0)], tmp_path / "overload.svg")
    assert "<svg" in (tmp_path / "overload.svg").read_text()
