"""What a stream says and hears on its connection: who is subscribed to what, and who waits for which answer. Pure.

Like a conversation, what it does is a generator of steps: what to say, when to say it again, what to ask REST. Stream
and BlockingStream take them, one not blocking, one blocking.
"""

from collections.abc import Callable, Generator
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from pricetime_client.asking import Came, Spoken, Step
from pricetime_client.calls import Calls
from pricetime_client.errors import ExchangeError, NoAnswer, Refusal
from pricetime_client.mailbox import Mailbox
from pricetime_client.messages import (
    Answered,
    Failed,
    GoingAway,
    Heartbeat,
    Message,
    Subscribed,
    TradeMessage,
    heard,
)

STALE_SECONDS = 3.0
"""So long without a sign of life, where there is one each second, means that what one has may be old."""
DEAD_SECONDS = 10.0
"""So long means that the connection is no good any more."""
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_FINAL = ("unauthorized", "key_ended", "forbidden", "invalid_parameter", "signature_invalid")
"""What coming back does not mend."""
_CANCEL_ON_DISCONNECT_ID = 0

ConnectionState = Literal["offline", "stale", "live"]
Json = dict[str, Any]
T = TypeVar("T")


class Say(Struct, frozen=True):
    """To the exchange; in vain if the connection breaks, as its next beginning makes up for it."""

    message: Json


class Again(Struct, frozen=True):
    """Ask for this subscription again after so many seconds."""

    number: int
    seconds: float


Talk = Generator[Say | Again | Step, Came, T]
Told = Callable[[Answered | Failed | None], None]
"""Is given the answer; None if there will be none."""


