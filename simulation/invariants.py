"""What must hold after every run, whatever happened in it. Pure: the journal, what clients were told, and the rows.

The journal position is the witness of linearizability: each answer names the commit that it comes from, so it is enough
that every answer is what that commit (or the state after it) says, and that no answer is older than what anybody had
been told before its question was asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.commits import JournalBroken
from contracts.messages import (
    AllOrNothing,
    AmendOrder,
    CancelOrder,
    Command,
    Commit,
    OrderAccepted,
    Outcome,
    PlaceOrder,
    Refusal,
    RejectReason,
    Repeated,
    TradeExecuted,
)
from contracts.subjects import MATCHER_ORDER, MATCHER_STATE_HASH
from matcher.replay import Replay
from recorder.rows import Fold
from simulation.workload import Operation, Read

Journal = Sequence[tuple[int, bytes]]


@dataclass
class Written:
    """What the journal holds, by what must be there once."""

    commits: dict[int, Commit] = field(default_factory=dict)
    places: dict[Command, list[tuple[int, Outcome]]] = field(default_factory=dict)
    """Each command, and where it was carried out; of a batch also each item."""


def check(journal: Journal, operations: Sequence[Operation], reads: Sequence[Read]) -> tuple[list[str], Fold]:
    """What is wrong, a line each; and what Postgres must hold."""
    found: list[str] = []
    written, fold, replay = Written(), Fold(), Replay()
    questions = _questions(operations, reads)
    for sequence, payload in journal:
        try:
            commit = replay.follow(sequence, payload)
        except JournalBroken as error:
            return [*found, f"the journal cannot be trusted: {error}"], fold
        fold.add(commit, payload, replay.chain.hash)
        _note(written, commit)
        for question in questions.pop(sequence, ()):
            found += _ask(question, replay)
    found += [f"somebody was told of journal sequence {sequence}, which is not there" for sequence in sorted(questions)]
    replay.engine.check()
    for operation in operations:
        found += _check_operation(operation, written)
    found += _check_once(operations, written)
    found += _check_trades(written)
    return found, fold


def differing_tables(expected: Mapping[str, Sequence[Any]], stored: Mapping[str, Sequence[Any]]) -> list[str]:
    """Postgres = fold(journal)."""
    found = []
    for table, rows in expected.items():
        missing, extra = _difference(rows, stored[table])
        if missing or extra:
            found.append(f"Postgres, {table}: missing {missing[:2]}, and should not be there {extra[:2]}")
    return found


def _difference(expected: Sequence[Any], stored: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    there, due = set(stored), set(expected)
    return sorted(due - there, key=str), sorted(there - due, key=str)


def _questions(operations: Sequence[Operation], reads: Sequence[Read]) -> dict[int, list[Operation | Read]]:
    questions: dict[int, list[Operation | Read]] = {}
    for operation in operations:
        if operation.part is not None:
            questions.setdefault(operation.part.sequence, []).append(operation)
    for read in reads:
        questions.setdefault(read.sequence, []).append(read)
    questions.pop(0, None)
    return questions


def _note(written: Written, commit: Commit) -> None:
    written.commits[commit.sequence] = commit
    for command, outcome in zip(commit.commands, commit.outcomes, strict=True):
        written.places.setdefault(command, []).append((commit.sequence, outcome))
        if isinstance(command, AllOrNothing):
            for item in command.items:
                written.places.setdefault(item, []).append((commit.sequence, outcome))


def _ask(question: Operation | Read, replay: Replay) -> Iterator[str]:
    """Does the state after this commit say what was told?"""
    engine = replay.engine
    if isinstance(question, Read):
        if question.sequence < question.floor:
            yield f"{question.subject} answered for {question.sequence} when {question.floor} had been told already"
        if question.subject == MATCHER_ORDER:
            name = question.question["client_order_id"]
            order_id = engine.order_id_of(question.question["account"], name)
            if question.content["order_id"] != order_id:
                yield f"order {name} is {order_id} after {question.sequence}; told was {question.content['order_id']}"
        elif question.content.get("hash") is not None and question.content["hash"] != engine.state_hash().hex():
            yield f"{question.subject}: not the state after {question.sequence}"
        return
    match question.result, question.command:
        case Refusal(reason=RejectReason.UNKNOWN_ORDER), (CancelOrder() | AmendOrder()) as command:
            if engine.symbol_of(command.order_id) is not None:
                yield f"order {command.order_id} is open after {replay.chain.sequence}; {question.client} was told not"
        case Refusal(reason=RejectReason.DUPLICATE_CLIENT_ORDER_ID) as refusal, PlaceOrder() as command:
            assert command.client_order_id is not None
            if engine.order_id_of(command.account, command.client_order_id) != refusal.order_id:
                yield f"{command.client_order_id} is not a duplicate of {refusal.order_id}"


def _check_operation(operation: Operation, written: Written) -> Iterator[str]:
    part, result, command = operation.part, operation.result, operation.command
    if part is None or result is None:
        return
    told = f"{operation.client} was told {result} for {command} at {part.sequence}"
    if isinstance(result, Outcome):
        if (part.sequence, result) not in written.places.get(command, ()):
            yield f"{told}, which the journal does not hold"
        elif part.sequence <= operation.floor:
            yield f"{told}, though {operation.floor} had been told before it was sent"
        elif part.time != written.commits[part.sequence].time:
            yield f"{told}, with another time than its commit's"
        return
    if part.sequence < operation.floor:
        yield f"{told}, when {operation.floor} had been told already"
    if isinstance(result, Repeated):
        items = command.items if isinstance(command, AllOrNothing) else ()
        first = [place for each in (command, *items) for place in written.places.get(each, ())]
        if not any(sequence == result.sequence and _accepts(outcome, result.order_id) for sequence, outcome in first):
            yield f"{told}, but the first is not there"


def _accepts(outcome: Outcome, order_id: int) -> bool:
    return any(isinstance(event, OrderAccepted) and event.order_id == order_id for event in outcome.events)


_ONCE = (PlaceOrder, AllOrNothing, AmendOrder)
"""Which commands differ from all others of a run, so that twice in the journal is once too often."""


def _check_once(operations: Sequence[Operation], written: Written) -> Iterator[str]:
    sent: dict[Command, list[Operation]] = {}
    for operation in operations:
        sent.setdefault(operation.command, []).append(operation)
        if isinstance(operation.command, AllOrNothing):
            for item in operation.command.items:
                sent.setdefault(item, []).append(operation)
    for command, places in written.places.items():
        if isinstance(command, (PlaceOrder, AllOrNothing)):
            if len(places) > 1:
                yield f"carried out twice: {command}, at {[sequence for sequence, _ in places]}"
            if command not in sent:
                yield f"nobody sent {command}"
    for command, attempts in sent.items():
        declined = all(each.declined not in (None, "result_unknown") for each in attempts)
        if isinstance(command, _ONCE) and declined and command in written.places:  # nothing of it may ever happen
            yield f"{attempts[0].client} was told that nothing was done ({attempts[0].declined}): {command}"


def _check_trades(written: Written) -> Iterator[str]:
    due = 1
    for sequence, commit in written.commits.items():
        for outcome in commit.outcomes:
            for event in outcome.events:
                if isinstance(event, TradeExecuted):
                    if event.trade_id != due:
                        yield f"trade {event.trade_id} in {sequence}, where {due} is due"
                    due = event.trade_id + 1


def is_state_hash(read: Read) -> bool:
    return read.subject == MATCHER_STATE_HASH
