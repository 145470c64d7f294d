"""Engines of others beside ours: what is compared and how. Ours is run; the others would have to come from PyPI."""

import sys
from pathlib import Path

import pytest

from bench.environments import environment
from bench.peer_engines import PEERS, Timing, checked
from bench.peers import (
    LARGE,
    OURS,
    PACKAGES,
    SMALL,
    Found,
    Scale,
    differences,
    fastest_pure,
    measure_engines,
    operations_of,
    ratio,
    report,
)
from bench.programs import NotStarted
from bench.rounds import PER_SECOND, Row

TINY = Scale(rounds=2, commands=300, seconds=5.0, checked=1_500, fill_seconds=20.0)


def test_every_package_can_be_told_what_to_do_and_is_pinned() -> None:
    assert {package.name for package in PACKAGES} | {OURS} == set(PEERS)
    assert all("==" in each for package in PACKAGES for each in package.requirements)
    assert all(package.requirements[0].startswith(f"{package.name}==") for package in PACKAGES)


def test_ours_trades_as_the_bare_book_says() -> None:
    operations = operations_of(SMALL, 3_000)
    fills = checked(PEERS[OURS], operations)
    orders = [operation for operation in operations if operation[0]]
    assert len(fills) == len(orders)
    for (_, _, quantity, rests), found in zip(orders, fills, strict=True):
        assert rests or sum(found.values()) == quantity, "a taker of this flow is filled, so nobody needs to know IOC"


def test_an_engine_goes_on_where_it_was_until_there_is_nothing_left() -> None:
    timing = Timing(PEERS[OURS], operations_of(SMALL, 230))
    assert [timing.go_on(100, 10.0)[0] for _ in range(4)] == [100, 100, 30, 0]


async def test_ours_is_measured_in_rounds_and_agrees_with_itself(tmp_path: Path) -> None:
    (found,) = await measure_engines(SMALL, TINY, {OURS: Path(sys.executable)}, tmp_path)
    assert found.differing == 0
    assert len(found.rates) == 2
    assert found.rate > 0


def test_orders_that_trade_otherwise_are_counted() -> None:
    ours = [[[100, 5]], [], [[100, 2], [101, 3]]]
    assert differences(ours, ours) == 0
    assert differences(ours, [[[100, 5]], [], [[100, 2], [102, 3]]]) == 1
    assert differences(ours, [[[0, 5]], [], [[0, 5]]]) == 0, "an engine that tells no prices"
    assert differences(ours, [[[0, 5]], [], [[0, 4]]]) == 1
    assert differences(ours, [[], [], [[0, 5]]]) == 1


def test_the_fastest_in_pure_python_is_none_of_the_compiled_ones() -> None:
    found = [Found(OURS, (900.0,)), Found("bourse", (5000.0,)), Found("lobby", (200.0,)), Found("fastlob", (300.0,))]
    assert fastest_pure([*found, Found("order-matching", ())]).name == "fastlob"


def test_the_ratio_is_taken_round_by_round() -> None:
    assert ratio(Found(OURS, (10.0, 20.0, 90.0)), Found("lobby", (5.0, 10.0, 10.0))) == 2.0


@pytest.mark.parametrize(("ours", "said"), [(700.0, "reached"), (500.0, "NOT REACHED")])
def test_the_report_names_the_goal_and_what_is_missed(ours: float, said: str) -> None:
    found = [
        Found(OURS, (ours,), 0),
        Found("lobby", (300.0,), 0),
        Found("litebook", (2_000.0,), 7),
        Found("order-matching", ()),
    ]
    row = Row("REST, 32 connections: orders", "usual", PER_SECOND, (6_000.0,), (300.0,))
    text = report({SMALL: found, LARGE: found}, [row], {"processor": "one"}, TINY)
    assert text.count("Goal: >= 2") == 1
    assert f"Goal: >= 2, {said}." in text
    assert "no: 7 orders" in text
    assert "too slow to fill the book" in text
    assert "| REST, 32 connections: orders | 6,000 /s |" in text
    assert "| 20.00 |" in text


async def test_an_environment_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="there is nothing here"):
        await environment(tmp_path / "apart", [str(tmp_path / "there is nothing here")])
