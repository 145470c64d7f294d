"""One WebSocket connection with any number of subscriptions, which comes back by itself and goes on where it was; and
orders over it.

async with exchange.stream() as stream:
    async for message in stream.subscribe("trades", symbol="BTC-USD"):
        print(message.trade.price)
"""

import asyncio
import contextlib
import logging
import random
import ssl
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, Unpack, overload

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pricetime_client.asking import Answer, Came, Lost, Spoken, Step
from pricetime_client.book import LocalBook
from pricetime_client.calls import Calls
from pricetime_client.errors import NoAnswer
from pricetime_client.mailbox import BookBox, Mailbox
from pricetime_client.messages import (
    Answered,
    BookChange,
    BookSnapshot,
    CandleMessage,
    Channel,
    Failed,
    OrdersSnapshot,
    OrderUpdate,
    StatusMessage,
    TickerMessage,
    TradeMessage,
)
from pricetime_client.orders import AsyncOrders, held_in_loop
from pricetime_client.subscriptions import Position, SubscriptionFields
from pricetime_client.switchboard import DEAD_SECONDS, STALE_SECONDS, Again, ConnectionState, Say, Switchboard, Talk
from pricetime_client.transport import INTERRUPTIONS, Address, no_answer, not_let_in

log = logging.getLogger(__name__)

M = TypeVar("M")
T = TypeVar("T")


class Subscription(Generic[M]):
    """An async iterator of messages. Await it to wait until it is live. It ends with `close`, with its stream, or when
    nobody holds it any more.

    `trades` and `orders` leave nothing out and tell nothing twice, interruptions or not: they go on after the last
    message. Where `orders` cannot, and for a `book` always, a snapshot comes, which replaces all that one has.
    """

    def __init__(self, box: Mailbox[M], stream: "Stream") -> None:
        self._box = box
        self._stream = stream
        self._news = asyncio.Event()
        box.changed = self._news.set
        weakref.finalize(self, box.end).atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> M:
        """Raises Refusal when the exchange does not give it, or not any more."""
        while (message := self._box.take()) is None:
            if self._box.is_closed:
                raise self._box.error or StopAsyncIteration
            await self._change()
        self._stream.was_read(self._box)
        return message

    def __await__(self) -> Generator[Any, None, Self]:
        return self._until_live().__await__()

    async def _until_live(self) -> Self:
        while not (self._box.is_live or self._box.is_closed):
            await self._change()
        if self._box.error is not None:
            raise self._box.error
        return self

    async def _change(self) -> None:
        self._news.clear()
        await self._news.wait()

    @property
    def is_live(self) -> bool:
        return self._box.is_live and not self._box.is_closed and self._stream.state == "live"

    async def close(self) -> None:
        """Its iteration ends, and nothing more is sent."""
        self._box.end()
        await self._stream.tidy()


class BookFeed(Subscription[LocalBook]):
    """A book that keeps itself: `book`. Iterate to get it after each change of it or of its state; who is slow gets
    the latest."""

    def __init__(self, box: BookBox, stream: "Stream") -> None:
        super().__init__(box, stream)
        self.book = box.book


