"""Replay and recovery with every rule: the same bytes, wherever a matcher died.

Goal: nothing that the engine keeps is lost or made up when the journal is folded into a new one.
Method: a random flow over all commands is written as a journal, several commands to a commit. At random commits,
also between a command and its Continue, the writer dies: the journal so far is replayed, a barrier with the state's
hash is written, and the replayed engine goes on. Beside it one engine lives through all of it, and the reference; all
three must agree on every result. The hash of the state after the last commit is the same for all engines.
"""

from random import Random

import msgspec
import pytest

from contracts.commits import decode_commit, encode_commit
from contracts.messages import AdvanceClock, Command, Continue, Outcome
from matcher.engine import Engine
from matcher.replay import Replay
from matcher.sequencer import Sequencer, next_commit
from tests.matcher.flows import RICH_PROFILES, START, Flow, Profile
from tests.matcher.limits import set_limits
from tests.matcher.reference import ReferenceEngine

COMMANDS = 700

encode = msgspec.msgpack.encode


class Journal:
    """What is on disk; and the matcher that writes it, which may die."""

    def __init__(self) -> None:
        self.commits: list[bytes] = []
        self.matcher = Replay()
        self.commands: list[Command] = []
        self.outcomes: list[Outcome] = []
        self.time = 0

    @property
    def sequence(self) -> int:
        """Of the commit that is open."""
        return len(self.commits) + 1

    def take_over(self, time: int) -> None:
        """Another matcher, which knows nothing but the journal."""
        self.matcher = replayed(self.commits)
        self.write(time, barrier_state=self.matcher.engine.state_hash())

    def seal(self) -> None:
        if self.commands:
            self.write(self.time)

    def write(self, time: int, barrier_state: bytes | None = None) -> None:
        commands, outcomes = tuple(self.commands), tuple(self.outcomes)
        commit = next_commit(self.matcher.chain, time, commands, outcomes, barrier_state, journal_epoch="epoch-1")
        payload, digest = encode_commit(commit)
        self.matcher.chain.advance(commit, digest)
        self.commits.append(payload)
        self.commands, self.outcomes = [], []


def replayed(commits: list[bytes]) -> Replay:
    replay = Replay()
    for sequence, payload in enumerate(commits, 1):
        replay.follow(sequence, payload)
    return replay


@pytest.mark.parametrize("profile", RICH_PROFILES, ids=lambda profile: profile.name)
def test_recovery_anywhere_gives_the_same_bytes(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, profile.limits)
    random = Random(f"recovery {profile.name}")
    journal, steady, reference = Journal(), Engine(), ReferenceEngine(profile.limits)
    flow = Flow(profile, reference, random)
    journal.take_over(START)
    for command in flow.placed(COMMANDS):
        if not journal.commands:
            journal.time = flow.time
        expected = reference.apply(command, journal.time, journal.sequence)
        assert steady.apply(command, journal.time, journal.sequence) == expected
        assert journal.matcher.engine.apply(command, journal.time, journal.sequence) == expected
        if isinstance(expected, Outcome):
            journal.commands.append(command)
            journal.outcomes.append(expected)
        if random.random() < 0.3:
            journal.seal()
            if random.random() < 0.1:
                journal.take_over(flow.time)
    journal.seal()

    recovered = replayed(journal.commits)
    recovered.engine.check()
    assert recovered.engine.state_hash() == steady.state_hash() == journal.matcher.engine.state_hash()
    assert replayed(journal.commits).engine.state_hash() == recovered.engine.state_hash()


@pytest.mark.parametrize("profile", RICH_PROFILES, ids=lambda profile: profile.name)
def test_the_sequencer_puts_the_matchers_own_commands_where_they_belong(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference carries out what the journal holds: never anything but a Continue while work is left, and no
    command of a client while an order or a switch is due."""
    set_limits(monkeypatch, profile.limits)
    reference = ReferenceEngine(profile.limits)
    flow = Flow(profile, reference, Random(f"sequencer {profile.name}"))
    replay = Replay()
    replay.follow(1, first_commit(replay))
    sequencer = Sequencer(replay.engine, replay.chain, backlog_commands=100)
    for number, command in enumerate(flow.commands(COMMANDS)):
        assert sequencer.submit("", encode((command,)), flow.time) is None
        if number % 3 == 0:
            seal(sequencer, reference, flow.time)
    while sequencer.backlog or replay.engine.unfinished:
        seal(sequencer, reference, flow.time)


def first_commit(replay: Replay) -> bytes:
    state = replay.engine.state_hash()
    return encode_commit(next_commit(replay.chain, START, barrier_state=state, journal_epoch="epoch-1"))[0]


def seal(sequencer: Sequencer, reference: ReferenceEngine, now: int) -> None:
    sealed = sequencer.seal(now)
    if sealed is None or sealed.payload is None:
        return
    commit, _ = decode_commit(sealed.sequence, sealed.payload)
    for command, outcome in zip(commit.commands, commit.outcomes, strict=True):
        due = reference.next_due
        assert isinstance(command, Continue | AdvanceClock) or due is None or due > commit.time
        assert reference.apply(command, commit.time, commit.sequence) == outcome