class Switchboard:
    def __init__(self, calls: Calls) -> None:
        """`calls`: of REST, for what the connection does not tell any more."""
        self.cancels_on_disconnect = False
        self._calls = calls
        self._boxes: dict[int, Mailbox[Any]] = {}
        self._waiting: dict[int, Told] = {}
        self._last_id = _CANCEL_ON_DISCONNECT_ID
        self._pause = _FIRST_PAUSE_SECONDS
        self._is_new = True

    # Subscriptions

    def add(self, box: Mailbox[Any]) -> int:
        """Its number. Raises ValueError when its messages could not be told from those of another."""
        others = (each for each in self._boxes.values() if not each.is_closed)
        if any(box.position.overlaps(each.position) for each in others):
            raise ValueError(f"this stream has {box.position.channel} of that already: open another stream for it")
        self._last_id += 1
        self._boxes[self._last_id] = box
        return self._last_id

    def subscribe(self, number: int) -> Talk[None]:
        """Ask for it; before, unsubscribe from what nobody listens to any more, which may be the same."""
        yield from self.tidy()
        box = self._boxes.get(number)
        if box is not None and box.position.needs_start:
            last = yield from self._calls.last_trade()
            if last is not None:
                box.position.start(last)
        if box is not None and not box.is_closed:
            yield Say(_subscribe(number, box))

    def was_read(self, box: Mailbox[Any]) -> Talk[None]:
        """To be told after something was taken out of it."""
        if box.may_go_on:
            box.is_behind = False
            for number in [number for number, each in self._boxes.items() if each is box]:
                yield from self.subscribe(number)

    def tidy(self) -> Talk[None]:
        closed = [number for number, box in self._boxes.items() if box.is_closed]
        for box in [self._boxes.pop(number) for number in closed]:
            if box.is_asked:
                yield Say(_unsubscribe(box))

    # The connection

    def begin(self) -> list[Json]:
        """What is to be said on a new connection before anything else; all of `numbers` are to be subscribed then."""
        self._is_new = True
        if not self.cancels_on_disconnect:
            return []
        return [{"id": _CANCEL_ON_DISCONNECT_ID, "op": "cancel_on_disconnect", "enabled": True}]

    @property
    def numbers(self) -> list[int]:
        return [number for number, box in self._boxes.items() if not box.is_behind]

    def next_pause(self) -> float:
        """Seconds until the next attempt to connect."""
        pause = self._pause
        self._pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return pause

    def interrupt(self) -> None:
        """The connection is lost."""
        waiting, self._waiting = self._waiting, {}
        for told in waiting.values():
            told(None)
        for each in self._boxes.values():
            each.is_asked = False
            each.interrupt()

    def doubt(self) -> None:
        """Nothing was heard for STALE_SECONDS."""
        for each in self._boxes.values():
            each.doubt()

    def confirm(self) -> None:
        """Something was heard after all."""
        for each in self._boxes.values():
            each.confirm()

    def end(self, error: Exception | None = None) -> None:
        """It will never come back."""
        for each in self._boxes.values():
            each.end(error)

    # Orders

    def ask(self, spoken: Spoken, told: Told) -> tuple[int, Json]:
        """A number to `forget` it by, and what to say."""
        self._last_id += 1
        self._waiting[self._last_id] = told
        return self._last_id, {"id": self._last_id, "op": spoken.op, **spoken.fields}

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        self._waiting.pop(number, None)

    # What is heard

    def hear(self, text: str | bytes) -> Talk[None]:
        """Raises ExchangeError when this is the end of it all."""
        if self._is_new:
            self._is_new, self._pause = False, _FIRST_PAUSE_SECONDS
        try:
            said = heard(text)
        except msgspec.MsgspecError as error:
            raise ExchangeError(f"a message of the exchange cannot be read: {error}") from error
        match said:
            case None:
                pass
            case Heartbeat():
                for each in self._boxes.values():
                    each.position.passed(said.sequence)
                yield from self.tidy()
            case Subscribed():
                if said.id in self._boxes:
                    self._boxes[said.id].begin()
            case Answered():
                self._answer(said.id, said)
            case GoingAway():
                self._pause = said.reconnect_after_ms / 1000
            case Failed():
                yield from self._failed(said)
            case _:
                yield from self._deliver(said)

    def _answer(self, number: int, said: Answered | Failed) -> None:
        told = self._waiting.pop(number, None)
        if told is not None:
            told(said)

    def _deliver(self, message: Message) -> Talk[None]:
        for number, box in self._boxes.items():
            if not box.is_closed and box.position.is_mine(message):
                yield from self._take(number, box, message)
                return

    def _take(self, number: int, box: Mailbox[Any], message: Message) -> Talk[None]:
        if not box.is_live:
            return  # sent before the exchange heard that it is to begin again
        if not box.position.take(message):  # something was lost on the way
            box.interrupt()
            yield Say(_unsubscribe(box))
            yield Say(_subscribe(number, box))
            return
        box.put(message)
        if box.is_full:
            box.fall_behind()
            yield Say(_unsubscribe(box))

    def _failed(self, said: Failed) -> Talk[None]:
        problem = said.problem
        if said.id is None or said.id == _CANCEL_ON_DISCONNECT_ID:
            if problem.code in _FINAL:
                raise Refusal(problem)
            if said.id is not None:
                raise NoAnswer(f"orders would not go with the connection: {problem.detail}", unknown=False)
        elif said.id in self._waiting:
            self._answer(said.id, said)
        elif (box := self._boxes.get(said.id)) is not None:
            yield from self._not_subscribed(said.id, box, said)

    def _not_subscribed(self, number: int, box: Mailbox[Any], said: Failed) -> Talk[None]:
        problem = said.problem
        if problem.code == "already_subscribed":  # asked as the connection came back, which had asked itself
            box.begin()
        elif problem.code in ("gap", "ahead"):
            yield from self._begin_anew(number, box, problem.code)
        elif problem.status in (429, 503):
            yield Again(number, problem.retry_after or _FIRST_PAUSE_SECONDS)
        else:
            del self._boxes[number]
            box.end(Refusal(problem))

    def _begin_anew(self, number: int, box: Mailbox[Any], code: str) -> Talk[None]:
        """What was missed is not at hand any more. Trades are still to be read; orders come as a snapshot."""
        position = box.position
        if position.channel == "trades" and code == "gap" and position.after is not None:
            trades = yield from self._calls.trades_after(position.fields.get("symbol"), position.after)
            for trade in trades:
                message = TradeMessage(channel="trades", type="update", trade=trade)
                position.take(message)
                box.put(message)
        else:
            position.begin_anew()
        if box.is_full:
            box.fall_behind()
        else:
            yield Say(_subscribe(number, box))


def _subscribe(number: int, box: Mailbox[Any]) -> Json:
    box.is_asked = True
    return {"id": number, "op": "subscribe", **box.position.request()}


def _unsubscribe(box: Mailbox[Any]) -> Json:
    return {"op": "unsubscribe", "channel": box.position.channel, **box.position.fields}
