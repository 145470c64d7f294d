"""One client of /ws: its subscriptions, its requests, and what it may do."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Literal

from msgspec import UNSET, Struct
from msgspec.structs import replace

from broadcaster import messages, protocol
from broadcaster.access import Doorkeeper
from broadcaster.connection import Connection
from broadcaster.feed import Farewell, Gap, frame
from broadcaster.live import Live
from broadcaster.messages import ErrorMessage, OrderAnswer, RequestId, Subscribed, encode
from broadcaster.protocol import PlainRequest, Request, Unreadable, Wanted, request_id_of
from broadcaster.streams import BookTooLarge, orders_snapshot
from broadcaster.trading import Trading
from contracts.keys import Access, Scope, TokenBucket
from contracts.messages import PlaceOrder
from contracts.views import OrderView, format_time
from entry.commands import valid_account
from entry.exchange import Done
from entry.keys import microseconds
from entry.permissions import not_covered, require
from entry.problems import Declined, declined, quoted
from entry.stream_codes import StreamDeclined, internal_error, problem_view
from runtime.clock import now

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 100
"""Order requests of one connection whose answers are still to come; beyond it, no more is read."""
REACH_SECONDS = 2.0
_HELD_BYTES = 64 * 1024


class Limits(Struct, frozen=True):
    subscriptions: int
    requests_per_second: int


class Counter(Struct, frozen=True):
    """What a session needs to serve its client."""

    trading: Trading
    doorkeeper: Doorkeeper
    limits: Limits


class Port:
    """An Outlet for one subscription: several share the client's connection.

    What is written before the client was told that it is subscribed is held back until it was.
    """

    def __init__(self, session: "Session", wanted: Wanted) -> None:
        self.on_ready: Callable[[], None] | None = None
        self._session = session
        self._wanted = wanted
        self._held: list[bytes] | None = []
        self._held_bytes = 0

    def is_ready(self) -> bool:
        return self._held_bytes < _HELD_BYTES and self._session.connection.is_ready()

    def write(self, frames: bytes) -> None:
        if self._held is None:
            self._session.connection.write(frames)
        else:
            self._held.append(frames)
            self._held_bytes += len(frames)

    def open(self) -> bytes:
        """What was held back; from now on it is written through."""
        held, self._held, self._held_bytes = self._held or [], None, 0
        return b"".join(held)

    def goodbye(self, farewell: Farewell) -> None:
        self._session.dismiss(farewell.close_code, farewell.code, farewell.detail)


@dataclass(slots=True)
class _Subscription:
    view: messages.Subscription
    wanted: Wanted
    port: Port
    leave: Callable[[], None]
    is_behind: Callable[[], bool]


class Session:
    """`run` it with what the client says; `close` it when the client is gone."""

    def __init__(self, connection: Connection, live: Live, counter: Counter, access: Access) -> None:
        self.connection = connection
        self.access = access
        self.cancels_on_disconnect = False
        self._live = live
        self._trading = counter.trading
        self._doorkeeper = counter.doorkeeper
        self._limits = counter.limits
        self._bucket = TokenBucket(self._limits.requests_per_second, microseconds())
        self._subscriptions: dict[int, _Subscription] = {}
        self._turns: deque[_Subscription] = deque()
        self._owes_beat = False
        self._count = 0
        self._told = 0
        self._placed: set[int] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._one_less: asyncio.Future[None] | None = None
        self._is_busy = False
        connection.on_ready = self._on_ready
        connection.take_texts(self.take)

    # To the client

    def tell(self, message: Struct) -> None:
        self.connection.write(frame(encode(message)))

    def beat(self, encoded: bytes) -> None:
        """A heartbeat says that everything has been sent: to whom something is still owed it is said after that."""
        self._owes_beat = self._is_behind or not self.connection.is_ready()
        if not self._owes_beat:
            self.connection.write(encoded)

    @property
    def _is_behind(self) -> bool:
        return any(each.is_behind() for each in self._turns)

    def dismiss(self, close_code: int, code: str, detail: str) -> None:
        error = ErrorMessage(problem=StreamDeclined(code, detail).view)
        words = frame(encode(error))
        self.connection.goodbye(Farewell(close_code, code, last_words=words, reason=f"{code}: {detail}"))

    def check_access(self) -> None:
        """Called when keys have changed."""
        if not self._doorkeeper.is_good(self.access):
            self.dismiss(4001, "key_ended", self._doorkeeper.why_ended(self.access))

    def _on_ready(self) -> None:
        """There is room again: each subscription in turn, beginning with another one each time."""
        self._turns.rotate(-1)
        for subscription in list(self._turns):
            if subscription.port.on_ready is not None:
                subscription.port.on_ready()
        if self._owes_beat and not self._is_behind:
            self._owes_beat = False
            self.connection.write(frame(messages.heartbeat(now(), self._live.position.sequence)))

    # From the client

    def take(self, message: bytes) -> bool:
        """Whether it was a plain request and there was nothing to wait for: then it is begun. Else `handle` it."""
        if self._is_busy or self._in_flight >= MAX_IN_FLIGHT or not self.connection.is_ready():
            return False
        request = protocol.read_plain(message)
        return request is not None and self._begin(request)

    async def handle(self, message: bytes | str) -> None:
        """One message. Waits while the client does not read its answers, or too many are still to come."""
        self._is_busy = True
        try:
            await self.connection.writable.wait()
            if isinstance(message, bytes):
                self._refuse(StreamDeclined("not_text", "Send text frames: this was a binary one."))
            else:
                await self._handle(message.encode())
        finally:
            self._is_busy = False

    async def _handle(self, message: bytes) -> None:
        if (plain := protocol.read_plain(message)) is not None:
            await self._has_room()
            if self._begin(plain):
                return
        try:
            request = protocol.read_request(message)
        except Unreadable as error:
            self._count_request()
            self._refuse(error.problem, error.id)
            return
        try:
            if not self._count_request():
                raise StreamDeclined("too_many_requests", self._too_many)
            await self._carry_out(request)
        except (Declined, StreamDeclined) as error:
            self._refuse(error, request.id)

    def _count_request(self) -> bool:
        return self._bucket.take(1, microseconds())

    @property
    def _too_many(self) -> str:
        return f"One connection may send {self._limits.requests_per_second} requests a second. This one was not done."

    async def _carry_out(self, request: Request) -> None:
        if request.op in protocol.ORDER_OPERATIONS:
            await self._trade(request)
            return
        operations: dict[str, Callable[[Request], Awaitable[None]]] = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "list": self._list,
            "cancel_on_disconnect": self._cancel_on_disconnect,
            "auth": self._auth,
            "ping": self._ping,
        }
        await operations[request.op](request)

    def _refuse(self, error: Declined | StreamDeclined, request_id: RequestId = UNSET) -> None:
        self.tell(ErrorMessage(id=request_id, problem=problem_view(error)))

    # Subscriptions

    async def _subscribe(self, request: Request) -> None:
        wanted = self._own(protocol.wanted(request))
        if len(self._subscriptions) >= self._limits.subscriptions:
            raise StreamDeclined(
                "too_many_subscriptions",
                f"One connection may have {self._limits.subscriptions} subscriptions. Unsubscribe, or open another.",
            )
        if (found := self._find(wanted)) is not None:
            raise StreamDeclined("already_subscribed", f"That is subscription {found.view.subscription} already.")
        await self._live.reach(max(self._told, self._needed(wanted)), REACH_SECONDS)
        self._check_listed(wanted.symbol)
        self._count += 1
        port = Port(self, wanted)
        leave, is_behind = self._join(wanted, port)
        view = messages.Subscription(
            subscription=self._count,
            channel=wanted.channel,
            symbol=wanted.symbol,
            interval=wanted.interval,
            levels=wanted.levels,
            account=wanted.account,
        )
        subscription = _Subscription(view, wanted, port, leave, is_behind)
        self._subscriptions[self._count] = subscription
        self._turns.append(subscription)
        answer = Subscribed(id=request.id, subscription=view, sequence=self._live.position.sequence)
        self.connection.write(frame(encode(answer)) + port.open())
        if port.on_ready is not None and self.connection.is_ready():
            port.on_ready()

    def _own(self, wanted: Wanted) -> Wanted:
        """Raises Declined if it is about orders that the client may not see."""
        if wanted.channel == "orders":
            require(self.access, Scope.READ)
            if wanted.account is not None and not self.access.covers(valid_account(wanted.account)):
                raise not_covered(self.access, wanted.account)
        return wanted

    @staticmethod
    def _needed(wanted: Wanted) -> int:
        return wanted.after or 0 if wanted.channel == "orders" else 0

    def _check_listed(self, symbol: str | None) -> None:
        if symbol is not None and symbol not in self._live.market:
            raise declined("unknown_symbol", f"There is no instrument {quoted(symbol)}.", "symbol")

    def _join(self, wanted: Wanted, port: Port) -> tuple[Callable[[], None], Callable[[], bool]]:
        """Subscribe; how to leave again, and whether something is still to be sent that was there before."""
        try:
            return self._joins[wanted.channel](self, wanted, port)
        except Gap as gap:
            raise StreamDeclined("gap", _GAPS[wanted.channel].format(first=gap.first), "after") from None
        except BookTooLarge as error:
            raise StreamDeclined(
                "book_too_large",
                f"The book has {error.levels} levels; subscribe with levels from 1 to {protocol.MAX_LEVELS}.",
                "levels",
            ) from None

    def _join_trades(self, wanted: Wanted, port: Port) -> tuple[Callable[[], None], Callable[[], bool]]:
        feed = self._live.trades
        if wanted.after is not None and wanted.after > feed.last_id:
            raise StreamDeclined(
                "ahead", f"There is no trade {wanted.after} yet: the last one is {feed.last_id}.", "after"
            )
        watcher = feed.join(port, wanted.symbol, wanted.after, trade_frame, _trades_too_slow)
        return lambda: feed.leave(watcher), lambda: watcher.lagging

    def _join_book(self, wanted: Wanted, port: Port) -> tuple[Callable[[], None], Callable[[], bool]]:
        assert wanted.symbol is not None
        feed = self._live.books
        watcher = feed.join(port, wanted.symbol, wanted.levels)
        return lambda: feed.leave(watcher), lambda: watcher.lagging

    def _join_ticker(self, wanted: Wanted, port: Port) -> tuple[Callable[[], None], Callable[[], bool]]:
        feed = self._live.tickers
        watcher = feed.join(port, wanted.symbol)
        return lambda: feed.leave(watcher), lambda: bool(watcher.pending)

    def _join_candles(self, wanted: Wanted, port: Port) -> tuple[Callable[[], None], Callable[[], bool]]:
        assert wanted.symbol is not None
        assert wanted.interval is not None
        feed = self._live.candles
        watcher = feed.join(port, (wanted.symbol, wanted.interval))
        return lambda: feed.leave(watcher), lambda: bool(watcher.pending)

    def _join_status(self, wanted: Wanted, port: Port) -> tuple[Callable[[], None], Callable[[], bool]]:
        feed = self._live.statuses
        watcher = feed.join(port, wanted.symbol)
        return lambda: feed.leave(watcher), lambda: bool(watcher.pending)

    def _join_orders(self, wanted: Wanted, port: Port) -> tuple[Callable[[], None], Callable[[], bool]]:
        live, feed = self._live, self._live.orders
        accounts = self.access.visible_accounts if wanted.account is None else (wanted.account,)
        accounts = None if accounts is None else tuple(dict.fromkeys(accounts))
        if wanted.after is None:
            snapshot = orders_snapshot(live.market.orders, accounts, live.position.sequence, live.instrument)
            watcher = feed.begin(port, accounts, snapshot)
        elif wanted.after > live.position.sequence:
            detail = f"There is no journal sequence {wanted.after} yet: the last one is {live.position.sequence}."
            raise StreamDeclined("ahead", detail, "after")
        else:
            watcher = feed.resume(port, accounts, wanted.after, wanted.after_index)
        return lambda: feed.leave(watcher), lambda: watcher.is_lagging

    _joins = {
        "trades": _join_trades,
        "book": _join_book,
        "ticker": _join_ticker,
        "candles": _join_candles,
        "orders": _join_orders,
        "status": _join_status,
    }

    async def _unsubscribe(self, request: Request) -> None:
        wanted = protocol.unwanted(request)
        found = self._subscriptions.get(wanted) if isinstance(wanted, int) else self._find(wanted)
        if found is None:
            raise StreamDeclined("not_subscribed", "There is no such subscription; list shows those that there are.")
        self._end(found)
        self.tell(messages.Unsubscribed(id=request.id, subscription=found.view))

    def _find(self, wanted: Wanted) -> _Subscription | None:
        return next((each for each in self._turns if each.wanted.key == wanted.key), None)

    def _end(self, subscription: _Subscription) -> None:
        subscription.leave()
        del self._subscriptions[subscription.view.subscription]
        self._turns.remove(subscription)

    async def _list(self, request: Request) -> None:
        request.check_fields()
        views = [each.view for each in self._subscriptions.values()]
        self.tell(messages.Subscriptions(id=request.id, subscriptions=views))

    # Who it is

    async def _auth(self, request: Request) -> None:
        access = self._doorkeeper.authenticate(request)
        assert access.key_id is not None
        self.access = access
        for subscription in list(self._turns):
            if subscription.wanted.channel == "orders" and not self._still_sees(subscription.wanted):
                self._end(subscription)
        accounts = access.visible_accounts
        self.tell(
            messages.Authenticated(
                id=request.id,
                key_id=access.key_id,
                scopes=sorted(scope.value for scope in access.scopes),
                accounts=None if accounts is None else list(accounts),
            )
        )

    def _still_sees(self, wanted: Wanted) -> bool:
        return wanted.account is not None and self.access.may_read(wanted.account)

    async def _ping(self, request: Request) -> None:
        request.check_fields()
        self.tell(messages.Pong(id=request.id, time=format_time(now())))

    # Orders

    async def _cancel_on_disconnect(self, request: Request) -> None:
        require(self.access, Scope.TRADE)
        self.cancels_on_disconnect = protocol.enabled(request)
        self.tell(messages.CancelOnDisconnect(id=request.id, enabled=self.cancels_on_disconnect))

    def _begin(self, request: PlainRequest) -> bool:
        """Whether it was begun, or refused as too much. If not, nothing was done, nor counted."""
        found = self._trading.plain_command(request, self.access)
        if found is None or not self._count_request():
            return False
        command, instrument = found
        request_id = bytes(request.id)

        def told(answer: "Done[OrderView] | Exception") -> None:  # in quotes: else it is made anew each time
            self._trading.left(command)
            self._left()
            if isinstance(answer, Exception):
                self._failed(answer, request_id_of(request_id))
            elif type(command) is PlaceOrder:
                self._note(answer.sequence, (answer.view.order_id,))
                self._answer("placed", answer, request_id)
            else:
                self._note(answer.sequence, ())
                self._answer("canceled", answer, request_id)

        try:
            self._trading.begin(command, instrument, self.access, told)
        except (Declined, StreamDeclined) as error:
            self._refuse(error, request_id_of(request_id))
        else:
            self._in_flight += 1
        return True

    def _answer(self, kind: Literal["placed", "canceled"], done: Done[OrderView], request_id: bytes) -> None:
        """`request_id` as it was written, empty if there is none."""
        answer = encode(OrderAnswer(type=kind, order=done.view, sequence=done.sequence, replayed=done.replayed))
        if request_id:
            answer = b'{"id":%b,%b' % (request_id, answer[1:])
        self.connection.write_soon(frame(answer))

    async def _has_room(self) -> None:
        while self._in_flight >= MAX_IN_FLIGHT:
            await self._until_one_less()

    async def _until_one_less(self) -> None:
        if self._one_less is None:
            self._one_less = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._one_less)

    def _left(self) -> None:
        """One more is answered."""
        self._in_flight -= 1
        if self._one_less is not None:
            self._one_less.set_result(None)
            self._one_less = None

    async def _trade(self, request: Request) -> None:
        """Begin with it, and go on to the next message: answers come as they come."""
        require(self.access, Scope.TRADE)
        self._trading.check_rate(request, self.access)
        await self._has_room()
        leave = self._trading.let_in(request)
        self._in_flight += 1
        task = asyncio.create_task(self._traded(request, self.access, leave))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _traded(self, request: Request, access: Access, leave: Callable[[], None]) -> None:
        try:
            traded = await self._trading.carry_out(request, access)
        except Exception as error:
            self._failed(error, request.id)
        else:
            self._note(traded.sequence, traded.placed)
            self.tell(replace(traded.answer, id=request.id))
        finally:
            leave()
            self._left()

    def _failed(self, error: Exception, request_id: RequestId) -> None:
        if isinstance(error, Declined | StreamDeclined):
            self._refuse(error, request_id)
            return
        log.error("a request over WebSocket failed", exc_info=error)
        problem = internal_error("The broadcaster made a mistake and has logged it.")
        self.tell(ErrorMessage(id=request_id, problem=problem))

    def _note(self, sequence: int, placed: Collection[int]) -> None:
        self._told = max(self._told, sequence)
        self._placed.update(placed)
        if len(self._placed) > self._prune_at:
            orders = self._live.market.orders
            self._placed = {each for each in self._placed if each > orders.last_order_id or orders.get(each)}
            self._prune_at = max(10_000, 2 * len(self._placed))

    _prune_at = 10_000

    # The end

    def close(self) -> None:
        """The client is gone. What it has sent is still carried out; then its orders go, if it wanted that."""
        for subscription in list(self._turns):
            self._end(subscription)
        self._trading.spawn(self._finish())

    async def _finish(self) -> None:
        while self._in_flight:
            await self._until_one_less()
        if self.cancels_on_disconnect and self._placed:
            await self._trading.cancel_for_good(self._placed, self._told)


def trade_frame(trade: bytes) -> bytes:
    return frame(messages.wrapped_trade(trade))


def _trades_too_slow(after: int) -> Farewell:
    return Farewell(
        4008, "slow_consumer", f"You read too slowly. Read GET /trades from {after} on, then subscribe with after."
    )


_GAPS = {
    "trades": "The trades from {first} on are at hand. Read the ones before with GET /trades, or leave `after` out.",
    "orders": "The updates from journal sequence {first} on are at hand. Subscribe without `after` for a snapshot, and "
    "read what became of the others with GET /orders.",
}
