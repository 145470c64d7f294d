"""The end of a run: everybody comes to rest, everything is read, and the checker and `pricetime verify` judge it."""

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Sequence
from typing import Any

import asyncpg
from nats.errors import Error as NatsError

from chaos.checker import check
from chaos.exchange import Exchange
from chaos.launch import ROOT
from chaos.records import Recorded, Records, StateHash, TradesSeen, UpdatesSeen
from chaos.run import Crowd, Run
from contracts.subjects import JOURNAL_STREAM, MATCHER_STANDBY, MATCHER_STATE_HASH, RECORDER_STATUS
from runtime.journal import JournalReader, journal_state
from runtime.leadership import certain_stream_info
from runtime.service import Refused

_REST_SECONDS = 60.0
_VERIFY_SECONDS = 300.0
_POST_MORTEM_SECONDS = 60.0
"""A cluster that has just come together chooses a leader first."""
_GIVES_WAY = re.compile(r"another (matcher|recorder)")


async def judged(run: Run, crowd: Crowd) -> tuple[list[str], Records]:
    """Every violation, as a line each; and what they were found in."""
    await crowd.stop_trading()
    await run.exchange.until_ready()
    end = await _certain_end(run)
    found = await _come_to_rest(run, crowd, end)
    records = await _records(run, crowd)
    found += run.broken
    found += [str(each) for each in await asyncio.to_thread(check, records)]
    found += [f"surprise: {each}" for each in run.log.surprises]
    found += await _verified(run.exchange)
    found += [f"rights: {line}" for line in refused_rights(run.exchange)]
    if not run.log.on_damaged_data:
        found += [f"refusal: {line}" for line in unexpected_refusals(run.exchange.output)]
    return found, records


async def post_mortem(run: Run) -> list[str]:
    """What the journal shows of a run that could not be brought to its end, if it can still be read.

    Clients go on meanwhile. So what they were told comes first: what is acknowledged later may be missing from what was
    read before, and is not lost.
    """
    if not run.connection.is_connected:
        return []
    operations = list(run.log.operations)
    try:
        async with asyncio.timeout(_POST_MORTEM_SECONDS):
            records = Records(await read_raw_journal(run), operations, is_complete=False)
    except Exception as error:  # whatever it is: the run has failed already, and this is only to say more
        return [f"post mortem: the journal cannot be read ({str(error) or type(error).__name__})"]
    found = [str(each) for each in await asyncio.to_thread(check, records)]
    return [*found, *(f"refusal: {line}" for line in unexpected_refusals(run.exchange.output))]


async def _come_to_rest(run: Run, crowd: Crowd, end: int) -> list[str]:
    """Postgres and every stream must reach the end of the journal by themselves."""
    found = []
    for _ in range(int(_REST_SECONDS / 0.1)):
        if (await _ask(run, RECORDER_STATUS)).get("sequence", 0) >= end:
            break
        await asyncio.sleep(0.1)
    else:
        found.append(f"recovery: Postgres does not reach journal sequence {end}")
    for watcher in crowd.watchers:
        if not await watcher.until_reached(end, _REST_SECONDS):
            found.append(f"recovery: {watcher.name} was told everything up to {watcher.until} only, the end is {end}")
    return found


async def _ask(run: Run, subject: str, question: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        reply = await run.connection.request(subject, json.dumps(question or {}).encode(), timeout=8)
        answer: dict[str, Any] = json.loads(reply.data)
    except (NatsError, TimeoutError):
        return {}
    return answer


async def _records(run: Run, crowd: Crowd) -> Records:
    for watcher in crowd.watchers:
        watcher.finish()
    seen: list[TradesSeen | UpdatesSeen] = [each for watcher in crowd.watchers for each in watcher.finished]
    seen += crowd.nats_watcher.seen(is_unordered=run.held_up)
    hashes = []
    if told := await _ask(run, MATCHER_STATE_HASH):
        hashes.append(StateHash("the matcher", told["sequence"], bytes.fromhex(told["hash"])))
    hashes += await _standbys(run)
    return Records(
        journal=await read_raw_journal(run),
        operations=run.log.operations,
        order_reads=run.log.order_reads,
        depth_reads=run.log.depth_reads,
        trades_seen=[each for each in seen if isinstance(each, TradesSeen)],
        updates_seen=[each for each in seen if isinstance(each, UpdatesSeen)],
        recorded=await read_postgres(run.exchange.run_file.postgres),
        state_hashes=hashes,
    )


async def _standbys(run: Run) -> list[StateHash]:
    """Of one that stands by, if there is one: it must be where the one that leads is."""
    if "standby" not in run.exchange.parts:
        return []
    end = 0
    for _ in range(int(_REST_SECONDS)):
        end = (await journal_state(run.connection)).last_seq  # orders still expire
        told = await _ask(run, MATCHER_STANDBY, {"state_hash_at": end})
        if told.get("hash"):
            return [StateHash(f"the standby, process {told['pid']}", end, bytes.fromhex(told["hash"]))]
        await asyncio.sleep(1)
    run.broken.append(f"standby: nobody stands by at journal sequence {end}")
    return []


async def read_raw_journal(run: Run) -> list[tuple[int, bytes]]:
    end = await _certain_end(run)
    found: list[tuple[int, bytes]] = []
    async with JournalReader(run.connection, 1) as reader:
        async for messages in reader:
            found += messages
            if found[-1][0] >= end:
                return found
    raise Refused("the journal ended while it was read")


async def _certain_end(run: Run) -> int:
    """Of the journal as it is now. A node that was just cut off shows one that it had before, and nothing is lost."""
    async with asyncio.timeout(_REST_SECONDS):
        while True:
            try:
                return (await certain_stream_info(run.connection, JOURNAL_STREAM)).state.last_seq
            except (NatsError, TimeoutError):
                await asyncio.sleep(0.1)


async def read_postgres(url: str) -> Recorded:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            position = await connection.fetchval("select sequence from recorder_position")

            async def rows(query: str) -> Sequence[tuple[Any, ...]]:
                return [tuple(row) for row in await connection.fetch(query)]

            return Recorded(
                position,
                await rows("select sequence, payload from journal_commits order by 1"),
                await rows(
                    "select trade_id, price, quantity, maker_order_id, taker_order_id, journal_sequence from trades "
                    "order by 1"
                ),
                await rows("select order_id, account, quantity, filled_quantity, status from orders order by 1"),
                await rows("select account, symbol, quantity from positions"),
            )
    finally:
        await connection.close()


async def _verified(exchange: Exchange) -> list[str]:
    command = ("-P", "-m", "cli.main", "verify", "--data", str(exchange.data))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=PIPE, stderr=STDOUT, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _VERIFY_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return [f"verify: no verdict within {_VERIFY_SECONDS} s"]
    return [] if process.returncode == 0 else [f"verify: {output.decode(errors='replace').strip()[-1000:]}"]


def unexpected_refusals(output: str) -> list[str]:
    """A service that will not serve waits for a person. Where no data was damaged nobody should have to come.

    But of two that must be alone, one has to give way; the supervisor starts it anew.
    """
    lines = [line.strip() for line in output.splitlines() if "refuses to serve" in line]
    return [line for line in lines if not _GIVES_WAY.search(line)][:5]


def refused_rights(exchange: Exchange) -> list[str]:
    """What nats-server has refused one of the services: they must need nothing that they may not."""
    pattern = re.compile(r"EXCHANGE/user:(matcher|recorder|broadcaster|gateway)\b.*Violation")
    logs = sorted((exchange.data / "logs").glob("nats*.log"))
    lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()]
    return [line for line in lines if pattern.search(line)][:5]
