"""A start that is measured is a start: on the data that was there, and as often as it was asked for."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.measure_start import measure
from bench.scale import QUICK

pytestmark = pytest.mark.stack


async def test_recovery_and_start_are_measured(tmp_path: Path) -> None:
    said: list[str] = []
    scale = replace(QUICK, starts=1, start_commands=200, recovered_commands=2_000)
    recovery, start = await measure(scale, tmp_path, said.append)
    assert len(recovery.figures) == len(recovery.floors) == len(start.figures) == 1
    assert recovery.ratio_goal == 0.5
    assert 0 < start.figure < 60
    assert start.goal == 5
    assert start.floor is None
