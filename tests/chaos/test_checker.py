"""Goal: the checker passes every true run, and finds each thing that could be wrong with one.

Method: true records of seeded runs (tests/chaos/exchange.py); each test then plants one violation, the smallest that
it can be, and sees it named by its rule and by no other.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace as with_fields

from chaos.checker import check, identity
from chaos.records import Done, NotDone, Operation, Records, Refused, StateHash, TradesSeen
from contracts.commits import decode_commit, encode_commit
from contracts.messages import AllOrNothing, AmendOrder, CancelOrder, Commit, Outcome, PlaceOrder, TradeExecuted
from tests.chaos.exchange import SYMBOL, Run
from tests.test_architecture import CLOCKS_AND_DOORS, PURE_STDLIB, REPOSITORY, calls, imports, top

_T = TypeVar("_T")


@cache
def records(seed: int = 1) -> Records:
    return Run(seed).play(600).records()


def rules(found: Records) -> set[str]:
    violations = check(found)
    print(*violations, sep="\n")
    return {violation.rule for violation in violations}


@pytest.mark.parametrize("seed", range(10))
def test_a_true_run_has_no_violation(seed: int) -> None:
    assert check(records(seed)) == []


def test_the_runs_hold_what_the_tests_plant_violations_in() -> None:
    run = records()
    assert {type(each.command) for each in run.operations} == {PlaceOrder, CancelOrder, AmendOrder, AllOrNothing}
    assert {type(each.result) for each in run.operations} == {Done, Refused, type(None)}
    assert len(run.state_hashes) > 3
    assert len(run.depth_reads) > 3
    assert len(run.trades_seen[0].shown) > 50
    assert len(run.updates_seen[0].shown) > 50


# Changing one thing


def put(things: Sequence[_T], number: int, thing: _T) -> list[_T]:
    changed = list(things)
    changed[number] = thing
    return changed


def find(run: Records, wanted: Callable[[Operation], bool]) -> int:
    """The operation in the middle of those wanted."""
    numbers = [number for number, each in enumerate(run.operations) if wanted(each)]
    return numbers[len(numbers) // 2]


def done(kind: type = PlaceOrder) -> Callable[[Operation], bool]:
    return lambda each: isinstance(each.command, kind) and isinstance(each.result, Done)


def unknown(each: Operation) -> bool:
    return each.result is None and isinstance(each.command, PlaceOrder)


def with_operation(run: Records, number: int, **changes: Any) -> Records:
    return replace(run, operations=put(run.operations, number, replace(run.operations[number], **changes)))


def rewritten(run: Records, change: Callable[[Commit], Commit | None]) -> list[tuple[int, bytes]]:
    journal: list[tuple[int, bytes]] = []
    previous = bytes(32)
    for number, message in run.journal:
        commit = change(decode_commit(number, message)[0])
        if commit is not None:
            commit = with_fields(commit, sequence=len(journal) + 1, previous_hash=previous)
            payload, previous = encode_commit(commit)
            journal.append((len(journal) + 1, payload))
    return journal


# The journal


def test_a_damaged_message() -> None:
    run = records()
    sequence, payload = run.journal[20]
    damaged = payload[:50] + bytes([payload[50] ^ 1]) + payload[51:]
    assert rules(replace(run, journal=put(run.journal, 20, (sequence, damaged)))) == {"journal"}


def test_a_missing_message() -> None:
    run = records()
    assert rules(replace(run, journal=[*run.journal[:20], *run.journal[21:]])) == {"journal"}


def test_a_commit_behind_the_barrier_of_another_matcher() -> None:
    """What a writer without the fence leaves."""
    run = records()
    journal = [*run.journal[:20], (21, run.journal[19][1])]
    assert rules(replace(run, journal=journal)) == {"journal"}


def test_an_outcome_that_replaying_does_not_give() -> None:
    run = records()

    def change(commit: Commit) -> Commit:
        if commit.sequence != traded:
            return commit
        outcome = commit.outcomes[0]
        events = tuple(each for each in outcome.events if not isinstance(each, TradeExecuted))
        return with_fields(commit, outcomes=(Outcome(events, outcome.levels), *commit.outcomes[1:]))

    traded = next(
        sequence
        for sequence, payload in run.journal
        if (commit := decode_commit(sequence, payload)[0]).outcomes
        and any(isinstance(event, TradeExecuted) for event in commit.outcomes[0].events)
    )
    assert rules(replace(run, journal=rewritten(run, change))) == {"journal"}


# Once


def test_the_end_of_the_journal_is_lost() -> None:
    """What a power cut takes when writes are not synced: everything else may well agree with the shorter journal."""
    run = records()
    bare = Records(run.journal[:-5], run.operations)
    assert "once" in rules(bare)
    assert any("is lost" in str(each) for each in check(bare))


def test_an_acknowledged_order_that_is_nowhere() -> None:
    run = records()
    last = run.operations[-1]
    order = PlaceOrder(SYMBOL, *run_order(run), account="c0", client_order_id="nowhere")
    lost = Operation("c0", order, last.invoked + 1, last.invoked + 2, Done(len(run.journal)))
    assert rules(replace(run, operations=[*run.operations, lost])) == {"once"}


def run_order(run: Records) -> tuple[Any, ...]:
    order = run.operations[find(run, done())].command
    assert isinstance(order, PlaceOrder)
    return order.side, order.type, order.quantity, order.price


def test_declined_as_not_done_and_done_all_the_same() -> None:
    run = records()
    number = find(run, unknown)
    changed = with_operation(run, number, result=NotDone("overloaded"), returned=run.operations[number].invoked + 0.1)
    assert rules(changed) == {"once"}


def test_refused_and_done_all_the_same() -> None:
    run = records()
    number = find(run, unknown)
    changed = with_operation(run, number, result=Refused("max_position"), returned=run.operations[number].invoked + 0.1)
    assert rules(changed) == {"once"}


def test_an_order_that_nobody_sent() -> None:
    run = records()
    number = find(run, unknown)
    assert rules(replace(run, operations=[*run.operations[:number], *run.operations[number + 1 :]])) == {"invented"}
    partly = replace(run, operations=run.operations[:number], is_complete=False)
    assert rules(partly) == set()


def test_an_unknown_order_may_be_missing() -> None:
    run = records()
    order = PlaceOrder(SYMBOL, *run_order(run), account="c0", client_order_id="never-arrived")
    assert check(replace(run, operations=[*run.operations, Operation("c0", order, 0.5)])) == []


# Answers


def test_an_answer_with_another_sequence() -> None:
    run = records()
    number = find(run, done())
    result = run.operations[number].result
    assert isinstance(result, Done)
    assert rules(with_operation(run, number, result=replace(result, sequence=result.sequence + 1))) >= {"answer"}


@pytest.mark.parametrize(
    ("field", "value"), [("status", "filled?"), ("filled_quantity", "9.999"), ("order_id", 1), ("trades", [{}])]
)
@pytest.mark.parametrize("kind", [PlaceOrder, CancelOrder, AmendOrder])
def test_an_answer_that_says_something_else(kind: type, field: str, value: object) -> None:
    run = records()
    number = find(run, done(kind))
    result = run.operations[number].result
    assert isinstance(result, Done)
    assert not isinstance(result.shown, Outcome | None)
    changed = replace(result, shown={**result.shown, field: value})
    assert rules(with_operation(run, number, result=changed)) == {"answer"}


@pytest.mark.parametrize("answered", [0, 1])
def test_two_attempts_in_one_commit_have_each_its_answer(answered: int) -> None:
    """The second changes nothing any more, and says so; the client gets whichever answer comes first."""
    run = Run(1).play(0)
    client = run.clients[0]
    order = client.order()
    price = (order.price or 0) - 1
    run.give(client, order)
    run.seal()
    (order_id,) = client.open
    amend = AmendOrder(order_id, price=price)
    run.give(run.clients[1 - answered], amend)
    run.give(run.clients[answered], amend)
    run.seal()
    assert len(run.journal) == 4
    del run.operations[1 + answered]
    assert check(run.records()) == []


def batch_shown_as(kind: type) -> Callable[[Operation], bool]:
    return lambda each: done(AllOrNothing)(each) and isinstance(getattr(each.result, "shown", None), kind)


@pytest.mark.parametrize("item", [0, 1])
def test_an_item_of_a_batch_that_says_something_else(item: int) -> None:
    run = records()
    number = find(run, batch_shown_as(dict))
    result = run.operations[number].result
    assert isinstance(result, Done)
    assert isinstance(result.shown, dict)
    items = list(result.shown["items"])
    items[item] = {"status": 201, "order": {**items[item]["order"], "quantity": "0.777"}}
    assert rules(with_operation(run, number, result=replace(result, shown={"items": items}))) == {"answer"}


def test_an_outcome_that_is_not_the_one_written() -> None:
    run = records()
    number = find(run, batch_shown_as(Outcome))
    result = run.operations[number].result
    assert isinstance(result, Done)
    assert isinstance(result.shown, Outcome)
    other = Outcome(result.shown.events[:-1], result.shown.levels)
    assert rules(with_operation(run, number, result=replace(result, shown=other))) == {"answer"}


def test_another_order_was_carried_out_than_was_sent() -> None:
    run = records()
    number = find(run, done())
    sent = run.operations[number].command
    assert isinstance(sent, PlaceOrder)
    changed = with_operation(run, number, command=with_fields(sent, quantity=sent.quantity + 1))
    assert rules(changed) == {"answer"}


def test_a_refusal_to_cancel_an_open_order() -> None:
    run = records()
    number = find(run, done(CancelOrder))
    result = run.operations[number].result
    assert isinstance(result, Done)
    refused = Refused("order_not_resting", result.sequence - 1)
    assert rules(with_operation(run, number, result=refused)) == {"answer"}


def test_a_duplicate_that_names_the_wrong_order() -> None:
    run = records()
    placed = run.operations[find(run, done())]
    assert isinstance(placed.result, Done)
    conflict = Refused("duplicate_client_order_id", placed.result.sequence + 1, 1_000_000)
    again = replace(placed, invoked=placed.invoked + 0.1, returned=placed.invoked + 0.2, result=conflict)
    assert "answer" in rules(replace(run, operations=[*run.operations, again]))


# Real time


def test_an_answer_that_came_before_the_order_was_sent() -> None:
    """Two clients, one after the other; the journal has them the other way round."""
    run = records()
    first, second = two_in_a_row(run)
    swapped = with_operation(run, first, invoked=1e6, returned=1e6 + 1)
    assert rules(swapped) == {"real time"}
    assert second != first


def two_in_a_row(run: Records) -> tuple[int, int]:
    numbers = [number for number, each in enumerate(run.operations) if done()(each)]
    return numbers[10], numbers[-1]


def test_overlapping_operations_may_stand_either_way() -> None:
    run = records()
    number, _ = two_in_a_row(run)
    assert check(with_operation(run, number, invoked=0.0)) == []


def test_a_retry_counts_from_the_first_attempt() -> None:
    run = records()
    number = find(run, done())
    operation = run.operations[number]
    assert isinstance(operation.result, Done)
    late = replace(operation, invoked=1e6, returned=1e6 + 1, result=replace(operation.result, replayed=True))
    assert check(replace(run, operations=[*run.operations, late])) == []


def test_a_stale_refusal() -> None:
    """A matcher that lost its place refuses by a state of long ago."""
    run = records()
    number = find(run, lambda each: isinstance(each.result, Refused) and isinstance(each.command, CancelOrder))
    refused = run.operations[number].result
    assert isinstance(refused, Refused)
    late = with_operation(run, number, invoked=1e6, returned=1e6 + 1)
    assert rules(late) == {"real time"}


# Reads


def test_a_read_of_what_was_not_so() -> None:
    run = records()
    read = run.order_reads[30]
    lie = replace(read, shown={**read.shown, "filled_quantity": "77.000"})
    assert rules(replace(run, order_reads=[lie])) == {"read"}


def test_a_stale_read() -> None:
    run = records()
    changed = [read for read in run.order_reads if changes_of(run, read.order_id) > 1]
    stale = replace(changed[0], seen=len(run.journal))
    assert rules(replace(run, order_reads=[stale])) == {"read"}


def changes_of(run: Records, order_id: int) -> int:
    return sum(read.order_id == order_id for read in run.order_reads)


@pytest.mark.parametrize("side", ["bids", "asks"])
def test_a_book_that_is_not_so(side: str) -> None:
    run = records()
    read = run.depth_reads[-1]
    levels: list[Any] = list(getattr(read, side))
    wrong = replace(read, **{side: [(levels[0][0], "123.000"), *levels[1:]]})
    assert rules(replace(run, depth_reads=[wrong])) == {"read"}
    phantom = replace(read, **{side: levels[1:]})
    assert rules(replace(run, depth_reads=[phantom])) == {"read"}


def test_a_book_of_what_is_not_listed() -> None:
    """Before the instrument is listed its book is empty; there is nothing else that it could show."""
    run = records()
    read = replace(run.depth_reads[0], seen=0, sequence=0, bids=(), asks=())
    assert check(replace(run, depth_reads=[read])) == []
    assert rules(replace(run, depth_reads=[replace(read, bids=[("1.00", "1.000")])])) == {"read"}
    assert rules(replace(run, depth_reads=[replace(read, asks=[("1.00", "1.000")])])) == {"read"}


def test_a_book_of_the_past() -> None:
    run = records()
    read = run.depth_reads[0]
    assert rules(replace(run, depth_reads=[replace(read, seen=read.sequence + 1)])) == {"read"}


# Streams


def trades(run: Records, change: Callable[[list[Any]], list[Any]], **fields: Any) -> Records:
    first = run.trades_seen[0]
    return replace(run, trades_seen=[replace(first, shown=change(list(first.shown)), **fields)])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda shown: shown[:20] + shown[21:], id="gap"),
        pytest.param(lambda shown: [*shown[:20], shown[19], *shown[20:]], id="twice"),
        pytest.param(lambda shown: [*shown[:20], shown[21], shown[20], *shown[22:]], id="order"),
        pytest.param(lambda shown: shown[1:], id="the first one"),
        pytest.param(lambda shown: shown[:-1], id="the last one"),
        pytest.param(lambda shown: [*shown, {**shown[-1], "trade_id": shown[-1]["trade_id"] + 1}], id="invented"),
        pytest.param(lambda shown: [*shown[:9], {**shown[9], "price": "1.00"}, *shown[10:]], id="another price"),
    ],
)
def test_a_stream_of_trades_that_is_not_the_journals(change: Callable[[list[Any]], list[Any]]) -> None:
    assert rules(trades(records(), change)) == {"stream"}


def test_what_may_be_missing_from_a_stream() -> None:
    run = records()
    assert check(trades(run, lambda shown: shown[:20] + shown[40:], is_lossy=True)) == []
    assert check(trades(run, lambda shown: shown[20:], after=20)) == []
    assert check(trades(run, lambda shown: shown[:20], until=None)) == []
    assert check(replace(run, trades_seen=[TradesSeen("c1", ())])) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda shown: shown[:20] + shown[21:], id="gap"),
        pytest.param(lambda shown: [*shown[:20], shown[19], *shown[20:]], id="twice"),
        pytest.param(lambda shown: shown[:-1], id="the last one"),
        pytest.param(lambda shown: [*shown[:9], (*shown[9][:3], "triggered"), *shown[10:]], id="another event"),
    ],
)
def test_updates_of_orders_that_are_not_the_journals(change: Callable[[Any], Any]) -> None:
    run = records()
    first = run.updates_seen[0]
    assert rules(replace(run, updates_seen=[replace(first, shown=change(tuple(first.shown)))])) == {"stream"}


# Postgres and the state


@pytest.mark.parametrize("table", ["commits", "trades", "orders", "positions"])
@pytest.mark.parametrize("how", ["missing", "twice", "other"])
def test_rows_that_the_journal_does_not_give(table: str, how: str) -> None:
    run = records()
    assert run.recorded is not None
    rows = list(getattr(run.recorded, table))
    middle = len(rows) // 2
    row = rows[middle]
    changed = {
        "missing": rows[:middle] + rows[middle + 1 :],
        "twice": [*rows[: middle + 1], row, *rows[middle + 1 :]],
        "other": put(
            rows, middle, (*row[:-1], b"" if table == "commits" else "x" if table == "orders" else row[-1] + 1)
        ),
    }[how]
    assert rules(replace(run, recorded=replace(run.recorded, **{table: changed}))) == {"postgres"}


def test_postgres_may_be_behind_but_never_ahead() -> None:
    run = records()
    assert run.recorded is not None
    behind = replace(run.recorded, position=10, commits=run.journal[:10], trades=None, orders=None, positions=None)
    assert check(replace(run, recorded=behind)) == []
    assert rules(replace(run, recorded=replace(run.recorded, position=len(run.journal) + 1))) == {"postgres"}


def test_rows_before_their_position() -> None:
    """What a recorder leaves that moves its position before it writes the rows, and dies in between."""
    run = records()
    assert run.recorded is not None
    torn = replace(run.recorded, trades=list(run.recorded.trades or ())[:-1])
    assert rules(replace(run, recorded=torn)) == {"postgres"}


def test_a_standby_with_another_state() -> None:
    run = records()
    told = run.state_hashes[2]
    other = StateHash("standby", told.sequence, run.state_hashes[1].digest)
    assert rules(replace(run, state_hashes=[other])) == {"state"}
    beyond = StateHash("standby", len(run.journal) + 5, told.digest)
    assert rules(replace(run, state_hashes=[beyond])) == {"state"}


def test_random_damage_is_always_found() -> None:
    """One bit anywhere in the journal."""
    chance = random.Random(5)
    run = records()
    for _ in range(50):
        number = chance.randrange(len(run.journal))
        sequence, payload = run.journal[number]
        where = chance.randrange(len(payload))
        damaged = bytearray(payload)
        damaged[where] ^= 1 << chance.randrange(8)
        assert rules(Records(put(run.journal, number, (sequence, bytes(damaged))))) == {"journal"}


def test_the_same_order_has_one_identity_and_another_has_another() -> None:
    run = records()
    order = next(each.command for each in run.operations if isinstance(each.command, PlaceOrder))
    assert identity(CancelOrder(1, ("a",))) == identity(CancelOrder(1))
    assert identity(AmendOrder(1, 2, accounts=("a",))) == identity(AmendOrder(1, 2))
    assert identity(AmendOrder(1, 2)) != identity(AmendOrder(1, 3))
    assert identity(AllOrNothing((order,))) != identity(order)


PURE = {"chaos", "contracts", "matcher.replay", "msgspec", *PURE_STDLIB}


@pytest.mark.parametrize("name", ["records", "ledger", "checker"])
def test_the_checker_is_pure(name: str) -> None:
    """So the simulation can use it, and judging a run twice gives the same."""
    path = REPOSITORY / f"chaos/{name}.py"
    assert {module for module in imports(path) if not {module, top(module)} & PURE} == set()
    assert not set(calls(path)) & CLOCKS_AND_DOORS