class Stream(AsyncOrders):
    """Made by AsyncExchange.stream(). `state`: "live"; "stale" when nothing has come for some seconds; "offline".

    Orders are placed, amended and canceled over its connection by the same methods as AsyncExchange has.
    """

    def __init__(
        self,
        calls: Calls,
        ask_rest: Callable[[Step], Awaitable[Came]],
        address: Address,
        *,
        patience: float,
        timeout: float,
        verify: ssl.SSLContext | bool,
    ) -> None:
        self.state: ConnectionState = "offline"
        self._calls = calls
        self._orders = calls.over_socket()
        self._ask_rest = ask_rest
        self._address = address
        self._patience = patience
        self._timeout = timeout
        self._verify = verify
        self._board = Switchboard(calls)
        self._socket: ClientConnection | None = None
        self._connected = asyncio.Event()
        self._error: Exception | None = None
        self._running: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Raises Refusal or NoAnswer."""
        self._running = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(self._patience):
                await self._connected.wait()
        except TimeoutError:
            await self.close()
            why = self._error or "it does not answer"
            raise NoAnswer(f"the exchange's streams cannot be reached ({why})", unknown=False) from self._error
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
        self._board.end()
        if self._running is not None:
            ending = [self._running, *self._sending]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    # Subscriptions

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
        box = Mailbox[Any](Position(channel, fields))
        self._add(box)
        return Subscription(box, self)

    def book(self, symbol: str, levels: int | None = None) -> BookFeed:
        """A local book: all levels, or the best so many of each side."""
        box = BookBox(Position("book", {"symbol": symbol, "levels": levels}), LocalBook(symbol, levels))
        self._add(box)
        return BookFeed(box, self)

    def _add(self, box: Mailbox[Any]) -> None:
        running = self._open()
        number = self._board.add(box)
        if running.done():
            box.end(self._error)
        elif self._socket is not None:  # if there is no connection now, its beginning makes up for it
            self._soon(self._talk(self._board.subscribe(number)))

    def _open(self) -> asyncio.Task[None]:
        """What runs it."""
        if self._running is None:
            raise RuntimeError("this stream is not open: async with exchange.stream() as stream")
        return self._running

    def was_read(self, box: Mailbox[Any]) -> None:
        """There is room in it again."""
        if box.may_go_on:
            self._soon(self._talk(self._board.was_read(box)))

    async def tidy(self) -> None:
        """Unsubscribe from what nobody listens to any more."""
        await self._talk(self._board.tidy())

    # Orders

    async def cancel_on_disconnect(self, enabled: bool = True) -> None:
        """When the connection ends, whichever way, the orders that were placed over it are canceled. When it has come
        back, it is so again."""
        before, self._board.cancels_on_disconnect = self._board.cancels_on_disconnect, enabled
        try:
            await self._hold(self._orders.cancel_on_disconnect(enabled=enabled))
        except BaseException:
            self._board.cancels_on_disconnect = before
            raise

    async def _do(self, step: Say | Again | Step) -> Came:
        match step:
            case Say():
                await self._say(step.message)
            case Again():
                self._soon(self._again(step))
            case Spoken():
                return await self._ask(step)
            case _:
                return await self._ask_rest(step)
        return None

    async def _ask(self, spoken: Spoken) -> Answer | Lost:
        began = time.monotonic()
        if self._open().done() or self._socket is None:
            why = self._error or "there is no connection"
            return no_answer(why, began, was_sent=False, is_final=self._open().done())
        answered: asyncio.Future[Answered | Failed | None] = asyncio.get_running_loop().create_future()

        def told(said: Answered | Failed | None) -> None:
            if not answered.done():
                answered.set_result(said)

        number, message = self._board.ask(spoken, told)
        try:
            async with asyncio.timeout(self._timeout):
                await self._say(message)
                said = await answered
        except TimeoutError:
            return no_answer(f"nothing for {self._timeout:g} s", began, was_sent=True)
        finally:
            self._board.forget(number)
        if said is None:
            return no_answer("the connection was lost", began, was_sent=True)
        return self._address.spoken_answer(said, began)

    # The connection

    async def _run(self) -> None:
        """Connects again and again, until somebody closes it, or the exchange says that it never will."""
        try:
            while True:
                try:
                    await self._connect()
                except INTERRUPTIONS as error:
                    self._error = error
                    log.info("the stream was interrupted: %s", str(error) or type(error).__name__)
                self._offline()
                await asyncio.sleep(self._board.next_pause() * random.uniform(0.75, 1.25))
        except Exception as error:
            self._error = error
            self._board.end(error)
            raise
        finally:
            self._offline()
            self._connected.set()

    async def _connect(self) -> None:
        address = await held_in_loop(self._address.of_streams(self._calls), self._ask_rest)
        try:
            async with connect(address, **self._address.socket_options(address, self._verify)) as socket:
                await self._serve(socket)
        except InvalidStatus as error:
            if (refusal := not_let_in(error)) is not None:
                raise refusal from error
            raise

    async def _serve(self, socket: ClientConnection) -> None:
        for message in self._board.begin():
            await socket.send(_written(message))
        self._socket = socket
        self.state = "live"
        self._connected.set()
        for number in self._board.numbers:
            self._soon(self._talk(self._board.subscribe(number)))
        while True:
            await self._talk(self._board.hear(await self._next(socket)))

    async def _next(self, socket: ClientConnection) -> str | bytes:
        """Raises TimeoutError when the connection is dead."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STALE_SECONDS):
                return await socket.recv()
        self.state = "stale"
        self._board.doubt()
        async with asyncio.timeout(DEAD_SECONDS - STALE_SECONDS):
            received = await socket.recv()
        self.state = "live"
        self._board.confirm()
        return received

    def _offline(self) -> None:
        self.state = "offline"
        self._socket = None
        self._board.interrupt()

    # What is said

    async def _talk(self, talk: Talk[T]) -> T:
        return await held_in_loop(talk, self._do)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _again(self, again: Again) -> None:
        await asyncio.sleep(again.seconds)
        await self._talk(self._board.subscribe(again.number))

    async def _say(self, message: dict[str, Any]) -> None:
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(_written(message))


def _written(message: dict[str, Any]) -> str:
    return msgspec.json.encode(message).decode()
