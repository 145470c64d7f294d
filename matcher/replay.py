"""The journal folded into an engine, proving on the way that the same commands still lead to the same outcomes.

Outcomes are compared as bytes, all of a commit at once: the engine's are encoded as the recorded ones were. That takes
half the time of decoding and comparing those. Only when the bytes differ are they decoded: to find that an older
version encoded the same with fewer fields, or to name the first that is another.
"""

import msgspec

from contracts.commits import VERSION, Chain, EncodedOutcomes, JournalBroken, decode_commit
from contracts.messages import Commit, Result
from matcher.engine import Engine

_encoder = msgspec.msgpack.Encoder()


class Replay:
    """An engine and its position in the journal. Pure: the caller reads the journal."""

    def __init__(self, engine: Engine | None = None, chain: Chain | None = None) -> None:
        """At the journal's start, or with an engine and its position."""
        self.engine = engine or Engine()
        self.chain = chain or Chain()

    def follow(self, sequence: int, payload: bytes) -> Commit:
        """`apply` the next journal message, and return what it holds."""
        self.apply(sequence, payload)
        commit, _ = decode_commit(sequence, payload)
        return commit

    def apply(self, sequence: int, payload: bytes) -> None:
        """Apply the next journal message. Raises JournalBroken, naming it, when anything does not fit.

        The hash of the state covers what a version knows, so an older version's is not compared: outcomes are
        (docs/decisions/0017).
        """
        commit, digest = self.chain.check_commands(sequence, payload)
        self.chain.advance(commit, digest)
        engine, time = self.engine, commit.time
        if commit.state_hash and commit.version == VERSION and commit.state_hash != engine.state_hash():
            raise JournalBroken(sequence, "the state that it records is not the state that replaying gives")
        results = [engine.apply(command, time, sequence) for command in commit.commands]
        if _encoder.encode(results) != bytes(commit.outcomes):
            _compare(commit, decode_commit(sequence, payload)[0], results)


def _compare(commit: EncodedOutcomes, recorded: Commit, results: list[Result]) -> None:
    """One by one."""
    if len(results) != len(recorded.outcomes):
        why = f"has {len(results)} commands and {len(recorded.outcomes)} outcomes"
        raise JournalBroken(commit.sequence, why)
    for number, (command, result, outcome) in enumerate(
        zip(commit.commands, results, recorded.outcomes, strict=True), 1
    ):
        if result != outcome:
            raise JournalBroken(
                commit.sequence,
                f"command {number}, {command}, gives {result} when replayed; recorded is {outcome}",
            )
