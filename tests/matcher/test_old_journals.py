"""Journals that earlier versions wrote are still read, and lead to the same outcomes."""

import pytest
from msgspec.structs import replace

from contracts.commits import READABLE_VERSIONS, VERSION, JournalBroken, encode_commit
from contracts.messages import Commit, TradeExecuted
from matcher.replay import Replay
from tests.matcher.golden import PROFILE, messages
from tests.matcher.limits import set_limits


def replayed(version: int) -> tuple[Replay, list[Commit]]:
    replay = Replay()
    return replay, [replay.follow(sequence, payload) for sequence, payload in enumerate(messages(version), 1)]


@pytest.mark.parametrize("version", READABLE_VERSIONS)
def test_the_journal_of_each_version_replays_to_what_it_records(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`follow` compares every outcome with the recorded one, and of this version also the state at each barrier."""
    if version > 1:
        set_limits(monkeypatch, PROFILE.limits)
    replay, commits = replayed(version)
    assert {commit.version for commit in commits} == {version}
    assert sum(commit.is_barrier for commit in commits) >= 2
    events = [event for commit in commits for outcome in commit.outcomes for event in outcome.events]
    assert sum(isinstance(event, TradeExecuted) for event in events) > 50
    replay.engine.check()
    assert replay.engine.resting_orders == {1: 10, 2: 4}[version]


def test_a_journal_of_a_later_version_is_refused_and_says_so() -> None:
    commit = replace(replayed(1)[1][0], version=VERSION + 1)
    with pytest.raises(JournalBroken, match=f"has format version {VERSION + 1}, this program reads 1 and {VERSION}"):
        Replay().follow(1, encode_commit(commit)[0])
