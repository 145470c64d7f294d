"""Mistakes planted on purpose: each takes one precaution away, and the simulation has to find out.

A simulation that has never found anything proves nothing. docs/simulation.md lists the seed that finds each.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from nats.aio.client import Client

import entry.matcher_client
import matcher.journal_writer
import matcher.recovery
import matcher.service
import matcher.snapshots
import matcher.state
import matcher.trimming
import recorder.store
import recorder.tables
import runtime.journal
from contracts.commits import decode_commit, encode_commit
from matcher.client_order_ids import ClientOrderIds
from matcher.engine import Engine
from matcher.replay import Replay
from matcher.sequencer import Sealed
from runtime.service import Refused
from simulation.patches import Replacement

if TYPE_CHECKING:
    from simulation.world import World


@dataclass(frozen=True)
class Bug:
    """`seed`: the first that finds it, when this was last looked for."""

    name: str
    what: str
    seed: int
    plant: Callable[["World"], list[Replacement]]


def _no_fence(_: "World") -> list[Replacement]:
    return [(matcher.journal_writer, "fence", lambda sequence: {})]


def _answer_first(_: "World") -> list[Replacement]:
    careful = matcher.service.Matcher._commit

    async def commit(self: matcher.service.Matcher, sealed: Sealed) -> None:
        self._answer(sealed.answers)
        sealed.answers.clear()
        await careful(self, sealed)

    return [(matcher.service.Matcher, "_commit", commit)]


def _two_in_flight(_: "World") -> list[Replacement]:
    careful = matcher.service.Matcher._commit
    under_way: dict[int, asyncio.Task[None]] = {}

    async def commit(self: matcher.service.Matcher, sealed: Sealed) -> None:
        before = under_way.get(id(self))
        if before is not None and (sealed.payload is None or before.done()):
            await before
        under_way[id(self)] = asyncio.ensure_future(careful(self, sealed))
        if sealed.payload is None:
            await under_way.pop(id(self))

    return [(matcher.service.Matcher, "_commit", commit)]


def _trust_a_refusal(_: "World") -> list[Replacement]:
    async def compare(*_: Any) -> None:
        return None

    return [(matcher.journal_writer, "_compare", compare)]


def _uncertain_is_done(_: "World") -> list[Replacement]:
    careful = matcher.journal_writer._attempt

    async def attempt(*arguments: Any) -> str | None:
        error = await careful(*arguments)
        return None if error is not None and "timeout" in error else error

    return [(matcher.journal_writer, "_attempt", attempt)]


def _other_bytes(_: "World") -> list[Replacement]:
    careful = matcher.journal_writer._attempt
    tried: dict[int, int] = {}

    async def attempt(connection: Client, sequence: int, payload: bytes, *more: Any) -> str | None:
        again = tried.get(sequence) == id(payload)
        tried[sequence] = id(payload)
        if again:
            commit, _ = decode_commit(sequence, payload)
            payload, _ = encode_commit(msgspec.structs.replace(commit, time=commit.time + 1))
        return await careful(connection, sequence, payload, *more)

    return [(matcher.journal_writer, "_attempt", attempt)]


def _lease_is_enough(_: "World") -> list[Replacement]:
    careful = matcher.service.Matcher._commit

    async def commit(self: matcher.service.Matcher, sealed: Sealed) -> None:
        if not self.lease.is_certain:
            raise Refused("another matcher took over")
        await careful(self, sealed)

    return [(matcher.service.Matcher, "_commit", commit), (matcher.journal_writer, "fence", lambda sequence: {})]


def _refuse_when_cut_off(_: "World") -> list[Replacement]:
    return [(matcher.service.Matcher, "_leads_for_all_it_knows", property(lambda self: not self._in_doubt))]


def _no_memory(_: "World") -> list[Replacement]:
    return [(Engine, "_known", lambda self, command: None)]


def _snapshot_forgets(_: "World") -> list[Replacement]:
    careful = matcher.state.load

    def load(body: bytes | memoryview) -> Replay:
        replay = careful(body)
        replay.engine._client_order_ids = ClientOrderIds()
        return replay

    return [(matcher.state, "load", load)]


def _position_first(_: "World") -> list[Replacement]:
    async def write(connection: Any, fold: Any, before: Any, after: Any) -> bool:
        if not await connection.fetchval(recorder.store._MOVE_POSITION, *after, before.sequence, before.hash):
            return False
        await connection.execute("begin")
        await recorder.tables.write_commits(connection, fold)
        await recorder.tables.write_rows(connection, fold)
        await connection.execute("commit")
        return True

    return [(recorder.store, "_write", write)]


def _unguarded_position(_: "World") -> list[Replacement]:
    careful = recorder.store._write

    async def write(connection: Any, fold: Any, before: Any, after: Any) -> bool:
        found, _ = await recorder.store._read_position(connection)
        return await careful(connection, fold, found, after)

    return [(recorder.store, "_write", write)]


def _lost_commit_is_done(_: "World") -> list[Replacement]:
    careful = recorder.store._write

    async def write(connection: Any, fold: Any, before: Any, after: Any) -> bool:
        try:
            return await careful(connection, fold, before, after)
        except recorder.store._LOST:
            return True

    return [(recorder.store, "_write", write)]


def _repeat_everything(_: "World") -> list[Replacement]:
    return [(entry.matcher_client, "is_repeatable", lambda command: True)]


def _call_it_undone(_: "World") -> list[Replacement]:
    return [(entry.matcher_client, "_result_unknown", entry.matcher_client._unavailable)]


def _skip_a_gap(_: "World") -> list[Replacement]:
    careful = runtime.journal.JournalReader._on_delivery

    def on_delivery(self: runtime.journal.JournalReader, message: Any) -> None:
        _, sequence, delivered = runtime.journal._delivery(message.reply)
        self._delivered, self._next = delivered - 1, sequence
        careful(self, message)

    return [(runtime.journal.JournalReader, "_on_delivery", on_delivery)]


def _no_sync(world: "World") -> list[Replacement]:
    world.broker.disk.syncs = False
    return []


BUGS = {
    bug.name: bug
    for bug in (
        Bug("no-fence", "commits are written without an expected sequence", 10, _no_fence),
        Bug("answer-first", "answers leave before the PubAck", 0, _answer_first),
        Bug("two-in-flight", "a commit is published before the one before it is durable", 18, _two_in_flight),
        Bug("trust-a-refusal", "what stands at our sequence is taken for our own commit", 75, _trust_a_refusal),
        Bug("uncertain-is-done", "a commit whose PubAck does not come counts as written", 28, _uncertain_is_done),
        Bug("other-bytes", "a commit is tried again with another time in it", 6, _other_bytes),
        Bug("lease-is-enough", "who holds the lease writes without a fence", 10, _lease_is_enough),
        Bug("refuse-when-cut-off", "a matcher that is cut off calls requests undone", 1765, _refuse_when_cut_off),
        Bug("no-memory", "client order ids are not looked up", 0, _no_memory),
        Bug("snapshot-forgets", "client order ids are not in the snapshot", 4, _snapshot_forgets),
        Bug("position-first", "the recorder commits its position before its rows", 0, _position_first),
        Bug("unguarded-position", "the recorder moves the position from wherever it is", 22, _unguarded_position),
        Bug("lost-commit-is-done", "a COMMIT without an answer counts as done", 6, _lost_commit_is_done),
        Bug("repeat-everything", "commands that are not safe to repeat are sent again, too", 10, _repeat_everything),
        Bug("call-it-undone", "a client without an answer is told that nothing was done", 69, _call_it_undone),
        Bug("skip-a-gap", "the journal's reader goes on behind what was lost on the way", 49, _skip_a_gap),
        Bug("no-sync", "nats-server acknowledges what it has not synced", 6, _no_sync),
    )
}
