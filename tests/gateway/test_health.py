"""Ready means: connected, everybody answers, and the history is not far behind."""

from gateway.health import MAX_RECORDER_LAG, readiness


def test_ready() -> None:
    found = readiness(True, matcher=10, recorder=8, broadcaster=10)
    assert found.status == "ready"
    assert (found.checks["recorder"].sequence, found.checks["recorder"].lag) == (8, 2)


def test_each_part_can_be_what_is_missing() -> None:
    for name, found in {
        "nats": readiness(False, 1, 1, 1),
        "matcher": readiness(True, None, 1, 1),
        "recorder": readiness(True, 1, None, 1),
        "broadcaster": readiness(True, 1, 1, None),
    }.items():
        assert found.status == "not_ready"
        assert [part for part, check in found.checks.items() if not check.ok] == [name]


def test_a_recorder_far_behind_is_not_ready() -> None:
    assert readiness(True, MAX_RECORDER_LAG + 1, 0, 1).checks["recorder"].ok is False
    assert readiness(True, MAX_RECORDER_LAG, 0, 1).checks["recorder"].ok
    assert readiness(True, 5, 6, 1).checks["recorder"].lag == 0
