"""Goal: a run that could not be ended is judged by what its clients had been told before the journal was read.

Method: a true run whose clients go on while the journal is read: it ends before what they are told meanwhile. Only what
they knew before counts, and of that, what is missing is found.
"""

from types import SimpleNamespace
from typing import Any

import pytest

from chaos import judge
from chaos.records import Done
from tests.chaos.exchange import Run

_UNREAD = 5


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run of which the journal is read without its last commits; what `late` was told comes while that is done."""
    records = Run(1).play(600).records()
    read = list(records.journal[:-_UNREAD])
    log = SimpleNamespace(operations=[each for each in records.operations if _sequence(each.result) <= read[-1][0]])
    late = [each for each in records.operations if _sequence(each.result) > read[-1][0]]
    assert log.operations
    assert late

    async def read_journal(_: Any) -> list[tuple[int, bytes]]:
        log.operations += late
        return read

    monkeypatch.setattr(judge, "read_raw_journal", read_journal)
    exchange = SimpleNamespace(output="")
    return SimpleNamespace(connection=SimpleNamespace(is_connected=True), log=log, exchange=exchange, late=late)


def _sequence(result: Any) -> int:
    return getattr(result, "sequence", None) or 0


async def test_what_is_acknowledged_while_the_journal_is_read_is_not_lost(ended: Any) -> None:
    assert await judge.post_mortem(ended) == []
    assert any(isinstance(each.result, Done) for each in ended.late)


async def test_what_was_acknowledged_before_and_is_missing_is_lost(ended: Any) -> None:
    ended.log.operations += ended.late
    assert any("is lost" in each for each in await judge.post_mortem(ended))
