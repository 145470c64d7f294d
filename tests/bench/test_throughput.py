from bench.load import Load
from bench.throughput import Side, rate_row


def load(seconds: float, **processor: float) -> Load:
    return Load(seconds, [], [], processor)


def test_a_row_has_rates_and_tells_who_spent_the_processor() -> None:
    figure = Side("orders", [load(1, matcher=0.5, nats=0.25), load(2, matcher=0.7, nats=0.25)], 10_000)
    floor = Side("publishes", [load(0.1, nats=0.1, idle=0.0), load(0.2, nats=0.1, idle=0.0)], 20_000)
    row = rate_row(figure, floor, goal=6_000, ratio_goal=0.6)
    assert (row.figures, row.floors) == ((10_000, 5_000), (200_000, 100_000))
    assert (row.goal, row.ratio_goal) == (6_000, 0.6)
    assert row.note == ("processor microseconds for each: matcher 60.0, nats 25.0; for each of the floor: nats 5.0")


def test_without_processor_times_nothing_is_made_up() -> None:
    assert Side("orders", [load(1)], 10).processor == "hardly any"
