"""The measurements run against real processes: tiny rounds, whose numbers mean nothing."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.measure_engine import measure
from bench.run import measure_matcher, measure_stack
from bench.scale import Scale

TINY = Scale(rounds=1, engine_commands=500, alone=20, singles=200, batched=1_000, rest_orders=50, loaded_seconds=0.1)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pricetime-bench-test-", ignore_cleanup_errors=True) as path:
        yield Path(path)


async def test_the_engine() -> None:
    (row,) = await measure(TINY, seed=1)
    assert row.figure > 0
    assert row.floor > 0


@pytest.mark.stack
async def test_commands_over_nats(folder: Path) -> None:
    said: list[str] = []
    rows = await measure_matcher(TINY, folder, said.append)
    assert len(rows) == 9
    assert all(row.figure > 0 and row.floor > 0 for row in rows)
    assert len({row.name for row in rows}) == len(rows)
    assert said


@pytest.mark.stack
async def test_orders_over_rest_with_every_service(folder: Path) -> None:
    rows = await measure_stack(TINY, folder, lambda _: None)
    assert [row.name for row in rows][:2] == [
        "NATS, batches of 100, all services: durable commands",
        "REST, 32 connections: orders",
    ]
    assert len(rows) == 6
    assert all(row.figure > 0 and row.floor > 0 for row in rows)
