"""The pure core executes as many bytecodes per command as bench/instructions.json says.

Timings on a shared machine cannot be asserted; these figures are the same wherever the same Python runs. When this
fails, somebody made the way of every command longer, or shorter: `python -m bench.instructions` shows where, and
`--write` keeps the new figures if that was meant.
"""

import pytest

from bench.instructions import FLOOR, counted_apart, counts, differences, executed_by, read_kept, this_version

KEPT = {FLOOR: 100.0, "engine": 300.0}


def test_nobody_made_the_way_of_a_command_longer() -> None:
    assert not differences(counted_apart(), read_kept(), this_version())


def loop(times: int) -> None:
    for _ in range(times):
        pass


def test_every_bytecode_is_counted_the_same_each_time() -> None:
    short, long = executed_by(lambda: loop(1_000)), executed_by(lambda: loop(2_000))
    assert executed_by(lambda: loop(1_000)) == short
    assert long - short in (2_000, 3_000), "a turn of an empty loop is two or three bytecodes, depending on the version"


def test_more_work_per_command_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from matcher.engine import Engine

    apply = Engine.apply

    def slower(self: Engine, *arguments: object) -> object:
        loop(20)
        return apply(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("bench.instructions._COUNTED", 100)
    monkeypatch.setattr("bench.instructions._FILL", 200)
    before = {this_version(): counts()}
    monkeypatch.setattr(Engine, "apply", slower)
    found = differences(counts(), before, this_version())
    assert {line.partition(":")[0] for line in found} == {"engine", "sequencer", "recovery"}


@pytest.mark.parametrize(
    ("executed", "holds"), [(300.0, True), (314.9, True), (315.1, False), (285.1, True), (284.9, False)]
)
def test_a_known_version_is_held_within_five_percent_both_ways(executed: float, holds: bool) -> None:
    assert (not differences({FLOOR: 100.0, "engine": executed}, {"3.11": KEPT}, "3.11")) is holds


@pytest.mark.parametrize(
    ("floor", "executed", "holds"),
    [(100.0, 344.0, True), (100.0, 346.0, False), (80.0, 275.0, True), (80.0, 277.0, False)],
)
def test_another_version_is_compared_with_its_own_bare_book(floor: float, executed: float, holds: bool) -> None:
    cheap = {FLOOR: 100.0, "engine": 100.0}
    kept = {"3.11": cheap, "3.13": KEPT}
    assert (not differences({FLOOR: floor, "engine": executed}, kept, "3.14")) is holds


def test_a_stage_that_came_or_went_is_named() -> None:
    found = differences({FLOOR: 100.0, "recorder": 5.0}, {"3.11": KEPT}, "3.11")
    assert [line.partition(":")[0] for line in sorted(found)] == ["engine", "recorder"]
