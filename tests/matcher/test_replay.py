"""Replaying a journal: the same state as when it was written, and the first sequence that does not fit is named."""

from collections.abc import Callable
from random import Random

import msgspec
import pytest
from msgspec.structs import replace

from contracts.commits import JournalBroken, decode_commit, encode_commit
from contracts.messages import Commit, LevelChanged, OrderAccepted, Outcome
from matcher.engine import Engine
from matcher.replay import Replay
from matcher.sequencer import Sequencer, next_commit
from tests.matcher.flows import PROFILES, Flow
from tests.matcher.reference import ReferenceEngine

START = 1_700_000_000_000_000


def barrier(replay: Replay, time: int) -> bytes:
    """Written as matcher.recovery does when a matcher takes over at the end of `replay`."""
    commit = next_commit(replay.chain, time, barrier_state=replay.engine.state_hash(), journal_epoch="epoch-1")
    payload, digest = encode_commit(commit)
    replay.chain.advance(commit, digest)
    return payload


def write_journal(commits_per_matcher: int = 15, matchers: int = 3) -> tuple[list[bytes], Engine]:
    """A journal of several matchers' terms over a random flow, and the engine that wrote it."""
    profile = PROFILES[0]
    reference = ReferenceEngine(profile.limits)
    flow = Flow(profile, reference, Random(5)).commands(1_000_000)
    replay, journal, time = Replay(), list[bytes](), START
    for _ in range(matchers):
        journal.append(barrier(replay, time))
        sequencer = Sequencer(replay.engine, replay.chain, 100)
        for _ in range(commits_per_matcher):
            time += 1_000
            for _ in range(7):
                command = next(flow)
                reference.apply(command, time)
                sequencer.submit("", msgspec.msgpack.encode((command,)), time)
            sealed = sequencer.seal(time)
            if sealed is not None and sealed.payload is not None:
                journal.append(sealed.payload)
    return journal, replay.engine


def rewritten(journal: list[bytes], sequence: int, change: Callable[[Commit], Commit]) -> list[bytes]:
    """With one commit changed and everything after it chained anew: only the engine can tell."""
    result = journal[: sequence - 1]
    commit, _ = decode_commit(sequence, journal[sequence - 1])
    payload, digest = encode_commit(change(commit))
    result.append(payload)
    for later in range(sequence + 1, len(journal) + 1):
        commit, _ = decode_commit(later, journal[later - 1])
        payload, digest = encode_commit(replace(commit, previous_hash=digest))
        result.append(payload)
    return result


def follow(journal: list[bytes]) -> Replay:
    replay = Replay()
    for sequence, payload in enumerate(journal, 1):
        replay.follow(sequence, payload)
    return replay


def first_broken(journal: list[bytes]) -> JournalBroken:
    with pytest.raises(JournalBroken) as caught:
        follow(journal)
    return caught.value


@pytest.fixture(scope="module")
def written() -> tuple[list[bytes], Engine]:
    return write_journal()


@pytest.fixture(scope="module")
def journal(written: tuple[list[bytes], Engine]) -> list[bytes]:
    return written[0]


def some_commit(journal: list[bytes], wanted: Callable[[Commit], bool]) -> int:
    """A sequence in the second half of the journal whose commit is as wanted."""
    for sequence in range(len(journal) // 2, len(journal) + 1):
        if wanted(decode_commit(sequence, journal[sequence - 1])[0]):
            return sequence
    raise AssertionError("no such commit in this journal")


def test_replaying_gives_the_state_that_wrote_the_journal(written: tuple[list[bytes], Engine]) -> None:
    journal, engine = written
    replay = follow(journal)
    assert replay.engine.state_hash() == engine.state_hash()
    assert replay.chain.sequence == len(journal)
    replay.engine.check()


def test_any_tail_can_be_replayed_by_going_on(written: tuple[list[bytes], Engine]) -> None:
    journal, engine = written
    replay = follow(journal[:11])
    for sequence, payload in enumerate(journal[11:], 12):
        replay.follow(sequence, payload)
    assert replay.engine.state_hash() == engine.state_hash()


def test_a_level_total_that_was_changed_is_named(journal: list[bytes]) -> None:
    sequence = some_commit(journal, lambda commit: bool(commit.outcomes and commit.outcomes[0].levels))

    def one_lot_more(commit: Commit) -> Commit:
        outcome = commit.outcomes[0]
        level = outcome.levels[0]
        more = LevelChanged(level.symbol, level.side, level.price, level.quantity + 1)
        return replace(commit, outcomes=(replace(outcome, levels=(more, *outcome.levels[1:])), *commit.outcomes[1:]))

    broken = first_broken(rewritten(journal, sequence, one_lot_more))
    assert broken.sequence == sequence
    assert "command 1," in broken.why
    assert "when replayed" in broken.why


def test_an_order_id_that_was_changed_is_named(journal: list[bytes]) -> None:
    def is_accepted(outcome: Outcome) -> bool:
        return isinstance(outcome.events[0], OrderAccepted)

    sequence = some_commit(journal, lambda commit: any(map(is_accepted, commit.outcomes)))

    def other_id(commit: Commit) -> Commit:
        number = next(number for number, outcome in enumerate(commit.outcomes) if is_accepted(outcome))
        changed = replace(commit.outcomes[number], events=(OrderAccepted(1), *commit.outcomes[number].events[1:]))
        return replace(commit, outcomes=(*commit.outcomes[:number], changed, *commit.outcomes[number + 1 :]))

    assert first_broken(rewritten(journal, sequence, other_id)).sequence == sequence


def test_a_command_that_was_left_out_is_named(journal: list[bytes]) -> None:
    sequence = some_commit(journal, lambda commit: len(commit.commands) > 2)

    def without_first(commit: Commit) -> Commit:
        return replace(commit, commands=commit.commands[1:], outcomes=commit.outcomes[1:])

    assert first_broken(rewritten(journal, sequence, without_first)).sequence >= sequence


def test_a_state_hash_that_does_not_fit_is_named(journal: list[bytes]) -> None:
    sequence = some_commit(journal, lambda commit: commit.is_barrier)
    broken = first_broken(rewritten(journal, sequence, lambda commit: replace(commit, state_hash=bytes(32))))
    assert broken.sequence == sequence
    assert "state" in broken.why


def test_a_flipped_bit_is_named(journal: list[bytes]) -> None:
    damaged = bytearray(journal[7])
    damaged[40] ^= 1
    broken = first_broken([*journal[:7], bytes(damaged), *journal[8:]])
    assert (broken.sequence, "damaged" in broken.why) == (8, True)


def test_a_missing_commit_is_named(journal: list[bytes]) -> None:
    assert first_broken([*journal[:7], *journal[8:]]).sequence == 8


def test_nothing_is_applied_of_a_commit_that_does_not_chain(journal: list[bytes]) -> None:
    replay = follow(journal[:7])
    before = replay.engine.state_hash()
    with pytest.raises(JournalBroken):
        replay.follow(8, journal[8])
    assert replay.engine.state_hash() == before
    assert replay.chain.sequence == 7
