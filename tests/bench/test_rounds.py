import pytest

from bench.rounds import MILLISECONDS, PER_SECOND, SECONDS, Row, Sample, column, interleaved, percentile


async def test_floor_and_figure_take_turns() -> None:
    turns: list[str] = []

    async def floor() -> Sample:
        turns.append("floor")
        return {"rate": 10.0 * len(turns)}

    async def figure() -> Sample:
        turns.append("figure")
        return {"rate": 1.0 * len(turns)}

    floors, figures = await interleaved(2, floor, figure)
    assert turns == ["floor", "figure", "floor", "figure"]
    assert column(floors, "rate") == (10.0, 30.0)
    assert column(figures, "rate") == (2.0, 4.0)


def test_the_ratio_is_taken_round_by_round() -> None:
    row = Row("figure", "floor", PER_SECOND, figures=(10, 20, 60), floors=(20, 40, 80))
    assert (row.figure, row.floor, row.ratio, row.spread) == (20, 40, 0.5, 2.5)


@pytest.mark.parametrize(
    ("unit", "goal", "reached"),
    [
        (PER_SECOND, 19, True),
        (PER_SECOND, 20, True),
        (PER_SECOND, 21, False),
        (MILLISECONDS, 19, False),
        (MILLISECONDS, 20, True),
        (PER_SECOND, None, None),
    ],
)
def test_a_goal_is_reached_by_the_median(unit: object, goal: float | None, reached: bool | None) -> None:
    assert Row("figure", "floor", unit, (10, 20, 30), (1, 1, 1), goal).reached is reached  # type: ignore[arg-type]


def test_percentiles() -> None:
    values = list(range(100, 0, -1))
    assert percentile(values, 0.50) == 50
    assert percentile(values, 0.99) == 99
    assert percentile(values, 1) == 100
    assert percentile([7], 0.5) == percentile([7], 0.99) == 7


@pytest.mark.parametrize(
    ("goal", "ratio_goal", "reached"),
    [(20, 0.5, True), (20, 0.6, False), (21, 0.5, False), (None, 0.5, True), (None, 0.51, False), (None, None, None)],
)
def test_both_goals_count(goal: float | None, ratio_goal: float | None, reached: bool | None) -> None:
    assert Row("figure", "floor", PER_SECOND, (10, 20, 30), (20, 40, 60), goal, ratio_goal).reached is reached


def test_less_is_better_for_the_ratio_too() -> None:
    row = Row("figure", "floor", MILLISECONDS, (13,), (10,), ratio_goal=1.3)
    assert row.ratio_goal_reached
    assert not Row("figure", "floor", MILLISECONDS, (14,), (10,), ratio_goal=1.3).ratio_goal_reached


def test_a_figure_without_a_floor_has_no_ratio() -> None:
    row = Row("start", "", SECONDS, (4, 5, 6), (), goal=5)
    assert (row.floor, row.ratio, row.reached) == (None, None, True)
