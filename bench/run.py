"""One run: the measurements in order, each with the processes that it needs."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

from bench import measure_engine
from bench.client import NatsAsker
from bench.measure_nats import NatsMeasurements
from bench.measure_rest import POOL, RestMeasurements
from bench.programs import asking, bare_rest, echo, matcher_alone, pool, whole_stack
from bench.rounds import Row
from bench.scale import Scale
from contracts.subjects import MATCHER_STATUS, RECORDER_STATUS

SEED = 1
_SETTLE_SECONDS = 60.0

Say = Callable[[str], None]


async def measure_all(scale: Scale, folder: Path, say: Say) -> list[Row]:
    say("the engine alone")
    rows = await measure_engine.measure(scale, SEED)
    rows += await measure_matcher(scale, folder, say)
    return rows + await measure_stack(scale, folder, say)


async def measure_matcher(scale: Scale, folder: Path, say: Say) -> list[Row]:
    """nats-server and the matcher, nobody else: what the journal can take."""
    async with (
        matcher_alone(folder) as url,
        echo(url, folder),
        asking(url) as (connection, asker),
    ):
        nats = NatsMeasurements(connection, asker, scale, SEED)
        await nats.prepare()
        say("commands over NATS, one at a time")
        rows = await nats.alone()
        for in_flight in (64, 512):
            say(f"commands over NATS, {in_flight} in flight")
            rows.append(await nats.singles(in_flight))
        capacity = rows[-2].figure
        for size in (100, 500):
            say(f"commands over NATS, in batches of {size}")
            rows.append(await nats.batches(size))
        say("commands over NATS, on schedule")
        return rows + await nats.under_load(capacity)


async def measure_stack(scale: Scale, folder: Path, say: Say) -> list[Row]:
    """Everything, as `pricetime up` runs it."""
    say("starting the whole stack")
    async with (
        whole_stack(folder) as stack,
        echo(stack.nats, folder),
        bare_rest(stack.nats, folder) as bare_url,
        asking(stack.nats) as (connection, asker),
        pool(bare_url, POOL) as floor,
        pool(stack.http, POOL) as figure,
    ):
        nats = NatsMeasurements(connection, asker, scale, SEED)
        await nats.prepare()
        say("commands over NATS in batches, every service running")
        rows = [await nats.batches(100, between=lambda: settled(asker), note=", all services")]
        await settled(asker)
        rest = RestMeasurements(floor, figure, scale, SEED)
        await rest.prepare()
        say("orders over REST")
        rows.append(await rest.orders())
        capacity = rows[-1].figure
        say("orders over REST, one at a time")
        rows += await rest.alone()
        say("orders over REST, on schedule")
        return rows + await rest.under_load(capacity)


async def settled(asker: NatsAsker) -> None:
    """Return when the recorder has stored all there is: what it still does would slow the next round."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        matcher, recorder = [json.loads(await asker.ask(each, b"{}")) for each in (MATCHER_STATUS, RECORDER_STATUS)]
        if recorder["sequence"] >= matcher["sequence"]:
            return
        await asyncio.sleep(0.1)
