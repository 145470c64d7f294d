"""Negative controls: what keeps the promises, taken away, so that a run must show what happens without it.

A harness that finds nothing when the fence is off would find nothing when the fence has a hole.
"""

import importlib
from collections.abc import Callable
from typing import Any


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


CONTROLS: dict[str, Callable[[], None]] = {
    "no-fence": _without_fence,
    "no-position-guard": _without_position_guard,
}


def take_away(name: str) -> None:
    CONTROLS[name]()
