"""One WebSocket connection with any number of subscriptions, which comes back by itself and goes on where it was.

async with exchange.stream() as stream:
    async for message in stream.subscribe("trades", symbol="BTC-USD"):
        print(message.trade.price)
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, Unpack, overload
from urllib.parse import urljoin, urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from pricetime_client.asking import problem_of
from pricetime_client.book import LocalBook
from pricetime_client.errors import NoAnswer, Refusal
from pricetime_client.messages import (
    BookChange,
    BookSnapshot,
    CandleMessage,
    Channel,
    Failed,
    GoingAway,
    Heard,
    Heartbeat,
    Message,
    OrdersSnapshot,
    OrderUpdate,
    StatusMessage,
    Subscribed,
    TickerMessage,
    TradeMessage,
    heard,
)
from pricetime_client.subscriptions import Position, SubscriptionFields

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)
ConnectionState = Literal["offline", "stale", "live"]

STALE_SECONDS = 3.0
"""So long without a sign of life, where there is one each second, means that what one has may be old."""
DEAD_SECONDS = 10.0
"""So long means that the connection is no good any more."""
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_QUEUE = 10_000
"""Messages that wait to be taken; with more the connection is read no further, and the exchange sends on later."""
_LARGEST_MESSAGE = 64 * 1024 * 1024
_TRY_AGAIN = ("overloaded", "too_many_requests", "too_many_connections", "slow_consumer", "gap", "ahead")

_LOST = (OSError, ConnectionClosed, InvalidHandshake, TimeoutError, EOFError)


def websocket_address(told: str, rest: str) -> str:
    """`told`: what the exchange says, an address, a path on its own origin, or nothing: the next port."""
    parts = urlsplit(rest)
    scheme = "wss" if parts.scheme == "https" else "ws"
    if told.startswith(("ws://", "wss://")):
        return told if urlsplit(told).path.strip("/") else told.rstrip("/") + "/ws"
    if told:
        return scheme + urljoin(rest, told).removeprefix(parts.scheme)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{scheme}://{host}:8001/ws"


class Subscription(Generic[M]):
    """An async iterator of messages. Await it to wait until it is live; when its loop ends, it ends.

    Nothing is left out and nothing comes twice: after an interruption `trades` and `orders` go on after the last
    message, where that is still at hand; a `book` begins anew with a snapshot, and so do `orders` otherwise.
    """

    def __init__(self, stream: "Stream", position: Position) -> None:
        self.position = position
        self._stream = stream
        self._messages: asyncio.Queue[M | None] = asyncio.Queue(_QUEUE)
        self._live = asyncio.Event()
        self._error: Exception | None = None
        self._is_closed = False

    def __await__(self) -> Generator[Any, None, Self]:
        return self._until_live().__await__()

    async def __aiter__(self) -> AsyncIterator[M]:
        try:
            while (message := await self._messages.get()) is not None:
                yield message
        finally:
            await self.close()
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """The iteration ends, and nothing more is sent."""
        if not self._is_closed:
            self._end()
            await self._stream.forget(self)

    @property
    def is_live(self) -> bool:
        return self._live.is_set() and self._stream.state == "live"

    async def _until_live(self) -> Self:
        await self._live.wait()
        if self._error is not None:
            raise self._error
        return self

    # What the stream tells it

    async def put(self, message: M) -> None:
        if not self._is_closed:
            await self._messages.put(message)

    def begin(self) -> None:
        self._live.set()

    def interrupt(self) -> None:
        self._live.clear()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._end()

    def _end(self) -> None:
        """Whoever waits for a message or for room is to wait no longer."""
        self._is_closed = True
        self._live.set()
        with contextlib.suppress(asyncio.QueueFull):
            self._messages.put_nowait(None)
            return
        while not self._messages.empty():
            self._messages.get_nowait()
        self._messages.put_nowait(None)


class BookFeed(Subscription[Any]):
    """An order book that keeps itself: iterate to get it after each change, also of its state. Who is slow misses
    nothing but states in between."""

    def __init__(self, stream: "Stream", position: Position, book: LocalBook) -> None:
        super().__init__(stream, position)
        self.book = book
        self._changed = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[LocalBook]:
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                if self._is_closed:
                    break
                yield self.book
        finally:
            await self.close()
        if self._error is not None:
            raise self._error

    async def put(self, message: Message) -> None:
        assert isinstance(message, BookSnapshot | BookChange)
        self.book.apply(message)
        self._changed.set()

    def interrupt(self) -> None:
        super().interrupt()
        self.doubt()

    def doubt(self) -> None:
        self.book.interrupt()
        self._changed.set()

    def confirm(self) -> None:
        self.book.confirm()
        self._changed.set()

    def _end(self) -> None:
        super()._end()
        self.book.interrupt()
        self._changed.set()


class Stream:
    """Made by AsyncExchange.stream(). `state`: "live"; "stale" when nothing has come for some seconds; "offline"."""

    def __init__(
        self,
        address: Callable[[], Awaitable[str]],
        key_headers: Callable[[str, str], dict[str, str]],
        *,
        patience: float,
        tls: ssl.SSLContext | bool = True,
        trusts_environment: bool = True,
    ) -> None:
        self.state: ConnectionState = "offline"
        self._address = address
        self._key_headers = key_headers
        self._patience = patience
        self._tls = tls
        self._trusts_environment = trusts_environment
        self._subscriptions: dict[int, Subscription[Any]] = {}
        self._last_id = 0
        self._socket: ClientConnection | None = None
        self._connected = asyncio.Event()
        self._pause = _FIRST_PAUSE_SECONDS
        self._error: Exception | None = None
        self._running: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Raises Refusal or NoAnswer."""
        self._running = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(self._patience):
                await self._connected.wait()
        except TimeoutError:
            await self.close()
            raise NoAnswer("the exchange's streams cannot be reached", unknown=False) from self._error
        except BaseException:
            await self.close()
            raise
        if self._running.done():
            await self._running  # raises what ended it
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends every subscription, too."""
        for each in list(self._subscriptions.values()):
            await each.close()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, *self._asking, return_exceptions=True)

    @overload
    def subscribe(
        self, channel: Literal["trades"], **fields: Unpack[SubscriptionFields]
    ) -> Subscription[TradeMessage]: ...
    @overload
    def subscribe(
        self, channel: Literal["book"], **fields: Unpack[SubscriptionFields]
    ) -> Subscription[BookSnapshot | BookChange]: ...
    @overload
    def subscribe(
        self, channel: Literal["ticker"], **fields: Unpack[SubscriptionFields]
    ) -> Subscription[TickerMessage]: ...
    @overload
    def subscribe(
        self, channel: Literal["candles"], **fields: Unpack[SubscriptionFields]
    ) -> Subscription[CandleMessage]: ...
    @overload
    def subscribe(
        self, channel: Literal["orders"], **fields: Unpack[SubscriptionFields]
    ) -> Subscription[OrdersSnapshot | OrderUpdate]: ...
    @overload
    def subscribe(
        self, channel: Literal["status"], **fields: Unpack[SubscriptionFields]
    ) -> Subscription[StatusMessage]: ...
    def subscribe(self, channel: Channel, **fields: Unpack[SubscriptionFields]) -> Subscription[Any]:
        """Raises ValueError when its messages could not be told from those of another subscription of this stream."""
        subscription: Subscription[Any] = Subscription(self, self._position(channel, fields))
        self._add(subscription)
        return subscription

    def book(self, symbol: str, levels: int | None = None) -> BookFeed:
        """A local book, kept up to date: all levels, or the best so many of each side."""
        fields: SubscriptionFields = {"symbol": symbol} if levels is None else {"symbol": symbol, "levels": levels}
        feed = BookFeed(self, self._position("book", fields), LocalBook(symbol, levels))
        self._add(feed)
        return feed

    def _position(self, channel: Channel, fields: SubscriptionFields) -> Position:
        position = Position(channel, fields)
        if any(position.overlaps(each.position) for each in self._subscriptions.values()):
            raise ValueError(f"this stream has {channel} of that already: open another stream for it")
        return position

    def _add(self, subscription: Subscription[Any]) -> None:
        self._last_id += 1
        self._subscriptions[self._last_id] = subscription
        if self._error is not None and (self._running is None or self._running.done()):
            subscription.fail(self._error)
        elif self._socket is not None:
            self._ask_soon(self._last_id, subscription)

    async def forget(self, subscription: Subscription[Any]) -> None:
        number = next((each for each, known in self._subscriptions.items() if known is subscription), None)
        if number is None:
            return
        del self._subscriptions[number]
        fields = {"channel": subscription.position.channel, **subscription.position.fields}
        await self._send({"op": "unsubscribe", **fields})

    # The connection

    async def _run(self) -> None:
        """Connects again and again, until somebody closes it, or the exchange says that it never will."""
        try:
            while True:
                try:
                    await self._connect()
                except _LOST as error:
                    self._error = error
                    log.info("the stream was interrupted: %s", error)
                self._offline()
                await asyncio.sleep(self._pause)
                self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        except Exception as error:
            self._error = error
            for each in list(self._subscriptions.values()):
                each.fail(error)
            raise
        finally:
            self._offline()
            self._connected.set()

    async def _connect(self) -> None:
        address = await self._address()
        parts = urlsplit(address)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        tls = self._tls if isinstance(self._tls, ssl.SSLContext) and parts.scheme == "wss" else None
        try:
            async with connect(
                address,
                additional_headers=self._key_headers("GET", target),
                ssl=tls,
                proxy=True if self._trusts_environment else None,
                compression=None,
                open_timeout=5,
                close_timeout=1,
                max_size=_LARGEST_MESSAGE,
            ) as socket:
                await self._serve(socket)
        except InvalidStatus as error:
            problem = problem_of(error.response.status_code, bytes(error.response.body or b""))
            if 400 <= problem.status < 500 and problem.status != 429:
                raise Refusal(problem) from error
            raise

    async def _serve(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._set_state("live")
        self._connected.set()
        for number, subscription in list(self._subscriptions.items()):
            await self._ask(number, subscription)
        while True:
            said = heard(await self._next(socket))
            self._pause = _FIRST_PAUSE_SECONDS
            if said is not None:
                await self._hear(said)

    async def _next(self, socket: ClientConnection) -> str | bytes:
        """Raises TimeoutError when the connection is dead."""
        try:
            async with asyncio.timeout(STALE_SECONDS):
                return await socket.recv()
        except TimeoutError:
            self._set_state("stale")
        async with asyncio.timeout(DEAD_SECONDS - STALE_SECONDS):
            received = await socket.recv()
        self._set_state("live")
        return received

    def _set_state(self, state: ConnectionState) -> None:
        self.state = state
        for each in self._subscriptions.values():
            if isinstance(each, BookFeed):
                if state == "stale":
                    each.doubt()
                elif state == "live" and each.position.has_begun:
                    each.confirm()

    def _offline(self) -> None:
        self.state = "offline"
        self._socket = None
        for each in self._subscriptions.values():
            each.interrupt()

    # What is said and heard

    def _ask_soon(self, number: int, subscription: Subscription[Any]) -> None:
        task = asyncio.ensure_future(self._ask(number, subscription))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, number: int, subscription: Subscription[Any]) -> None:
        await self._send({"id": number, "op": "subscribe", **subscription.position.request()})

    async def _send(self, request: dict[str, Any]) -> None:
        """If the connection is lost meanwhile, it is made up for when there is one again."""
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(msgspec.json.encode(request).decode())

    async def _hear(self, said: Heard) -> None:
        match said:
            case Heartbeat():
                for each in self._subscriptions.values():
                    each.position.passed(said.sequence)
            case Subscribed():
                if said.id in self._subscriptions:
                    self._subscriptions[said.id].begin()
            case GoingAway():
                self._pause = said.reconnect_after_ms / 1000
            case Failed():
                await self._refused(said)
            case _:
                await self._deliver(said)

    async def _deliver(self, message: Message) -> None:
        for number, subscription in list(self._subscriptions.items()):
            if subscription.position.is_mine(message):
                if subscription.position.take(message):
                    await subscription.put(message)
                elif subscription.is_live:
                    await self._resync(number, subscription)
                return

    async def _resync(self, number: int, subscription: Subscription[Any]) -> None:
        """Something was lost on the way: begin again."""
        subscription.interrupt()
        fields = {"channel": subscription.position.channel, **subscription.position.fields}
        await self._send({"op": "unsubscribe", **fields})
        await self._ask(number, subscription)

    async def _refused(self, said: Failed) -> None:
        problem = said.problem
        if said.id is None:
            if problem.code not in (*_TRY_AGAIN, "not_subscribed"):
                raise Refusal(problem)
            return
        subscription = self._subscriptions.get(said.id)
        if subscription is None:
            return
        if problem.code in ("gap", "ahead"):
            subscription.position.begin_anew()
            await self._ask(said.id, subscription)
        elif problem.code in _TRY_AGAIN:
            await asyncio.sleep(problem.retry_after or _FIRST_PAUSE_SECONDS)
            await self._ask(said.id, subscription)
        else:
            del self._subscriptions[said.id]
            subscription.fail(Refusal(problem))
