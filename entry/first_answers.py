"""What was answered the first time: the commit that holds a command, read from the journal again.

Why there, and not in a table: docs/decisions/0013.
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace
from nats.aio.client import Client

from contracts.commits import decode_commit
from contracts.messages import (
    AllOrNothing,
    AmendOrder,
    AnswerPart,
    CancelOrder,
    Command,
    Commit,
    Event,
    ItemStarted,
    OrderAccepted,
    OrderCommand,
    Outcome,
)
from contracts.orders import item_events
from contracts.subjects import JOURNAL_STREAM
from entry.problems import declined
from entry.services import ask
from runtime.archive import ArchiveUnavailable, ask_archive

ReadCommit = Callable[[int], Awaitable[Commit]]
"""A durable commit by its sequence. Raises Declined (journal_unavailable) when it cannot be read."""

_GET = f"$JS.API.STREAM.MSG.GET.{JOURNAL_STREAM}"


def journal_commits(connection: Client, timeout_seconds: float) -> ReadCommit:
    """Straight from the stream: no consumer, and from its leader, so what is durable is there. Or, if it has been
    trimmed from it, from Postgres.

    Who wants a commit that is just being read shares it: a repeated batch asks for the same one for each order.
    """
    reading: dict[int, asyncio.Task[Commit]] = {}

    async def shared(sequence: int) -> Commit:
        task = reading.get(sequence)
        if task is None:
            task = reading[sequence] = asyncio.create_task(read(sequence))
            task.add_done_callback(lambda _: reading.pop(sequence))
        return await asyncio.shield(task)

    async def read(sequence: int) -> Commit:
        question = json.dumps({"seq": sequence}).encode()
        answer = json.loads(await ask(connection, _GET, question, timeout_seconds, "journal_unavailable"))
        payload = base64.b64decode(answer["message"]["data"]) if "message" in answer else await archived(sequence)
        commit, _ = decode_commit(sequence, payload)
        return commit

    async def archived(sequence: int) -> bytes:
        try:
            found = await ask_archive(connection, sequence, sequence, timeout_seconds)
        except ArchiveUnavailable:
            found = []
        if not found:
            raise declined("journal_unavailable", f"Journal sequence {sequence} cannot be read now.")
        return found[0][1]

    return shared


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What a command led to. `whole` is the command of the journal: the batch, if it was an item of one."""

    part: AnswerPart
    command: OrderCommand
    events: Sequence[Event]
    whole: Command
    outcome: Outcome


def of_placed(commit: Commit, order_id: int) -> FirstAnswer:
    """Of the commit in which the order was accepted."""
    for command, outcome in zip(commit.commands, commit.outcomes, strict=True):
        item = None
        for event in outcome.events:
            if isinstance(event, ItemStarted):
                item = event.item
            elif isinstance(event, OrderAccepted) and event.order_id == order_id:
                return _first_answer(commit, command, outcome, item)
    raise AssertionError(f"order {order_id} was not accepted in commit {commit.sequence}")


def of_repeated(commit: Commit, command: CancelOrder | AmendOrder) -> FirstAnswer | None:
    """Of the last command in the commit that says the same, whoever sent it."""
    for done, outcome in reversed(list(zip(commit.commands, commit.outcomes, strict=True))):
        if isinstance(done, CancelOrder | AmendOrder) and anybodys(done) == anybodys(command):
            return _first_answer(commit, done, outcome, None)
    return None


def same_batch(one: AllOrNothing, other: Command) -> bool:
    return isinstance(other, AllOrNothing) and [*map(anybodys, one.items)] == [*map(anybodys, other.items)]


def anybodys(command: OrderCommand) -> OrderCommand:
    """Without whose order it may be: that depends on the key it came with."""
    return command if not isinstance(command, CancelOrder | AmendOrder) else replace(command, accounts=None)


def _first_answer(commit: Commit, command: Command, outcome: Outcome, item: int | None) -> FirstAnswer:
    part = AnswerPart(commit.sequence, commit.time, (outcome,))
    if item is None:
        assert isinstance(command, OrderCommand)
        return FirstAnswer(part, command, outcome.events, command, outcome)
    assert isinstance(command, AllOrNothing)
    return FirstAnswer(part, command.items[item], item_events(item, outcome.events), command, outcome)
