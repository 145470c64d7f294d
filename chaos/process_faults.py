"""Processes killed, also at named points of their loops; paused, starved, out of memory; clocks that jump."""

import asyncio
import signal
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import psutil

from chaos.crash_points import LATER, POINTS, CrashPoint, order_file
from chaos.exchange import Exchange
from chaos.kinds import Inject, kind
from chaos.launch import ROOT
from chaos.run import NotInjected, Run
from chaos.service import set_clock

PARTS = ("nats", "postgres", "matcher", "recorder", "broadcaster", "gateway")
_KILLED = "any process killed"
_PAUSED = "paused and resumed"
_LONG_PAUSE_SECONDS = 7.0
"""Longer than every timeout of a service: acknowledgement 2 s, watchdog 6 s, command 5 s, lease 1 s."""
_CRASH_SECONDS = {"plain": 8.0, "snapshots": 20.0}


async def _kill_at_once(run: Run, part: str) -> str:
    """Without waiting for its successor: the time until orders go again is what is wanted."""
    pid = run.exchange.signal(part, signal.SIGKILL)
    if pid is None:
        raise NotInjected(f"{part} is just being started")
    return f"{part}, process {pid}"


def _killed(part: str) -> Inject:
    return lambda run: _kill_at_once(run, part)


for _part, _share in zip(PARTS, (40, 30, 45, 30, 30, 30), strict=True):
    kind(f"kill-{_part}", _KILLED, _share)(_killed(_part))


@kind("kill-two", _KILLED, 15)
async def kill_two(run: Run) -> str:
    parts = run.chance.sample(PARTS, 2)
    return "; ".join([await _kill_at_once(run, part) for part in parts])


@kind("kill-everything", _KILLED, 8)
async def kill_everything(run: Run) -> str:
    """The supervisor and all parts at one moment."""
    run.exchange.kill_everything()
    run.exchange.launch()
    return "all parts and the supervisor"


# At named points


def _crash(point: CrashPoint) -> Inject:
    async def inject(run: Run) -> str:
        before = run.exchange.signal(point.service, signal.SIGCONT)  # harmless; tells who runs
        order, seconds = order_file(run.exchange.work, point.service), _CRASH_SECONDS[point.profile]
        order.write_text(point.name)
        try:
            if point.name in LATER:
                run.exchange.signal(point.service, signal.SIGKILL)
            for _ in range(int(seconds / 0.02)):
                if not order.exists():
                    return f"{point.service} at {point.name} ({before})"
                await asyncio.sleep(0.02)
        finally:
            order.unlink(missing_ok=True)
        raise NotInjected(f"{point.service} did not come by {point.name} within {seconds} s")

    return inject


for _point in POINTS:
    _add = kind(f"crash-{_point.service}-{_point.name}", "killed at a named point", 8, profile=_point.profile)
    _add(_crash(_point))


# Paused


async def pause(run: Run, part: str, seconds: float) -> str:
    pid = run.exchange.signal(part, signal.SIGSTOP, with_children=True)
    if pid is None:
        raise NotInjected(f"{part} is just being started")
    try:
        await asyncio.sleep(seconds)
    finally:
        run.exchange.signal(part, signal.SIGCONT, with_children=True)
    return f"{part} for {seconds:.1f} s"


def _paused(part: str) -> Inject:
    async def inject(run: Run) -> str:
        return await pause(run, part, run.chance.choice([0.3, 1.0, 2.5, _LONG_PAUSE_SECONDS]))

    return inject


for _part in PARTS:
    kind(f"pause-{_part}", _PAUSED, 7)(_paused(_part))


# A second one of what must be alone


@asynccontextmanager
async def another(exchange: Exchange, part: str) -> AsyncIterator[Process]:
    """One more process of this service, with the settings of the first."""
    try:
        environment = psutil.Process(exchange.pids[part]).environ()
    except (psutil.NoSuchProcess, KeyError) as error:
        raise NotInjected(f"{part} is just being started") from error
    chosen = {name: value for name, value in environment.items() if name.startswith(("PRICETIME_", "PATH"))}
    with (exchange.data / "logs" / f"{part}.second.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            part,
            stdout=log,
            stderr=log,
            stdin=DEVNULL,
            env={**chosen, "PYTHONPATH": str(ROOT)},
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await process.wait()


@kind("second-recorder", "two recorders", 12)
async def second_recorder(run: Run) -> str:
    async with another(run.exchange, "recorder") as process:
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 3.0)
        return f"the second one {'runs on' if process.returncode is None else f'ended with {process.returncode}'}"


