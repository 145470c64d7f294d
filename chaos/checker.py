"""Is what the clients were told, and what every part holds, what the journal says? Pure.

    violations = check(records)

The journal's positions are the witness of linearizability, so no search is needed: every command that was carried out
stands at one place, and it is enough that these places agree with the answers and with real time (whoever was answered
before somebody else began, stands before). The invariants, by the name that a violation carries:

journal        numbers and hashes chain, and replaying the commands gives the recorded outcomes
once           what was acknowledged is there once, what is unknown at most once, what was declined not at all
invented       nothing is there that nobody asked for
answer         each answer is what the journal holds at the sequence that it names
real time      an answered command stands before every command that was sent later
read           a read shows the state at its sequence, and never an earlier one than the client knew of
conservation   no trade twice, nobody filled beyond the order or beyond the limit, every fill has two sides
stream         what a stream showed is the journal's, in order, nothing twice, nothing left out
postgres       Postgres is the fold of the journal
state          leader, standby and snapshots hold the state that replaying gives
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec
from msgspec.structs import replace

from chaos.ledger import Ledger
from chaos.records import (
    DepthRead,
    Done,
    NotDone,
    Operation,
    OrderRead,
    Recorded,
    Records,
    Refused,
    StateHash,
    TradesSeen,
    UpdatesSeen,
    Violation,
)
from contracts.commits import JournalBroken
from contracts.messages import (
    AdvanceClock,
    AllOrNothing,
    AmendOrder,
    AnswerPart,
    CancelOrder,
    Command,
    Commit,
    Continue,
    DefineInstrument,
    Outcome,
    PlaceOrder,
)
from contracts.orders import item_events
from contracts.views import Instrument, answer_view, order_view, trade_view
from matcher.replay import Replay

Position = tuple[int, int]
"""A journal sequence and the place of a command in that commit."""

_END = 2**62
_OWN = (AdvanceClock, Continue)


def check(records: Records) -> list[Violation]:
    """Every violation found; none when all is well. Nothing but the journal is looked at when that is broken."""
    journal, found = read_journal(records)
    if any(each.rule == "journal" for each in found):
        return found  # what cannot be read says nothing about the rest
    for rule in (_once_and_answers, _real_time, _reads, _conservation, _streams, _postgres):
        found += rule(records, journal)
    return found


# The journal


@dataclass(slots=True)
class Written:
    """A command in the journal."""

    position: Position
    command: Command
    outcome: Outcome
    time: int


@dataclass
class Journal:
    """The journal as it was read, as far as it can be trusted."""

    commits: list[Commit] = field(default_factory=list)
    written: dict[object, list[Written]] = field(default_factory=lambda: defaultdict(list))
    """What stands there, by identity."""
    ledger: Ledger = field(default_factory=Ledger)
    instruments: dict[str, Instrument] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return len(self.commits)

    def add(self, commit: Commit) -> None:
        self.commits.append(commit)
        self.ledger.add(commit)
        for index, (command, outcome) in enumerate(zip(commit.commands, commit.outcomes, strict=True)):
            if not isinstance(command, _OWN):
                position = (commit.sequence, index)
                self.written[identity(command)].append(Written(position, command, outcome, commit.time))


def identity(command: Command) -> object:
    """Two commands of the same identity want the same one thing: a retry has the identity of the first attempt."""
    match command:
        case PlaceOrder(account=account, client_order_id=str() as name):
            return "place", account, name
        case CancelOrder(order_id=order_id):
            return "cancel", order_id
        case AmendOrder():
            return replace(command, accounts=None)
        case AllOrNothing(items=items):
            return "batch", tuple(identity(item) for item in items)
    return command


def read_journal(records: Records) -> tuple[Journal, list[Violation]]:
    """Replays it. What was said of the state on the way, and the books that were read, are compared at their place."""
    journal, replay, found = Journal(), Replay(), []
    at = _live_checks(records)
    found += [wrong for each in at.get(0, ()) if (wrong := each(replay))]
    try:
        for sequence, payload in records.journal:
            journal.add(replay.follow(sequence, payload))
            found += [wrong for each in at.get(sequence, ()) if (wrong := each(replay))]
    except JournalBroken as error:
        found.append(Violation("journal", str(error), error.sequence))
        return journal, found
    journal.instruments = {each.symbol: each for each in replay.engine.instruments}
    try:
        replay.engine.check()
    except AssertionError as error:
        found.append(Violation("journal", f"the engine after replaying: {error}", journal.end))
    for sequence in at:
        if sequence > journal.end:
            found.append(Violation("state", f"somebody knows of journal sequence {sequence}, it ends at {journal.end}"))
    return journal, found


_LiveCheck = Callable[[Replay], Violation | None]


def _live_checks(records: Records) -> dict[int, list[_LiveCheck]]:
    at: dict[int, list[_LiveCheck]] = defaultdict(list)
    for told in records.state_hashes:
        at[told.sequence].append(partial(_compare_state, told))
    for read in records.depth_reads:
        at[read.sequence].append(partial(_compare_depth, read))
    return at


def _compare_state(told: StateHash, replay: Replay) -> Violation | None:
    if replay.engine.state_hash() == told.digest:
        return None
    who, sequence = told.who, told.sequence
    return Violation(
        "state", f"{who} holds another state after journal sequence {sequence} than replaying gives", sequence
    )


def _compare_depth(read: DepthRead, replay: Replay) -> Violation | None:
    instrument = next((each for each in replay.engine.instruments if each.symbol == read.symbol), None)
    if instrument is None:
        if not read.bids and not read.asks:
            return None  # the journal had not begun
        return Violation("read", f"{read.client} saw a book of {read.symbol}, which is not listed at {read.sequence}")
    for name, levels, shown in zip(
        ("bids", "asks"), replay.engine.depth(read.symbol, read.levels), (read.bids, read.asks), strict=True
    ):
        expected = [(instrument.tick.format(price), instrument.lot.format(total)) for price, total in levels]
        if expected != [(price, quantity) for price, quantity in shown]:
            where = f"{read.client}: {read.symbol} {name} after journal sequence {read.sequence}"
            return Violation(
                "read", f"{where} were shown as {list(shown)[:3]}..., are {expected[:3]}...", read.sequence
            )
    return None


# What the clients were told


@dataclass(slots=True)
class _Wish:
    """All attempts at one thing."""

    operations: list[Operation]
    written: list[Written]

    @property
    def invoked(self) -> float:
        return min(each.invoked for each in self.operations)

    @property
    def done(self) -> list[tuple[Operation, Done]]:
        return [(each, each.result) for each in self.operations if isinstance(each.result, Done)]

    @property
    def answered(self) -> float | None:
        return min((each.returned for each, _ in self.done if each.returned is not None), default=None)

    @property
    def name(self) -> str:
        command = self.operations[0].command
        return f"{self.operations[0].client}: {_short(command)}"


def _short(command: Command) -> str:
    key = identity(command)
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(command)


def _wishes(records: Records, journal: Journal) -> dict[object, _Wish]:
    wishes: dict[object, _Wish] = {}
    for operation in records.operations:
        key = identity(operation.command)
        if key not in wishes:
            wishes[key] = _Wish([], journal.written.get(key, []))
        wishes[key].operations.append(operation)
    return wishes


def _once_and_answers(records: Records, journal: Journal) -> list[Violation]:
    wishes = _wishes(records, journal)
    found = [wrong for wish in wishes.values() for wrong in (*_count(wish), *_answers(wish, journal))]
    if records.is_complete:
        for key, written in journal.written.items():
            if key not in wishes and not _is_default_instrument(written[0]):
                sequence = written[0].position[0]
                found.append(
                    Violation("invented", f"{_short(written[0].command)} at {sequence}: nobody sent it", sequence)
                )
    return found


def _is_default_instrument(written: Written) -> bool:
    """The matcher lists one by itself when the journal is new."""
    return isinstance(written.command, DefineInstrument) and written.position[0] <= 3


def _count(wish: _Wish) -> Iterator[Violation]:
    times, command = len(wish.written), wish.operations[0].command
    if wish.done and not times:
        yield Violation(
            "once", f"{wish.name} was acknowledged as journal sequence {wish.done[0][1].sequence} and is lost"
        )
    if times > 1 and isinstance(command, PlaceOrder | CancelOrder | AllOrNothing):
        places = [written.position[0] for written in wish.written]
        yield Violation("once", f"{wish.name} was carried out {times} times: {places}", places[-1])
    if times and all(isinstance(each.result, NotDone) for each in wish.operations):
        sequence = wish.written[0].position[0]
        yield Violation("once", f"{wish.name} was declined as not done, but stands at {sequence}", sequence)
    if (
        times
        and isinstance(command, PlaceOrder)
        and all(isinstance(each.result, Refused | NotDone) for each in wish.operations)
    ):
        sequence = wish.written[0].position[0]
        yield Violation("once", f"{wish.name} was refused, but stands at {sequence}", sequence)


def _answers(wish: _Wish, journal: Journal) -> Iterator[Violation]:
    for operation, done in wish.done:
        there = [written for written in wish.written if written.position[0] == done.sequence]
        if wish.written and not there:
            places = [written.position[0] for written in wish.written]
            yield Violation("answer", f"{wish.name} was answered as sequence {done.sequence}, but stands at {places}")
        elif there and all(wrong := [_misshown(done, each, journal) for each in there]):
            yield Violation("answer", f"{wish.name}, sequence {done.sequence}: {wrong[-1]}", done.sequence)
        if there and not _same_wish(operation.command, there[-1].command):
            yield Violation(
                "answer", f"{wish.name} is another command in the journal: {there[-1].command}", done.sequence
            )
    for operation in wish.operations:
        if isinstance(operation.result, Refused) and (why := _misrefused(operation, operation.result, journal)):
            yield Violation("answer", f"{wish.name}: {why}", operation.result.sequence)


def _same_wish(sent: Command, stored: Command) -> bool:
    """But for whose orders it may touch, which the exchange adds."""
    match sent, stored:
        case (CancelOrder(), CancelOrder()) | (AmendOrder(), AmendOrder()):
            return identity(sent) == identity(stored)
        case AllOrNothing(items=left), AllOrNothing(items=right):
            return len(left) == len(right) and all(map(_same_wish, left, right))
    return sent == stored


def _misshown(done: Done, written: Written, journal: Journal) -> str | None:
    """How an answer differs from the outcome; None when it does not, or when only its sequence is known."""
    if done.shown is None:
        return None
    if isinstance(done.shown, Outcome):
        return (
            None if done.shown == written.outcome else f"the answer was {done.shown}, the journal has {written.outcome}"
        )
    if isinstance(written.command, AllOrNothing):
        return _misshown_items(done.shown, written, journal)
    if not isinstance(written.command, PlaceOrder | CancelOrder | AmendOrder):
        return None
    return _difference(_answer_json(written, written.command, written.outcome.events, journal), done.shown)


def _misshown_items(shown: Mapping[str, Any], written: Written, journal: Journal) -> str | None:
    assert isinstance(written.command, AllOrNothing)
    for number, (item, told) in enumerate(zip(written.command.items, shown.get("items", ()), strict=True)):
        events = item_events(number, written.outcome.events)
        if events and (wrong := _difference(_answer_json(written, item, events, journal), told.get("order") or {})):
            return f"item {number}: {wrong}"
    return None


def _answer_json(written: Written, command: Any, events: Sequence[Any], journal: Journal) -> dict[str, Any]:
    part = AnswerPart(written.position[0], written.time, ())
    return _json(answer_view(part, command, events, journal.instruments[_symbol(command, events, journal)]))


def _symbol(command: Command, events: Sequence[Any], journal: Journal) -> str:
    if isinstance(command, PlaceOrder):
        return command.symbol
    assert isinstance(command, CancelOrder | AmendOrder)
    return journal.ledger.orders[command.order_id].symbol


def _json(view: object) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(view)
    return made


def _difference(expected: Mapping[str, Any], shown: Mapping[str, Any]) -> str | None:
    for name in {**expected, **shown}:
        if expected.get(name) != shown.get(name):
            return f"{name} was told as {shown.get(name)!r}, the journal gives {expected.get(name)!r}"
    return None


def _misrefused(operation: Operation, refused: Refused, journal: Journal) -> str | None:
    """A refusal is a read: it must be true at its sequence."""
    command = operation.command
    if refused.sequence is not None and refused.sequence > journal.end:
        return f"refused as of sequence {refused.sequence}, the journal ends at {journal.end}"
    if isinstance(command, PlaceOrder) and refused.code == "duplicate_client_order_id":
        holder = journal.ledger.named.get((command.account, command.client_order_id or ""))
        return None if holder == refused.order_id else f"order {refused.order_id} is said to have its id, {holder} has"
    if isinstance(command, CancelOrder | AmendOrder) and refused.code in ("order_not_resting", "unknown_order"):
        entry = journal.ledger.orders.get(command.order_id)
        is_open = entry is not None and (
            entry.closed_at is None or (refused.sequence is not None and entry.closed_at > refused.sequence)
        )
        return f"refused as {refused.code} at {refused.sequence}, but the order was open" if is_open else None
    return None


# Real time


def _real_time(records: Records, journal: Journal) -> list[Violation]:
    """One sweep over the moments at which somebody began or was answered, with the latest place known to be taken."""
    moments: list[tuple[float, int, Position, str]] = []
    for wish in _wishes(records, journal).values():
        if not wish.written:
            continue
        told = {done.sequence for _, done in wish.done}
        places = [each.position for each in wish.written if not told or each.position[0] in told]
        if not places:
            continue
        moments.append((wish.invoked, 1, max(places), wish.name))
        if wish.answered is not None:
            moments.append((wish.answered, 0, min(places), wish.name))
    moments += _refusals(records)
    return list(_sweep(moments))


def _refusals(records: Records) -> Iterator[tuple[float, int, Position, str]]:
    """It was judged within the commit of its sequence: not before the one before, and not after it."""
    for each in records.operations:
        if isinstance(each.result, Refused) and each.result.sequence is not None and each.returned is not None:
            sequence = each.result.sequence
            name = f"{each.client}: the refusal of {_short(each.command)}"
            yield each.invoked, 1, (sequence, _END), name
            yield each.returned, 0, (sequence - 1, _END), name


def _sweep(moments: list[tuple[float, int, Position, str]]) -> Iterator[Violation]:
    latest: Position = (0, 0)
    who = ""
    for _, is_beginning, place, name in sorted(moments, key=lambda each: each[:3]):
        if not is_beginning:
            if place > latest:
                latest, who = place, name
        elif place < latest and name != who:
            detail = f"{name} stands at {place[0]}, but began after {who} was answered as {latest[0]}"
            yield Violation("real time", detail, place[0])


# Reads


def _reads(records: Records, journal: Journal) -> list[Violation]:
    found = [wrong for read in records.order_reads if (wrong := _order_read(read, journal))]
    for depth in records.depth_reads:
        if depth.sequence < depth.seen:
            detail = f"{depth.client} knew of {depth.seen} and was shown the book of {depth.symbol} at {depth.sequence}"
            found.append(Violation("read", detail, depth.sequence))
    return found


def _order_read(read: OrderRead, journal: Journal) -> Violation | None:
    entry = journal.ledger.orders.get(read.order_id)
    if entry is None:
        return Violation("read", f"{read.client} was shown order {read.order_id}, which is not in the journal")
    changes = [change[0] for change in entry.history]
    number = bisect_right(changes, read.shown["sequence"]) - 1
    if number < 0 or changes[number] != read.shown["sequence"]:
        detail = f"{read.client}: order {read.order_id} did not change at {read.shown['sequence']}, as it was shown"
        return Violation("read", detail)
    if number + 1 < len(changes) and changes[number + 1] <= read.seen:
        detail = f"{read.client} knew of {read.seen} and was shown order {read.order_id} as of {changes[number]}"
        return Violation("read", detail, changes[number])
    sequence, time, (order, status, reason) = entry.history[number]
    view = order_view(
        order, journal.instruments[entry.symbol], status=status, reason=reason, updated_at=time, sequence=sequence
    )
    wrong = _difference(_json(view), read.shown)
    return Violation("read", f"{read.client}: order {read.order_id}: {wrong}", sequence) if wrong else None


# Everything else that tells of the journal


def _conservation(_: Records, journal: Journal) -> list[Violation]:
    return list(journal.ledger.check())


def _streams(records: Records, journal: Journal) -> list[Violation]:
    trades = [_json(trade_view(t, journal.instruments[t.symbol], time)) for t, _, time in journal.ledger.trades]
    found = [wrong for seen in records.trades_seen for wrong in _trades_seen(seen, journal.ledger, trades)]
    return found + [wrong for seen in records.updates_seen for wrong in _updates_seen(seen, journal)]


def _trades_seen(seen: TradesSeen, ledger: Ledger, trades: list[dict[str, Any]]) -> Iterator[Violation]:
    due = [(t.trade_id, sequence) for t, sequence, _ in ledger.trades if seen.symbol in (None, t.symbol)]
    shown = [message["trade_id"] for message in seen.shown]
    yield from _in_order(f"{seen.client}, trades", due, shown, seen)
    for message in seen.shown:
        number = message["trade_id"]
        if 0 < number <= len(trades) and (wrong := _difference(trades[number - 1], message)):
            yield Violation("stream", f"{seen.client}, trade {number}: {wrong}")


def _updates_seen(seen: UpdatesSeen, journal: Journal) -> Iterator[Violation]:
    updates = journal.ledger.updates.get(seen.account, [])
    who = f"{seen.client}, orders of {seen.account}"
    yield from _in_order(who, [(each[:2], each[0]) for each in updates], [each[:2] for each in seen.shown], seen)
    known = set(updates)
    for each in seen.shown:
        if each not in known:
            yield Violation("stream", f"{who}: {each} is not in the journal")


def _in_order(
    who: str, due: Sequence[tuple[Any, int]], shown: Sequence[Any], seen: TradesSeen | UpdatesSeen
) -> Iterator[Violation]:
    """`due`: the numbers of what is to be shown, in order, each with its journal sequence; `shown`: those that were."""
    for before, number in pairwise(sorted(shown) if seen.is_unordered else shown):
        if number <= before:
            yield Violation("stream", f"{who}: {number} came after {before}")
            return
    there = {number for number, _ in due}
    for number in shown:
        if number not in there:
            yield Violation("stream", f"{who}: {number} was shown and is not in the journal")
            return
    if not seen.is_lossy and (missing := _left_out(due, shown, seen)):
        yield Violation("stream", f"{who}: {missing[:5]} left out ({len(missing)} in all) of those after {seen.after}")


def _left_out(due: Sequence[tuple[Any, int]], shown: Sequence[Any], seen: TradesSeen | UpdatesSeen) -> list[Any]:
    """What had to come: after the start that is known, up to the last one that came or that was vouched for."""
    if seen.after is None and not shown:
        return []
    known = set(shown)
    return [
        number
        for number, sequence in due
        if (number > seen.after if seen.after is not None else number > shown[0])
        and ((shown and number < shown[-1]) or (seen.until is not None and sequence <= seen.until))
        and number not in known
    ]


# Postgres


def _postgres(records: Records, journal: Journal) -> list[Violation]:
    recorded = records.recorded
    if recorded is None:
        return []
    if recorded.position > journal.end:
        detail = f"Postgres holds commits up to {recorded.position}, the journal ends at {journal.end}"
        return [Violation("postgres", detail, recorded.position)]
    ledger = journal.ledger if recorded.position == journal.end else _fold(journal.commits[: recorded.position])
    tables = [*_expected_rows(recorded, records, ledger)]
    return [wrong for table, expected, rows in tables if rows is not None for wrong in _rows(table, expected, rows)]


def _fold(commits: Iterable[Commit]) -> Ledger:
    ledger = Ledger()
    for commit in commits:
        ledger.add(commit)
    return ledger


def _expected_rows(
    recorded: Recorded, records: Records, ledger: Ledger
) -> Iterator[tuple[str, Iterable[tuple[Any, ...]], Sequence[tuple[Any, ...]] | None]]:
    yield "journal_commits", records.journal[: recorded.position], recorded.commits
    trades = (
        (trade.trade_id, trade.price, trade.quantity, trade.maker_order_id, trade.taker_order_id, sequence)
        for trade, sequence, _ in ledger.trades
    )
    yield "trades", trades, recorded.trades
    orders = (
        (order_id, entry.account, entry.quantity, entry.filled, entry.status.value)
        for order_id, entry in sorted(ledger.orders.items())
    )
    yield "orders", orders, recorded.orders
    positions = (
        (account, symbol, quantity) for (account, symbol), quantity in sorted(ledger.positions.items()) if quantity
    )
    held = None if recorded.positions is None else [row for row in sorted(recorded.positions) if row[2]]
    yield "positions", positions, held


def _rows(table: str, expected: Iterable[tuple[Any, ...]], rows: Sequence[tuple[Any, ...]]) -> Iterator[Violation]:
    """The first difference of a table tells enough."""
    wanted = list(expected)
    for number in range(max(len(wanted), len(rows))):
        left = tuple(wanted[number]) if number < len(wanted) else None
        right = tuple(rows[number]) if number < len(rows) else None
        if left != right:
            yield Violation(
                "postgres", f"table {table}, row {number + 1}: is {_cut(right)}, the journal gives {_cut(left)}"
            )
            return


def _cut(row: object) -> str:
    text = repr(row)
    return text if len(text) < 200 else f"{text[:200]}..."
