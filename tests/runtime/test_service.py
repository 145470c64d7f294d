"""How a service starts and ends: exit codes, signals, and the first of several tasks to end."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import service
from runtime.service import EXIT_REFUSED, first_of

PREAMBLE = """
import asyncio
from runtime.connection import ConnectionLost
from runtime.service import Refused, first_of, run
"""


def start(body: str, environment: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    """A process whose service's `main(settings, stop)` has this body."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    program = f"{PREAMBLE}\nasync def main(settings, stop):\n{lines}\nrun('service', main)\n"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env={"PATH": "/usr/bin", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end_of(body: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    process = start(body, environment)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


def test_a_service_that_returns_has_ended_well() -> None:
    code, errors = end_of("return")
    assert (code, errors) == (0, "")


def test_what_a_service_writes_is_for_its_owner_alone(tmp_path: Path) -> None:
    written = tmp_path / "orders"
    assert end_of(f"open({str(written)!r}, 'w').close()") == (0, "")
    assert written.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_it_to_stop(number: signal.Signals) -> None:
    process = start("print('running', flush=True)\nawait stop.wait()\nprint('stopped', flush=True)")
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "stopped\n", "")


def test_a_refusal_says_why_without_a_traceback() -> None:
    code, errors = end_of("raise Refused('the moon is full')")
    assert code == EXIT_REFUSED
    assert "service ERROR refusing to serve: the moon is full" in errors
    assert "Traceback" not in errors


def test_a_refusal_in_one_of_several_tasks_is_a_refusal() -> None:
    code, errors = end_of("async def other():\n    raise Refused('no')\nawait first_of(stop.wait(), other())")
    assert code == EXIT_REFUSED, errors


def test_an_unexpected_error_ends_it_with_its_traceback() -> None:
    code, errors = end_of("raise ConnectionLost('gone')")
    assert code == 1
    assert "Traceback" in errors
    assert "ConnectionLost: gone" in errors


def test_a_task_that_does_not_let_itself_be_canceled_does_not_keep_it() -> None:
    stubborn = """
async def stubborn():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
task = asyncio.create_task(stubborn())
await asyncio.sleep(0)
"""
    assert end_of(stubborn + "print('done')") == (0, "")
    code, errors = end_of(stubborn + "raise Refused('no')")
    assert code == EXIT_REFUSED
    assert "refusing to serve: no" in errors


def test_a_cancelation_that_nobody_asked_for_ends_it() -> None:
    """nats-py's close can do that."""
    code, errors = end_of("raise asyncio.CancelledError")
    assert code == 1
    assert "Traceback" in errors


def test_a_bad_setting_is_one_line_that_names_the_variable() -> None:
    code, errors = end_of("return", {"PRICETIME_HTTP_PORT": "http"})
    assert code == 2
    assert "PRICETIME_HTTP_PORT" in errors
    assert len(errors.splitlines()) == 1


async def test_first_of_returns_with_the_first_and_cancels_the_others() -> None:
    canceled = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            canceled.set()
            raise

    await first_of(forever(), asyncio.sleep(0), forever())
    assert canceled.is_set()


async def test_first_of_raises_what_the_first_raised() -> None:
    async def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await first_of(asyncio.Event().wait(), fail())


async def test_first_of_waits_until_the_others_have_ended() -> None:
    steps = []

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("ended")

    await first_of(slow_to_end(), asyncio.sleep(0))
    assert steps == ["ended"]


async def test_first_of_passes_its_own_cancelation_on() -> None:
    inner = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            inner.set()

    outer = asyncio.create_task(first_of(forever()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer
    assert inner.is_set()


async def test_first_of_cancels_again_who_swallowed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As asyncio.wait_for does in Python 3.11 when its result comes together with the cancelation."""
    monkeypatch.setattr(service, "_CANCEL_AGAIN_SECONDS", 0.01)

    async def swallow(times: int) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not times:
                    raise
                times -= 1

    await first_of(asyncio.sleep(0), swallow(3), first_of(swallow(2)))
