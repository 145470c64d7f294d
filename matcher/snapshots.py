"""The matcher's state on disk, so that a start reads only the end of the journal (docs/decisions/0021).

How the matcher uses it:

    files = snapshot_files(settings_folder(settings))     # DATA_DIR/matcher
    replay = await newest_good(files, connection)         # then follow the journal from replay.chain.sequence + 1
    await keep_taking(files, settings, position, at_rest, left_to_another)   # beside the rest, without end

- `position()` is the sequence of the last commit that the state has.
- `await at_rest(take)` calls `take(replay)` at a moment at which the engine has exactly the commits up to
  `replay.chain.sequence`, and returns once all of them are durable. `take` forks, so it must be called in the process
  of the engine and in the thread of the loop; it takes milliseconds. A leader does that when it seals a commit, whose
  acknowledgement it then waits for; a standby at any moment between two commits.
- `await left_to_another()` says whether another process is asked for snapshots first: a leader leaves them to its
  standby. It takes one all the same when the newest in its own folder has fallen far behind.

A snapshot is written by a forked child, which costs the matcher the fork and no more, and is proved by a fresh process
(matcher/verify_snapshot.py) before it gets its name. It is taken of durable commits only: the child waits for the word
that they are, and throws away what it wrote when its parent dies before. So a journal that ends before a snapshot has
lost something, and is not served from.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from nats.aio.client import Client

from contracts.commits import JournalBroken
from matcher import state
from matcher.apart import become_a_background_process, fork
from matcher.replay import Replay
from runtime.clock import steady
from runtime.settings import Settings
from runtime.snapshot_files import SnapshotFiles, Unusable
from runtime.snapshot_fit import LostCommits, OtherJournal, check_fits

log = logging.getLogger(__name__)

KEPT = 3
_LEAST_COMMITS = 1_000
"""By time alone, no snapshot is taken for fewer commits than these."""
_LOOK_SECONDS = 0.5
_PAUSE_FACTOR = 5
"""A state that takes long to write is written less often: at most a sixth of the time goes into snapshots."""
_PATIENCE_SECONDS = 900.0
"""A child that takes longer than this is stuck."""
_FAR_BEHIND = 2
"""A leader takes snapshots beside its standby's once it has so many times the commits without one."""
_GO = b"g"

Position = Callable[[], int]
AtRest = Callable[[Callable[[Replay], None]], Awaitable[None]]


def settings_folder(settings: Settings) -> Path:
    return Path(settings.data_dir) / "matcher"


def snapshot_files(folder: Path) -> SnapshotFiles:
    return SnapshotFiles(folder, "state", "a matcher's state", b"PTENGINE", state.FORMAT, KEPT)


# Going on from one


async def newest_good(files: SnapshotFiles, connection: Client) -> Replay:
    """The newest snapshot that is whole and of this journal, or an empty state at the journal's start.

    Raises JournalBroken when the journal has lost commits that a snapshot has.
    """
    for file in files.newest_first():
        try:
            replay = await asyncio.to_thread(read, files, file)  # seconds, in which the connection is kept alive
            await check_fits(replay.chain, connection)
        except OtherJournal as error:
            log.warning("snapshot %s is put aside: %s", file.name, error)
            file.replace(file.with_suffix(".of-another-journal"))
        except LostCommits as error:
            raise JournalBroken(replay.chain.sequence, f"was there when {file.name} was taken, but {error}") from error
        except Unusable as error:
            log.warning("snapshot %s is not used: %s", file.name, error)
        else:
            log.info("snapshot %s: going on after commit %d", file.name, replay.chain.sequence)
            return replay
    return Replay()


def read(files: SnapshotFiles, file: Path) -> Replay:
    """Raises Unusable."""
    was_on = gc.isenabled()
    gc.disable()  # millions of objects are made, none of them garbage: looking for some would take most of the time
    try:
        replay = state.load(files.read(file))
    except state.NotThisState as error:
        raise Unusable(str(error)) from error
    finally:
        gc.freeze()  # nor is it ever to look at them: a single pass over a million orders takes seconds
        if was_on:
            gc.enable()
    if replay.chain.sequence != files.sequence_of(file):
        raise Unusable(f"it was taken after commit {replay.chain.sequence}: its name is not its own")
    return replay


# Taking them


async def nobody_else() -> bool:
    return False


