"""Snapshots as files: whole or not there at all, and noticed when a single bit has changed.

A file is a magic that says what it holds, a format version, a SHA-256 over these and the body, and the body. Its name
has the journal sequence it was taken after. It is written under another name, synced, renamed, and the folder synced:
so after a crash at any moment there is the whole file under its name, or no such name. A writer may look at the file
before it renames it (`write_aside`, then `publish`). What a file is good for beyond being whole, its reader decides.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from runtime.files import sync_folder

_HASH_SIZE = 32
_FORMAT_SIZE = 4
_DIGITS = 20


class Unusable(Exception):
    """This snapshot cannot be built on; the message says why."""


@dataclass(frozen=True, slots=True)
class SnapshotFiles:
    """The newest `kept` snapshots of one kind in one folder, which may also hold those of others.

    `magic` and `format` begin each file; `name` begins its name, and `what` says in a message what it should hold.
    """

    folder: Path
    name: str
    what: str
    magic: bytes
    format: int
    kept: int

    def write(self, parts: Iterable[bytes], sequence: int) -> None:
        """Store a body under its name. Raises OSError."""
        self.publish(self.write_aside(parts, sequence))

    def write_aside(self, parts: Iterable[bytes], sequence: int) -> Path:
        """Store a body, on disk when this returns, under a name that readers pass over."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = self.folder / f"{self.name}-{sequence:0{_DIGITS}d}.{os.getpid()}.tmp"
        try:
            self._write(aside, parts)
        except BaseException:
            aside.unlink(missing_ok=True)  # perhaps the disk is full
            raise
        return aside

    def _write(self, file_name: Path, parts: Iterable[bytes]) -> None:
        begin = self.magic + self.format.to_bytes(_FORMAT_SIZE, "big")
        digest = sha256(begin)
        with file_name.open("wb") as file:
            file.write(begin + bytes(_HASH_SIZE))
            for part in parts:
                digest.update(part)
                file.write(part)
            file.seek(len(begin))
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())

    def publish(self, aside: Path) -> Path:
        """Give what was written aside its name, and clear away what is no longer needed."""
        target = self.folder / f"{aside.name.split('.')[0]}.snapshot"
        aside.replace(target)
        sync_folder(self.folder)
        self._tidy()
        return target

    def _tidy(self) -> None:
        """Keep the newest few, and nothing that a crash left half written."""
        for file in [*self.newest_first()[self.kept :], *self._left_behind()]:
            with contextlib.suppress(FileNotFoundError):  # another process on this folder was faster
                file.unlink()

    def _left_behind(self) -> Iterator[Path]:
        """Files that were being written by processes that are no more."""
        for file in self.folder.glob(f"{self.name}-*.tmp"):
            writer = re.fullmatch(r".*\.(\d+)\.tmp", file.name)
            if writer is None or not _is_alive(int(writer[1])):
                yield file

    def newest_first(self) -> list[Path]:
        files = self.folder.glob(f"{self.name}-*.snapshot")
        return sorted((file for file in files if self.sequence_of(file) is not None), reverse=True)

    def sequences(self) -> list[int]:
        """The journal sequences that the snapshots were taken after, the latest first, as their names say."""
        return [sequence for file in self.newest_first() if (sequence := self.sequence_of(file)) is not None]

    def sequence_of(self, file: Path) -> int | None:
        found = re.fullmatch(rf"{re.escape(self.name)}-(\d{{{_DIGITS}}})\..*", file.name)
        return int(found[1]) if found else None

    def read(self, file: Path) -> memoryview:
        """The body. Raises Unusable."""
        try:
            return self.unpack(file.read_bytes())
        except OSError as error:
            raise Unusable(f"it cannot be read ({error})") from error

    def unpack(self, content: bytes) -> memoryview:
        """The body in what a file holds. Raises Unusable."""
        size = len(self.magic) + _FORMAT_SIZE
        view = memoryview(content)
        begin, body = view[:size], view[size + _HASH_SIZE :]
        if begin[: len(self.magic)] != self.magic or len(begin) < size:
            raise Unusable(f"it is no snapshot of {self.what}")
        if (version := int.from_bytes(begin[len(self.magic) :], "big")) != self.format:
            raise Unusable(f"it has format {version}, this program reads {self.format}")
        digest = sha256(begin)
        digest.update(body)
        if digest.digest() != view[size : size + _HASH_SIZE]:
            raise Unusable("its bytes do not match its hash; it is damaged")
        return body


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
