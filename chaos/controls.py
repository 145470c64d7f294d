"""Negative controls: what keeps the promises, taken away, so that a run must show what happens without it.

A harness that finds nothing when the fence is off would find nothing when the fence has a hole.
"""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NO_SYNC = "default-sync-interval"


def _without_fence() -> None:
    writer: Any = importlib.import_module("matcher.journal_writer")
    writer.fence = lambda sequence: {}


def _without_position_guard() -> None:
    """The recorder moves its position from wherever it is."""
    store: Any = importlib.import_module("recorder.store")
    store._MOVE_POSITION = (
        "update recorder_position set sequence = $1, hash = $2, journal_epoch = $3 "
        "where $4::bigint is not null and $5::bytea is not null returning true"
    )


def _without_looking_at_the_broker() -> None:
    """The matcher refuses such a server, so it must not look; launch.py starts nats-server without the setting."""
    broker: Any = importlib.import_module("matcher.broker")

    async def look_away(*_: object, **__: object) -> None:
        return None

    broker.check_broker = look_away


@dataclass(frozen=True, slots=True)
class Control:
    """`profile` and `kinds` are the round that must find violations."""

    what: str
    take_away: Callable[[], None]
    profile: str
    kinds: tuple[str, ...]


CONTROLS: dict[str, Control] = {
    NO_SYNC: Control(
        "nats-server syncs every two minutes",
        _without_looking_at_the_broker,
        "disk",
        ("power-cut",) * 3,
    ),
    "no-fence": Control(
        "commits are written without the fence",
        _without_fence,
        "plain",
        ("paused-matcher-replaced",) * 4,
    ),
    "no-position-guard": Control(
        "the recorder moves its position from wherever it is",
        _without_position_guard,
        "plain",
        ("commit-answer-lost", "second-recorder") * 2,
    ),
}


def take_away(name: str) -> None:
    CONTROLS[name].take_away()


_INCLUDE = re.compile(r"""^\s*include\s+['"]?([^'"\s]+)['"]?\s*$""", re.MULTILINE)


def unsynced(configuration: Path) -> str:
    """The configuration of nats-server with all that it includes, but for `sync_interval: always`."""

    def included(match: "re.Match[str]") -> str:
        return unsynced(configuration.parent / match.group(1))

    text = _INCLUDE.sub(included, configuration.read_text())
    return text.replace("sync_interval: always", "")
