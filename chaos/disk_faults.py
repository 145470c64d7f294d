"""Power cut, fsync that fails or is slow, a full or read-only disk, older copies put back, flipped bits, short files.

For what damages data the promise is another one than for the rest: it is noticed, serving is refused, the refusal says
what to do, and doing that brings everything back.
"""

import asyncio
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

from chaos.exchange import Exchange
from chaos.kinds import Inject, kind
from chaos.launch import ROOT
from chaos.run import NotInjected, Run

_REFUSED_SECONDS = 45.0
_REBUILD_SECONDS = 120.0
_SNAPSHOT_SECONDS = 15.0
_DISK = ("mounts",)


# Power


@kind("power-cut", "power cut", 40, profile="disk", needs=_DISK)
async def power_cut(run: Run) -> str:
    """Everything stands still, the disk is taken as it is, everything is gone, and starts again on that disk."""
    assert run.exchange.disk is not None
    everything = run.exchange.everything()
    for each in everything:
        with suppress(psutil.NoSuchProcess):
            each.suspend()
    await asyncio.to_thread(run.exchange.disk.cut)
    run.exchange.kill_everything()
    await asyncio.to_thread(run.exchange.disk.come_back)
    run.exchange.launch()
    return "NATS and Postgres on one disk"


# fsync


