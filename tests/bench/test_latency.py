from random import Random

import pytest

from bench.latency import SHARES, at_share, distribution, latency_rows, on_schedule, share_name
from bench.load import Load


def test_every_request_of_every_round_counts_exactly() -> None:
    seconds = [number / 1_000 for number in range(1, 20_001)]
    Random(1).shuffle(seconds)
    found = distribution("orders", [seconds[:7_000], seconds[7_000:]])
    points = dict(found.points)
    assert found.count == 20_000
    assert [points[share] for share in SHARES] == pytest.approx([10_000, 18_000, 19_800, 19_980, 19_998, 20_000])


def test_points_rise_to_the_longest_and_lie_evenly_by_nines() -> None:
    found = distribution("orders", [[number / 1_000 for number in range(1, 5_001)]])
    shares = [share for share, _ in found.points]
    values = [value for _, value in found.points]
    assert shares == sorted(set(shares))
    assert values == sorted(values)
    assert (shares[-1], values[-1]) == (1, 5_000)
    assert sum(0.9 <= share < 0.99 for share in shares) == pytest.approx(
        sum(0.99 <= each < 0.999 for each in shares), abs=1
    )


def test_a_share_that_needs_more_requests_than_there_were_is_left_out() -> None:
    shares = {share for share, _ in distribution("few", [[0.001] * 9_999]).points}
    assert 0.999 in shares
    assert 0.9999 not in shares
    assert 0.9999 in {share for share, _ in distribution("enough", [[0.001] * 10_000]).points}


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.75, 3), (0.76, 4), (1.0, 4), (0.0, 1)])
def test_the_smallest_that_so_many_do_not_exceed(share: float, value: int) -> None:
    assert at_share([1, 2, 3, 4], share) == value


def test_names_of_shares() -> None:
    assert [share_name(share) for share in SHARES] == ["p50", "p90", "p99", "p99.9", "p99.99", "longest"]


def load(*milliseconds: float) -> Load:
    return Load(1.0, [each / 1_000 for each in milliseconds], [])


async def test_on_schedule_gives_rows_by_rounds_and_everything_of_all_rounds() -> None:
    floors, figures = iter([load(1, 2, 3), load(2, 3, 4)]), iter([load(2, 4, 9), load(4, 6, 8)])

    async def floor() -> Load:
        return next(floors)

    async def figure() -> Load:
        return next(figures)

    p50, p99 = await on_schedule("orders", "echo", 2, floor, figure)
    assert (p50.figures, p50.floors, p50.ratio) == ((4, 6), (2, 3), 2)
    assert (p99.figures, p99.name) == ((9, 8), "orders: latency p99")
    assert [each.name for each in p50.distributions] == ["orders", "echo, the same rate"]
    assert [dict(each.points)[1.0] for each in p50.distributions] == pytest.approx([9, 4])


def test_goals_are_those_of_the_median() -> None:
    p50, p99 = latency_rows("orders", "echo", [load(1.4)], [load(1)], p50_goal=1.5, p50_ratio_goal=1.3)
    assert (p50.goal_reached, p50.ratio_goal_reached, p50.reached) == (True, False, False)
    assert p99.reached is None