async def keep_taking(
    files: SnapshotFiles,
    settings: Settings,
    position: Position,
    at_rest: AtRest,
    left_to_another: Callable[[], Awaitable[bool]] = nobody_else,
) -> None:
    """Take a snapshot whenever the settings want one, without end."""
    if not settings.snapshot_commits:
        await asyncio.Event().wait()
    schedule = _Schedule(settings, tried=0, begun=steady())
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        newest = next(iter(files.sequences()), 0)
        commits = position() - max(newest, schedule.tried)
        if not schedule.wants(commits):
            continue
        if commits < _FAR_BEHIND * settings.snapshot_commits and await left_to_another():
            continue
        schedule.begin(position())
        await take(files, at_rest)
        schedule.end()


@dataclass(slots=True)
class _Schedule:
    """When the next is due: after so many commits, or some commits and so many seconds."""

    settings: Settings
    tried: int
    """The journal sequence at which one was begun last, whether or not it came to something."""
    begun: float
    not_before: float = 0.0

    def wants(self, commits: int) -> bool:
        now = steady()
        if now < self.not_before:
            return False
        by_time = commits >= _LEAST_COMMITS and now - self.begun >= self.settings.snapshot_seconds
        return commits >= self.settings.snapshot_commits or by_time

    def begin(self, sequence: int) -> None:
        self.tried, self.begun = sequence, steady()

    def end(self) -> None:
        now = steady()
        self.not_before = now + _PAUSE_FACTOR * (now - self.begun)


async def take(files: SnapshotFiles, at_rest: AtRest) -> bool:
    """Take one now. True when it was proved and has its name; why not is in the log."""
    taking = _Taking(files)
    try:
        await at_rest(taking.fork)
        taking.release()
        return await taking.succeeded()
    except OSError as error:
        log.warning("no snapshot could be taken: %s", error)
        return False
    finally:
        taking.abandon()


class _Taking:
    """A child on its way to a snapshot. Two pipes: one to give it the word, one that closes when it ends."""

    def __init__(self, files: SnapshotFiles) -> None:
        self._files = files
        self._child: int | None = None
        self._pipes: list[int] = []

    def fork(self, replay: Replay) -> None:
        """Returns at once; the child has the state as it is now."""
        go, self._go = self._pipe()
        self._ended, ended = self._pipe()
        self._child = fork(lambda: _write_and_prove(self._files, replay, go, ended))
        self._close(go)
        self._close(ended)

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._pipes.extend(ends)
        return ends

    def _close(self, end: int) -> None:
        self._pipes.remove(end)
        os.close(end)

    def release(self) -> None:
        """The word: what the child has is durable."""
        with contextlib.suppress(BrokenPipeError):  # it has ended, and said why
            os.write(self._go, _GO)

    async def succeeded(self) -> bool:
        """Wait for the child's end."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._ended, over.set)
        try:
            await asyncio.wait_for(over.wait(), _PATIENCE_SECONDS)
        except TimeoutError:
            log.error("a snapshot is given up: it takes longer than %.0f s", _PATIENCE_SECONDS)
            return False
        finally:
            loop.remove_reader(self._ended)
        status = self._reap()
        if os.WIFSIGNALED(status):
            log.warning("a snapshot was not finished: its process was ended by signal %d", os.WTERMSIG(status))
        return status == 0

    def _reap(self) -> int:
        """The status of a child that has ended, or is about to."""
        assert self._child is not None
        _, status = os.waitpid(self._child, 0)
        self._child = None
        return status

    def abandon(self) -> None:
        """Leave nothing behind, however far it has come."""
        if self._child is not None:
            os.kill(self._child, signal.SIGKILL)
            self._reap()
        while self._pipes:
            self._close(self._pipes[-1])


def _write_and_prove(files: SnapshotFiles, replay: Replay, go: int, ended: int) -> NoReturn:
    """The child: writes the state, waits for the word, and becomes the process that proves what was written."""
    try:
        become_a_background_process(keep=(go, ended))
        aside = files.write_aside(state.dump_parts(replay), replay.chain.sequence)
        if os.read(go, len(_GO)) == _GO:
            os.set_inheritable(ended, True)
            os.execv(sys.executable, [sys.executable, "-m", "matcher.verify_snapshot", str(aside)])
        aside.unlink()
    except OSError as error:
        log.warning("no snapshot could be written: %s", error)
    except BaseException:
        log.exception("a snapshot could not be taken: this must not happen")
    finally:
        logging.shutdown()
        os._exit(1)
