"""The supervisor with tiny programs: it starts again what ends, and leaves nothing behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from cli.processes import Program
from cli.supervisor import (
    Supervisor,
    is_worth_saying,
    last_line,
    pause_before_restart,
    trim_log,
    why_it_ended,
)
from tests.support.servers import wait_until


def python(name: str, code: str, **options: object) -> Program:
    return Program(name=name, command=(sys.executable, "-c", textwrap.dedent(code)), **options)  # type: ignore[arg-type]


SLEEPER = python("sleeper", "import time; time.sleep(600)")


async def until(condition: object, seconds: float = 20) -> None:
    assert callable(condition)
    assert await asyncio.to_thread(wait_until, condition, seconds)


class Watched:
    """A supervisor together with what it reported."""

    def __init__(self, logs: Path) -> None:
        self.said: list[str] = []
        self.changes = 0
        self.supervisor = Supervisor(logs, self.said.append, self._on_change)

    def _on_change(self) -> None:
        self.changes += 1


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


async def test_a_killed_part_is_started_again(watched: Watched) -> None:
    supervisor = watched.supervisor
    await supervisor.start(SLEEPER)
    killed = supervisor.pids["sleeper"]
    os.kill(killed, signal.SIGKILL)
    await until(lambda: supervisor.pids["sleeper"] != killed)
    assert supervisor.missing == []
    assert watched.said == ["sleeper was killed by SIGKILL; starting it again"]
    assert watched.changes == 3  # started, ended, started
    await supervisor.stop("sleeper")


async def test_a_stopped_part_stays_stopped(watched: Watched) -> None:
    supervisor = watched.supervisor
    await supervisor.start(SLEEPER)
    pid = supervisor.pids["sleeper"]
    await supervisor.stop("sleeper")
    assert not psutil.pid_exists(pid)
    assert watched.said == []


async def test_a_part_that_does_not_listen_is_killed(watched: Watched, tmp_path: Path) -> None:
    deaf = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("deaf", flush=True)
        time.sleep(600)
    """
    await watched.supervisor.start(python("deaf", deaf, stop_seconds=0.2))
    await until(lambda: "deaf" in (tmp_path / "deaf.log").read_text())
    pid = watched.supervisor.pids["deaf"]
    await watched.supervisor.stop("deaf")
    assert not psutil.pid_exists(pid)


async def test_a_refusal_is_shown_with_its_reason(watched: Watched) -> None:
    code = "import sys; print('2026-01-01 00:00:00,000 the journal was cut at 7'); sys.exit(3)"
    await watched.supervisor.start(python("matcher", code))
    await until(lambda: watched.said)
    assert watched.said[0] == "matcher refuses to serve: the journal was cut at 7; starting it again"
    await watched.supervisor.stop("matcher")


async def test_a_part_asked_to_restart_comes_back_by_itself(watched: Watched) -> None:
    supervisor = watched.supervisor
    await supervisor.start(SLEEPER)
    before = supervisor.pids["sleeper"]
    await supervisor.restart("sleeper")
    await until(lambda: supervisor.pids["sleeper"] != before)
    assert watched.said == []
    await supervisor.stop("sleeper")


def test_children_do_not_outlive_a_supervisor_killed_with_9(tmp_path: Path) -> None:
    code = f"""
        import asyncio, sys
        from pathlib import Path
        from cli.processes import Program
        from cli.supervisor import Supervisor

        async def main():
            supervisor = Supervisor(Path({str(tmp_path)!r}), print, lambda: None)
            await supervisor.start(Program(name="sleeper", command=("sleep", "600")))
            print(supervisor.pids["sleeper"], flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as above:
        assert above.stdout is not None
        child = psutil.Process(int(above.stdout.readline()))
        above.kill()
    child.wait(60)


def test_failures_slow_down_but_kills_do_not() -> None:
    assert [pause_before_restart(1, failures) for failures in (1, 2, 3, 4, 99)] == [0.1, 0.2, 0.4, 0.8, 3.0]
    assert pause_before_restart(-9, 99) == 0.1
    assert pause_before_restart(3, 1) == 3.0


def test_repeated_failures_are_told_ever_more_rarely() -> None:
    assert [failures for failures in range(1, 20) if is_worth_saying(failures)] == [1, 2, 4, 8, 16]


def test_the_reason_of_an_end() -> None:
    assert why_it_ended(-11, "anything") == "was killed by SIGSEGV"
    assert why_it_ended(1, "no room") == "ended with exit code 1: no room"
    assert why_it_ended(0, "the last line") == "has finished"


def test_a_long_log_is_moved_aside_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    with log.open("a") as writer:
        print("first", file=writer, flush=True)
        trim_log(log, limit=3)
        print("second", file=writer, flush=True)
    assert (log.read_text(), (tmp_path / "part.log.1").read_text()) == ("second\n", "first\n")


def test_the_last_line_is_of_this_start_only(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_text("of the last start\n")
    assert last_line(log, start=18) == ""
    log.write_text("of the last start\n2026-11-20 11:12:13,141 matcher ERROR why\n\n")
    assert last_line(log, start=18) == "matcher ERROR why"


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        (
            "2026-11-20 11:12:13.141 UTC [7] FATAL:  the block is still in use\n"
            "2026-11-20 11:12:13.141 UTC [7] HINT:  Terminate any old server processes\n",
            "FATAL:  the block is still in use",
        ),
        ("[7] 2026/11/20 11:12:13.141592 [FTL] no space left\n", "[FTL] no space left"),
        ("Traceback (most recent call last):\n  File\nValueError: seven\n", "ValueError: seven"),
        ("starting\nso long\n", "so long"),
    ],
)
def test_of_several_last_lines_the_one_that_tells_the_reason_is_shown(lines: str, shown: str, tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_text(lines)
    assert last_line(log, start=0) == shown


def test_of_a_log_of_objects_the_message_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "matcher.log"
    lines = [
        {"time": "2026-11-20T10:00:00.000Z", "level": "INFO", "message": "nats: connected"},
        {"time": "2026-11-20T10:00:01.000Z", "level": "ERROR", "message": "refusing to serve: no keys"},
        {"time": "2026-11-20T10:00:02.000Z", "level": "INFO", "message": "good-bye"},
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert last_line(log, start=0) == "refusing to serve: no keys"
    log.write_text("[ERROR]\n")  # an object of JSON as well, but none of ours
    assert last_line(log, start=0) == "[ERROR]"
