"""Journals that earlier versions wrote are still read, and lead to the same outcomes.

A file holds the journal's messages one after the other, each behind its length (four bytes, big-endian).
"""

from collections.abc import Iterator
from pathlib import Path
from struct import unpack

import pytest
from msgspec.structs import replace

from contracts.commits import READABLE_VERSIONS, VERSION, JournalBroken, encode_commit
from contracts.messages import Commit, TradeExecuted
from matcher.replay import Replay

JOURNALS = Path(__file__).parent / "journals"


def messages(version: int) -> Iterator[bytes]:
    content = (JOURNALS / f"version_{version}.journal").read_bytes()
    while content:
        (size,) = unpack(">I", content[:4])
        yield content[4 : 4 + size]
        content = content[4 + size :]


def replayed(version: int) -> tuple[Replay, list[Commit]]:
    replay = Replay()
    return replay, [replay.follow(sequence, payload) for sequence, payload in enumerate(messages(version), 1)]


@pytest.mark.parametrize("version", [version for version in READABLE_VERSIONS if version != VERSION])
def test_an_older_journal_replays_to_what_it_records(version: int) -> None:
    """`follow` compares every outcome with the recorded one."""
    replay, commits = replayed(version)
    assert {commit.version for commit in commits} == {version}
    assert sum(commit.is_barrier for commit in commits) >= 2
    events = [event for commit in commits for outcome in commit.outcomes for event in outcome.events]
    assert sum(isinstance(event, TradeExecuted) for event in events) > 50
    replay.engine.check()
    assert replay.engine.resting_orders == 10


def test_a_journal_of_a_later_version_is_refused_and_says_so() -> None:
    commit = replace(replayed(1)[1][0], version=VERSION + 1)
    with pytest.raises(JournalBroken, match=f"has format version {VERSION + 1}, this program reads 1 and {VERSION}"):
        Replay().follow(1, encode_commit(commit)[0])
