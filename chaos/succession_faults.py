"""Two matchers: the one that leads killed, paused, cut off; a planned hand-over; a restart while orders flow."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT

from nats.errors import Error as NatsError

from chaos.exchange import Exchange
from chaos.kinds import kind
from chaos.launch import ROOT
from chaos.run import NotInjected, Run
from cli.errors import CommandError
from contracts.subjects import MATCHER_STATUS

_ROW = "the leading matcher killed, paused, cut off; hand-over, rolling restart"
_COMMAND_SECONDS = 120.0
_MATCHERS = ("matcher", "standby")


async def leading(run: Run) -> str:
    """Which part leads."""
    try:
        reply = await run.connection.request(MATCHER_STATUS, b"{}", timeout=2)
        pid = json.loads(reply.data)["pid"]
        pids = run.exchange.pids
    except (NatsError, TimeoutError, ValueError, KeyError, CommandError):
        raise NotInjected("nobody leads at this moment") from None
    for part in _MATCHERS:
        if pids.get(part) == pid:
            return part
    raise NotInjected("nobody leads at this moment")


def _other(part: str) -> str:
    return _MATCHERS[1 - _MATCHERS.index(part)]


@kind("leader-killed", _ROW, 40, profile="standby")
async def leader_killed(run: Run) -> str:
    part = await leading(run)
    run.exchange.signal(part, signal.SIGKILL)
    return part


@kind("standby-killed", _ROW, 8, profile="standby")
async def standby_killed(run: Run) -> str:
    part = _other(await leading(run))
    run.exchange.signal(part, signal.SIGKILL)
    return part


@kind("both-matchers-killed", _ROW, 8, profile="standby")
async def both_matchers_killed(run: Run) -> str:
    for part in _MATCHERS:
        run.exchange.signal(part, signal.SIGKILL)
    return "at one moment"


@kind("leader-paused", _ROW, 15, profile="standby")
async def leader_paused(run: Run) -> str:
    """It sleeps with work in its hands, the other one takes over, and it wakes up: the fence lets it write nothing."""
    part = await leading(run)
    run.exchange.signal(part, signal.SIGSTOP)
    try:
        began = asyncio.get_running_loop().time()
        await run.until_acknowledged()
        took = asyncio.get_running_loop().time() - began
        await asyncio.sleep(run.chance.uniform(0.0, 2.0))
    finally:
        run.exchange.signal(part, signal.SIGCONT)
    return f"{part}; the other one answered after {took:.1f} s"


@kind("leader-cut-off", _ROW, 12, profile="standby")
async def leader_cut_off(run: Run) -> str:
    part = await leading(run)
    proxy = run.exchange.proxies[part, "nats"]
    proxy.refusing = True
    proxy.cut()
    try:
        await asyncio.sleep(run.chance.uniform(0.5, 4.0))
    finally:
        proxy.refusing = False
    return part


@kind("leader-half-open", _ROW, 8, profile="standby")
async def leader_half_open(run: Run) -> str:
    part = await leading(run)
    proxy = run.exchange.proxies[part, "nats"]
    proxy.leave_half_open()
    try:
        await asyncio.sleep(run.chance.uniform(1.0, 4.0))
    finally:
        proxy.end_half_open()
    return part


async def pricetime(exchange: Exchange, *arguments: str) -> tuple[int, str]:
    """A command of `pricetime` on this exchange: its exit code and what it said."""
    command = (sys.executable, "-m", "cli.main", *arguments, "--data", str(exchange.data))
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT, env=environment)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _COMMAND_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return -1, f"no end within {_COMMAND_SECONDS} s"
    return process.returncode or 0, output.decode(errors="replace").strip()


@kind("handover", _ROW, 20, profile="standby")
async def handover(run: Run) -> str:
    code, said = await pricetime(run.exchange, "handover")
    if code:
        raise NotInjected(f"handover: {said[-200:]}")
    return said[-100:]


@kind("rolling-restart", _ROW, 6, profile="standby")
async def rolling_restart(run: Run) -> str:
    """Every service, one after the other, while orders flow. It must not fail."""
    code, said = await pricetime(run.exchange, "restart")
    if code:
        run.broken.append(f"restart: {said[-500:]}")
    return "every service"
