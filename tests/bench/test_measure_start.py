"""A recovery that is measured is one: as often as it was asked for, and beside somebody who reads the same journal."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.measure_start import recovery
from bench.scale import QUICK

pytestmark = pytest.mark.stack


async def test_recovery_is_measured_beside_its_floor(tmp_path: Path) -> None:
    said: list[str] = []
    row = await recovery(replace(QUICK, starts=1, recovered_commands=2_000), tmp_path, said.append)
    assert len(row.figures) == len(row.floors) == 1
    assert 0 < row.figure < 2_000 / 0.01
    assert row.ratio_goal == 0.5
    assert said == ["a journal of 2,000 commands", "recovery"]