@kind("second-matcher", "two matchers, one of them paused", 8)
async def second_matcher(run: Run) -> str:
    async with another(run.exchange, "matcher"):
        await asyncio.sleep(run.chance.uniform(1.0, 3.0))
        return "a second matcher for a moment"


@kind("paused-matcher-replaced", "two matchers, one of them paused", 10)
async def paused_matcher_replaced(run: Run) -> str:
    """The old one sleeps with work in its hands, another takes over, and the old one wakes up."""
    old = run.exchange.signal("matcher", signal.SIGSTOP)
    if old is None:
        raise NotInjected("the matcher is just being started")
    try:
        async with another(run.exchange, "matcher"):
            await run.until_served(asyncio.get_running_loop().time())
            run.exchange.signal("matcher", signal.SIGCONT)
            await asyncio.sleep(run.chance.uniform(0.2, 1.0))
    finally:
        run.exchange.signal("matcher", signal.SIGCONT)
    return f"process {old} woke up after another had taken over"


# Clocks


@kind("clock-jump", "clocks jumping back and forth", 35)
async def clock_jump(run: Run) -> str:
    """Every service's clock, forth and back; the time in the journal never goes back."""
    seconds = run.chance.choice([-3600, -60, -5, -0.5, 0.5, 3, 30])
    set_clock(run.exchange.work, int(seconds * 1_000_000))
    await asyncio.sleep(run.chance.uniform(0.2, 0.8))
    if run.chance.random() < 0.7:
        set_clock(run.exchange.work, 0)
    return f"{seconds:+} s"


# Resources

_CGROUPS = Path("/sys/fs/cgroup")
_GIVE_BACK_SECONDS = 10.0
_STARVED = "CPU starvation, out of memory"


@contextmanager
def cgroup(controller: str, limits: dict[str, str], pids: Iterable[int]) -> Iterator[None]:
    """These processes in a group of their own, and back in the first one afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pricetime-chaos-", dir=_CGROUPS / controller))
    try:
        for name, value in limits.items():
            (folder / name).write_text(value)
        for pid in pids:
            with suppress(OSError):
                (folder / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        _empty(folder)


def _empty(group: Path) -> None:
    """Give back its processes, and those that they start meanwhile; then remove it."""
    deadline = time.monotonic() + _GIVE_BACK_SECONDS
    while True:
        for left in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (group.parent / "cgroup.procs").write_text(left)
        try:
            return group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.01)


@kind("cpu-starved", _STARVED, 15, needs=("cgroups",))
async def cpu_starved(run: Run) -> str:
    parts = run.chance.choice([("matcher",), ("nats",), ("gateway",), ("postgres", "recorder"), PARTS])
    pids = [each.pid for part in parts for each in run.exchange.processes_of(part)]
    seconds, percent = run.chance.uniform(0.5, 3.0), run.chance.choice([1, 3, 10])
    with cgroup("cpu", {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": str(percent * 1000)}, pids):
        await asyncio.sleep(seconds)
    return f"{', '.join(parts)}: {percent} % of a core for {seconds:.1f} s"


@kind("out-of-memory", _STARVED, 20, needs=("cgroups",))
async def out_of_memory(run: Run) -> str:
    """The kernel kills it when it wants one page more."""
    part = run.chance.choice([*PARTS, "matcher"])
    processes = run.exchange.processes_of(part)
    if not processes:
        raise NotInjected(f"{part} is just being started")
    victim = processes[-1] if part == "postgres" else processes[0]
    with cgroup("memory", {"memory.limit_in_bytes": str(256 * 1024)}, [victim.pid]):
        for _ in range(300):
            if not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE:
                return f"{part}, process {victim.pid}"
            await asyncio.sleep(0.01)
    raise NotInjected(f"{part} wanted no more memory")
