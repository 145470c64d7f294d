"""How is reading kept one step ahead of recording, and no more? By a run that grows while the one before is recorded.

Bounded: when the growing run is full, `add` waits until it is taken. So a slow Postgres slows reading, and a long
outage costs no memory.
"""

import asyncio

from contracts.messages import Commit
from recorder.rows import Fold
from recorder.store import Position

MAX_COMMITS = 8_000
MAX_COMMANDS = 40_000
MAX_BYTES = 16 * 1024 * 1024
"""A run holds at most this much and one commit: a transaction of about half a second. An order whose whole life is in
one run is written once, so larger runs write less; what they may hold is in memory twice (docs/decisions/0032)."""
_COMMANDS_AT_ONCE = 500
_PAUSE_SECONDS_PER_COMMIT = 0.004  # of these and of the broadcaster's, docs/decisions/0020
_LONGEST_PAUSE_SECONDS = 0.03


class Run:
    """Commits that go into Postgres together, folded."""

    def __init__(self, last_trade_id: int = 0) -> None:
        self.fold = Fold(last_trade_id)
        self.reached = Position()
        self.time = 0
        """Of its newest commit."""
        self._commands = 0
        self._bytes = 0

    @property
    def is_empty(self) -> bool:
        return not self.fold.commits

    @property
    def is_full(self) -> bool:
        return len(self.fold.commits) >= MAX_COMMITS or self._commands >= MAX_COMMANDS or self._bytes >= MAX_BYTES

    def add(self, commit: Commit, payload: bytes, digest: bytes) -> None:
        self.fold.add(commit, payload, digest)
        self.reached = Position(commit.sequence, digest, commit.journal_epoch)
        self.time = commit.time
        self._commands += len(commit.commands)
        self._bytes += len(payload)


class Runs:
    """The room between one reader, which adds, and one writer: take, record, `recorded`, pause."""

    def __init__(self, last_trade_id: int = 0) -> None:
        """`last_trade_id`: of the trades recorded so far."""
        self._run = Run(last_trade_id)
        self._commands_in_a_row = 0
        self._taken_at = 0.0
        self._has_some = asyncio.Event()
        self._is_full = asyncio.Event()
        self._is_taken = asyncio.Event()
        self._all_recorded = asyncio.Event()
        self._all_recorded.set()

    async def add(self, commit: Commit, payload: bytes, digest: bytes) -> None:
        if self._run.is_full:
            self._is_taken.clear()
            await self._is_taken.wait()
        self._run.add(commit, payload, digest)
        self._all_recorded.clear()
        self._has_some.set()
        if self._run.is_full:
            self._is_full.set()
        await self._give_way(len(commit.commands))

    async def take(self) -> Run:
        """The next run; waits until there is one."""
        await self._has_some.wait()
        run, self._run = self._run, Run(self._run.fold.last_trade_id)
        self._taken_at = asyncio.get_running_loop().time()
        self._has_some.clear()
        self._is_full.clear()
        self._is_taken.set()
        return run

    def recorded(self) -> None:
        """The run taken last is in Postgres."""
        if self._run.is_empty:
            self._all_recorded.set()

    async def all_recorded(self) -> None:
        """Wait until everything added so far is in Postgres."""
        await self._all_recorded.wait()

    async def pause(self, after: Run) -> None:
        """Let the next run grow a little when commits come fast: fewer transactions, at little delay.

        A lone commit is hardly delayed, and a full run not at all. The time that recording took counts: while Postgres
        is slow, the next run has grown meanwhile.
        """
        seconds = min(len(after.fold.commits) * _PAUSE_SECONDS_PER_COMMIT, _LONGEST_PAUSE_SECONDS)
        try:
            async with asyncio.timeout_at(self._taken_at + seconds):
                await self._is_full.wait()
        except TimeoutError:
            return

    async def _give_way(self, commands: int) -> None:
        """Let others on the event loop have their turn now and then: reading may never have to wait by itself."""
        self._commands_in_a_row += 1 + commands
        if self._commands_in_a_row >= _COMMANDS_AT_ONCE:
            self._commands_in_a_row = 0
            await asyncio.sleep(0)
