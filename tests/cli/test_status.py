"""`pricetime status`: what the parts' answers mean; and on a running exchange, whole and without one of its parts."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from cli.main import main
from cli.parts import Heard, Journal, Part, Report, services
from cli.runfile import RunFile
from cli.status import lines
from tests.support.stack import Stack

MATCHER = {
    "sequence": 40,
    "matcher_epoch": 2,
    "resting_orders": 3,
    "backlog": 0,
    "snapshot": None,
    "serving": True,
    "pid": 1,
}
STANDBY = {"id": "x", "host": "h", "pid": 2, "sequence": 40, "ready": True}
RECORDER = {"sequence": 38, "pid": 3}
BROADCASTER = {"sequence": 40, "caught_up": True, "clients": 5, "conflated": 1, "pid": 4}
WHOLE = Heard(Journal(first=1, last=40, bytes=1000), [MATCHER], [STANDBY], [RECORDER], [BROADCASTER], [{}])


def running(**pids: int) -> RunFile:
    return RunFile("http://h", "ws://h", "nats://h", "postgresql://h", pids)


def found(heard: Heard, here: RunFile | None = None) -> dict[str, Part]:
    return {part.part: part for part in services(heard, here)}


def test_each_part_says_where_it_is_and_how_far_behind() -> None:
    parts = found(WHOLE)
    assert list(parts) == ["matcher", "standby", "recorder", "broadcaster"]
    assert all(part.ok for part in parts.values())
    assert [part.lag for part in parts.values()] == [0, 0, 2, 0]
    assert parts["matcher"].more == "epoch 2, 3 resting orders, backlog 0, no snapshot"


@pytest.mark.parametrize(
    ("heard", "part", "state"),
    [
        (WHOLE._replace(matchers=[]), "matcher", "does not answer"),
        (WHOLE._replace(matchers=[MATCHER | {"serving": False}]), "matcher", "cannot write"),
        (WHOLE._replace(recorders=[RECORDER], matchers=[MATCHER | {"sequence": 20_000}]), "recorder", "far behind"),
        (WHOLE._replace(recorders=[]), "recorder", "does not answer"),
        (WHOLE._replace(broadcasters=[BROADCASTER | {"caught_up": False}]), "broadcaster", "catches up"),
        (WHOLE._replace(broadcasters=[]), "broadcaster", "does not answer"),
        (WHOLE._replace(standbys=[STANDBY | {"ready": False, "sequence": 1}]), "standby", "catches up"),
    ],
)
def test_what_is_not_well_is_said(heard: Heard, part: str, state: str) -> None:
    assert (found(heard)[part].state, found(heard)[part].ok) == (state, False)


def test_a_standby_is_missed_only_where_one_was_started() -> None:
    alone = WHOLE._replace(standbys=[])
    assert "standby" not in found(alone)
    assert "standby" not in found(alone, running(matcher=1))
    assert found(alone, running(matcher=1, standby=2))["standby"].state == "does not answer"


def test_every_one_of_several_is_shown() -> None:
    several = WHOLE._replace(broadcasters=[BROADCASTER, BROADCASTER | {"pid": 9, "sequence": 30}])
    shown = [part for part in services(several, None) if part.part == "broadcaster"]
    assert [(part.pid, part.lag) for part in shown] == [(4, 0), (9, 10)]


def test_without_a_matcher_the_journal_says_how_far_behind_others_are() -> None:
    assert found(WHOLE._replace(matchers=[]))["recorder"].lag == 2


def test_the_log_of_what_is_not_well_has_the_last_word(tmp_path: Path) -> None:
    (tmp_path / "recorder.log").write_text("2026-11-21 00:00:00,000 recorder ERROR refusing to serve: reasons\nbye\n")
    report = Report(
        ready=False,
        journal=None,
        parts=[
            Part(part="matcher", state="serves", ok=True, sequence=7, lag=0, pid=1),
            Part(part="recorder", state="does not run", ok=False),
        ],
    )
    text = lines(report, "Pricetime", tmp_path)
    assert text[0] == "Pricetime: not ready"
    assert text[2:5] == [
        "PART      STATE         SEQUENCE  LAG  PID  MORE",
        "matcher   serves               7    0    1",
        "recorder  does not run         -    -    -",
    ]
    assert f"{tmp_path / 'recorder.log'} says: recorder ERROR refusing to serve: reasons" in "\n".join(text)
    assert not any("says:" in line for line in lines(report, "Pricetime", None))


def test_nothing_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--data", str(tmp_path)]) == 2
    assert f"no exchange runs on {tmp_path}" in capsys.readouterr().err


# A running exchange


@pytest.fixture
def status(stack: Stack, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Part], Report]]:
    def ask(*options: str) -> tuple[int, dict[str, Part], Report]:
        capsys.readouterr()
        code = main(["status", "--json", *(options or ("--data", str(stack.data)))])
        told = json.loads(capsys.readouterr().out)
        parts = [Part(**each) for each in told["parts"]]
        journal = Journal(**told["journal"]) if told["journal"] else None
        return code, {part.part: part for part in parts}, Report(ready=told["ready"], journal=journal, parts=parts)

    return ask


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    process = psutil.Process(pid)
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


Ask = Callable[..., tuple[int, dict[str, Part], Report]]


@pytest.mark.stack
def test_a_whole_exchange_is_ready(stack: Stack, status: Ask) -> None:
    code, parts, report = status()
    assert (code, report.ready) == (0, True)
    assert set(parts) == {"nats", "postgres", "matcher", "recorder", "broadcaster", "gateway"}
    assert {part.pid for part in parts.values()} == set(stack.pids.values())
    assert report.journal is not None
    assert parts["matcher"].sequence == report.journal.last


@pytest.mark.stack
def test_from_afar_nats_tells_what_it_can(stack: Stack, status: Ask) -> None:
    code, parts, _ = status("--nats", stack.nats)
    assert code == 0
    assert set(parts) == {"nats", "matcher", "recorder", "broadcaster", "gateway"}


@pytest.mark.stack
def test_one_that_hangs_does_not_keep_the_others_from_being_shown(stack: Stack, status: Ask) -> None:
    """It hangs for a second, and others that use this exchange notice nothing but that."""
    with stopped(stack.pids["recorder"]):
        code, parts, _ = status()
    assert code == 1
    assert [name for name, part in parts.items() if not part.ok] == ["recorder", "gateway"]
    assert (parts["recorder"].state, parts["gateway"].more) == ("does not answer", "recorder: does not answer")


@pytest.mark.stack
def test_an_exchange_that_was_killed_is_told_from_one_that_hangs(
    tmp_path: Path, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it left behind names processes that are gone and ports where nobody is."""
    text = (stack.data / "run.json").read_text()
    left = json.loads(text) | {"nats": "nats://127.0.0.1:1", "http": "http://127.0.0.1:1"}
    left |= {"postgres": "postgresql://127.0.0.1:1/x", "pids": {"matcher": 2**22 + 1, "nats": 2**22 + 1}}
    (tmp_path / "run.json").write_text(json.dumps(left))
    assert main(["status", "--data", str(tmp_path)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("not ready")
    assert all("does not run" in line for line in said[3:] if line)


@pytest.mark.stack
def test_who_watches_sees_it_again_and_again(stack: Stack) -> None:
    command = [sys.executable, "-P", "-m", "cli.main", "status", "--watch", "--json", "--data", str(stack.data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        try:
            assert watching.stdout is not None
            seen = [json.loads(watching.stdout.readline()) for _ in range(2)]
        finally:
            watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=20)
    assert (watching.returncode, said) == (130, "")
    assert all(len(report["parts"]) == 6 for report in seen)
