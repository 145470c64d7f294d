"""The room between reading and recording: bounded, in order, nothing left behind."""

import asyncio

import pytest

import recorder.runs
from recorder.runs import Runs
from recorder.store import Position
from tests.support.journals import Written, random_journal
from tests.support.recorded import fold
from tests.support.rich_journals import rich_journal

WRITTEN = random_journal(1, commits=10, commands_per_commit=4).written


async def add(runs: Runs, *written: Written) -> None:
    for each in written:
        await runs.add(*each)


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_run_is_what_came_since_the_one_before() -> None:
    runs = Runs()
    await add(runs, *WRITTEN[:2])
    first = await runs.take()
    await add(runs, *WRITTEN[2:5])
    second = await runs.take()
    assert [commit.sequence for commit in first.fold.commits] == [1, 2]
    assert [commit.sequence for commit in second.fold.commits] == [3, 4, 5]
    assert second.reached == Position(5, WRITTEN[4].hash, "test-journal")


async def test_a_run_knows_the_last_trade_before_it() -> None:
    written = rich_journal(1)[0].written
    whole = fold(written)[0]
    runs = Runs(last_trade_id=0)
    events = []
    for each in written:
        await add(runs, each)
        events += (await runs.take()).fold.order_events
    assert events == whole.order_events
    assert Runs(last_trade_id=7)._run.fold.last_trade_id == 7


async def test_taking_waits_for_something_to_take() -> None:
    runs = Runs()
    taking = asyncio.create_task(runs.take())
    await settle()
    assert not taking.done()
    await add(runs, WRITTEN[0])
    assert (await taking).reached.sequence == 1


@pytest.mark.parametrize("limit", ["MAX_COMMITS", "MAX_COMMANDS", "MAX_BYTES"])
async def test_adding_waits_while_the_run_is_full(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(recorder.runs, limit, 3)
    runs = Runs()
    adding = asyncio.create_task(add(runs, *WRITTEN))
    taken = []
    while not adding.done():
        await settle()
        run = await runs.take()
        assert len(run.fold.commits) <= 3
        taken += [commit.sequence for commit in run.fold.commits]
        await settle()
    if len(taken) < len(WRITTEN):
        taken += [commit.sequence for commit in (await runs.take()).fold.commits]
    assert taken == [each.commit.sequence for each in WRITTEN]


async def test_all_recorded_waits_for_the_run_that_grows_and_the_one_taken() -> None:
    runs = Runs()
    await asyncio.wait_for(runs.all_recorded(), 1)
    await add(runs, WRITTEN[0])
    await runs.take()
    await add(runs, WRITTEN[1])
    waiting = asyncio.create_task(runs.all_recorded())
    runs.recorded()
    await settle()
    assert not waiting.done()
    await runs.take()
    runs.recorded()
    await waiting


async def test_the_pause_ends_when_the_next_run_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder.runs, "_LONGEST_PAUSE_SECONDS", 3600)
    monkeypatch.setattr(recorder.runs, "_PAUSE_SECONDS_PER_COMMIT", 3600)
    monkeypatch.setattr(recorder.runs, "MAX_COMMITS", 2)
    runs = Runs()
    await add(runs, WRITTEN[0])
    pausing = asyncio.create_task(runs.pause(await runs.take()))
    await add(runs, WRITTEN[1])
    await settle()
    assert not pausing.done()
    await add(runs, WRITTEN[2])
    await pausing


async def test_what_recording_took_is_no_longer_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a slow Postgres adds nothing. Method: a pause of an hour, after a run that was taken an hour ago."""
    monkeypatch.setattr(recorder.runs, "_LONGEST_PAUSE_SECONDS", 3600)
    monkeypatch.setattr(recorder.runs, "_PAUSE_SECONDS_PER_COMMIT", 3600)
    runs = Runs()
    await add(runs, WRITTEN[0])
    run = await runs.take()
    runs._taken_at -= 3600
    async with asyncio.timeout(60):
        await runs.pause(run)
