"""Goal: a trimmed journal is no less than a whole one, and damage to it is refused and then mended.

Method: one whole exchange is filled until its journal is trimmed. Then its parts lose what they have of their own, one
after the other, and must come back by way of Postgres; then the journal's files are damaged, which must be refused, and
rebuilt. `pricetime verify` must say identical after each step.
"""

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest

from cli.stream_files import journal_folders
from runtime.journal import journal_state
from tests.support.servers import run_apart, temporary_folder, wait_until
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

COMMITS = 1_700
SETTINGS = {"PRICETIME_JOURNAL_KEEP_COMMITS": "1000", "PRICETIME_SNAPSHOT_COMMITS": "300"}


@pytest.fixture
def exchange() -> Iterator[Stack]:
    with temporary_folder() as folder:
        stack = Stack(folder / "data", SETTINGS)
        try:
            yield stack
        finally:
            stack.stop()
        assert stack.violations == []


def order(number: int) -> dict[str, str]:
    side, price = ("buy", "sell")[number % 2], f"{95 + number % 11}.00"
    return {"side": side, "price": price, "quantity": "1", "client_order_id": f"order-{number}"}


def place(stack: Stack, numbers: range) -> list[dict[str, Any]]:
    """One after the other, so that each is a commit. Returns the answers."""
    with httpx.Client(base_url=stack.http, trust_env=False, timeout=30) as client:
        answers = [client.post("/orders", json=order(number)) for number in numbers]
    assert {answer.status_code for answer in answers} == {201}
    return [answer.json() for answer in answers]


def begins(stack: Stack) -> int:
    """The first sequence in the stream."""

    async def ask() -> int:
        connection = await nats.connect(stack.nats, inbox_prefix="_INBOX_operator")
        state = await journal_state(connection)
        await connection.close()
        return state.first_seq

    return run_apart(ask)


def pricetime(stack: Stack, *command: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-P", "-m", "cli.main", *command, "--data", str(stack.data)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def verify(stack: Stack) -> None:
    done = pricetime(stack, "verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("identical")


def test_a_trimmed_exchange_loses_its_parts_and_its_journal(exchange: Stack) -> None:
    exchange.start()
    answers = place(exchange, range(COMMITS))
    assert wait_until(lambda: begins(exchange) > 1, 30), "nothing was trimmed"
    verify(exchange)
    assert place(exchange, range(1)) == answers[:1], "the first answer, from Postgres"

    _without_a_broadcaster_snapshot(exchange)
    _without_a_matcher_snapshot(exchange, answers)
    _with_a_damaged_journal(exchange)


def _without_a_broadcaster_snapshot(exchange: Stack) -> None:
    saved = exchange.data / "broadcaster"
    assert wait_until(lambda: saved.is_dir() and any(saved.glob("*.snapshot")), 60), "the broadcaster saved nothing"
    for file in saved.iterdir():
        file.unlink(missing_ok=True)
    exchange.wait_until_healed("broadcaster", exchange.kill("broadcaster"))
    verify(exchange)


def _without_a_matcher_snapshot(exchange: Stack, answers: list[dict[str, Any]]) -> None:
    exchange.stop()
    for name in ("matcher", "broadcaster"):
        shutil.rmtree(exchange.data / name, ignore_errors=name == "broadcaster")  # it may have saved nothing since
    exchange.start()
    assert begins(exchange) > 1
    verify(exchange)
    assert place(exchange, range(5)) == answers[:5]


def _with_a_damaged_journal(exchange: Stack) -> None:
    """The bit is flipped below Postgres's position; nothing that was recorded may be lost by that."""
    exchange.stop()
    (journal,) = journal_folders([exchange.data / "nats"])
    _flip(max((journal / "msgs").glob("*.blk"), key=lambda file: file.stat().st_size))
    (journal / "msgs" / "index.db").unlink(missing_ok=True)  # as after kill -9
    exchange.launch()
    assert wait_until(lambda: "run `pricetime rebuild journal`" in exchange.output, 60), exchange.output
    exchange.stop()
    done = pricetime(exchange, "rebuild", "journal")
    assert done.returncode == 0, done.stdout + done.stderr
    exchange.start()
    verify(exchange)


def _flip(file: Path) -> None:
    content, chance = bytearray(file.read_bytes()), random.Random(3)
    content[chance.randrange(len(content) // 4, len(content) // 2)] ^= 16
    file.write_bytes(content)
