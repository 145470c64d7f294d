"""The disks of folders that the operator names."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import disk_usage
from typing import Any

import pytest

from recorder import disks as disks_module
from recorder.disks import Disks
from runtime.metrics_server import Exposition
from tests.support.servers import until


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks_module, "LOOK_SECONDS", 0.02)


@asynccontextmanager
async def watching(folders: Mapping[str, str]) -> AsyncIterator[Disks]:
    disks = Disks(folders, Exposition(is_on=True))
    running = asyncio.create_task(disks.run())
    yield disks
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def folders_of(disks: Disks) -> set[str]:
    return {each.labels[0] for each in disks.measures()}


async def test_each_folder_is_told_by_its_name_and_one_that_is_not_there_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, looks = tmp_path / "later", 0

    def look(folder: str) -> Any:
        nonlocal looks
        looks += 1
        return disk_usage(folder)

    monkeypatch.setattr("recorder.disks.shutil.disk_usage", look)
    async with watching({"nats": str(tmp_path), "postgres": str(there)}) as disks:
        await until(lambda: folders_of(disks) == {"nats"} and looks > 8)
        free, size = (each.value for each in disks.measures())
        assert isinstance(free, int)
        assert isinstance(size, int)
        assert 0 < free < size == disk_usage(tmp_path).total
        there.mkdir()
        await until(lambda: folders_of(disks) == {"nats", "postgres"})
        there.rmdir()
        await until(lambda: folders_of(disks) == {"nats"})
        looked = looks
        await until(lambda: looks > looked + 8)
    assert caplog.text.count("cannot look at the disk of postgres") == 2, "once each time that it is missed"


async def test_a_disk_that_hangs_is_told_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time = 100.0
    monkeypatch.setattr(disks_module, "steady", lambda: time)
    async with watching({"nats": str(tmp_path)}) as disks:
        await until(lambda: folders_of(disks) == {"nats"})
    time += 14
    assert folders_of(disks) == {"nats"}
    time += 2
    assert folders_of(disks) == set()


async def test_where_nobody_reads_metrics_nobody_looks(tmp_path: Path) -> None:
    disks = Disks({"nats": str(tmp_path)}, Exposition(is_on=False))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await disks.run()
    assert folders_of(disks) == set()
