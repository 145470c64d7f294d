from pathlib import Path
from random import Random

import pytest

from bench.crowd import Tally
from bench.soak_report import (
    BIN_SECONDS,
    LAG,
    MEMORY,
    Bound,
    Points,
    Sent,
    Series,
    Soak,
    latencies,
    line_through,
    markdown,
    plot,
)

BOUND = Bound(share=0.1, least=1.0)


def points(rise: float, scatter: float = 0.0, count: int = 100) -> Points:
    """From 100 up by `rise` within the second half of an hour; the first half goes up and down as it likes."""
    random = Random(3)
    second = [
        (1800 + each, 100 + rise * each / (count - 1) + random.uniform(-scatter, scatter)) for each in range(count)
    ]
    return [(each, random.uniform(0, 1000)) for each in range(count)] + second


def series(rise: float, scatter: float = 0.0) -> Series:
    return Series("matcher", "memory", "MB", points(rise, scatter), BOUND)


def test_the_line_goes_through_points_on_a_line() -> None:
    line = series(5.0).line
    assert (line.begin, line.end, line.rise) == pytest.approx((100, 105, 5))
    assert line.error == pytest.approx(0, abs=1e-6)


def test_two_points_and_one_are_lines_too() -> None:
    assert line_through([(0.0, 1.0), (5.0, 3.0)]).rise == 2
    assert line_through([(0.0, 1.0)]).rise == 0


@pytest.mark.parametrize(("rise", "flat"), [(-50.0, True), (0.0, True), (10.9, True), (11.1, False), (50.0, False)])
def test_a_line_may_rise_by_a_share_and_a_little_and_fall_as_it_likes(rise: float, flat: bool) -> None:
    assert series(rise).is_flat is flat


def test_what_scatters_grows_only_if_the_line_is_certain() -> None:
    assert series(20.0, scatter=200.0).is_flat
    assert not series(20.0, scatter=10.0).is_flat


def test_the_error_is_that_of_the_rise() -> None:
    rises = [
        line_through([(each, random.gauss(0, 1)) for each in range(50)]).rise for random in map(Random, range(400))
    ]
    spread = (sum(rise * rise for rise in rises) / len(rises)) ** 0.5
    assert line_through([(each, Random(each).gauss(0, 1)) for each in range(50)]).error == pytest.approx(
        spread, rel=0.3
    )


def test_latencies_are_those_of_accepted_requests_by_when_they_were_due() -> None:
    tally = Tally()
    for due, seconds, status in [(5.0, 9.0, 201), (100.0, 0.010, 201), (101.0, 0.5, 503), (112.0, 0.030, 200)]:
        number = tally.begin(due)
        tally.seconds[number], tally.status[number] = seconds, status
    p50, p99, _ = latencies("REST", tally, range(1, 4), started=100.0)
    assert p50.points == [(0, 10), (BIN_SECONDS, 30)]
    assert p99.name == "REST p99"


def soak(rise: float = 0.0, wrong: tuple[str, ...] = ()) -> Soak:
    return Soak(
        30,
        0.7,
        [Sent("REST", 4000, 2800, 5_040_000, 1, 2, ("overloaded",))],
        [
            Series("matcher", "memory", "MB", points(rise), MEMORY),
            Series("REST p99", "latency", "ms", points(0)),
            Series("recorder behind", "lag", "commits", points(0), LAG),
        ],
        wrong,
        ["5,040,000 answered orders looked for."],
    )


def test_the_report_says_what_was_sent_what_grew_and_what_is_wrong() -> None:
    good = markdown(soak(), {"processor": "one"}, "today")
    assert "# Soak of 30 minutes, today: held" in good
    assert "| REST | 4,000/s | 2,800/s | 5,040,000 | 1 | 2 |" in good
    assert "| memory: matcher | 100.0 to 100.0 MB | +0.0 | 6.0 | 0.0 | flat |" in good
    assert "Nothing was lost, and nothing is there twice." in good
    assert "NOT HELD" in markdown(soak(rise=10.0), {}, "today")
    assert "| memory: matcher | 100.0 to 110.0 MB | +10.0 | 6.0 | 0.0 | GROWS |" in markdown(
        soak(rise=10.0), {}, "today"
    )
    bad = markdown(soak(wrong=("REST-7 is in the journal twice",)), {}, "today")
    assert "NOT HELD" in bad
    assert "**WRONG**: REST-7 is in the journal twice" in bad


def test_the_plot(tmp_path: Path) -> None:
    plot(soak(), tmp_path / "soak.svg")
    assert "<svg" in (tmp_path / "soak.svg").read_text()
