"""Orders that come in by /ws: the exchange of entry/, asked for each request, as it is for REST.

What REST looks up in Postgres is looked up among the open orders, and those closed lately, that the broadcaster knows.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any

from msgspec import Struct

from broadcaster.live import Live
from broadcaster.messages import BatchAnswer, CanceledAll, CanceledAllAfter, OrderAnswer, open_order_view, order_update
from broadcaster.protocol import PlainPlace, PlainRequest, Request
from contracts.keys import Access
from contracts.messages import CancelOrder, OrderCommand, Refusal, RejectReason
from contracts.views import Instrument, OrderView
from entry.admission import Admission, Kind, overloaded, weight_of
from entry.bodies import text
from entry.commands import account_name
from entry.exchange import Done, Exchange, Told
from entry.instruments import Instruments
from entry.keys import RateLimits, microseconds
from entry.matcher_client import MatcherClient
from entry.permissions import trading_account
from entry.position import Position
from entry.problems import Declined, declined
from entry.stream_codes import StreamDeclined
from entry.views import BatchView

log = logging.getLogger(__name__)

_FOLD_SECONDS = 2.0
_AGAIN_SECONDS, _MOST_SECONDS = 0.25, 5.0
_MAX_KEYS = 10_000
_WEIGHT_OF_PLAIN = 1
_CANCELING = frozenset(("cancel", "cancel_all", "cancel_all_after"))


class Traded(Struct, frozen=True):
    """The answer but for the request's id, the journal sequence it rests on, and the orders that it placed."""

    answer: Struct
    sequence: int
    placed: tuple[int, ...] = ()


class LiveInstruments(Instruments):
    """Instruments as the broadcaster has folded them; the matcher is asked about those that it does not know yet."""

    def __init__(self, live: Live, connection: Any, timeout_seconds: float) -> None:
        super().__init__(connection, timeout_seconds)
        self._live = live

    def known(self, symbol: str) -> Instrument | None:
        listing = self._live.market.find(symbol)
        return super().known(symbol) if listing is None else listing.instrument

    async def find(self, symbol: str) -> Instrument | None:
        return self.known(symbol) or await super().find(symbol)

    async def get(self, symbol: str) -> Instrument:
        return self.known(symbol) or await super().get(symbol)

    async def of_order(self, order_id: int) -> tuple[Instrument | None, int]:
        order = self._live.market.orders.get(order_id)
        if order is None:
            return await super().of_order(order_id)
        return self._live.instrument(order.base.symbol), self._live.position.sequence


class LiveHistory:
    """What became of an order, as far as the broadcaster remembers."""

    def __init__(self, live: Live, position: Position) -> None:
        self._live = live
        self._position = position

    async def find_order(self, order_id: int) -> tuple[OrderView, Instrument] | None:
        """Raises Declined about an order that was closed too long ago."""
        await self._live.reach(self._position.told, _FOLD_SECONDS)
        orders = self._live.market.orders
        if (order := orders.get(order_id)) is not None:
            instrument = self._live.instrument(order.base.symbol)
            return open_order_view(order, instrument), instrument
        if (change := orders.closed(order_id)) is not None:
            instrument = self._live.instrument(change.base.symbol)
            return order_update(change, instrument).order, instrument
        if order_id <= orders.last_order_id:
            raise declined("history_unavailable", "The order was closed a while ago; GET /orders shows it.")
        return None

    async def find_named(self, account: str, client_order_id: str) -> int | None:
        """The account's newest order of this name; None if it is not among those at hand."""
        await self._live.reach(self._position.told, _FOLD_SECONDS)
        return self._live.market.orders.named(account, client_order_id)


