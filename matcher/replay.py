"""The journal folded into an engine, proving on the way that the same commands still lead to the same outcomes."""

from contracts.commits import VERSION, Chain, JournalBroken
from contracts.messages import Commit
from matcher.engine import Engine


class Replay:
    """An engine and its position in the journal. Pure: the caller reads the journal."""

    def __init__(self, engine: Engine | None = None, chain: Chain | None = None) -> None:
        """At the journal's start, or with an engine and its position."""
        self.engine = engine or Engine()
        self.chain = chain or Chain()

    def follow(self, sequence: int, payload: bytes) -> Commit:
        """Apply the next journal message. Raises JournalBroken, naming it, when anything does not fit.

        The hash of the state covers what a version knows, so an older version's is not compared: outcomes are
        (docs/decisions/0017).
        """
        commit = self.chain.follow(sequence, payload)
        if commit.is_barrier and commit.version == VERSION and commit.state_hash != self.engine.state_hash():
            raise JournalBroken(sequence, "the state that it records is not the state that replaying gives")
        for number, (command, recorded) in enumerate(zip(commit.commands, commit.outcomes, strict=True), 1):
            result = self.engine.apply(command, commit.time, sequence)
            if result != recorded:
                raise JournalBroken(
                    sequence, f"command {number}, {command}, gives {result} when replayed; recorded is {recorded}"
                )
        return commit
