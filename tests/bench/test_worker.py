"""A process that is told what to do line by line: its answers, and what is said when it does not answer."""

import sys
from pathlib import Path

import pytest

from bench.programs import NotStarted
from bench.worker import worker

DOUBLING = "import sys\nfor line in sys.stdin: print(2 * int(line), flush=True)"


async def test_each_line_is_answered(tmp_path: Path) -> None:
    async with worker("doubling", (sys.executable, "-c", DOUBLING), tmp_path, {}) as process:
        assert [await process.ask(str(number)) for number in (1, 2, 3)] == [2, 4, 6]


async def test_one_that_ends_is_quoted(tmp_path: Path) -> None:
    async with worker("doubling", (sys.executable, "-c", DOUBLING), tmp_path, {}) as process:
        with pytest.raises(NotStarted, match=r"(?s)doubling ended\. It said:.*invalid literal"):
            await process.ask("three")


async def test_one_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    silent = (sys.executable, "-c", "import sys\nfor line in sys.stdin: pass")
    async with worker("silent", silent, tmp_path, {}) as process:
        with pytest.raises(NotStarted, match="silent has not answered"):
            await process.ask("1", seconds=0.05)
