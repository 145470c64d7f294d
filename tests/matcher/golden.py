"""What this version writes, kept for the ones to come: a journal, and snapshots taken on the way.

    .venv/bin/python -m tests.matcher.golden        # writes the files of the version that there is now

Run it once when a version is new, never to make a test pass: files of a version that was released do not change. The
flow has everything in it, and the engine's limits are small, so that there is work that one outcome has no room for.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from struct import unpack

import pytest

from contracts.commits import VERSION, encode_commit
from contracts.messages import Command, Commit, Outcome
from matcher import state
from matcher.replay import Replay
from matcher.sequencer import next_commit
from matcher.snapshots import snapshot_files
from tests.matcher.flows import RICH_PROFILES, SMALL, START, Flow
from tests.matcher.limits import set_limits
from tests.matcher.reference import ReferenceEngine

JOURNALS = Path(__file__).parent / "journals"
SNAPSHOTS = Path(__file__).parent / "snapshots"
COMMANDS = 900
SEED = "g1"
TAKEN_AFTER = (42, 79, 86)
"""With this seed: a triggered stop still to be carried out; much of everything; orders still to be canceled."""
PROFILE = next(profile for profile in RICH_PROFILES if profile.name == "everything, little room")
assert PROFILE.limits == SMALL


def messages(version: int) -> Iterator[bytes]:
    """A file holds the journal's messages one after the other, each behind its length (four bytes, big-endian)."""
    content = (JOURNALS / f"version_{version}.journal").read_bytes()
    while content:
        (size,) = unpack(">I", content[:4])
        yield content[4 : 4 + size]
        content = content[4 + size :]


def snapshot_folder(snapshot_format: int) -> Path:
    return SNAPSHOTS / f"format_{snapshot_format}"


def write() -> None:
    journal, replay = list(commits()), Replay()
    (JOURNALS / f"version_{VERSION}.journal").write_bytes(b"".join(map(framed, journal)))
    files = snapshot_files(snapshot_folder(state.FORMAT))
    files.folder.mkdir(parents=True, exist_ok=True)
    for sequence, payload in enumerate(journal, 1):
        replay.apply(sequence, payload)
        if sequence in TAKEN_AFTER:
            files.write(state.dump_parts(replay), sequence)


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


def commits() -> Iterator[bytes]:
    """Of several matchers: each takes over with a barrier."""
    random, reference, matcher = Random(SEED), ReferenceEngine(PROFILE.limits), Replay()
    flow = Flow(PROFILE, reference, random)
    taken: list[tuple[Command, Outcome]] = []
    yield written(matcher, next_commit(matcher.chain, START, (), (), matcher.engine.state_hash(), "golden"))
    time = START
    for command in flow.placed(COMMANDS):
        time = time if taken else flow.time
        result = matcher.engine.apply(command, time, matcher.chain.sequence + 1)
        assert result == reference.apply(command, time, matcher.chain.sequence + 1)
        if isinstance(result, Outcome):
            taken.append((command, result))
        if taken and random.random() < 0.4:
            yield written(matcher, next_commit(matcher.chain, time, *zip(*taken, strict=True)))
            taken = []
            if random.random() < 0.02:
                yield written(matcher, next_commit(matcher.chain, time, (), (), matcher.engine.state_hash()))


def written(matcher: Replay, commit: Commit) -> bytes:
    payload, digest = encode_commit(commit)
    matcher.chain.advance(commit, digest)
    return payload


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        set_limits(patch, PROFILE.limits)
        write()
