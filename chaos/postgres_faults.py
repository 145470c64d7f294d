"""Postgres killed in COMMIT, its answers lost, its sessions ended, restarted, stalled."""

import asyncio
import signal

import asyncpg

from chaos.kinds import kind
from chaos.process_faults import pause
from chaos.proxy import Proxy
from chaos.run import NotInjected, Run

_ROW = "Postgres killed in COMMIT, restarted, stalled"
_WAIT_SECONDS = 6.0
_TERMINATE = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
where pid <> pg_backend_pid() and backend_type = 'client backend' and ($1 = '' or application_name = $1)
"""


def _recorders(run: Run) -> Proxy:
    return run.exchange.proxies["recorder", "postgres"]


async def _until_met(proxy: Proxy, number: int) -> None:
    try:
        await proxy.until_lost(number, _WAIT_SECONDS)
    except TimeoutError:
        raise NotInjected(f"the recorder committed nothing within {_WAIT_SECONDS} s") from None


@kind("commit-answer-lost", _ROW, 25)
async def commit_answer_lost(run: Run) -> str:
    """The transaction is in Postgres; the recorder is never told."""
    proxy = _recorders(run)
    proxy.cutting_after = lambda chunk: b"COMMIT\x00" in chunk
    try:
        await _until_met(proxy, proxy.lost + 1)
    finally:
        proxy.cutting_after = None
    return "after COMMIT"


@kind("commit-lost", _ROW, 20)
async def commit_lost(run: Run) -> str:
    """The COMMIT itself never arrives."""
    proxy = _recorders(run)
    proxy.cutting = lambda chunk: b"commit\x00" in chunk
    try:
        await _until_met(proxy, proxy.lost + 1)
    finally:
        proxy.cutting = None
    return "before COMMIT"


@kind("postgres-killed-in-commit", _ROW, 12)
async def postgres_killed_in_commit(run: Run) -> str:
    """kill -9 of its sessions when a COMMIT is on its way; Postgres then restarts itself."""
    proxy = _recorders(run)
    met = asyncio.Event()

    def on_commit(chunk: bytes) -> bool:
        if b"commit\x00" in chunk and not met.is_set():
            met.set()
            for each in run.exchange.processes_of("postgres")[1:]:
                if "pricetime" in " ".join(each.cmdline()) and "COMMIT" not in each.name():
                    each.send_signal(signal.SIGKILL)
        return False

    proxy.cutting = on_commit
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            await met.wait()
    except TimeoutError:
        raise NotInjected(f"the recorder committed nothing within {_WAIT_SECONDS} s") from None
    finally:
        proxy.cutting = None
    return "its sessions, with a COMMIT on the way"


@kind("sessions-terminated", _ROW, 35)
async def sessions_terminated(run: Run) -> str:
    who = run.chance.choice(["", "pricetime-recorder"])
    try:
        connection = await asyncpg.connect(run.exchange.run_file.postgres, timeout=5)
        try:
            ended = await connection.fetchval(_TERMINATE, who)
        finally:
            await connection.close(timeout=2)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise NotInjected(f"Postgres takes no connection: {error}") from None
    return f"{ended} of {who or 'everybody'}"


@kind("postgres-restarted", _ROW, 8)
async def postgres_restarted(run: Run) -> str:
    number = run.chance.choice([signal.SIGINT, signal.SIGQUIT])
    if run.exchange.signal("postgres", number) is None:
        raise NotInjected("Postgres is just being started")
    return "fast" if number is signal.SIGINT else "immediate"


@kind("postgres-stalled", _ROW, 10)
async def postgres_stalled(run: Run) -> str:
    """Every process of it sleeps; orders must go on meanwhile."""
    seconds = run.chance.choice([1.0, 4.0, 8.0])
    stalled = asyncio.create_task(pause(run, "postgres", seconds))
    await asyncio.sleep(0.2)
    began = asyncio.get_running_loop().time()
    await run.until_acknowledged()
    took = asyncio.get_running_loop().time() - began
    await stalled
    if took > 3.0:
        run.broken.append(f"recovery: with Postgres stalled an order took {took:.1f} s")
    return f"{seconds} s, orders went on after {took * 1000:.0f} ms"


@kind("connection-to-postgres-cut", _ROW, 20)
async def connection_to_postgres_cut(run: Run) -> str:
    service = run.chance.choice(["recorder", "gateway"])
    run.exchange.proxies[service, "postgres"].cut()
    return f"{service} to Postgres"
