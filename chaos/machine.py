"""What this machine lets a chaos run do, found out by trying. What it does not is said, and counts as not tested."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
APART = "CHAOS_APART"
"""Set in a process that has namespaces of its own: its loopback, mounts and process ids are nobody else's."""
NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def _root() -> bool:
    return os.geteuid() == 0


def _namespaces() -> bool:
    return shutil.which("unshare") is not None and _works(*NAMESPACES, "true")


def _mounts() -> bool:
    if not _root() or shutil.which("mkfs.ext4") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image"
        with image.open("wb") as file:
            file.truncate(4 * 1024 * 1024)
        script = f"mkfs.ext4 -q {image} && mkdir {folder}/m && mount -o loop {image} {folder}/m && umount {folder}/m"
        return _works("sh", "-c", script)


def _strace() -> bool:
    return shutil.which("strace") is not None and _works("strace", "-o", "/dev/null", "-e", "trace=none", "true")


def _cgroup(controller: str) -> bool:
    folder = _CGROUPS / controller / f"pricetime-chaos-try-{os.getpid()}"
    try:
        folder.mkdir()
        folder.rmdir()
    except OSError:
        return False
    return True


_TRIED: dict[str, Callable[[], bool]] = {
    "namespaces": _namespaces,
    "mounts": _mounts,
    "strace": _strace,
    "cgroups": lambda: _root() and _cgroup("cpu") and _cgroup("memory"),
    "sockets": lambda: _root() and shutil.which("ss") is not None,
    "traffic": lambda: _namespaces() and shutil.which("tc") is not None and shutil.which("ip") is not None,
}


@cache
def allows(need: str) -> bool:
    return _TRIED[need]()


def is_apart() -> bool:
    return os.environ.get(APART) == "1"


def _works(*command: str) -> bool:
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=20, env={**os.environ, "PATH": search})
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def sh(*command: str) -> str:
    """Run it, or raise with what it said."""
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "PATH": search}
    )
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
