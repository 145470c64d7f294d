"""What a client can wish for, from the JSON it sends to the answer it gets: the same over REST, WebSocket and NATS."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from contracts.keys import OPEN, Access, Scope
from contracts.messages import (
    AllOrNothing,
    AmendOrder,
    AnswerPart,
    CancelAllScheduled,
    CancelOrder,
    OrderAmended,
    OrderCanceled,
    OrderCommand,
    OrdersCanceled,
    Outcome,
    PlaceOrder,
    Refusal,
    Repeated,
)
from contracts.orders import item_events
from contracts.views import (
    Instrument,
    InstrumentView,
    OrderView,
    answer_view,
    defined_instrument,
    format_time,
    instrument_view,
)
from entry import administration, batches, commands, plain_orders
from entry.batches import Prepared
from entry.bodies import Body, Fields, flag, read_fields
from entry.first_answers import ReadCommit, of_placed, same_batch
from entry.instruments import Instruments
from entry.matcher_client import Decided, MatcherClient
from entry.permissions import require, trading_account
from entry.plain_orders import PlainOrder
from entry.position import Position
from entry.problems import Declined
from entry.refusals import done_but_not_shown, first_answer_unreadable, name_not_found, not_listed, of_item, refused
from entry.submission import FindOrder, Submission
from entry.views import (
    AccountLimitsView,
    BatchItemView,
    BatchView,
    CancelAllAfterView,
    CanceledView,
    KillSwitchView,
    ReplacedView,
    account_limits_view,
)

_View_co = TypeVar("_View_co", covariant=True)
_Result = TypeVar("_Result")

FindNamed = Callable[[str, str], Awaitable[int | None]]
"""The id of an account's newest order with a client order id. Raises Declined when the history cannot be asked."""


class Done(Struct, Generic[_View_co], frozen=True):
    """A command carried out: what it led to, and the journal sequence that holds it.

    `replayed`: it was carried out before, and this is what was answered then.
    """

    view: _View_co
    sequence: int
    replayed: bool = False


class Listed(Done[InstrumentView], frozen=True):
    is_new: bool = False


Told = Callable[[Done[OrderView] | Exception], None]
"""Is given an answer; or the Declined that would have been raised, or another exception, which is a mistake here."""


