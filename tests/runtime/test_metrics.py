import pytest

from runtime import metrics
from runtime.metrics import CATALOGUE, SECONDS, SIZES, Histogram
from runtime.metrics_server import families


def test_a_histogram_counts_what_is_at_most_as_large_as_a_bound() -> None:
    sizes = Histogram((1, 2, 5))
    for value in (0, 1, 1.5, 2, 5, 6, 100):
        sizes.observe(value)
    assert sizes.counts == [2, 2, 1, 2]
    assert sizes.count == 7
    assert sizes.sum == 115.5


@pytest.mark.parametrize("bounds", [SECONDS, SIZES])
def test_bounds_grow(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


def test_names_are_ours_and_there_once() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names) > 60
    assert all(name.startswith("pricetime_") for name in names)
    assert all(metric.name.endswith("_total") == (metric.kind == "counter") for metric in CATALOGUE)
    assert all(metric.help and not metric.help.endswith(".") for metric in CATALOGUE)


def test_prometheus_is_told_how_many_were_at_most_so_large() -> None:
    waits = Histogram((0.5, 1))
    for value in (0.2, 0.7, 0.8, 3):
        waits.observe(value)
    [family] = families([metrics.LOOP_LAG.of(waits)])
    assert [(sample.name, sample.labels, sample.value) for sample in family.samples] == [
        ("pricetime_event_loop_lag_seconds_bucket", {"le": "0.5"}, 1),
        ("pricetime_event_loop_lag_seconds_bucket", {"le": "1.0"}, 3),
        ("pricetime_event_loop_lag_seconds_bucket", {"le": "+Inf"}, 4),
        ("pricetime_event_loop_lag_seconds_count", {}, 4),
        ("pricetime_event_loop_lag_seconds_sum", {}, 4.7),
    ]


def test_what_is_measured_of_one_metric_stands_together() -> None:
    """As the format wants it, from however many sources it comes."""
    measures = [
        metrics.NATS_CONNECTED.of(1, "main"),
        metrics.DATA_FREE.of(7),
        metrics.NATS_CONNECTED.of(False, "intake"),
    ]
    found = {family.name: [(each.labels, each.value) for each in family.samples] for family in families(measures)}
    assert found == {
        "pricetime_nats_connected": [({"connection": "main"}, 1.0), ({"connection": "intake"}, 0.0)],
        "pricetime_data_free_bytes": [({}, 7.0)],
    }


def test_a_label_too_few_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        metrics.NATS_CONNECTED.of(1)
