"""The matcher's snapshots without files and child processes: written, proved and kept in memory, as on a disk.

What makes a snapshot, reads it and decides whether it is good is the real matcher/state.py and matcher/snapshots.py;
here is only the way of the bytes. A process that dies while one is being made leaves nothing behind.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from matcher import state
from matcher.replay import Replay
from matcher.snapshots import AtRest
from runtime.snapshot_files import Unusable

_WRITE_SECONDS = 0.05


@dataclass
class KeptSnapshots:
    """What runtime.snapshot_files.SnapshotFiles is, as far as the matcher uses it."""

    kept: int = 3
    bodies: dict[int, bytes] = field(default_factory=dict)

    def newest_first(self) -> list[Path]:
        return [Path(f"state-{sequence}.snapshot") for sequence in self.sequences()]

    def sequences(self) -> list[int]:
        return sorted(self.bodies, reverse=True)

    def sequence_of(self, file: Path) -> int:
        return int(file.stem.removeprefix("state-"))

    def read(self, file: Path) -> memoryview:
        body = self.bodies.get(self.sequence_of(file))
        if body is None:
            raise Unusable("it is gone")
        return memoryview(body)

    def publish(self, sequence: int, body: bytes) -> None:
        self.bodies[sequence] = body
        for old in self.sequences()[self.kept :]:
            del self.bodies[old]


async def take_at_once(files: KeptSnapshots, at_rest: AtRest) -> bool:
    """In the place of matcher.snapshots.take: what the child process does is done here."""
    taken: list[tuple[int, bytes]] = []

    def fork(replay: Replay) -> None:
        taken.append((replay.chain.sequence, b"".join(state.dump_parts(replay))))

    await at_rest(fork)
    await asyncio.sleep(_WRITE_SECONDS)
    [(sequence, body)] = taken
    state.load(memoryview(body)).engine.check()
    files.publish(sequence, body)
    return True