class Exchange:
    """Every method raises Declined when the answer is no, or not known; `access` is what the one who asks may do."""

    def __init__(
        self,
        matcher: MatcherClient,
        instruments: Instruments,
        position: Position,
        default_symbol: str,
        *,
        find_order: FindOrder,
        find_named: FindNamed,
        read_commit: ReadCommit,
    ) -> None:
        self._matcher = matcher
        self._instruments = instruments
        self._submission = Submission(matcher, find_order, position, read_commit)
        self._position = position
        self._default_symbol = default_symbol
        self._find_named = find_named
        self._read_commit = read_commit
        self._concluding: set[asyncio.Task[None]] = set()

    # One order

    async def place(self, body: Body, access: Access = OPEN, *, idempotency_key: str | None = None) -> Done[OrderView]:
        found = self._plain(body, access) if idempotency_key is None and isinstance(body, bytes) else None
        command, instrument = found or await self._general(body, access, idempotency_key)
        decided = await self._submission.submit(command, instrument, access)
        return await self._order(command, decided, instrument)

    def _plain(self, body: bytes, access: Access) -> tuple[PlaceOrder, Instrument] | None:
        order = plain_orders.read_plain_order(body)
        return None if order is None else self.plain_order(order, access)

    async def _general(self, body: Body, access: Access, idempotency_key: str | None) -> tuple[PlaceOrder, Instrument]:
        fields = read_fields(body, commands.PLACE_FIELDS)
        if idempotency_key is not None:
            fields = commands.with_key(fields, idempotency_key)
        symbol = commands.order_symbol(fields, self._default_symbol)
        instrument = self._instruments.known(symbol) or await self._instruments.get(symbol)
        return commands.place_order(fields, instrument, access), instrument

    async def cancel(self, order_id: int, access: Access = OPEN) -> Done[OrderView]:
        require(access, Scope.TRADE)
        command = CancelOrder(order_id, access.visible_accounts)
        return await self._order(command, await self._submission.submit(command, None, access), None)

    async def amend(self, order_id: int, body: Body, access: Access = OPEN) -> Done[OrderView]:
        return await self._amend(order_id, read_fields(body, commands.AMEND_FIELDS), access)

    async def replace(self, order_id: int, body: Body, access: Access = OPEN) -> Done[ReplacedView]:
        """Cancels one order and places another, or neither."""
        require(access, Scope.TRADE)
        placing = await self._prepare_place(read_fields(body, commands.PLACE_FIELDS), access)
        canceling = Prepared(CancelOrder(order_id, access.visible_accounts))
        done = await self._all_or_nothing([canceling, placing], access)
        canceled, placed = (item.order for item in done.view.items)
        assert isinstance(canceled, OrderView)
        assert isinstance(placed, OrderView)
        return Done(ReplacedView(canceled, placed, done.sequence), done.sequence, done.replayed)

    # One order, named in the body: NATS and WebSocket have no paths

    async def cancel_named(self, body: Body, access: Access = OPEN) -> Done[OrderView]:
        return await self.cancel(commands.order_number(read_fields(body, ("order_id",))), access)

    async def amend_named(self, body: Body, access: Access = OPEN) -> Done[OrderView]:
        fields = read_fields(body, ("order_id", *commands.AMEND_FIELDS))
        return await self._amend(commands.order_number(fields), fields, access)

    # One order, by the name that its account gave it

    async def cancel_by_client_order_id(
        self, client_order_id: str, account: str | None = None, access: Access = OPEN
    ) -> Done[OrderView]:
        return await self.cancel(await self._order_named(client_order_id, account, access), access)

    async def amend_by_client_order_id(
        self, client_order_id: str, account: str | None, body: Body, access: Access = OPEN
    ) -> Done[OrderView]:
        fields = read_fields(body, commands.AMEND_FIELDS)
        return await self._amend(await self._order_named(client_order_id, account, access), fields, access)

    # One order, without a task that waits for it

    def plain_order(self, order: PlainOrder, access: Access) -> tuple[PlaceOrder, Instrument] | None:
        """None if it is to go the general way."""
        instrument = self._instruments.known(self._default_symbol if order.symbol is None else order.symbol)
        command = None if instrument is None else plain_orders.command_of(order, instrument, access)
        return None if command is None or instrument is None else (command, instrument)

    def begin(self, command: OrderCommand, instrument: Instrument | None, access: Access, tell: Told) -> None:
        """Carry out a command that is made already; `tell` is given the answer. Raises Declined: nothing was sent."""
        sent_after = self._position.told

        def decided(decision: "Decided | Declined") -> None:  # in quotes: else it is made anew each time
            known = self._shown_with(decision, instrument)
            if known is None:
                self._conclude_later(command, decision, instrument, access, sent_after, tell)
                return
            assert isinstance(decision, Decided)
            assert isinstance(decision.result, Outcome)
            part, sequence = decision.part, decision.part.sequence
            self._position.tell(sequence)
            try:
                answer = Done(answer_view(part, command, decision.result.events, known), sequence)
            except Exception as error:
                tell(error)
            else:
                tell(answer)

        self._matcher.begin(command, decided)

    def _shown_with(self, decision: Decided | Declined, instrument: Instrument | None) -> Instrument | None:
        """The instrument of what was done and is to be shown as it is, nearly always; None if it is not as simple."""
        if type(decision) is not Decided or type(decision.result) is not Outcome:
            return None
        if instrument is not None:
            return instrument
        first = decision.result.events[0]
        assert isinstance(first, OrderCanceled | OrderAmended)
        return self._instruments.known(first.order.symbol)

    def _conclude_later(
        self,
        command: OrderCommand,
        decision: Decided | Declined,
        instrument: Instrument | None,
        access: Access,
        sent_after: int,
        tell: Told,
    ) -> None:
        async def conclude() -> None:
            try:
                answer = await self._concluded(command, decision, instrument, access, sent_after)
            except Exception as error:
                tell(error)
            else:
                tell(answer)

        task = asyncio.create_task(conclude())
        self._concluding.add(task)
        task.add_done_callback(self._concluding.discard)

    async def _concluded(
        self,
        command: OrderCommand,
        decision: Decided | Declined,
        instrument: Instrument | None,
        access: Access,
        sent_after: int,
    ) -> Done[OrderView]:
        decided = self._submission.decided(command, decision, sent_after)
        accepted = await self._submission.accepted(command, decided, instrument, access)
        return await self._order(command, accepted, instrument)

    # Many orders

    async def batch(
        self, body: Body, access: Access = OPEN, *, charge: Callable[[int], None] | None = None
    ) -> Done[BatchView]:
        """Item by item, each with its own result; or all of them or none.

        `charge` is told how many items there are, and may raise Declined, before any is looked at.
        """
        require(access, Scope.TRADE)
        fields = read_fields(body, batches.BATCH_FIELDS)
        items = batches.read_items(fields)
        if charge is not None:
            charge(len(items))
        all_or_nothing = flag(fields, "all_or_nothing")
        prepared = await _attempt_all([self._prepare(item, access) for item in items])
        if not all_or_nothing:
            return await self._one_by_one(prepared, access)
        return await self._all_or_nothing(
            [_unless_declined(number, each) for number, each in enumerate(prepared)], access
        )

    async def cancel_all(self, fields: Fields, access: Access = OPEN) -> Done[CanceledView]:
        """Every open order of `account`, `symbol` and `side`; of whatever the access covers where they are left out."""
        require(access, Scope.TRADE)
        command = commands.cancel_orders(fields, access)
        decided = await self._submission.submit(command, None, access)
        first = _outcome(decided).events[0]
        assert isinstance(first, OrdersCanceled)
        return Done(CanceledView(first.count, decided.part.sequence), decided.part.sequence)

    async def cancel_all_named(self, body: Body, access: Access = OPEN) -> Done[CanceledView]:
        return await self.cancel_all(read_fields(body, commands.CANCEL_ALL_FIELDS), access)

    async def cancel_all_after(self, account: str, body: Body, access: Access = OPEN) -> Done[CancelAllAfterView]:
        """The dead-man's switch."""
        account = trading_account(access, commands.valid_account(account))
        fields = read_fields(body, administration.CANCEL_ALL_AFTER_FIELDS)
        command = administration.cancel_all_after(account, fields)
        decided = await self._submission.submit(command, None, access)
        event = _outcome(decided).events[0]
        assert isinstance(event, CancelAllScheduled)
        deadline = None if event.deadline is None else format_time(event.deadline)
        return Done(CancelAllAfterView(account, deadline, decided.part.sequence), decided.part.sequence)

    # What operators do

    async def define_instrument(self, symbol: str, body: Body, access: Access = OPEN) -> Listed:
        require(access, Scope.ADMIN)
        command = administration.define_instrument(symbol, read_fields(body, administration.INSTRUMENT_FIELDS))
        before = await self._instruments.find(symbol)
        decided = await self._submission.submit(command, before, access)
        instrument = await self._instruments.after(defined_instrument(command, before))
        return Listed(instrument_view(instrument), decided.part.sequence, is_new=before is None)

    async def set_instrument_status(self, symbol: str, body: Body, access: Access = OPEN) -> Done[InstrumentView]:
        require(access, Scope.ADMIN)
        command = administration.instrument_status(symbol, read_fields(body, administration.STATUS_FIELDS))
        instrument = await self._instruments.find(symbol)
        if instrument is None:
            raise not_listed(symbol)
        decided = await self._submission.submit(command, instrument, access)
        changed = await self._instruments.with_status(instrument, command.status)
        return Done(instrument_view(changed), decided.part.sequence)

    async def set_limits(self, account: str, body: Body, access: Access = OPEN) -> Done[AccountLimitsView]:
        require(access, Scope.ADMIN)
        fields = read_fields(body, administration.LIMITS_FIELDS)
        symbols = administration.limited_symbols(fields)
        instruments = {symbol: await self._instruments.get(symbol) for symbol in symbols}
        command = administration.account_limits(commands.valid_account(account), fields, instruments)
        decided = await self._submission.submit(command, None, access)
        return Done(account_limits_view(command, instruments), decided.part.sequence)

    async def set_kill_switch(self, account: str, body: Body, access: Access = OPEN) -> Done[KillSwitchView]:
        require(access, Scope.ADMIN)
        fields = read_fields(body, administration.KILL_SWITCH_FIELDS)
        command = administration.kill_switch(commands.valid_account(account), fields)
        decided = await self._submission.submit(command, None, access)
        return Done(KillSwitchView(account, command.engaged), decided.part.sequence)

    # From JSON to commands

    async def _prepare(self, item: object, access: Access) -> Prepared:
        action, fields = batches.read_item(item)
        if action == "place":
            return await self._prepare_place(fields, access)
        order_id = commands.order_number(fields)
        if action == "cancel":
            return Prepared(CancelOrder(order_id, access.visible_accounts))
        return await self._prepare_amend(order_id, fields, access)

    async def _prepare_place(self, fields: Fields, access: Access) -> Prepared:
        instrument = await self._instruments.get(commands.order_symbol(fields, self._default_symbol))
        return Prepared(commands.place_order(fields, instrument, access), instrument)

    async def _prepare_amend(self, order_id: int, fields: Fields, access: Access) -> Prepared:
        if commands.amends_nothing(fields):
            return Prepared(AmendOrder(order_id, accounts=access.visible_accounts))
        instrument = await self._instrument_of(order_id, access)
        try:
            return Prepared(commands.amend_order(order_id, fields, instrument, access), instrument)
        except Declined:
            await self._check_own(order_id, access)
            raise

    async def _instrument_of(self, order_id: int, access: Access) -> Instrument:
        """Prices and quantities are only numbers without it."""
        instrument, sequence = await self._instruments.of_order(order_id)
        self._position.tell(sequence)
        if instrument is None:
            raise await self._submission.not_resting(order_id, sequence, access)
        return instrument

    async def _check_own(self, order_id: int, access: Access) -> None:
        """A foreign order must look as if it were not there, so what is wrong with the amendment must not be told.

        Amending nothing is always refused; first of all because the order is not there.
        """
        if access.visible_accounts is not None:
            nothing = AmendOrder(order_id, accounts=access.visible_accounts)
            decided = await self._submission.decide(nothing)
            assert isinstance(decided.result, Refusal)
            problem = await self._submission.refused(nothing, decided.result, decided.part.sequence, access=access)
            if problem.problem.http_status in (404, 409):
                raise problem

    async def _order_named(self, client_order_id: str, account: str | None, access: Access) -> int:
        account = trading_account(access, commands.account_name(account))
        order_id = await self._find_named(account, commands.client_order_id(client_order_id))
        if order_id is None:
            raise name_not_found(account, client_order_id)
        return order_id

    # From decisions to JSON

    async def _amend(self, order_id: int, fields: Fields, access: Access) -> Done[OrderView]:
        require(access, Scope.TRADE)
        prepared = await self._prepare_amend(order_id, fields, access)
        decided = await self._submission.submit(prepared.command, prepared.instrument, access)
        return await self._order(prepared.command, decided, prepared.instrument)

    async def _order(self, command: OrderCommand, decided: Decided, instrument: Instrument | None) -> Done[OrderView]:
        """`instrument`: None to have it looked up."""
        part, result = decided.part, decided.result
        if isinstance(result, Repeated):
            assert instrument is not None
            return await self._placed_before(result, instrument, retried=decided.retried)
        assert isinstance(result, Outcome)
        if instrument is None:
            instrument = await self._instrument_in(result, part)
        return Done(answer_view(part, command, result.events, instrument), part.sequence)

    async def _placed_before(self, repeated: Repeated, instrument: Instrument, *, retried: bool) -> Done[OrderView]:
        try:
            first = of_placed(await self._read_commit(repeated.sequence), repeated.order_id)
        except Declined as error:
            raise first_answer_unreadable(repeated.order_id, repeated.sequence) from error
        view = answer_view(first.part, first.command, first.events, instrument)
        return Done(view, repeated.sequence, replayed=not retried)

    async def _instrument_in(self, outcome: Outcome, part: AnswerPart) -> Instrument:
        """The instrument of the order that an outcome is about."""
        event = outcome.events[0]
        assert isinstance(event, OrderCanceled | OrderAmended)
        try:
            return await self._instruments.get(event.order.symbol)
        except Declined as error:
            raise done_but_not_shown(event.order.order_id, part.sequence) from error

    async def _one_by_one(self, prepared: Sequence[Prepared | Declined], access: Access) -> Done[BatchView]:
        commands_sent = [each.command for each in prepared if isinstance(each, Prepared)]
        sent_after = self._position.told
        decisions = iter(await self._matcher.submit_all(commands_sent) if commands_sent else ())
        results = [each if isinstance(each, Declined) else (each, next(decisions)) for each in prepared]
        _check_any_was_taken([result[1] for result in results if isinstance(result, tuple)])
        done = await _attempt_all([self._item_done(result, access, sent_after) for result in results])
        items = [batches.problem_item(each) if isinstance(each, Declined) else each[0] for each in done]
        sequence = max((each[1] for each in done if not isinstance(each, Declined)), default=self._position.told)
        replayed = all(not isinstance(each, Declined) and each[2] for each in done)
        return Done(BatchView(items, sequence), sequence, replayed)

    async def _item_done(
        self, result: Declined | tuple[Prepared, Decided | Declined], access: Access, sent_after: int
    ) -> tuple[BatchItemView, int, bool]:
        if isinstance(result, Declined):
            raise result
        prepared, decision = result
        decided = self._submission.decided(prepared.command, decision, sent_after)
        accepted = await self._submission.accepted(prepared.command, decided, prepared.instrument, access)
        done = await self._order(prepared.command, accepted, prepared.instrument)
        return batches.order_item(prepared.command, done.view), decided.part.sequence, done.replayed

    async def _all_or_nothing(self, prepared: Sequence[Prepared], access: Access) -> Done[BatchView]:
        command = AllOrNothing(tuple(each.command for each in prepared))
        decided = await self._submission.decide(command)
        part, result = decided.part, decided.result
        if isinstance(result, Refusal):
            raise await self._batch_refused(command, prepared, result, part.sequence, access)
        if isinstance(result, Repeated):
            part, result = await self._batch_before(command, result, part.sequence)
            return Done(await self._batch_view(prepared, part, result), part.sequence, replayed=not decided.retried)
        return Done(await self._batch_view(prepared, part, result), part.sequence)

    async def _batch_view(self, prepared: Sequence[Prepared], part: AnswerPart, outcome: Outcome) -> BatchView:
        items = []
        for number, each in enumerate(prepared):
            events = item_events(number, outcome.events)
            if not events:
                items.append(batches.overtaken_item(each.command, outcome, part.sequence))
                continue
            instrument = each.instrument or await self._instrument_in(Outcome(tuple(events)), part)
            items.append(batches.order_item(each.command, answer_view(part, each.command, events, instrument)))
        return BatchView(items, part.sequence)

    async def _batch_refused(
        self, command: AllOrNothing, prepared: Sequence[Prepared], refusal: Refusal, sequence: int, access: Access
    ) -> Declined:
        if refusal.item is None:
            return refused(command, refusal, sequence, None)
        item = prepared[refusal.item]
        problem = await self._submission.refused(item.command, refusal, sequence, item.instrument, access)
        return of_item(problem, refusal.item)

    async def _batch_before(
        self, command: AllOrNothing, repeated: Repeated, sequence: int
    ) -> tuple[AnswerPart, Outcome]:
        """The first batch; only if it was the same as a whole: the engine compares the orders placed alone."""
        try:
            first = of_placed(await self._read_commit(repeated.sequence), repeated.order_id)
        except Declined as error:
            raise first_answer_unreadable(repeated.order_id, repeated.sequence) from error
        if same_batch(command, first.whole):
            return first.part, first.outcome
        refusal, item = batches.placed_otherwise(command, repeated.order_id)
        raise of_item(refused(command.items[item], refusal, sequence, None), item)


def _outcome(decided: Decided) -> Outcome:
    assert isinstance(decided.result, Outcome)
    return decided.result


def _check_any_was_taken(decisions: Sequence[Decided | Declined]) -> None:
    """When nothing of a batch was done because the matcher takes none, the batch as a whole has that problem."""
    codes = {decision.problem.code if isinstance(decision, Declined) else None for decision in decisions}
    if codes in ({"overloaded"}, {"matcher_unavailable"}):
        assert isinstance(decisions[0], Declined)
        raise decisions[0]


def _unless_declined(number: int, prepared: Prepared | Declined) -> Prepared:
    if isinstance(prepared, Declined):
        raise of_item(prepared, number)
    return prepared


async def _attempt_all(attempts: Sequence[Awaitable[_Result]]) -> list[_Result | Declined]:
    """All at once, each with its own result or problem."""
    return list(await asyncio.gather(*(_attempt(attempt) for attempt in attempts)))


async def _attempt(attempt: Awaitable[_Result]) -> _Result | Declined:
    try:
        return await attempt
    except Declined as error:
        return error