class Trading:
    def __init__(
        self, live: Live, exchange: Exchange, matcher: MatcherClient, default_rate: int, admission: Admission
    ) -> None:
        """`default_rate`: requests a second of a key that has no rate of its own; 0 for any number."""
        self._live = live
        self._exchange = exchange
        self._matcher = matcher
        self._rates = RateLimits(default_rate)
        self._admission = admission
        self._tasks: set[asyncio.Task[None]] = set()

    def check_rate(self, request: Request, access: Access) -> None:
        """Raises StreamDeclined if the key has asked for too much; a batch counts as many requests as it has items."""
        self.charge(_cost(request), access)

    def charge(self, cost: int, access: Access) -> None:
        """The same for a number of requests."""
        bucket = None if access.key_id is None else self._rates.bucket(access, "")
        now = microseconds()
        if bucket is not None and not bucket.take(cost, now):
            wait = bucket.seconds_until(cost, now)
            raise StreamDeclined(
                "too_many_requests", f"The key may send {bucket.rate} requests a second. Try again in {wait} s."
            )

    def let_in(self, request: Request) -> Callable[[], None]:
        """Raises Declined when as many orders are at work as may be. What is returned is to be called at the end."""
        kind = Kind.CANCEL if request.op in _CANCELING else Kind.ORDER
        weight = weight_of(request.size)
        self._enter(kind, weight)
        return lambda: self._admission.leave(kind, weight)

    def _enter(self, kind: Kind, weight: int) -> None:
        if not self._admission.enter(kind, weight):
            raise overloaded(self._admission.retry_after(time.monotonic()))

    # Plain requests, which need no task

    def plain_command(self, request: PlainRequest, access: Access) -> tuple[OrderCommand, Instrument | None] | None:
        """None if it is to go the general way."""
        if isinstance(request, PlainPlace):
            return self._exchange.plain_order(request, access)
        return (CancelOrder(request.order_id, access.visible_accounts), None) if access.may_trade_any else None

    def begin(self, command: OrderCommand, instrument: Instrument | None, access: Access, tell: Told) -> None:
        """Raises Declined or StreamDeclined: nothing was done. Else `tell` must say that it has `left`."""
        if access.key_id is not None:
            self.charge(1, access)
        self._enter(_kind(command), _WEIGHT_OF_PLAIN)
        try:
            self._exchange.begin(command, instrument, access, tell)
        except Declined:
            self.left(command)
            raise

    def left(self, command: OrderCommand) -> None:
        """One that was begun is done."""
        self._admission.leave(_kind(command), _WEIGHT_OF_PLAIN)

    # All others

    async def carry_out(self, request: Request, access: Access) -> Traded:
        """Raises Declined."""
        match request.op:
            case "place":
                placed = await self._exchange.place(request.body, access)
                return _order("placed", placed, (placed.view.order_id,))
            case "amend":
                return _order("amended", await self._amend(request, access))
            case "cancel":
                return _order("canceled", await self._cancel_one(request, access))
            case "cancel_all":
                canceled = await self._exchange.cancel_all_named(request.body, access)
                answer = CanceledAll(canceled=canceled.view.canceled, sequence=canceled.sequence)
                return Traded(answer, canceled.sequence)
            case "cancel_all_after":
                return await self._cancel_all_after(request, access)
        return _batch(await self._exchange.batch(request.body, access))

    async def _amend(self, request: Request, access: Access) -> Done[OrderView]:
        name = text(request.fields, "client_order_id")
        if name is None or "order_id" in request.fields:
            return await self._exchange.amend_named(request.body, access)
        account, body = text(request.fields, "account"), request.without("client_order_id", "account")
        return await self._exchange.amend_by_client_order_id(name, account, body, access)

    async def _cancel_one(self, request: Request, access: Access) -> Done[OrderView]:
        name = text(request.fields, "client_order_id")
        if name is None or "order_id" in request.fields:
            return await self._exchange.cancel_named(request.body, access)
        request.check_fields("client_order_id", "account")
        return await self._exchange.cancel_by_client_order_id(name, text(request.fields, "account"), access)

    async def _cancel_all_after(self, request: Request, access: Access) -> Traded:
        account = trading_account(access, account_name(text(request.fields, "account")))
        done = await self._exchange.cancel_all_after(account, request.without("account"), access)
        answer = CanceledAllAfter(account=done.view.account, deadline=done.view.deadline, sequence=done.sequence)
        return Traded(answer, done.sequence)

    # The orders of those who have gone

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Goes on after the client has gone; `settled` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self, seconds: float) -> None:
        """Wait until what is owed to clients that have gone is done, or the time is up."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            if late:
                log.warning("%d clients have gone whose orders could not be canceled in time", len(late))

    async def cancel_for_good(self, placed: Collection[int], told: int) -> None:
        """Cancel those that are still open; again and again, until each is known to be closed."""
        left = set(placed)
        if await self._live.reach(told, _FOLD_SECONDS):
            left = {order_id for order_id in left if self._live.market.orders.get(order_id) is not None}
        count, pause = len(left), _AGAIN_SECONDS
        while left:
            done = await asyncio.gather(*(self._cancel(order_id) for order_id in sorted(left)))
            left -= {order_id for order_id, is_closed in zip(sorted(left), done, strict=True) if is_closed}
            if left:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MOST_SECONDS)
        if count:
            log.info("canceled %d orders of a client that has gone", count)

    async def _cancel(self, order_id: int) -> bool:
        """Whether it is canceled, or was closed already: not while the matcher is away, or its market is halted."""
        try:
            decided = await self._matcher.submit(CancelOrder(order_id))
        except Declined:
            return False
        result = decided.result
        return not isinstance(result, Refusal) or result.reason is RejectReason.UNKNOWN_ORDER


def _kind(command: OrderCommand) -> Kind:
    return Kind.CANCEL if type(command) is CancelOrder else Kind.ORDER


def _order(kind: Any, done: Done[OrderView], placed: tuple[int, ...] = ()) -> Traded:
    return Traded(
        OrderAnswer(type=kind, order=done.view, sequence=done.sequence, replayed=done.replayed), done.sequence, placed
    )


def _batch(done: Done[BatchView]) -> Traded:
    answer = BatchAnswer(items=done.view.items, sequence=done.view.sequence, replayed=done.replayed)
    return Traded(answer, done.sequence, tuple(_placed(done.view)))


def _placed(view: BatchView) -> Iterator[int]:
    for item in view.items:
        if item.status == 201 and isinstance(item.order, OrderView):
            yield item.order.order_id


def _cost(request: Request) -> int:
    items = request.body.get("items")
    return len(items) if request.op == "batch" and isinstance(items, list) and items else 1
