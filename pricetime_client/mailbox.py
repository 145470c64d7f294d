"""What waits for one subscriber: a queue of messages, or a book that is kept up to date; and how it ended."""

import asyncio
import contextlib
from typing import Any, Generic, TypeVar

from pricetime_client.book import LocalBook
from pricetime_client.messages import Message
from pricetime_client.subscriptions import Position

M = TypeVar("M")

ROOM = 10_000
"""Messages that may wait; with more the connection is read no further, and the exchange sends on later."""


class Mailbox(Generic[M]):
    """The stream's side of a subscription. `live`: the exchange has said that it is."""

    def __init__(self, position: Position) -> None:
        self.position = position
        self.live = asyncio.Event()
        self.error: Exception | None = None
        self.is_closed = False
        self._messages: asyncio.Queue[M | None] = asyncio.Queue(ROOM)

    @property
    def has_room(self) -> bool:
        return not self._messages.full()

    async def put(self, message: M) -> None:
        """Waits for room."""
        if not self.is_closed:
            await self._messages.put(message)

    async def get(self) -> M | None:
        """None at the end. Raises what ended it."""
        message = None if self.is_closed and self._messages.empty() else await self._messages.get()
        if message is None and self.error is not None:
            raise self.error
        return message

    def begin(self) -> None:
        self.live.set()

    def interrupt(self) -> None:
        """What comes later may not follow what came before."""
        self.live.clear()

    def doubt(self) -> None:
        """Nothing is heard of the exchange."""

    def confirm(self) -> None:
        """It is there, and nothing was missed."""

    def end(self, error: Exception | None = None) -> None:
        """Nobody waits here any longer, neither for a message nor for room."""
        if self.is_closed:
            return
        self.is_closed = True
        self.error = error
        self.live.set()
        with contextlib.suppress(asyncio.QueueFull):
            self._messages.put_nowait(None)
            return
        while not self._messages.empty():
            self._messages.get_nowait()
        self._messages.put_nowait(None)


class BookBox(Mailbox[Any]):
    """Takes every message into the book at once; whoever waits here is told that it changed."""

    def __init__(self, position: Position, book: LocalBook) -> None:
        super().__init__(position)
        self.book = book
        self._changed = asyncio.Event()

    async def put(self, message: Message) -> None:
        self.book.apply(message)  # type: ignore[arg-type]  # of the channel "book" there are no others
        self._changed.set()

    async def get(self) -> LocalBook | None:
        await self._changed.wait()
        if self.is_closed:
            if self.error is not None:
                raise self.error
            return None
        self._changed.clear()
        return self.book

    def interrupt(self) -> None:
        super().interrupt()
        self.doubt()

    def doubt(self) -> None:
        if self.book.is_live:
            self.book.interrupt()
            self._changed.set()

    def confirm(self) -> None:
        if self.position.has_begun:
            self.book.confirm()
            self._changed.set()

    def end(self, error: Exception | None = None) -> None:
        super().end(error)
        self.book.interrupt()
        self._changed.set()
