"""Named points in the services' loops at which a service kills itself (SIGKILL), when it is told to.

The product knows nothing of it: a service that is started through chaos/service.py has these functions wrapped. Before
and after each of them a file is looked for; if it names the point, it is taken away and the process is gone.
"""

import asyncio
import functools
import importlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """`function` of `module`, or `Class.method`, as others call it. `when`: before or after it.

    `profile`: the exchange that comes by there.
    """

    service: str
    name: str
    module: str
    function: str
    when: str
    profile: str = "plain"


POINTS = (
    CrashPoint("matcher", "commit-not-sent", "matcher.service", "write_commit", "before"),
    CrashPoint("matcher", "commit-durable-not-answered", "matcher.service", "write_commit", "after"),
    CrashPoint("matcher", "commit-being-sent", "matcher.journal_writer", "fence", "after"),
    CrashPoint("matcher", "barrier-not-written", "matcher.recovery", "_write_barrier", "before"),
    CrashPoint("matcher", "barrier-written-not-serving", "matcher.recovery", "_write_barrier", "after"),
    CrashPoint("recorder", "position-moved-no-rows", "recorder.store", "write_commits", "before"),
    CrashPoint("recorder", "commits-copied-no-rows", "recorder.store", "write_commits", "after"),
    CrashPoint("recorder", "rows-written-no-commit", "recorder.store", "write_rows", "after"),
    CrashPoint("recorder", "committed-not-announced", "recorder.store", "_write", "after"),
    CrashPoint("broadcaster", "folded-not-published", "broadcaster.follower", "publish", "before"),
    CrashPoint("broadcaster", "published", "broadcaster.follower", "publish", "after"),
    CrashPoint("matcher", "snapshot-begun", "matcher.snapshots", "_Taking.fork", "after", "snapshots"),
    CrashPoint(
        "matcher", "snapshot-not-proved", "runtime.snapshot_files", "SnapshotFiles.write_aside", "after", "snapshots"
    ),
    CrashPoint("matcher", "journal-not-trimmed", "matcher.trimming", "_purge", "before", "snapshots"),
    CrashPoint("matcher", "journal-trimmed", "matcher.trimming", "_purge", "after", "snapshots"),
    CrashPoint(
        "broadcaster", "snapshot-not-named", "runtime.snapshot_files", "SnapshotFiles.publish", "before", "snapshots"
    ),
    CrashPoint(
        "broadcaster", "snapshot-named", "runtime.snapshot_files", "SnapshotFiles.publish", "after", "snapshots"
    ),
)
LATER = ("barrier-not-written", "barrier-written-not-serving")
"""Passed when the service starts: it has to be started anew to come by."""


def order_file(folder: Path, service: str) -> Path:
    return folder / f"crash-{service}"


def install(service: str, folder: Path) -> None:
    """Wrap the functions of this service's points. Fails when one is not there, or it would silently never crash."""
    for point in POINTS:
        if point.service == service:
            _wrap(point, order_file(folder, service))


def _wrap(point: CrashPoint, order: Path) -> None:
    owner: Any = importlib.import_module(point.module)
    *classes, name = point.function.split(".")
    for each in classes:
        owner = getattr(owner, each)
    setattr(owner, name, _wrapped(getattr(owner, name), point, order))


def _wrapped(function: Callable[..., Any], point: CrashPoint, order: Path) -> Callable[..., Any]:
    def pass_by(when: str) -> None:
        if point.when == when and order.exists():
            _crash_if_meant(point.name, order)

    @functools.wraps(function)
    def plain(*arguments: Any, **named: Any) -> Any:
        pass_by("before")
        result = function(*arguments, **named)
        pass_by("after")
        return result

    @functools.wraps(function)
    async def waited_for(*arguments: Any, **named: Any) -> Any:
        pass_by("before")
        result = await function(*arguments, **named)
        pass_by("after")
        return result

    return waited_for if asyncio.iscoroutinefunction(function) else plain


def _crash_if_meant(name: str, order: Path) -> None:
    """Once: whoever takes the file away is the one."""
    try:
        if order.read_text() != name:
            return
        order.unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
