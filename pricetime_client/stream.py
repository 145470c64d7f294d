"""One WebSocket connection with any number of subscriptions, which comes back by itself and goes on where it was.

async with exchange.stream() as stream:
    async for message in stream.subscribe("trades", symbol="BTC-USD"):
        print(message.trade.price)
"""

import asyncio
import contextlib
import logging
import random
import ssl
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, Unpack, overload
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from pricetime_client.asking import problem_of
from pricetime_client.book import LocalBook
from pricetime_client.errors import ExchangeError, NoAnswer, Refusal
from pricetime_client.mailbox import BookBox, Mailbox
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
from pricetime_client.views import Trade

log = logging.getLogger(__name__)

M = TypeVar("M")
Json = dict[str, Any]
ConnectionState = Literal["offline", "stale", "live"]

STALE_SECONDS = 3.0
"""So long without a sign of life, where there is one each second, means that what one has may be old."""
DEAD_SECONDS = 10.0
"""So long means that the connection is no good any more."""
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_LARGEST_MESSAGE = 64 * 1024 * 1024
_FINAL = ("unauthorized", "key_ended", "forbidden", "invalid_parameter", "signature_invalid")
"""What coming back does not mend."""

_LOST = (OSError, ConnectionClosed, InvalidHandshake, TimeoutError, EOFError, NoAnswer)


def websocket_address(told: str, rest: str) -> str:
    """`told`: an address, with or without its path; a path on the origin of `rest`; or nothing: the next port."""
    parts = urlsplit(rest)
    scheme = "wss" if parts.scheme == "https" else "ws"
    if "://" in told:
        address = urlsplit(told)
        secure = address.scheme in ("wss", "https")
        return address._replace(scheme="wss" if secure else "ws", path=address.path.rstrip("/") or "/ws").geturl()
    if told:
        return parts._replace(scheme=scheme, path=f"/{told.strip('/')}").geturl()
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{scheme}://{host}:8001/ws"


class Subscription(Generic[M]):
    """An async iterator of messages. Await it to wait until it is live. It ends with `close`, with its stream, or when
    nobody holds it any more.

    `trades` and `orders` leave nothing out and tell nothing twice, interruptions or not: they go on after the last
    message. Where `orders` cannot, and for a `book` always, a snapshot comes, which replaces all that one has.
    """

    def __init__(self, box: Mailbox[M], stream: "Stream") -> None:
        self._box = box
        self._stream = stream
        weakref.finalize(self, box.end).atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> M:
        """Raises Refusal when the exchange does not give it, or not any more."""
        message = await self._box.get()
        if message is None:
            raise StopAsyncIteration
        return message

    def __await__(self) -> Generator[Any, None, Self]:
        return self._until_live().__await__()

    async def _until_live(self) -> Self:
        await self._box.live.wait()
        if self._box.error is not None:
            raise self._box.error
        return self

    @property
    def is_live(self) -> bool:
        return self._box.live.is_set() and not self._box.is_closed and self._stream.state == "live"

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


