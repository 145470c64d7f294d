"""A Docker engine of one's own: dockerd with network, mounts and processes apart, on the Debian that images.py made.

Nothing of it is seen outside, neither ports nor interfaces nor firewall rules, and all of it ends with this process,
which is the first one in there. Only root can make it.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.compose.images import PATH, ImageError, Lab

_INSIDE = "PRICETIME_COMPOSE_INSIDE"
_CGROUPS = Path("/sys/fs/cgroup")
_PARENT = "pricetime-compose"
_VARIABLES = (f"PATH={PATH}", "HOME=/root", "BUILDX_GIT_INFO=false")
SOURCE = "/source"
"""Where the project lies, as the engine and docker see it."""


def enter_namespaces(module: str, arguments: Sequence[str]) -> int | None:
    """Runs the module again, inside; its exit status. None: this is inside."""
    if os.environ.get(_INSIDE):
        return None
    if os.geteuid() != 0:
        raise ImageError("a Docker engine can be started by root only")
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    try:
        again = [sys.executable, "-m", module, *arguments]
        return subprocess.run([*command, *again], check=False, env={**os.environ, _INSIDE: "1"}).returncode
    finally:
        _remove_cgroups()


def _remove_cgroups() -> None:
    for folder in sorted(_CGROUPS.glob(f"**/{_PARENT}/**/"), reverse=True):
        if folder.is_dir():
            folder.rmdir()


class Engine:
    """A running dockerd, and the docker command that talks to it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.root = lab.engine
        """Its own / seen from here."""

    def command(self, *arguments: str) -> list[str]:
        """`docker ...` in the project's folder."""
        return self._there("env", f"--chdir={SOURCE}", "docker", *arguments)

    def shell(self, line: str) -> list[str]:
        return self._there("env", f"--chdir={SOURCE}", "sh", "-c", line)

    def docker(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command(*arguments), **options)

    def ask(self, *arguments: str) -> str:
        """What docker answers."""
        return subprocess.check_output(self.command(*arguments), text=True, stderr=subprocess.STDOUT).strip()

    def _there(self, *command: str) -> list[str]:
        return ["chroot", str(self._lab.engine), "env", "-i", *_VARIABLES, *command]

    def _as_root(self, *command: str) -> list[str]:
        """With the engine's Debian as the root of all mounts: `docker exec` comes out at that, not where chroot was."""
        pivot = f'cd {self._lab.engine} && pivot_root . mnt && cd / && umount -l /mnt && exec env -i "$@"'
        return ["unshare", "--mount", "sh", "-ec", pivot, "sh", *_VARIABLES, *command]

    @contextmanager
    def running(self, source: Path) -> Iterator[None]:
        _mount(self._lab, source)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        log = self._lab.folder / "dockerd.log"
        options = ("--host=unix:///var/run/docker.sock", f"--cgroup-parent=/{_PARENT}", "--log-level=warn")
        with log.open("wb") as output:
            daemon = subprocess.Popen(self._as_root("dockerd", *options), stdout=output, stderr=output)
        try:
            self._wait(daemon, log)
            yield
        finally:
            daemon.terminate()
            daemon.wait(30)

    def _wait(self, daemon: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + 60
        while subprocess.run(self.command("info"), check=False, capture_output=True).returncode:
            if daemon.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace").strip().splitlines()
                raise ImageError(f"dockerd does not serve: {' / '.join(said[-3:])}")
            time.sleep(0.2)


def _mount(lab: Lab, source: Path) -> None:
    """What dockerd wants to find around it. The mounts are seen in here only, and go with this process."""
    root, data = lab.engine, lab.folder / "docker"
    data.mkdir(exist_ok=True)
    _run("mount", "--bind", str(root), str(root))  # dockerd changes its root, which has to be a mount then
    for folder in ("var/lib/docker", SOURCE.strip("/"), "sys", "proc", "dev", "run", "tmp"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    shutil.copyfile("/etc/hosts", root / "etc/hosts")
    for kind, folder in (("proc", "proc"), ("sysfs", "sys"), ("tmpfs", "run"), ("tmpfs", "tmp")):
        _run("mount", "-t", kind, kind, str(root / folder))
    for there, folder in ((_CGROUPS, "sys/fs/cgroup"), (Path("/dev"), "dev")):
        _run("mount", "--rbind", str(there), str(root / folder))
    _run("mount", "--bind", str(data), str(root / "var/lib/docker"))
    _run("mount", "--bind", str(source), str(root / SOURCE.strip("/")))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
