"""What a refusal means to a client: above all when it is the answer to a second attempt."""

from typing import Any

import pytest

from contracts.commits import GENESIS_HASH, VERSION
from contracts.keys import Access, Scope
from contracts.messages import (
    AmendOrder,
    AnswerPart,
    CancelOrder,
    CancelReason,
    ClientCommand,
    Commit,
    DefineInstrument,
    InstrumentStatus,
    OrderStatus,
    OrderType,
    Outcome,
    PlaceOrder,
    Result,
    SetInstrumentStatus,
    Side,
)
from contracts.orders import order_after
from contracts.views import Instrument, OrderView, order_view
from entry.matcher_client import Decided
from entry.position import Position
from entry.problems import Declined, declined
from entry.submission import Submission
from matcher.engine import Engine

A = Instrument("A", "1", "1", 1, 1000)
PLACE = PlaceOrder("A", Side.BUY, OrderType.LIMIT, 5, 100, account="anna")
ANNA = Access(frozenset({Scope.TRADE}), ("anna",))
BEN = Access(frozenset({Scope.TRADE}), ("ben",))


class Exchange:
    """The engine, its commits, and the history of order 1; `attempts` of each command reach the engine."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.attempts = 1
        self.history_is_away = False
        self.commits: dict[int, Commit] = {}
        self.view: OrderView | None = None
        self.submission = Submission(self, self.find_order, Position(), self.read_commit)  # type: ignore[arg-type]
        for command in (DefineInstrument("A", "1", "1", 1, 1000), PLACE):
            self.apply(command)

    def apply(self, command: ClientCommand) -> Result:
        sequence = len(self.commits) + 1
        result = self.engine.apply(command, sequence, sequence)
        if isinstance(result, Outcome):
            commit = Commit(VERSION, "e", 1, sequence, GENESIS_HASH, sequence, (command,), (result,))
            self.commits[sequence] = commit
            if isinstance(command, PlaceOrder | CancelOrder | AmendOrder):
                order, status, reason = order_after(command, result.events, sequence)
                self.view = order_view(order, A, status=status, reason=reason, updated_at=sequence, sequence=sequence)
        return result

    async def submit(self, command: ClientCommand) -> Decided:
        results = [self.apply(command) for _ in range(self.attempts)]
        return Decided(AnswerPart(len(self.commits), len(self.commits), ()), results[-1], self.attempts > 1)

    async def find_order(self, order_id: int) -> tuple[OrderView, Instrument] | None:
        if self.history_is_away:
            raise declined("history_unavailable", "The history is away.")
        return None if order_id != 1 or self.view is None else (self.view, A)

    async def read_commit(self, sequence: int) -> Commit:
        return self.commits[sequence]


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


async def refusal(exchange: Exchange, command: ClientCommand, access: Access = ANNA) -> Any:
    with pytest.raises(Declined) as caught:
        await exchange.submission.submit(command, A, access)
    return caught.value.problem


async def test_a_cancelation_that_finds_its_order_canceled_by_itself_is_done(exchange: Exchange) -> None:
    exchange.attempts = 2
    decided = await exchange.submission.submit(CancelOrder(1, ("anna",)), None, ANNA)
    assert isinstance(decided.result, Outcome)
    assert (decided.part.sequence, decided.result) == (3, exchange.commits[3].outcomes[0])


async def test_an_amendment_that_closed_its_order_is_done(exchange: Exchange) -> None:
    exchange.apply(PlaceOrder("A", Side.SELL, OrderType.LIMIT, 5, 110, account="ben"))
    exchange.attempts = 2
    decided = await exchange.submission.submit(AmendOrder(1, price=110), A, ANNA)
    assert isinstance(decided.result, Outcome)
    assert len(decided.result.events) == 2  # it traded


async def test_one_attempt_that_comes_too_late_is_refused(exchange: Exchange) -> None:
    exchange.apply(CancelOrder(1))
    problem = await refusal(exchange, CancelOrder(1))
    assert (problem.code, problem.order_status) == ("order_not_resting", OrderStatus.CANCELED)


async def test_a_second_attempt_that_another_one_came_before_is_refused(exchange: Exchange) -> None:
    exchange.apply(CancelOrder(1))
    exchange.attempts = 2
    problem = await refusal(exchange, AmendOrder(1, quantity=3))
    assert (problem.code, problem.order_status) == ("order_not_resting", OrderStatus.CANCELED)


async def test_without_the_history_a_second_attempt_is_refused_with_doubt(exchange: Exchange) -> None:
    exchange.attempts, exchange.history_is_away = 2, True
    problem = await refusal(exchange, CancelOrder(1))
    assert problem.code == "unknown_order"
    assert "cannot be looked up now" in problem.detail


async def test_delisting_twice_is_delisting_only_as_a_second_attempt(exchange: Exchange) -> None:
    delist = SetInstrumentStatus("A", InstrumentStatus.DELISTED)
    exchange.attempts = 2
    await exchange.submission.submit(delist, A)
    exchange.attempts = 1
    assert (await refusal(exchange, delist)).code == "instrument_delisted"


async def test_another_accounts_order_looks_as_if_it_were_not_there(exchange: Exchange) -> None:
    never = await refusal(exchange, CancelOrder(77, ("ben",)), BEN)
    for command in (CancelOrder(1, ("ben",)), AmendOrder(1, quantity=2, accounts=("ben",))):
        resting = await refusal(exchange, command, BEN)
        assert (resting.code, resting.order_status) == (never.code, None)
        assert resting.detail == never.detail.replace("77", "1")
    exchange.apply(CancelOrder(1))
    assert (await refusal(exchange, CancelOrder(1, ("ben",)), BEN)).code == "unknown_order"
    assert exchange.view is not None
    assert exchange.view.reason is CancelReason.REQUESTED


async def test_a_second_attempt_does_not_claim_what_was_answered_before_it(exchange: Exchange) -> None:
    await exchange.submission.submit(CancelOrder(1))
    exchange.attempts = 2
    problem = await refusal(exchange, CancelOrder(1))
    assert (problem.code, problem.order_status) == ("order_not_resting", OrderStatus.CANCELED)