class Stream:
    """Made by AsyncExchange.stream(). `state`: "live"; "stale" when nothing has come for some seconds; "offline"."""

    def __init__(
        self,
        address: Callable[[], Awaitable[str]],
        key_headers: Callable[[str, str], dict[str, str]],
        trades_after: Callable[[str | None, int], Awaitable[list[Trade]]],
        last_trade: Callable[[], Awaitable[int | None]],
        *,
        patience: float,
        tls: ssl.SSLContext | bool = True,
        trusts_environment: bool = True,
    ) -> None:
        self.state: ConnectionState = "offline"
        self._address = address
        self._key_headers = key_headers
        self._trades_after = trades_after
        self._last_trade = last_trade
        self._patience = patience
        self._tls = tls_context(tls)
        self._trusts_environment = trusts_environment
        self._boxes: dict[int, Mailbox[Any]] = {}
        self._last_id = 0
        self._socket: ClientConnection | None = None
        self._connected = asyncio.Event()
        self._pause = _FIRST_PAUSE_SECONDS
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
        for each in self._boxes.values():
            each.end()
        if self._running is not None:
            ending = [self._running, *self._sending]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

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
        if self._running is None:
            raise RuntimeError("this stream is not open: async with exchange.stream() as stream")
        forgotten = self._take_closed()
        if any(box.position.overlaps(each.position) for each in self._boxes.values()):
            raise ValueError(f"this stream has {box.position.channel} of that already: open another stream for it")
        if self._running.done():
            box.end(self._error)
            return
        self._last_id += 1
        self._boxes[self._last_id] = box
        if self._socket is not None:  # if there is no connection now, its beginning makes up for it
            self._soon(self._send(*map(_unsubscribe, forgotten)))
            self._soon(self._ask(self._last_id, box))

    async def tidy(self) -> None:
        """Unsubscribe from what nobody listens to any more."""
        for each in self._take_closed():
            await self._send(_unsubscribe(each))

    def _take_closed(self) -> list[Mailbox[Any]]:
        closed = [number for number, box in self._boxes.items() if box.is_closed]
        return [self._boxes.pop(number) for number in closed]

    # The connection

    async def _run(self) -> None:
        """Connects again and again, until somebody closes it, or the exchange says that it never will."""
        try:
            while True:
                try:
                    await self._connect()
                except _LOST as error:
                    self._error = error
                    log.info("the stream was interrupted: %s", str(error) or type(error).__name__)
                self._offline()
                await asyncio.sleep(self._pause * random.uniform(0.75, 1.25))
                self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        except Exception as error:
            self._error = error
            for each in self._boxes.values():
                each.end(error)
            raise
        finally:
            self._offline()
            self._connected.set()

    async def _connect(self) -> None:
        address = await self._address()
        parts = urlsplit(address)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            async with connect(
                address,
                additional_headers=self._key_headers("GET", target),
                ssl=self._tls if parts.scheme == "wss" else None,
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
        self.state = "live"
        self._connected.set()
        for number, box in self._boxes.items():
            self._soon(self._ask(number, box))
        while True:
            received = await self._next(socket)
            self._pause = _FIRST_PAUSE_SECONDS
            try:
                said = heard(received)
            except msgspec.MsgspecError as error:
                raise ExchangeError(f"a message of the exchange cannot be read: {error}") from error
            if said is not None:
                await self._hear(said)

    async def _next(self, socket: ClientConnection) -> str | bytes:
        """Raises TimeoutError when the connection is dead."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STALE_SECONDS):
                return await socket.recv()
        self._doubt()
        async with asyncio.timeout(DEAD_SECONDS - STALE_SECONDS):
            received = await socket.recv()
        self._confirm()
        return received

    def _doubt(self) -> None:
        self.state = "stale"
        for each in self._boxes.values():
            each.doubt()

    def _confirm(self) -> None:
        self.state = "live"
        for each in self._boxes.values():
            each.confirm()

    def _offline(self) -> None:
        self.state = "offline"
        self._socket = None
        for each in self._boxes.values():
            each.interrupt()

    # What is said

    def _soon(self, saying: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(saying)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _ask(self, number: int, box: Mailbox[Any]) -> None:
        if box.position.needs_start and (last := await self._last_trade()) is not None:
            box.position.start(last)
        if number in self._boxes:
            await self._send(_subscribe(number, box))

    async def _send(self, *requests: Json) -> None:
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):
                for each in requests:
                    await self._socket.send(msgspec.json.encode(each).decode())

    # What is heard

    async def _hear(self, said: Heard) -> None:
        match said:
            case Heartbeat():
                for each in self._boxes.values():
                    each.position.passed(said.sequence)
                await self.tidy()
            case Subscribed():
                if said.id in self._boxes:
                    self._boxes[said.id].begin()
            case GoingAway():
                self._pause = said.reconnect_after_ms / 1000
            case Failed():
                await self._refused(said)
            case _:
                await self._deliver(said)

    async def _deliver(self, message: Message) -> None:
        for number, box in self._boxes.items():
            if box.position.is_mine(message):
                if box.position.take(message):
                    await self._put(box, message)
                elif box.live.is_set():  # something was lost on the way: begin again
                    box.interrupt()
                    await self._send(_unsubscribe(box), _subscribe(number, box))
                return

    async def _put(self, box: Mailbox[Any], message: Message) -> None:
        """Whoever reads too slowly holds up the others of this stream, and they are to know."""
        if box.has_room:
            await box.put(message)
            return
        try:
            async with asyncio.timeout(STALE_SECONDS):
                await box.put(message)
        except TimeoutError:
            self._doubt()
            await box.put(message)
            self._confirm()

    async def _refused(self, said: Failed) -> None:
        problem = said.problem
        if said.id is None:
            if problem.code in _FINAL:
                raise Refusal(problem)
            return  # it is closed next, and comes back
        box = self._boxes.get(said.id)
        if box is None:
            return
        if problem.code == "already_subscribed":  # asked as the connection came back, which had asked itself
            box.begin()
        elif problem.code in ("gap", "ahead"):
            await self._begin_anew(said.id, box, problem.code)
        elif problem.status in (429, 503):
            await asyncio.sleep(problem.retry_after or _FIRST_PAUSE_SECONDS)
            await self._send(_subscribe(said.id, box))
        else:
            del self._boxes[said.id]
            box.end(Refusal(problem))

    async def _begin_anew(self, number: int, box: Mailbox[Any], code: str) -> None:
        """What was missed is not at hand any more. Trades are still to be read; orders come as a snapshot."""
        position = box.position
        if position.channel == "trades" and code == "gap" and position.after is not None:
            for trade in await self._trades_after(position.fields.get("symbol"), position.after):
                message = TradeMessage(channel="trades", type="update", trade=trade)
                position.take(message)
                await self._put(box, message)
        else:
            log.warning("%s of the stream begin anew: %s", position.channel, code)
            position.begin_anew()
        await self._send(_subscribe(number, box))


def tls_context(verify: ssl.SSLContext | bool) -> ssl.SSLContext | Literal[True]:
    """As httpx has it: True is the usual way to judge a certificate."""
    if isinstance(verify, ssl.SSLContext) or verify is True:
        return verify
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _subscribe(number: int, box: Mailbox[Any]) -> Json:
    return {"id": number, "op": "subscribe", **box.position.request()}


def _unsubscribe(box: Mailbox[Any]) -> Json:
    return {"op": "unsubscribe", "channel": box.position.channel, **box.position.fields}
