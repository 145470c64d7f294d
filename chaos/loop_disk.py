"""A disk of one's own for a whole exchange: an ext4 file system in an image file, mounted on a loop device.

What no fsync has carried to the disk is not in the image, so a copy of the image while everything stands still is the
disk after a power cut; ext4 recovers it when it is mounted. It can be filled up, and it can stop taking writes.
"""

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from chaos.machine import sh

_BYTES = 768 * 1024 * 1024
_CHUNK = bytes(64 * 1024)


@dataclass
class LoopDisk:
    """`image` is mounted at `folder` from `open` to `close`."""

    work: Path
    image: Path = field(init=False)
    folder: Path = field(init=False)
    _number: int = 0

    def __post_init__(self) -> None:
        self.image, self.folder = self.work / "disk.img", self.work / "disk"

    def open(self) -> None:
        with self.image.open("wb") as file:
            file.truncate(_BYTES)
        sh("mkfs.ext4", "-q", "-m", "0", str(self.image))
        self.folder.mkdir()
        self._mount()

    def close(self) -> None:
        with suppress(OSError):
            sh("umount", str(self.folder))

    def cut(self) -> None:
        """The image becomes what a power cut now would leave. Nobody may write meanwhile (SIGSTOP)."""
        self._number += 1
        copy = self.work / f"disk-{self._number}.img"
        while True:
            before = self._writes()
            subprocess.run(["cp", "--sparse=always", str(self.image), str(copy)], check=True)
            if self._writes() == before:
                break
        self._next = copy

    def come_back(self) -> None:
        """Power is back: the disk is mounted as it was at the cut. Nobody may use it any more."""
        sh("umount", str(self.folder))
        self.image.unlink()
        self.image = self._next
        self._mount()

    def fill(self) -> None:
        """Not one byte more fits."""
        with (self.folder / "ballast").open("wb", buffering=0) as file:
            with suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, self._free_bytes())
            with suppress(OSError):
                file.seek(0, os.SEEK_END)
                while True:
                    file.write(_CHUNK)

    def free(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    def refuse_writes(self) -> None:
        """The device itself: what is not there yet can no longer get there."""
        sh("blockdev", "--setro", f"/dev/{self._device()}")

    def take_writes(self) -> None:
        """What a person does about it: the device is writable again and mounted anew. Nobody may use it meanwhile."""
        device = f"/dev/{self._device()}"
        sh("blockdev", "--setrw", device)
        sh("umount", str(self.folder))
        self._mount()

    def _mount(self) -> None:
        sh("mount", "-o", "loop,nosuid,nodev,errors=remount-ro", str(self.image), str(self.folder))

    def _free_bytes(self) -> int:
        found = os.statvfs(self.folder)
        return max(found.f_bavail * found.f_frsize - 1024 * 1024, 1)

    def _device(self) -> str:
        return sh("findmnt", "--noheadings", "--output", "SOURCE", str(self.folder)).strip().removeprefix("/dev/")

    def _writes(self) -> list[str]:
        """What the kernel counts: writes done, and requests under way."""
        counts = Path(f"/sys/block/{self._device()}/stat").read_text().split()
        return [counts[4], counts[8]]
