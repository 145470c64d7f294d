"""Snapshot files: whole under their name or not there, and every change of a bit is noticed."""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from runtime.snapshot_files import SnapshotFiles, Unusable


@pytest.fixture
def files(tmp_path: Path) -> SnapshotFiles:
    return SnapshotFiles(tmp_path / "here", "state", "something", b"MAGIC", 2, 2)


def content(files: SnapshotFiles, *parts: bytes) -> bytes:
    files.write(parts, 7)
    (file,) = files.newest_first()
    return file.read_bytes()


def names(files: SnapshotFiles) -> list[str]:
    return sorted(file.name for file in files.folder.iterdir())


def test_what_is_written_comes_back(files: SnapshotFiles) -> None:
    files.write([b"bo", b"", b"dy"], 7)
    (file,) = files.newest_first()
    assert bytes(files.read(file)) == b"body"
    assert (files.sequences(), files.sequence_of(file)) == ([7], 7)


def test_the_parts_make_no_difference(files: SnapshotFiles) -> None:
    assert content(files, b"bo", b"dy") == content(files, b"body")


def test_the_layout_is_a_promise(files: SnapshotFiles) -> None:
    """Of the broadcaster, since format 1: magic, version, SHA-256 of both and the body, body."""
    begin = b"MAGIC\0\0\0\2"
    assert content(files, b"body") == begin + sha256(begin + b"body").digest() + b"body"


def test_damaged_and_unknown_files_are_unusable(files: SnapshotFiles) -> None:
    good = content(files, b"body")
    wrong = {
        b"": "is no snapshot of something",
        b"something else entirely": "is no snapshot of something",
        good[:-1]: "damaged",
        good[:20]: "damaged",
        good + b"\0": "damaged",
        good.replace(b"\0\0\0\2", b"\0\0\0\1", 1): "has format 1, this program reads 2",
        good.replace(b"\0\0\0\2", b"\0\0\0\3", 1): "has format 3, this program reads 2",
    }
    for each, why in wrong.items():
        with pytest.raises(Unusable, match=why):
            files.unpack(each)


def test_every_single_flipped_bit_is_noticed(files: SnapshotFiles) -> None:
    good = content(files, b"some body")
    for bit in range(8 * len(good)):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Unusable):
            files.unpack(bytes(flipped))


def test_the_newest_are_kept(files: SnapshotFiles) -> None:
    for sequence in (1, 2, 30, 4):
        files.write([b"x"], sequence)
    assert files.sequences() == [30, 4]
    assert names(files) == ["state-00000000000000000004.snapshot", "state-00000000000000000030.snapshot"]


def test_what_is_written_aside_is_not_read_until_it_is_published(files: SnapshotFiles) -> None:
    aside = files.write_aside([b"x"], 3)
    assert files.newest_first() == []
    assert files.publish(aside) == files.newest_first()[0]
    assert names(files) == ["state-00000000000000000003.snapshot"]


def test_what_a_crash_left_is_cleared_away_and_nothing_else(files: SnapshotFiles) -> None:
    dead = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(dead, 0)
    alive = files.write_aside([b"x"], 8).name
    for name in (f"state-00000000000000000002.{dead}.tmp", "state-nobody.tmp", "market-00000000000000000002.7.tmp"):
        (files.folder / name).write_bytes(b"half")
    files.publish(files.write_aside([b"x"], 9))
    assert names(files) == ["market-00000000000000000002.7.tmp", alive, "state-00000000000000000009.snapshot"]


def test_nothing_is_left_of_what_could_not_be_written(files: SnapshotFiles) -> None:
    def parts() -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        files.write(parts(), 1)
    assert names(files) == []


def test_other_names_are_left_alone(files: SnapshotFiles) -> None:
    files.write([b"x"], 1)
    for name in ("market-00000000000000000002.snapshot", "state-old.snapshot", "notes"):
        (files.folder / name).write_bytes(b"")
    assert files.sequences() == [1]


def test_a_file_that_cannot_be_opened_is_unusable(files: SnapshotFiles) -> None:
    with pytest.raises(Unusable, match="cannot be read"):
        files.read(files.folder / "nowhere")


def test_without_a_folder_there_are_none(files: SnapshotFiles) -> None:
    assert files.newest_first() == files.sequences() == []
