"""Processor time of this process and of all that it has started. It holds on a busy machine, where seconds do not."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import PurePath

import psutil

CLIENT = "client"


class Processors:
    """Of the processes that run when it is made; those of one name count together."""

    def __init__(self) -> None:
        self._processes: dict[str, list[psutil.Process]] = {CLIENT: [psutil.Process()]}
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # one that has just ended
                self._processes.setdefault(name_of(process.cmdline()), []).append(process)

    def seconds(self) -> dict[str, float]:
        return {name: sum(map(_seconds, processes)) for name, processes in self._processes.items()}

    def since(self, before: Mapping[str, float]) -> dict[str, float]:
        return {name: now - before[name] for name, now in self.seconds().items()}


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # a session of Postgres that has ended meanwhile
        return 0.0
    return float(times.user + times.system)


def name_of(command: Sequence[str]) -> str:
    """`python -m matcher` is matcher; Postgres writes into its command lines what each of its processes does."""
    if "-m" in command:
        return command[command.index("-m") + 1].removeprefix("bench.")
    return PurePath(command[0].partition(":")[0]).name
