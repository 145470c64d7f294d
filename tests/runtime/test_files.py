import os
import stat
from pathlib import Path

import pytest

from runtime.files import write_whole


def test_it_is_written_for_its_owner_alone_and_can_be_written_again(tmp_path: Path) -> None:
    for text in ("first", "second"):
        write_whole(tmp_path / "passwords", text)
        assert (tmp_path / "passwords").read_text() == text
    assert stat.S_IMODE((tmp_path / "passwords").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["passwords"]


def test_file_and_folder_are_synced_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without that a power cut soon after leaves an empty file under its name."""
    synced: list[str] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write_whole(tmp_path / "passwords", "text")
    assert synced == ["passwords.new", tmp_path.name]


def test_what_was_there_stays_when_it_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "passwords", "first")

    def full(descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "passwords", "second")
    assert (tmp_path / "passwords").read_text() == "first"
