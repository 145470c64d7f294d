"""The waterfall of one order: its points are in the services' code, and its stages come from their stamps."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from bench.client import WrongAnswer
from bench.stamped import stamped
from bench.stamps import FOLDER, POINTS, Point, Stamp, note_into, owner_of, read_stamps, wrap_points
from bench.waterfall import ANSWERED, SENT, STAGES, TOLD, bars, plot, table
from cli.processes import Program

BY_NAME = {(point.service, point.name): point for point in (*POINTS, SENT, ANSWERED, TOLD)}


@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point.service}: {point.name}")
def test_every_point_is_in_the_code(point: Point) -> None:
    owner, name = owner_of(point)
    assert callable(getattr(owner, name))


def test_stages_go_from_point_to_point() -> None:
    assert {stage.begin for stage in STAGES} | {stage.end for stage in STAGES} == set(BY_NAME)
    waited = [stage for stage in STAGES if stage.is_waited_for]
    assert [stage.end for stage in waited[:-1]] == [stage.begin for stage in waited[1:]]
    assert waited[0].begin == ("client", SENT.name)
    assert waited[-1].end == ("client", ANSWERED.name)


def one_order(start: int, step: int) -> list[Stamp]:
    """Passes its points, each so many nanoseconds after the one before it."""
    places = {("client", SENT.name): start}
    for stage in STAGES:
        places.setdefault(stage.end, places[stage.begin] + step)
    return [(BY_NAME[place], at) for place, at in places.items()]


def test_bars_are_medians_over_the_orders() -> None:
    stamps = [stamp for number in range(5) for stamp in one_order(number * 10**9, 1_000 * (number + 1))]
    found = bars(sorted(stamps, key=lambda stamp: stamp[1]))
    assert [bar.microseconds for bar in found] == [3.0] * len(STAGES)
    assert [bar.begin for bar in found[:3]] == [0.0, 3.0, 6.0]
    assert "| | **the client waits** | **33** | | sum of the medians |" in table(found)


def test_a_point_that_is_missed_is_named() -> None:
    stamps = [stamp for stamp in one_order(0, 1_000) if stamp[0].name != "command is executed"]
    with pytest.raises(WrongAnswer, match="matcher: command is executed"):
        bars(sorted(stamps, key=lambda stamp: stamp[1]))


def test_stamps_survive_a_process_that_leaves_at_once(tmp_path: Path) -> None:
    if os.fork() == 0:
        note = note_into(tmp_path / "matcher-1.stamps")
        note(5)
        note(6)
        os._exit(0)
    os.wait()
    stamps = read_stamps(tmp_path)
    assert [point for point, _ in stamps] == [POINTS[5], POINTS[6]]
    assert stamps[0][1] <= stamps[1][1]


async def test_wrapped_functions_do_what_they_did(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[int] = []
    for point in POINTS:
        owner, name = owner_of(point)
        monkeypatch.setattr(owner, name, getattr(owner, name))
    for service in {point.service for point in POINTS}:
        wrap_points(service, noted.append)
    for point in POINTS:
        owner, name = owner_of(point)
        before = getattr(owner, name).__wrapped__
        assert asyncio.iscoroutinefunction(getattr(owner, name)) is asyncio.iscoroutinefunction(before)


def test_services_are_started_with_a_clock_and_servers_as_they_are() -> None:
    service = Program(name="matcher", command=(sys.executable, "-P", "-m", "matcher"), environment={"PRICETIME_X": "1"})
    changed = stamped(service, Path("/stamps"))
    assert changed.command == (sys.executable, "-P", "-m", "bench.stamps", "matcher", "matcher")
    assert changed.environment[FOLDER] == "/stamps"
    assert changed.environment["PRICETIME_X"] == "1"
    server = Program(name="nats", command=("nats-server",), environment={})
    assert stamped(server, Path("/stamps")) is server


def test_the_plot(tmp_path: Path) -> None:
    plot(bars(sorted(one_order(0, 5_000), key=lambda stamp: stamp[1])), tmp_path / "waterfall.svg")
    assert "<svg" in (tmp_path / "waterfall.svg").read_text()
