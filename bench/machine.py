"""The machine that was measured: without it a figure says nothing."""

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import psutil

from cli.servers import nats_executable, postgres_binary

_LIBRARIES = ("nats-py", "msgspec", "uvloop", "uvicorn", "litestar", "asyncpg", "sortedcontainers")


def describe(folder: Path) -> dict[str, str]:
    """`folder` is where the servers will keep their data."""
    return {
        "processor": f"{_processor()}, {_cores()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "disk": f"{_filesystem(folder)}, fdatasync of 512 bytes {_sync_milliseconds(folder):.2f} ms",
        "load before": load(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "nats-server": _version_of(nats_executable(), "-v"),
        "Postgres": _version_of(str(postgres_binary("postgres")), "--version"),
        "libraries": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
    }


def load() -> str:
    """Of everybody on the machine. Before a run it should be near zero; after one it holds the run itself."""
    return ", ".join(f"{value:.2f}" for value in os.getloadavg()) + " (over 1, 5 and 15 minutes)"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """Linux keeps the model's name in /proc/cpuinfo; elsewhere the platform module knows about as much as anybody."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _version_of(program: str, option: str) -> str:
    said = subprocess.run([program, option], capture_output=True, text=True, check=False).stdout
    return said.strip().split(" ")[-1] if said.strip() else "unknown"


def _filesystem(folder: Path) -> str:
    """Of the innermost mount point above the folder. A tmpfs has nothing to sync: figures there mean little."""
    found = folder.resolve()
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    return next((mounts[each] for each in (found, *found.parents) if each in mounts), "unknown")


def _sync_milliseconds(folder: Path, tries: int = 100) -> float:
    """What every durable answer has to wait for at the least."""
    path = folder / "sync"
    sync = getattr(os, "fdatasync", os.fsync)
    seconds = []
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for _ in range(tries):
            started = time.perf_counter()
            os.write(file, bytes(512))
            sync(file)
            seconds.append(time.perf_counter() - started)
    finally:
        os.close(file)
        path.unlink()
    return 1000 * median(seconds)
