"""What the pages give to be copied, command lines and programs, carried out in the order of each page.

Goal: what can be copied works. Method: each block of a page is given to a shell, with the addresses of a running
exchange in place of the default ones; nothing that it prints may be a problem. Lines for `nats` are not run here:
tests/test_nats_docs.py knows that command line.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import wait_until
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parent.parent
PRICETIME = f"{sys.executable} -P -m cli.main"
BID = '{"side": "buy", "price": "12.34", "quantity": "1"}'
RUNS = ("curl ", ".venv/bin/pricetime ")


def commands(page: str) -> list[str]:
    """Every command of the page's blocks, those over several lines in one piece."""
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith(RUNS)]


@pytest.fixture(scope="module")
def exchange() -> Iterator[Stack]:
    with running_stack(options=("--standby",)) as started:
        yield started


def carry_out(command: str, exchange: Stack, folder: Path = ROOT) -> str:
    command = command.replace("localhost:8000", exchange.http).replace(".venv/bin/pricetime", PRICETIME)
    if PRICETIME in command:
        command = re.sub(r"\s+#.*", "", command) + f" --data {exchange.data}"
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_readme_says_how_to_begin(exchange: Stack) -> None:
    said = {command: carry_out(command, exchange) for command in commands("README.md")}
    assert len(said) == 5
    for command, answer in said.items():
        assert '"code"' not in answer, f"{command}\n{answer}"
    assert '"asks":[["100.00","6.00000000"]]' in said["curl -s localhost:8000/market/BTC-USD/depth"]
    assert said[".venv/bin/pricetime verify"].startswith("identical")


def test_history_can_be_asked_for(exchange: Stack, tmp_path: Path) -> None:
    for command in commands("docs/history.md"):
        answer = carry_out(command, exchange, tmp_path)
        assert '"code"' not in answer, f"{command}\n{answer}"
    assert list(tmp_path.iterdir())  # the exports


def test_a_deferred_order_is_found_by_the_address_in_its_202(exchange: Stack) -> None:
    store, look = commands("docs/deferred.md")
    stored = carry_out(store, exchange)
    assert " 202 " in stored.splitlines()[0]
    (command_id,) = re.findall(r"^location: /commands/(\w+)", stored, re.MULTILINE)
    look = re.sub(r"/commands/\w+", f"/commands/{command_id}", look)
    wait_until(lambda: '"status":"completed"' in carry_out(look, exchange), 60)


def test_a_book_is_kept_by_the_program_on_the_page(exchange: Stack) -> None:
    """It says how many levels it has after each message; it is stopped when it has said so twice."""
    (program,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/streams.md").read_text(), re.MULTILINE | re.DOTALL)
    command = [sys.executable, "-u", "-c", program.replace("ws://localhost:8001", exchange.ws)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            first = running.stdout.readline()
            place = f"""curl -s {exchange.http}/orders -H 'Content-Type: application/json' -d '{BID}'"""
            carry_out(place, exchange)
            second = running.stdout.readline()
        finally:
            running.kill()
    before, after = (re.fullmatch(r"(\d+) (\d+) bids (\d+) asks\n", line) for line in (first, second))
    assert before, first
    assert after, second
    assert (int(after[2]), after[3]) == (int(before[2]) + 1, before[3])


def test_what_operators_copy_works(exchange: Stack) -> None:
    """Keys come last: with the first of them the other lines need one."""
    lines = commands("docs/operations.md")
    keys = [line for line in lines if line.startswith(".venv/bin/pricetime keys")]
    for command in [line for line in lines if line not in keys]:
        answer = carry_out(command, exchange)
        assert '"code"' not in answer, f"{command}\n{answer}"
    revoke = [line for line in keys if "revoke" in line]
    said = [carry_out(command, exchange) for command in keys if command not in revoke]
    made = re.findall(r"pt_([0-9a-f]{12})_", "".join(said))
    assert len(made) >= 2
    carry_out(re.sub(r"revoke [0-9a-f]+", f"revoke {made[-1]}", revoke[0]), exchange)
    assert made[-1] in carry_out(".venv/bin/pricetime keys list", exchange)
