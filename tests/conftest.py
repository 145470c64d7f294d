"""Fixtures that every test may ask for: real servers, and a whole running stack. And whose turn is when."""

import pytest

pytest_plugins = ["tests.support.servers", "tests.support.stack", "tests.support.matchers"]

LONGEST_FIRST = (
    "tests/faults/test_cluster.py",
    "tests/conformance/test_tracebook.py",
    "tests/web/test_page.py",
    "tests/gateway/test_deferred_crashes.py",
    "tests/faults/test_trimmed.py",
    "tests/cli/test_restart.py",
    "tests/cli/test_up.py",
    "tests/test_command_lines.py",
    "tests/chaos/test_short_run.py",
    "tests/faults/test_standby.py",
    "tests/gateway/test_schemathesis.py",
    "tests/web/test_connection.py",
    "tests/cli/test_rebuild.py",
    "tests/docs/test_commands.py",
    "tests/gateway/test_export.py",
    "tests/faults/test_overload.py",
    "tests/faults/test_power_cut.py",
    "tests/faults/test_every_part_killed.py",
    "tests/faults/test_retry_storm.py",
    "tests/faults/test_matcher_and_broker_killed.py",
    "tests/cli/test_nats_users.py",
    "tests/recorder/test_service.py",
    "tests/observe/test_stack.py",
    "tests/cli/test_up_cluster.py",
    "tests/broadcaster/test_random_day.py",
)
"""With several workers: nobody is left with one of these when the others have nothing to do any more. What only
computes comes last, as its files are short."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[int, bool]:
    file = item.nodeid.partition("::")[0]
    place = LONGEST_FIRST.index(file) if file in LONGEST_FIRST else len(LONGEST_FIRST)
    return place, item.get_closest_marker("stack") is None
