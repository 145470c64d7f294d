"""The short version of `make simulate`: some seeds without a violation, and every planted bug is found."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from simulation.__main__ import main
from simulation.bugs import BUGS, Bug
from simulation.faults import KINDS
from simulation.world import retrace, simulate

SEEDS = int(os.environ.get("PRICETIME_SIMULATION_SEEDS", "160"))
_OTHERS = 300
"""So many other seeds may find a bug that its own does not find any more: each change of a service shifts them all."""

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def _collected_now_and_then() -> Iterator[None]:
    """As `python -m simulation` does it: looking for garbage all the time costs more than the runs."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.collect()
    gc.enable()
    gc.unfreeze()


@pytest.mark.parametrize("part", range(4))
def test_no_seed_shows_a_violation(part: int) -> None:
    failing = {
        outcome.seed: outcome.violations for outcome in map(simulate, range(part, SEEDS, 4)) if outcome.violations
    }
    assert not failing, "look at one with `python -m simulation --seed N`"


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS.keys())
def test_a_planted_bug_is_found(bug: Bug) -> None:
    seeds = chain([bug.seed], range(_OTHERS))
    assert any(simulate(seed, bug).violations for seed in seeds), f"python -m simulation --bug {bug.name}"


def test_a_seed_is_the_same_run_each_time_whatever_ran_before() -> None:
    first = retrace(11)
    for seed in range(5):
        simulate(seed)
    again = retrace(11)
    assert again == first


def test_a_seed_is_the_same_run_in_every_process() -> None:
    """Sets of strings and of objects are gone through in another order there."""
    told = [_trace_in_a_process("7", str(salt)) for salt in (1, 2)]
    assert told[0] == told[1]
    assert "CALM" in told[0]


def _trace_in_a_process(seed: str, salt: str) -> str:
    environment = os.environ | {"PYTHONHASHSEED": salt}
    command = [sys.executable, "-m", "simulation", "--seed", seed]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return "\n".join(line for line in done.stdout.splitlines() if "for process" not in line)


def test_every_kind_of_fault_happens() -> None:
    lines = list(_fault_lines())
    words = {
        "kill matcher",
        "steps",
        "stop ",
        "pause ",
        "cut ",
        "break the connection",
        "slow network",
        "kill nats-server for",
        "kill nats-server at",
        "pause nats-server",
        "disk fails",
        "slow syncs",
        "acknowledgements",
        "kill postgres for",
        "kill postgres at",
        "pg_terminate_backend",
        "postgres stalls",
        "another matcher",
        "another recorder",
        "hand over",
        "the clock",
    }
    assert len(words) == len(KINDS)
    assert {word for word in words if not any(word in line for line in lines)} == set()


def _fault_lines() -> Iterator[str]:
    for seed in range(60):
        yield from (line for line in retrace(seed)[1] if "FAULT" in line)


def test_a_failing_seed_is_told_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "300", "--most", "1", "--bug", "answer-first"]) == 1
    told = capsys.readouterr().out
    assert "VIOLATION" in told
    assert "--bug answer-first" in told
    assert "FAULT" in told


def test_a_bug_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SystemExit, match="--list"):
        main(["--bug", "nothing"])


def test_the_page_lists_every_bug_with_the_seed_that_finds_it() -> None:
    page = (ROOT / "docs" / "simulation.md").read_text()
    for bug in BUGS.values():
        assert f"| `{bug.name}` | {bug.what} | {bug.seed} |" in page
