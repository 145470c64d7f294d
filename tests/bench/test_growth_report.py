"""What counts as bending, and the costs that come out."""

from pathlib import Path

import msgspec
import pytest

from bench.growth_report import AXES, Axis, Point, as_json, costs, draw, lines

MB = 1_000_000


def point(at: int, matcher: float, *, yardstick: float = 10.0, memory: float = 30.0, commands: int = 0) -> Point:
    return Point(
        at,
        rate=1_000,
        p50=1,
        p99=2,
        processor={"matcher": matcher, "gateway": 1.0, "broadcaster": 5.0},
        memory={"matcher": memory, "broadcaster": memory},
        yardstick=yardstick,
        commands=commands,
        journal_bytes=commands * 150,
        postgres_bytes=commands * 400,
    )


def test_what_costs_the_same_does_not_bend() -> None:
    axis = Axis("symbols", (point(1, 20), point(10_000, 22)))
    assert axis.growth == pytest.approx(28 / 26)
    assert axis.bends == []


def test_a_process_that_takes_more_at_the_end_is_named() -> None:
    axis = Axis("symbols", (point(1, 20), point(10_000, 60)))
    assert axis.bends == ["matcher"]
    assert "BENDS (matcher)" in "\n".join(lines([axis], {"processor": "one"}))


def test_a_machine_that_is_slower_at_the_end_is_no_bend() -> None:
    axis = Axis("symbols", (point(1, 20), point(10_000, 40, yardstick=20.0)))
    assert axis.bends == []
    assert axis.growth < 1


def axes() -> list[Axis]:
    grown = {"resting": 530.0, "accounts": 1_030.0}
    return [
        Axis(name, (point(0, 20, commands=1_000), point(10**6, 21, memory=grown.get(name, 30.0), commands=11_000)))
        for name in AXES
    ]


def test_costs_are_the_slopes_from_the_first_point_to_the_last() -> None:
    found = costs(axes(), gateway=80)
    assert found.processor == {"matcher": 20, "broadcaster": 5.0}
    assert (found.gateway, found.message) == (80, 5.0)
    assert found.resting["matcher"] == pytest.approx(500)
    assert found.account["matcher"] == pytest.approx(500)  # without the order that each has
    assert found.symbol["matcher"] == 0
    assert (found.journal, found.postgres) == (pytest.approx(150), pytest.approx(400))
    assert found.base["matcher"] == 30 * MB


def test_a_run_is_written_as_a_page_figures_and_pictures(tmp_path: Path) -> None:
    draw(axes(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"growth-{name}.svg" for name in AXES}
    written = msgspec.json.decode(as_json(axes(), {}, costs(axes(), 80)))
    assert set(written["axes"]) == set(AXES)
    page = "\n".join(lines(axes(), {}))
    assert all(f"](growth-{name}.svg)" in page for name in AXES)
