"""Snapshots that earlier versions took are gone on from, or refused clearly; and what is written now does not drift.

Each was taken in the middle of the golden journal of its version (tests/matcher/golden.py): one with much of
everything, one with a triggered stop still to be carried out, one with orders still to be canceled.
"""

from pathlib import Path

import pytest

from contracts.commits import VERSION
from matcher import state
from matcher.replay import Replay
from matcher.snapshots import read, snapshot_files
from tests.matcher.golden import PROFILE, SNAPSHOTS, TAKEN_AFTER, messages, snapshot_folder
from tests.matcher.limits import set_limits

FORMATS = range(1, state.FORMAT + 1)
FILES = [file for version in FORMATS for file in snapshot_files(snapshot_folder(version)).newest_first()]
JOURNAL_VERSIONS = {1: 2}
"""Which golden journal the snapshots of a format belong to."""


@pytest.fixture(autouse=True)
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, PROFILE.limits)


def replayed(version: int, until: int | None = None) -> Replay:
    replay = Replay()
    for sequence, payload in enumerate(list(messages(version))[:until], 1):
        replay.apply(sequence, payload)
    return replay


def test_every_format_is_kept() -> None:
    assert {file.parent for file in FILES} == set(SNAPSHOTS.iterdir())
    assert len(FILES) == len(TAKEN_AFTER) * len(FORMATS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_the_snapshot_of_each_format_is_gone_on_from(file: Path) -> None:
    replay = read(snapshot_files(file.parent), file)
    version = JOURNAL_VERSIONS[int(file.parent.name.removeprefix("format_"))]
    assert version == VERSION, "say here what becomes of snapshots of an older journal version"
    replay.engine.check()
    for sequence, payload in list(enumerate(messages(version), 1))[replay.chain.sequence :]:
        replay.apply(sequence, payload)
    whole = replayed(version)
    assert replay.chain == whole.chain
    assert replay.engine.state_hash() == whole.engine.state_hash()


@pytest.mark.parametrize("sequence", TAKEN_AFTER)
def test_what_is_written_now_is_what_was_written_when_the_format_was_new(sequence: int) -> None:
    """A change of a single byte needs a new format, or a reader that knows both."""
    files = snapshot_files(snapshot_folder(state.FORMAT))
    (file,) = [file for file in files.newest_first() if files.sequence_of(file) == sequence]
    assert state.dump(replayed(VERSION, sequence)) == bytes(files.read(file))
