"""What waits for one subscriber: a queue of messages, or a book that is kept up to date; and how it ended. Pure."""

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pricetime_client.book import LocalBook
from pricetime_client.messages import Message
from pricetime_client.subscriptions import Position

M = TypeVar("M")

ROOM = 10_000
"""Messages that may wait. With so many the subscription is ended, and begins again, from the last of them, when half of
them have been read."""


class Mailbox(Generic[M]):
    """The stream's side of a subscription. `is_asked`: the exchange was asked for it. `is_live`: it has said yes.
    `is_behind`: it is not asked because too much waits here. `changed` is called when there may be something new."""

    def __init__(self, position: Position) -> None:
        self.position = position
        self.is_asked = False
        self.is_live = False
        self.is_behind = False
        self.is_closed = False
        self.error: Exception | None = None
        self.changed: Callable[[], None] = _nobody_waits
        self._messages: deque[M] = deque()

    @property
    def is_full(self) -> bool:
        return len(self._messages) >= ROOM

    @property
    def is_empty(self) -> bool:
        return not self._messages

    @property
    def may_go_on(self) -> bool:
        return self.is_behind and len(self._messages) <= ROOM // 2

    def put(self, message: M) -> None:
        if not self.is_closed:
            self._messages.append(message)
            self.changed()

    def take(self) -> M | None:
        """None if there is nothing yet, or nothing any more."""
        return self._messages.popleft() if self._messages else None

    def begin(self) -> None:
        self.is_live = True
        self.changed()

    def interrupt(self) -> None:
        """What comes later may not follow what came before."""
        self.is_live = False

    def fall_behind(self) -> None:
        self.is_behind = True
        self.is_asked = False
        self.interrupt()

    def doubt(self) -> None:
        """Nothing is heard of the exchange."""

    def confirm(self) -> None:
        """It is there, and nothing was missed."""

    def end(self, error: Exception | None = None) -> None:
        """What waits can still be read."""
        if not self.is_closed:
            self.is_closed = True
            self.error = error
            self.changed()


class BookBox(Mailbox[Any]):
    """Takes every message into the book at once; whoever waits here is told that it changed."""

    def __init__(self, position: Position, book: LocalBook) -> None:
        super().__init__(position)
        self.book = book
        self._is_news = False

    def put(self, message: Message) -> None:
        self.book.apply(message)  # type: ignore[arg-type]  # of the channel "book" there are no others
        self._tell()

    @property
    def is_empty(self) -> bool:
        return self.is_closed or not self._is_news

    def take(self) -> LocalBook | None:
        if self.is_empty:
            return None
        self._is_news = False
        return self.book

    def interrupt(self) -> None:
        super().interrupt()
        self.doubt()

    def doubt(self) -> None:
        if self.book.is_live:
            self.book.interrupt()
            self._tell()

    def confirm(self) -> None:
        if self.position.has_begun:
            self.book.confirm()
            self._tell()

    def end(self, error: Exception | None = None) -> None:
        super().end(error)
        self.book.interrupt()

    def _tell(self) -> None:
        self._is_news = True
        self.changed()


def _nobody_waits() -> None:
    pass
