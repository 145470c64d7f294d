"""A stream for programs that wait: what Stream is to asyncio. It does something only while one of its methods runs.

with exchange.stream() as stream:
    for message in stream.subscribe("trades", symbol="BTC-USD"):
        print(message.trade.price)
"""

import logging
import math
import random
import ssl
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, Unpack, overload

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from pricetime_client.asking import Answer, Came, Lost, Spoken, Step
from pricetime_client.book import LocalBook
from pricetime_client.calls import Calls
from pricetime_client.errors import NoAnswer
from pricetime_client.mailbox import ROOM, BookBox, Mailbox
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
from pricetime_client.orders import Orders, held
from pricetime_client.subscriptions import Position, SubscriptionFields
from pricetime_client.switchboard import DEAD_SECONDS, STALE_SECONDS, Again, ConnectionState, Say, Switchboard, Talk
from pricetime_client.transport import INTERRUPTIONS, Address, no_answer, not_let_in

log = logging.getLogger(__name__)

M = TypeVar("M")
T = TypeVar("T")


class BlockingSubscription(Generic[M]):
    """An iterator of messages that waits for each. It ends with `close`, with its stream, or when nobody holds it any
    more.

    `trades` and `orders` leave nothing out and tell nothing twice, interruptions or not: they go on after the last
    message. Where `orders` cannot, and for a `book` always, a snapshot comes, which replaces all that one has.
    """

    def __init__(self, box: Mailbox[M], stream: "BlockingStream") -> None:
        self._box = box
        self._stream = stream
        weakref.finalize(self, box.end).atexit = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> M:
        """Raises Refusal when the exchange does not give it any more."""
        message = self.get()
        if message is None:
            raise StopIteration
        return message

    def get(self, timeout: float | None = None) -> M | None:
        """The next message. None if there is none within so many seconds, or any more."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        if (message := self._box.take()) is None:
            self._stream.catch_up()
            self._stream.wait(lambda: not self._box.is_empty or self._box.is_closed, deadline)
            message = self._box.take()
        if message is None and self._box.error is not None:
            raise self._box.error
        self._stream.was_read(self._box)
        return message

    @property
    def is_live(self) -> bool:
        state = self._stream.state
        return self._box.is_live and not self._box.is_closed and state == "live"

    def close(self) -> None:
        """Its iteration ends, and nothing more is sent."""
        self._box.end()
        self._stream.tidy()


class BlockingBookFeed(BlockingSubscription[LocalBook]):
    """A book that keeps itself whenever one looks at it: `book`. Iterate to get it after each change of it or of its
    state; who is slow gets the latest."""

    def __init__(self, box: BookBox, stream: "BlockingStream") -> None:
        super().__init__(box, stream)
        self._book = box.book

    @property
    def book(self) -> LocalBook:
        """As it is now."""
        self._stream.catch_up()
        return self._book

    def get(self, timeout: float | None = None) -> LocalBook | None:
        """The book when it has changed since the last time. None if it has not within so many seconds."""
        self._stream.catch_up()
        return super().get(timeout)


class BlockingStream(Orders):
    """Made by Exchange.stream(), for one thread.

    Orders are placed, amended and canceled over its connection by the same methods as Exchange has.
    """

    def __init__(
        self,
        calls: Calls,
        ask_rest: Callable[[Step], Came],
        address: Address,
        *,
        patience: float,
        timeout: float,
        verify: ssl.SSLContext | bool,
    ) -> None:
        self._calls = calls
        self._orders = calls.over_socket()
        self._ask_rest = ask_rest
        self._address = address
        self._patience = patience
        self._timeout = timeout
        self._verify = verify
        self._board = Switchboard(calls)
        self._state: ConnectionState = "offline"
        self._socket: ClientConnection | None = None
        self._connection = ExitStack()
        self._error: Exception | None = None
        self._is_open = False
        self._is_over = False
        self._heard_at = 0.0
        self._connects_at = 0.0
        self._again: dict[int, float] = {}
        """When to ask for which subscription again."""

    def __enter__(self) -> Self:
        """Raises Refusal or NoAnswer."""
        self._is_open = True
        deadline = time.monotonic() + self._patience
        self.wait(lambda: self._socket is not None, deadline)
        if self._socket is None:
            error, was_over = self._error, self._is_over
            self.close()
            if was_over and error is not None:
                raise error
            why = error or "it does not answer"
            raise NoAnswer(f"the exchange's streams cannot be reached ({why})", unknown=False) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends every subscription, too."""
        self._is_over = True
        self._board.end()
        self._offline()

    @property
    def state(self) -> ConnectionState:
        """ "live"; "stale" when nothing has come for some seconds; "offline"."""
        self.catch_up()
        return self._state

    # Subscriptions

    @overload
    def subscribe(
        self, channel: Literal["trades"], **fields: Unpack[SubscriptionFields]
    ) -> BlockingSubscription[TradeMessage]: ...
    @overload
    def subscribe(
        self, channel: Literal["book"], **fields: Unpack[SubscriptionFields]
    ) -> BlockingSubscription[BookSnapshot | BookChange]: ...
    @overload
    def subscribe(
        self, channel: Literal["ticker"], **fields: Unpack[SubscriptionFields]
    ) -> BlockingSubscription[TickerMessage]: ...
    @overload
    def subscribe(
        self, channel: Literal["candles"], **fields: Unpack[SubscriptionFields]
    ) -> BlockingSubscription[CandleMessage]: ...
    @overload
    def subscribe(
        self, channel: Literal["orders"], **fields: Unpack[SubscriptionFields]
    ) -> BlockingSubscription[OrdersSnapshot | OrderUpdate]: ...
    @overload
    def subscribe(
        self, channel: Literal["status"], **fields: Unpack[SubscriptionFields]
    ) -> BlockingSubscription[StatusMessage]: ...
    def subscribe(self, channel: Channel, **fields: Unpack[SubscriptionFields]) -> BlockingSubscription[Any]:
        """Returns when it is live. Raises Refusal or NoAnswer; ValueError when its messages could not be told from
        those of another subscription of this stream."""
        box = Mailbox[Any](Position(channel, fields))
        subscription = BlockingSubscription(box, self)
        self._add(box)
        return subscription

    def book(self, symbol: str, levels: int | None = None) -> BlockingBookFeed:
        """A local book: all levels, or the best so many of each side. Returns when it is live."""
        box = BookBox(Position("book", {"symbol": symbol, "levels": levels}), LocalBook(symbol, levels))
        feed = BlockingBookFeed(box, self)
        self._add(box)
        self.wait(lambda: box.position.has_begun or box.is_closed, time.monotonic() + self._patience)
        return feed

    def _add(self, box: Mailbox[Any]) -> None:
        self._check_open()
        number = self._board.add(box)
        if self._is_over:
            box.end(self._error)
        elif self._socket is not None:  # if there is no connection now, its beginning makes up for it
            self._guarded(lambda: self._talk(self._board.subscribe(number)))
        self.wait(lambda: box.is_live or box.is_closed, time.monotonic() + self._patience)
        if box.error is not None:
            raise box.error
        if not box.is_live:
            box.end()
            why = self._error or "it does not answer"
            raise NoAnswer(f"no answer to subscribe to {box.position.channel} ({why})", unknown=False)

    def _check_open(self) -> None:
        if not self._is_open:
            raise RuntimeError("this stream is not open: with exchange.stream() as stream")

    def was_read(self, box: Mailbox[Any]) -> None:
        """There is room in it again."""
        if box.may_go_on:
            self._guarded(lambda: self._talk(self._board.was_read(box)))

    def tidy(self) -> None:
        """Unsubscribe from what nobody listens to any more."""
        self._guarded(lambda: self._talk(self._board.tidy()))

    # Orders

    def cancel_on_disconnect(self, enabled: bool = True) -> None:
        """When the connection ends, whichever way, the orders that were placed over it are canceled. When it has come
        back, it is so again."""
        before, self._board.cancels_on_disconnect = self._board.cancels_on_disconnect, enabled
        try:
            self._hold(self._orders.cancel_on_disconnect(enabled=enabled))
        except BaseException:
            self._board.cancels_on_disconnect = before
            raise

    def _do(self, step: Say | Again | Step) -> Came:
        match step:
            case Say():
                self._say(step.message)
            case Again():
                self._again[step.number] = time.monotonic() + step.seconds
            case Spoken():
                return self._ask(step)
            case _:
                return self._ask_rest(step)
        return None

    def _ask(self, spoken: Spoken) -> Answer | Lost:
        self._check_open()
        began = time.monotonic()
        if self._socket is None:
            self.advance(began)
        if self._socket is None:
            why = self._error or "there is no connection"
            return no_answer(why, began, was_sent=False, is_final=self._is_over)
        said: list[Answered | Failed | None] = []
        number, message = self._board.ask(spoken, said.append)
        self._say(message)
        self.wait(lambda: bool(said), began + self._timeout)
        self._board.forget(number)
        if not said:
            return no_answer(f"nothing for {self._timeout:g} s", began, was_sent=True)
        if said[0] is None:
            return no_answer("the connection was lost", began, was_sent=True)
        return self._address.spoken_answer(said[0], began)

    # The connection

    def catch_up(self) -> None:
        """Take what is there already; come back, if it is time to."""
        for _ in range(ROOM):
            if not self.advance(0.0):
                return

    def wait(self, condition: Callable[[], bool], deadline: float) -> None:
        """Take what comes until it is so, or until then, or for ever: until the stream ends."""
        while not (condition() or self._is_over or time.monotonic() >= deadline):
            self.advance(deadline)

    def advance(self, deadline: float) -> bool:
        """Take a message, connect, or find that nothing comes. False if there was nothing to do until then."""
        if self._is_over:
            return False
        return self._guarded(lambda: self._come_back(deadline) if self._socket is None else self._listen(deadline))

    def _guarded(self, work: Callable[[], bool | None]) -> bool:
        """True, too, when the connection was lost over it, or the stream has ended."""
        try:
            return work() is not False
        except INTERRUPTIONS as error:
            self._error = error
            log.info("the stream was interrupted: %s", str(error) or type(error).__name__)
            self._offline()
            self._connects_at = time.monotonic() + self._board.next_pause() * random.uniform(0.75, 1.25)
        except Exception as error:
            self._error = error
            self._is_over = True
            self._board.end(error)
            self._offline()
        return True

    def _come_back(self, deadline: float) -> bool:
        now = time.monotonic()
        if now < self._connects_at:
            time.sleep(max(0.0, min(self._connects_at, deadline) - now))
            if deadline < self._connects_at:
                return False
        address = held(self._address.of_streams(self._calls), self._ask_rest)
        try:
            # Its own thread answers pings, so that the exchange waits for those who are busy; heartbeats tell the rest
            dialed = connect(
                address, **self._address.socket_options(address, self._verify), ping_interval=None, max_queue=ROOM
            )
            self._socket = self._connection.enter_context(dialed)
        except InvalidStatus as error:
            if (refusal := not_let_in(error)) is not None:
                raise refusal from error
            raise
        self._begin()
        return True

    def _begin(self) -> None:
        self._state = "live"
        self._heard_at = time.monotonic()
        self._again.clear()
        for message in self._board.begin():
            self._say(message)
        for number in self._board.numbers:
            self._talk(self._board.subscribe(number))

    def _listen(self, deadline: float) -> bool:
        """Raises TimeoutError when the connection is dead."""
        assert self._socket is not None
        silent_at = self._heard_at + (STALE_SECONDS if self._state == "live" else DEAD_SECONDS)
        until = min(deadline, silent_at, *self._again.values())
        try:
            received = self._socket.recv(timeout=max(0.0, until - time.monotonic()))
        except TimeoutError:
            return self._silence(silent_at)
        self._heard_at = time.monotonic()
        if self._state == "stale":
            self._state = "live"
            self._board.confirm()
        self._talk(self._board.hear(received))
        return True

    def _silence(self, silent_at: float) -> bool:
        """What is due while nothing comes; whether there was any."""
        now = time.monotonic()
        due = [number for number, at in self._again.items() if at <= now]
        for number in due:
            del self._again[number]
            self._talk(self._board.subscribe(number))
        if now < silent_at:
            return bool(due)
        if self._state == "stale":
            raise TimeoutError("nothing was heard for a while")
        self._state = "stale"
        self._board.doubt()
        return True

    def _offline(self) -> None:
        self._state = "offline"
        self._socket = None
        self._board.interrupt()
        with suppress(OSError):
            self._connection.close()

    # What is said

    def _talk(self, talk: Talk[T]) -> T:
        return held(talk, self._do)

    def _say(self, message: dict[str, Any]) -> None:
        if self._socket is not None:
            with suppress(ConnectionClosed):
                self._socket.send(msgspec.json.encode(message).decode())
