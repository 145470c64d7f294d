"""How full the disks are that the operator names: those of nats-server and Postgres, where they have some of their own.

Neither of the two tells it over the network, so somebody has to see the folder.
"""

import asyncio
import logging
import shutil
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from runtime import metrics
from runtime.clock import steady
from runtime.metrics import Measure
from runtime.metrics_server import Exposition

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
_OLD_SECONDS = 15.0


class _Found(NamedTuple):
    at: float
    free: int
    size: int


class Disks:
    """Looked at in threads: to ask a disk that hangs hangs, too. What it said before is then told no more."""

    def __init__(self, folders: Mapping[str, str], shown: Exposition) -> None:
        self._folders = folders
        self._is_wanted = shown.is_on and bool(folders)
        self._found: dict[str, _Found] = {}
        shown.add(self.measures)

    async def run(self) -> None:
        """Without end."""
        if not self._is_wanted:
            await asyncio.Event().wait()
        await asyncio.gather(*(self._watch(name, folder) for name, folder in self._folders.items()))

    async def _watch(self, name: str, folder: str) -> None:
        said = ""
        while True:
            try:
                usage = await asyncio.to_thread(shutil.disk_usage, folder)
                self._found[name], said = _Found(steady(), usage.free, usage.total), ""
            except OSError as error:
                self._found.pop(name, None)
                if said != (said := str(error)):
                    log.warning("PRICETIME_WATCHED_FOLDERS: cannot look at the disk of %s: %s", name, error)
            await asyncio.sleep(LOOK_SECONDS)

    def measures(self) -> Iterator[Measure]:
        oldest = steady() - _OLD_SECONDS
        for name, found in self._found.items():
            if found.at >= oldest:
                yield metrics.DISK_FREE.of(found.free, name)
                yield metrics.DISK_SIZE.of(found.size, name)
