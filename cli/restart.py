"""`pricetime restart [PART ...]`: the services of a running exchange start anew, one after the other, losing nothing.

For a new version, or settings that services read at their start from files. A second matcher stands by before the first
hands over to it; gateway, broadcaster and recorder each serve again before the next one stops. Orders are taken all
the while: who comes while a service starts waits for a moment.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError

from cli.asking import connected
from cli.errors import CommandError
from cli.handover import hand_over
from cli.options import add_data
from cli.processes import Program, spawn_options
from cli.runfile import RunFile, meant_folder, read_run_file, running_exchange
from contracts.subjects import MATCHER_STATUS
from matcher.standby import standbys
from runtime.settings import PREFIX

PARTS = ("matcher", "recorder", "broadcaster", "gateway")
"""In this order: first who is needed by the others."""

_STANDBY = "standby"
_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 0.3
_STATUS_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"which of {', '.join(PARTS)} (default: all)")
    add_data(parser)


def run(arguments: argparse.Namespace) -> int:
    unknown = [part for part in arguments.parts if part not in PARTS]
    if unknown:
        raise CommandError(f"{unknown[0]!r} cannot be restarted while orders flow: give some of {', '.join(PARTS)}")
    chosen = [part for part in PARTS if part in arguments.parts or not arguments.parts]
    running_exchange(arguments.data)
    asyncio.run(_restart(meant_folder(arguments.data).absolute(), chosen))
    return 0


async def _restart(data: Path, parts: list[str]) -> None:
    for part in parts:
        started = time.monotonic()
        await (_restart_matcher(data) if part == "matcher" else _restart_service(data, part))
        print(f"{part} restarted in {time.monotonic() - started:.1f} s", flush=True)


async def _restart_service(data: Path, part: str) -> None:
    before = _pid(read_run_file(data), part)
    _end(before, part)
    await _until(data, f"{part} serves again", lambda running: _pid(running, part) != before and running.ready)


# The matcher


async def _restart_matcher(data: Path) -> None:
    running = read_run_file(data)
    connection = await connected(running.nats, running.nats_tls)
    try:
        if _STANDBY in running.pids:
            await _restart_pair(connection, data)
        else:
            await _restart_alone(connection, data)
    finally:
        await connection.close()
    await _until(data, "orders can be placed", lambda running: running.ready)


async def _restart_pair(connection: Client, data: Path) -> None:
    """First the one that stands by; then it takes over, and the other one starts anew to stand by."""
    running = read_run_file(data)
    leading = await _leading(connection)
    part = next((name for name in ("matcher", _STANDBY) if running.pids.get(name) != leading), _STANDBY)
    other = "matcher" if part == _STANDBY else _STANDBY
    before = _pid(running, part)
    _end(before, part)
    await _until_standing_by(connection, data, part, before)
    await hand_over(connection)
    await _until_standing_by(connection, data, other, _pid(running, other))


async def _restart_alone(connection: Client, data: Path) -> None:
    """A second matcher is run for as long as it takes."""
    before = await _leading(connection)
    async with _temporary(_environment_of(before), data / "logs" / "restart.log") as pid:
        await _until_asked(connection, f"a second matcher (process {pid}) stands by", pid)
        await hand_over(connection)
        await _until_standing_by(connection, data, "matcher", before)
        await hand_over(connection)


async def _until_standing_by(connection: Client, data: Path, part: str, before: int) -> None:
    """Until the part runs as another process than `before`, and that one stands by."""
    await _until(data, f"{part} is started again", lambda running: _pid(running, part) != before)
    await _until_asked(connection, f"{part} stands by", _pid(read_run_file(data), part))


class _Leading(msgspec.Struct):
    pid: int


async def _leading(connection: Client) -> int:
    try:
        answer = await connection.request(MATCHER_STATUS, b"{}", timeout=_STATUS_SECONDS)
        return msgspec.json.decode(answer.data, type=_Leading).pid
    except (NatsError, TimeoutError, msgspec.MsgspecError) as error:
        raise CommandError("no matcher serves now; try again when the exchange is ready") from error


async def _until_asked(connection: Client, what: str, pid: int) -> None:
    """Until the matcher with this process id stands by and has read the whole journal."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if any(standby.pid == pid and standby.ready for standby in await standbys(connection, _ANSWER_SECONDS)):
            return
    raise CommandError(f"gave up waiting until {what}; look into the logs. The exchange runs on")


@asynccontextmanager
async def _temporary(environment: Mapping[str, str], log: Path) -> AsyncIterator[int]:
    """A matcher of our own. It hands over by itself when it is stopped while it leads."""
    program = Program(name="matcher", command=(sys.executable, "-P", "-m", "matcher"))
    with log.open("ab") as output:
        options = spawn_options(program, output)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        options["env"] = {**inherited, **environment}
        process = await asyncio.create_subprocess_exec(*program.command, **options)
    try:
        yield process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _environment_of(pid: int) -> dict[str, str]:
    """The settings of a running service, addresses and passwords included."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes().decode()
    except OSError as error:
        raise CommandError(
            f"cannot see the settings of the matcher (process {pid}: {error.strerror}); "
            "start the exchange with --standby to restart it like this"
        ) from error
    pairs = (each.partition("=") for each in content.split("\0"))
    measured = f"{PREFIX}METRICS_"  # that port is the other one's
    return {name: value for name, _, value in pairs if name.startswith(PREFIX) and not name.startswith(measured)}


# The stack


def _pid(running: RunFile, part: str) -> int:
    try:
        return running.pids[part]
    except KeyError as error:
        raise CommandError(f"{part} does not run yet; try again when the exchange is ready") from error


def _end(pid: int, part: str) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it is being started again anyway
    except PermissionError as error:
        raise CommandError(f"{part} (process {pid}) belongs to another user: run this as who runs it") from error


async def _until(data: Path, what: str, condition: Callable[[RunFile], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition(read_run_file(data)):
        if time.monotonic() > deadline:
            raise CommandError(f"gave up waiting until {what}; look into {data / 'logs'}. The exchange runs on")
        await asyncio.sleep(_POLL_SECONDS)
