"""How soon everything is there again: a matcher from the journal alone, and the whole stack on data that it has."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import msgspec

from bench.client import NatsAsker, WrongAnswer
from bench.flow import Flow
from bench.measure_nats import settled
from bench.programs import asking, whole_stack
from bench.recovery import Timed, flow_journal, matcher, nats, publish, reading
from bench.rounds import PER_SECOND, SECONDS, Row, Sample, column, interleaved
from bench.run import Say
from bench.scale import SEED, Scale
from contracts.subjects import ORDERS_SUBMIT
from matcher.replay import Replay

_PER_COMMIT = 20
"""Commands: about what the matcher writes of 64 requests at a time."""
_PER_REQUEST = 100
_RATIO_GOAL = 0.5
_START_GOAL = 5.0


async def measure(scale: Scale, folder: Path, say: Say) -> list[Row]:
    return [await recovery(scale, folder, say), await start(scale, folder, say)]


async def recovery(scale: Scale, folder: Path, say: Say) -> Row:
    """From the start of the process until the matcher answers; the floor from its start until all is decoded."""
    commands = scale.recovered_commands
    say(f"a journal of {commands:,} commands")
    async with nats(folder / "recovery") as (plan, connection):
        await publish(connection, flow_journal(Replay(), commands, _PER_COMMIT))
        say("recovery")

        async def figure() -> Timed:
            async with matcher(plan, folder, snapshot_commits="0") as (_, timed):
                return timed

        floors, figures = await interleaved(
            scale.starts, _of(lambda: reading(plan, folder), commands), _of(figure, commands)
        )
    work = median(floor["work"] / figure["work"] for floor, figure in zip(floors, figures, strict=True))
    return Row(
        f"recovery of {commands:,} commands, without a snapshot",
        "reading and decoding the same journal",
        PER_SECOND,
        column(figures, "rate"),
        column(floors, "rate"),
        ratio_goal=_RATIO_GOAL,
        note=f"by processor time the ratio is {work:.2f}",
    )


def _of(once: Callable[[], Awaitable[Timed]], commands: int) -> Callable[[], Awaitable[Sample]]:
    async def sample() -> Sample:
        timed = await once()
        return {"rate": commands / timed.seconds, "work": timed.processor}

    return sample


async def start(scale: Scale, folder: Path, say: Say) -> Row:
    """`pricetime up` on data that an exchange left behind in order, until it says that orders can be placed."""
    say(f"an exchange of {scale.start_commands:,} commands")
    async with whole_stack(folder) as stack, asking(stack.nats) as (_, asker):
        await fill(asker, scale.start_commands)
    seconds = []
    for number in range(scale.starts):
        say(f"start {number + 1} of {scale.starts}")
        started = time.monotonic()
        async with whole_stack(folder):
            seconds.append(time.monotonic() - started)
    name = f"start of the whole stack on {scale.start_commands:,} commands"
    return Row(name, "", SECONDS, tuple(seconds), (), goal=_START_GOAL)


async def fill(asker: NatsAsker, commands: int) -> None:
    flow = Flow(SEED)
    for _ in range(commands // _PER_REQUEST):
        answer = await asker.ask(ORDERS_SUBMIT, msgspec.msgpack.encode(flow.next_commands(_PER_REQUEST)))
        if not answer.startswith(b"\x92\xa6answer"):
            raise WrongAnswer(f"the matcher answers {answer[:200]!r}")
    await settled(asker)
