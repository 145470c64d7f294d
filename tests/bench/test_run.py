"""The measurements run against real processes: tiny rounds, whose numbers mean nothing."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.rounds import Row
from bench.run import MEASUREMENTS, measure, measurement
from bench.scale import QUICK

TINY = replace(
    QUICK,
    rounds=1,
    engine_commands=500,
    resting=(100, 300),
    resting_for_memory=2_000,
    alone=20,
    singles=200,
    batched=1_000,
    rest_orders=50,
    ws_orders=50,
    loaded_seconds=0.1,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pricetime-bench-test-", ignore_cleanup_errors=True) as path:
        yield Path(path)


async def measured(name: str, folder: Path) -> list[Row]:
    said: list[str] = []
    rows = await measure(name, TINY, folder, said.append)
    assert all(each.startswith(f"{name}: ") for each in said)
    assert said
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.figure > 0 and (row.floor is None or row.floor > 0) for row in rows)
    return rows


async def test_the_engine_alone_in_a_folder_of_its_own(folder: Path) -> None:
    plain, features, few, many, _, bare, plain_bytes, named_bytes = await measured("engine", folder)
    assert os.listdir(folder) == ["engine"]
    assert (plain.ratio_goal, features.ratio_goal, many.ratio_goal, bare.ratio_goal) == (0.6, 0.5, 0.7, None)
    assert many.floors == few.figures
    assert plain_bytes.goal == 400
    assert named_bytes.figure > plain_bytes.figure


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_every_measurement_is_there(name: str) -> None:
    assert callable(measurement(name).measure)


@pytest.mark.stack
async def test_commands_over_nats(folder: Path) -> None:
    rows = {row.name: row for row in await measured("nats", folder)}
    for in_flight in (64, 128, 256, 512):
        assert rows[f"NATS, {in_flight} in flight: durable commands"].ratio_goal == 0.7
    for size in (100, 500):
        row = rows[f"NATS, batches of {size}: durable commands"]
        assert (row.goal, row.ratio_goal) == (150_000, 0.5)
    assert rows["NATS, 1 in flight: latency p50"].ratio_goal == 1.3


@pytest.mark.stack
async def test_orders_over_rest_with_every_service(folder: Path) -> None:
    orders, p50, *_, scheduled, _ = await measured("rest", folder)
    assert (orders.goal, orders.ratio_goal) == (6_000, 0.6)
    assert p50.ratio_goal == 1.3
    figure, floor = scheduled.distributions
    assert figure.count == floor.count > 0


@pytest.mark.stack
async def test_orders_over_websocket_beside_nats(folder: Path) -> None:
    one, four, *_ = await measured("ws", folder)
    assert one.floor_name == "NATS, 64 in flight, all services"
    assert four.floor_name == "NATS, 256 in flight, all services"
    assert one.ratio_goal == four.ratio_goal == 0.7
