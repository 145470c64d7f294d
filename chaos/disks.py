"""Disks whose power can be cut: what would a server find on them afterwards?

Killing a process, even with kill -9, loses nothing that it wrote: the kernel still has it. A power cut loses whatever
no fsync has carried to the disk. Two ways to see that, each a context manager that yields a `Disk`:

`ext4_image`      a real file system in an image file, mounted. What the kernel holds back is not in the image, so a
                  copy of the image is the disk after a power cut; ext4 recovers it when it is mounted. Needs root.
`recorded_syncs`  an ordinary folder and a server that is stopped at each fsync (seccomp) until we have noted what the
                  file holds. After a power cut a file holds what it held at its last fsync. Needs Linux, nothing more.
"""

import array
import fcntl
import os
import select
import shutil
import socket
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from cli.processes import Program

_IMAGE_BYTES = 256 * 1024 * 1024
_LAUNCHER = Path(__file__).with_name("launch_with_syncs_reported.py")
_NOTIFICATION_BYTES = 80
_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101
_CONTINUE = 1


class Disk(Protocol):
    folder: Path
    """Where the server keeps its files."""

    def attach(self, program: Program) -> Program:
        """The program as it has to be started to work on this disk."""

    def cut(self, into: Path) -> AbstractContextManager[Path]:
        """The folder as it would be after a power cut now. The server must be paused (SIGSTOP) meanwhile."""


@contextmanager
def best_disk(work: Path) -> Iterator[Disk]:
    """The real thing where the machine allows it."""
    with ext4_image(work) if _can_mount(work) else recorded_syncs(work) as disk:
        print(f"the disk is {type(disk).__name__}")
        yield disk


# An image


@dataclass
class Ext4Image:
    folder: Path
    image: Path
    device: str

    def attach(self, program: Program) -> Program:
        return program

    @contextmanager
    def cut(self, into: Path) -> Iterator[Path]:
        into.mkdir()
        copy = into / "disk.img"
        self._copy(copy)
        with _mounted(copy, into / "mounted"):
            yield into / "mounted"

    def _copy(self, copy: Path) -> None:
        """The image at one moment: again if the kernel wrote to it meanwhile."""
        while True:
            before = self._writes()
            subprocess.run(["cp", "--sparse=always", str(self.image), str(copy)], check=True)
            if self._writes() == before:
                return

    def _writes(self) -> list[str]:
        """What the kernel counts: writes done, and requests under way."""
        counts = Path(f"/sys/block/{self.device}/stat").read_text().split()
        return [counts[4], counts[8]]


@contextmanager
def ext4_image(work: Path) -> Iterator[Disk]:
    image, folder = work / "disk.img", work / "disk"
    with image.open("wb") as file:
        file.truncate(_IMAGE_BYTES)
    _run("mkfs.ext4", "-q", str(image))
    with _mounted(image, folder):
        device = _run("findmnt", "--noheadings", "--output", "SOURCE", str(folder)).strip()
        yield Ext4Image(folder, image, device.removeprefix("/dev/"))


@contextmanager
def _mounted(image: Path, folder: Path) -> Iterator[None]:
    folder.mkdir()
    _run("mount", "-o", "loop,nosuid,nodev", str(image), str(folder))
    try:
        yield
    finally:
        _run("umount", str(folder))


def _can_mount(work: Path) -> bool:
    trial = work / "trial"
    trial.mkdir()
    try:
        with ext4_image(trial):
            return True
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no image can be mounted here: {error}")
        return False


def _run(*command: str) -> str:
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "PATH": search}
    ).stdout


# Recorded syncs


@dataclass
class RecordedSyncs:
    folder: Path
    ours: socket.socket
    theirs: socket.socket
    synced: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """What each file, by device and inode, held at its last fsync."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def attach(self, program: Program) -> Program:
        descriptor = self.theirs.fileno()
        command = (sys.executable, str(_LAUNCHER), str(descriptor), *program.command)
        threading.Thread(target=self._note_syncs, daemon=True).start()
        return replace(program, command=command, inherited_fds=(*program.inherited_fds, descriptor))

    def cut(self, into: Path) -> AbstractContextManager[Path]:
        """nats-server writes its meta files with O_SYNC, so they are as they are; what was never synced is gone."""
        for path in self.folder.rglob("*"):
            copy = into / path.relative_to(self.folder)
            found = path.stat()
            with self.lock:
                synced = self.synced.get((found.st_dev, found.st_ino))
            if path.is_dir():
                copy.mkdir(parents=True, exist_ok=True)
            elif path.name.startswith("meta."):
                shutil.copy(path, copy)
            elif synced is not None:
                copy.write_bytes(synced)
        return nullcontext(into)

    def _note_syncs(self) -> None:
        """The server waits in its fsync until it is answered. Ends with the server."""
        listener = _received_descriptor(self.ours)
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while not poll.poll()[0][1] & select.POLLHUP:
            try:
                self._answer(listener)
            except FileNotFoundError:
                pass  # a signal took the server out of its fsync; it comes again
        os.close(listener)

    def _answer(self, listener: int) -> None:
        notification = bytearray(_NOTIFICATION_BYTES)
        fcntl.ioctl(listener, _RECEIVE, notification)
        number, thread = struct.unpack_from("=QI", notification)
        (descriptor,) = struct.unpack_from("=Q", notification, 32)
        self._note(f"/proc/{thread}/fd/{descriptor}")
        fcntl.ioctl(listener, _ANSWER, struct.pack("=QqiI", number, 0, 0, _CONTINUE))

    def _note(self, path: str) -> None:
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode):
            content = Path(path).read_bytes()
            with self.lock:
                self.synced[found.st_dev, found.st_ino] = content


def _received_descriptor(connection: socket.socket) -> int:
    _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(4))
    assert ancillary, "the server could not be started with its syncs reported"
    descriptors = array.array("i")
    descriptors.frombytes(ancillary[0][2][:4])
    return descriptors[0]


@contextmanager
def recorded_syncs(work: Path) -> Iterator[Disk]:
    folder = work / "disk"
    folder.mkdir()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield RecordedSyncs(folder, ours, theirs)