@asynccontextmanager
async def _injected(run: Run, part: str, how: str) -> AsyncIterator[None]:
    """strace on every process of the part, its own children too."""
    pids = [str(each.pid) for each in run.exchange.processes_of(part)]
    if not pids:
        raise NotInjected(f"{part} is just being started")
    attach = [argument for pid in pids for argument in ("-p", pid)]
    calls = "fsync,fdatasync"
    tracer = await asyncio.create_subprocess_exec(
        "strace", "-f", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{how}", *attach,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await asyncio.sleep(0.3)
        yield
    finally:
        if tracer.returncode is None:
            with suppress(ProcessLookupError):
                tracer.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(tracer.wait(), 10)
        except TimeoutError:
            tracer.kill()
            await tracer.wait()
        for each in run.exchange.processes_of(part):
            _let_go(each)


def _let_go(process: psutil.Process) -> None:
    """strace stops what it lets go of, and one that was ending at that moment stayed stopped: no disk does that."""
    with suppress(psutil.NoSuchProcess):
        if process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
            process.resume()


def _fsync_fails(part: str) -> Inject:
    async def inject(run: Run) -> str:
        async with _injected(run, part, "error=EIO"):
            await asyncio.sleep(run.chance.uniform(0.3, 1.5))
        return f"EIO from every fsync of {part}"

    return inject


def _fsync_slow(part: str) -> Inject:
    async def inject(run: Run) -> str:
        milliseconds = run.chance.choice([20, 200, 1000])
        async with _injected(run, part, f"delay_enter={milliseconds * 1000}"):
            await asyncio.sleep(run.chance.uniform(1.0, 3.0))
        return f"every fsync of {part} took {milliseconds} ms more"

    return inject


for _part, _error_share, _slow_share in (("nats", 14, 12), ("postgres", 8, 8)):
    kind(f"fsync-fails-{_part}", "fsync error, slow fsync", _error_share, needs=("strace",))(_fsync_fails(_part))
    kind(f"fsync-slow-{_part}", "fsync error, slow fsync", _slow_share, needs=("strace",))(_fsync_slow(_part))


# Full, read-only


@kind("disk-full", "disk full, read-only", 18, profile="disk", needs=_DISK)
async def disk_full(run: Run) -> str:
    """It heals by itself once there is room again."""
    assert run.exchange.disk is not None
    seconds = run.chance.choice([0.5, 2.0, 5.0])
    await asyncio.to_thread(run.exchange.disk.fill)
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(run.exchange.disk.free)
    return f"for {seconds} s"


@kind("disk-read-only", "disk full, read-only", 8, profile="disk", needs=_DISK)
async def disk_read_only(run: Run) -> str:
    """A person mends the disk and starts the exchange again."""
    assert run.exchange.disk is not None
    await asyncio.to_thread(run.exchange.disk.refuse_writes)
    await asyncio.sleep(run.chance.uniform(0.5, 2.0))
    run.exchange.kill_everything()
    await asyncio.to_thread(run.exchange.disk.take_writes)
    run.exchange.launch()
    return "until it was mounted anew"


# Older copies


async def _rest(run: Run) -> None:
    """Until Postgres has everything: what is damaged next can then be had from there."""
    for _ in range(200):
        recorded, end = await run.positions()
        if recorded >= end > 0:
            return
        await asyncio.sleep(0.05)
    raise NotInjected("Postgres does not keep up")


@asynccontextmanager
async def _quiet(run: Run, *, hard: bool = False) -> AsyncIterator[None]:
    """Nobody trades while the exchange is down on purpose: their questions are not answered anyway.

    `hard`: every other time it is killed; what nats-server then finds when it starts is another thing.
    """
    run.resting.set()
    try:
        await asyncio.sleep(0.3)
        await _rest(run)
        if hard and run.chance.random() < 0.5:
            run.exchange.kill_everything()
        else:
            await run.exchange.stop()
        yield
    finally:
        run.resting.clear()


@kind("postgres-older-copy", "NATS or Postgres put back to an older copy", 8)
async def postgres_older_copy(run: Run) -> str:
    """It catches up from the journal."""
    folder, copy = run.exchange.data / "postgres", run.exchange.work / "older-postgres"
    async with _quiet(run):
        await asyncio.to_thread(_copy, folder, copy)
        run.exchange.launch()
    await run.exchange.until_ready()
    await asyncio.sleep(run.chance.uniform(1.0, 2.0))
    async with _quiet(run):
        await asyncio.to_thread(_replace, folder, copy)
        run.exchange.launch()
    return "caught up"


@kind("nats-older-copy", "NATS or Postgres put back to an older copy", 8)
async def nats_older_copy(run: Run) -> str:
    """The journal ends before what Postgres holds: refused, and made anew from Postgres."""
    folder, copy = run.exchange.data / "nats", run.exchange.work / "older-nats"
    await _nothing_deferred(run)
    async with _quiet(run):
        await asyncio.to_thread(_copy, folder, copy)
        run.exchange.launch()
    await run.exchange.until_ready()
    await asyncio.sleep(run.chance.uniform(1.0, 2.0))
    async with _quiet(run):
        await asyncio.to_thread(_replace, folder, copy)
        _forget_snapshots(run)
        await _refused_then_rebuilt(run, must_refuse=True)
    run.not_deferring.clear()
    return "refused, then rebuilt"


async def _nothing_deferred(run: Run) -> None:
    """What waits to be carried out later is in NATS alone: an older copy of it has lost that, and cannot know."""
    run.not_deferring.set()
    for _ in range(100):
        if not run.deferred_waiting():
            return
        await asyncio.sleep(0.1)
    run.not_deferring.clear()
    raise NotInjected("deferred commands are still waiting")


def _copy(folder: Path, copy: Path) -> None:
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(["cp", "-a", str(folder), str(copy)], check=True)


def _replace(folder: Path, copy: Path) -> None:
    shutil.rmtree(folder)
    copy.rename(folder)


def _forget_snapshots(run: Run) -> None:
    """Now and then: each way of noticing must do alone."""
    if run.chance.random() < 0.5:
        shutil.rmtree(run.exchange.data / "matcher", ignore_errors=True)


# Damage


@kind("journal-bit-flipped", "bit flip, truncation", 14)
async def journal_bit_flipped(run: Run) -> str:
    async with _quiet(run, hard=True):
        block = _block_file(run.exchange, run.chance)
        where = _flip(block, run.chance)
        _forget_snapshots(run)
        healed = await _refused_then_rebuilt(run, must_refuse=False)
    return f"{block.name}, {where}: {healed}"


kind("trimmed-journal-bit-flipped", "bit flip, truncation", 6, profile="snapshots")(journal_bit_flipped)


@kind("journal-cut-short", "bit flip, truncation", 10)
async def journal_cut_short(run: Run) -> str:
    async with _quiet(run, hard=True):
        block = _block_file(run.exchange, run.chance)
        done = _cut_short(block, run.chance)
        _forget_snapshots(run)
        healed = await _refused_then_rebuilt(run, must_refuse=False)
    return f"{block.name}, {done}: {healed}"


def _block_file(exchange: Exchange, chance: random.Random) -> Path:
    blocks = sorted((exchange.data / "nats").rglob("streams/JOURNAL/msgs/*.blk"))
    full = [block for block in blocks if block.stat().st_size > 1000]
    if not full:
        raise NotInjected("the journal has no file yet")
    return chance.choice(full)


def _cut_short(file: Path, chance: random.Random) -> str:
    size = file.stat().st_size
    kept = chance.randrange(size // 2, size)
    with file.open("r+b") as opened:
        opened.truncate(kept)
    return f"{kept} of {size} bytes"


def _flip(file: Path, chance: random.Random) -> str:
    content = bytearray(file.read_bytes())
    bit = chance.randrange(len(content) * 8)
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)
    return f"bit {bit}"


async def _refused_then_rebuilt(run: Run, *, must_refuse: bool) -> str:
    """Started on damaged data it must say so and not serve, or not be touched by it; `rebuild` then brings it back."""
    exchange = run.exchange
    run.log.on_damaged_data = True
    said = len(exchange.output)
    exchange.launch()
    verdict = await _refusal(exchange, said)
    if verdict is None:
        if must_refuse:
            run.broken.append("older copy: the exchange serves on a journal that ends before what Postgres holds")
        return "it is read as before"
    await exchange.stop()
    await asyncio.to_thread(_rebuild, exchange)
    exchange.launch()
    await exchange.until_ready()
    return f"refused ({verdict[:90]}), rebuilt"


async def _refusal(exchange: Exchange, said: int) -> str | None:
    """What a service said when it refused; None if the exchange became ready instead."""
    for _ in range(int(_REFUSED_SECONDS / 0.1)):
        new = exchange.output[said:]
        for line in new.splitlines():
            if "refuses to serve" in line:
                return line.strip()
        if exchange.is_ready():
            await asyncio.sleep(1.0)
            if exchange.is_ready() and "refuses to serve" not in exchange.output[said:]:
                return None
        await asyncio.sleep(0.1)
    return "nothing served and nothing was said"


def _rebuild(exchange: Exchange) -> None:
    command = (sys.executable, "-m", "cli.main", "rebuild", "journal", "--data", str(exchange.data))
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_REBUILD_SECONDS,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/local/bin:/usr/bin:/bin"},
    )  # fmt: skip
    (exchange.work / "rebuild.out").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise OSError(f"pricetime rebuild journal: {done.stderr.strip() or done.stdout.strip()}")


async def _until_there(folder: Path) -> list[Path]:
    """Snapshots, the newest last."""
    for _ in range(int(_SNAPSHOT_SECONDS / 0.2)):
        if files := await asyncio.to_thread(lambda: sorted(folder.glob("*.snapshot"))):
            return files
        await asyncio.sleep(0.2)
    return []


def _snapshots(folder: str, service: str) -> Callable[[Run], Awaitable[str]]:
    async def inject(run: Run) -> str:
        files = await _until_there(run.exchange.data / folder)
        if not files:
            raise NotInjected(f"the {service} has taken no snapshot yet")
        done = _cut_short(files[-1], run.chance) if run.chance.random() < 0.3 else _flip(files[-1], run.chance)
        if run.exchange.signal(service, signal.SIGKILL) is None:
            raise NotInjected(f"{service} is just being started")
        return f"{files[-1].name}: {done}"

    return inject


kind("matcher-snapshot-bit-flipped", "bit flip, truncation", 10, profile="snapshots")(_snapshots("matcher", "matcher"))
kind("broadcaster-snapshot-bit-flipped", "bit flip, truncation", 8, profile="snapshots")(
    _snapshots("broadcaster", "broadcaster")
)
