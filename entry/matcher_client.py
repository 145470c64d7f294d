"""Commands to the matcher and its answers back, honest about what is not known.

Commands of one turn of the event loop share a request. Three cases when no answer can be had, and a client is told
them apart: *nothing was sent* (the connection is down, or nobody listens: retried quietly for a while, then
matcher_unavailable), *turned away* (overloaded), and *sent without an answer*. What is safe to repeat is then sent
again, at once after a reconnection or when another matcher has taken over, else with growing pauses; when the time is
up the result is unknown.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from contracts.messages import (
    MAX_COMMANDS,
    AllOrNothing,
    Answer,
    AnswerPart,
    CancelOrder,
    CancelOrders,
    ClientCommand,
    PlaceOrder,
    Refusal,
    Reply,
    RequestRefusal,
    RequestRefused,
    Result,
)
from contracts.subjects import MATCHER_TAKEN_OVER, ORDERS_SUBMIT
from entry.admission import CANCEL_ROOM
from entry.problems import RETRY_AFTER_SECONDS, Declined, Problem, declined
from runtime.clock import steady
from runtime.metrics import Histogram
from runtime.nats_client import NatsClient
from runtime.tracing import current, trace_headers

log = logging.getLogger(__name__)

_TICK_SECONDS = 0.05
_SILENCE_SECONDS = 2.0
"""A matcher that answers nothing for so long cannot write its journal, or takes it that it is not the one that may."""
_CANCELS = (CancelOrder, CancelOrders)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Reply)


class Decided(Struct, frozen=True):
    """The result of one command, and the part of the answer that carries its journal sequence and time.

    `retried`: it may have been carried out once before, by an attempt that got no answer.
    """

    part: AnswerPart
    result: Result
    retried: bool = False
    sent_after: int = 0
    """Of a retried one: the journal sequence that its sender knew before the first attempt."""


Told = Callable[[Decided | Declined], None]
"""Is given a decision, or why there is none."""


class _Waiting(Struct, eq=False):
    command: ClientCommand
    tell: Told
    send_by: float
    give_up: float = math.inf
    """When to stop waiting for an answer, once it was sent."""
    attempts: int = 0
    """How many times it was sent."""
    unanswered: int = 0
    """How many of these may still be carried out, for all that is known."""
    request: int = 0
    """The last request that it was sent with."""
    span: Any = None
    """Of the trace that it belongs to, if to any."""
    is_settled: bool = False
    """Told, or nobody waits any more."""

    counted_by: "MatcherClient | None" = None
    """Whose commands there is one less of when it is settled, unless somebody else sees to that."""

    def settle(self, decision: Decided | Declined) -> None:
        if self.is_settled:
            return
        self.is_settled = True
        if self.counted_by is not None:
            self.counted_by.one_less()
        try:
            self.tell(decision)
        except Exception:
            log.exception("a decision could not be told")  # those of others still are


@dataclass(slots=True)
class _Sent:
    batch: list[_Waiting]
    give_up: float
    repeat_at: float
    reconnects: int
    sent_at: float


def is_repeatable(command: ClientCommand) -> bool:
    """Whether carrying it out a second time does nothing more than the first time did.

    Not an order without a client order id; and not "cancel all", which could meet orders that came since.
    """
    match command:
        case PlaceOrder():
            return command.client_order_id is not None
        case AllOrNothing(items=items):
            named = [item.client_order_id is not None for item in items if isinstance(item, PlaceOrder)]
            return bool(named) and all(named)
        case CancelOrders():
            return False
    return True


class MatcherClient:
    """One per process. `start` it, keep `run` running, then any number of `submit` at once."""

    def __init__(
        self, connection: NatsClient, timeout_seconds: float, max_waiting: int, retry_seconds: float = math.inf
    ) -> None:
        self._connection = connection
        self._timeout = timeout_seconds
        self._retry = retry_seconds
        self._max_waiting = max_waiting
        self._count = 0
        self._pending: list[_Waiting] = []
        self._work = asyncio.Event()
        self._unsent: list[_Waiting] = []
        self._sent: dict[int, _Sent] = {}
        self._token = 0
        self._silent_since = math.inf
        """When the first request was sent since the matcher has answered one."""
        self._loop = asyncio.get_running_loop()
        self.round_trips: Histogram | None = None
        """How long answers took, if anybody wants to know."""
        self.unknown = self.unavailable = 0
        """Commands given up: sent without an answer, and taken by nobody."""
        self.is_traced = False
        """Whether the matcher is to be told which traces commands belong to."""

    def one_less(self) -> None:
        self._count -= 1

    @property
    def waiting(self) -> int:
        """Commands whose decision is still to come."""
        return self._count

    async def start(self) -> None:
        self._inbox = self._connection.new_inbox()
        await self._connection.listen(f"{self._inbox}.*", self._on_reply)
        await self._connection.subscribe(MATCHER_TAKEN_OVER, cb=self._on_taken_over)

    async def submit(self, command: ClientCommand) -> Decided:
        """The matcher's decision, durable. Raises Declined: overloaded, matcher_unavailable or result_unknown."""
        self._check_room((command,))
        decided, waiting = self._awaited(command)
        self._count += 1
        try:
            if self._sent:
                self._pending.append(waiting)
                self._work.set()
            else:
                await self._send([waiting])  # alone: a turn of the event loop sooner than by way of `run`
            return await decided
        finally:
            waiting.is_settled = True
            self._count -= 1

    def begin(self, command: ClientCommand, tell: Told) -> None:
        """As `submit`, for one who does not wait: `tell` is given the decision. Raises Declined if there will be none.

        Nothing is sent before the next turn of the event loop.
        """
        self._check_room((command,))
        waiting = self._waiting(command, tell)
        waiting.counted_by = self
        self._count += 1
        self._pending.append(waiting)
        self._work.set()

    async def submit_all(self, commands: Sequence[ClientCommand]) -> list[Decided | Declined]:
        """The decision on each command, or why there is none. They go out in one request, in this order.

        At most MAX_COMMANDS. Raises Declined (overloaded) when nothing of it was sent.
        """
        self._check_room(commands)
        awaited = [self._awaited(command) for command in commands]
        batch = [waiting for _, waiting in awaited]
        self._count += len(batch)
        try:
            await self._send(batch)
            decisions = await asyncio.gather(*(decided for decided, _ in awaited), return_exceptions=True)
        finally:
            for waiting in batch:
                waiting.is_settled = True
            self._count -= len(batch)
        return [_decided_or_declined(decision) for decision in decisions]

    def _check_room(self, commands: Sequence[ClientCommand]) -> None:
        if self._sent and self._loop.time() - self._silent_since > _SILENCE_SECONDS:  # without: somebody has to try
            raise _silent()
        if self._count + len(commands) <= self._max_waiting:
            return
        cancels_alone = all(type(command) in _CANCELS for command in commands)
        if not cancels_alone or self._count + len(commands) > self._max_waiting * CANCEL_ROOM:
            raise _overloaded("as many commands already wait for an answer as may")

    def _awaited(self, command: ClientCommand) -> "tuple[asyncio.Future[Decided], _Waiting]":
        decided: asyncio.Future[Decided] = self._loop.create_future()

        def tell(decision: "Decided | Declined") -> None:
            if decided.done():
                return
            if isinstance(decision, Declined):
                decided.set_exception(decision)
            else:
                decided.set_result(decision)

        return decided, self._waiting(command, tell)

    def _waiting(self, command: ClientCommand, tell: Told) -> _Waiting:
        waiting = _Waiting(command, tell, self._loop.time() + self._timeout)
        if self.is_traced:
            waiting.span = current.get()
        return waiting

    async def run(self) -> None:
        """Send what is submitted, and give up in time on what is not answered. Returns never."""
        ticking = asyncio.create_task(self._tick_forever())
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                pending, self._pending = self._pending, []
                for batch in batches([waiting for waiting in pending if not waiting.is_settled]):
                    await self._send(batch)
        finally:
            ticking.cancel()

    async def _send(self, batch: list[_Waiting]) -> None:
        # nats-py keeps what is published while disconnected and sends it much later: so never publish then
        if not self._connection.is_connected:
            self._unsent += batch
            return
        self._token += 1
        token, sent = self._token, self._sending(batch)
        payload = _encoder.encode(tuple(waiting.command for waiting in batch))
        self._sent[token] = sent
        self._silent_since = min(self._silent_since, self._loop.time())
        for waiting in batch:
            waiting.attempts += 1
            waiting.unanswered += 1
            waiting.request = token
        headers = trace_headers(waiting.span for waiting in batch) if self.is_traced else None
        try:
            await self._connection.publish(ORDERS_SUBMIT, payload, reply=f"{self._inbox}.{token}", headers=headers)
        except NatsError as error:
            log.warning("a request could not be sent: %s", error or type(error).__name__)
            self._not_received(self._sent.pop(token).batch)

    def _sending(self, batch: list[_Waiting]) -> _Sent:
        """From the first sending on, a command has its whole time for an answer; each retry pauses twice as long."""
        now, attempts = self._loop.time(), 0
        for waiting in batch:
            if waiting.attempts == 0:
                waiting.give_up = now + self._timeout
            attempts = max(attempts, waiting.attempts)
        give_up = max(waiting.give_up for waiting in batch)
        sent_at = 0.0 if self.round_trips is None else steady()
        return _Sent(batch, give_up, now + self._retry * 2**attempts, self._connection.stats["reconnects"], sent_at)

    def _not_received(self, batch: list[_Waiting]) -> None:
        """This attempt reached nobody, as is known for certain."""
        for waiting in batch:
            waiting.attempts -= 1
            waiting.unanswered -= 1
        self._unsent += batch

    def _on_reply(self, subject: str, _: str, content: bytes, headers: dict[str, str] | None) -> None:
        sent = self._sent.pop(int(subject.rsplit(".", 1)[-1]), None)
        if sent is None:
            return  # too late: it was given up as unknown
        if headers and headers.get("Status") == "503":
            self._not_received(sent.batch)  # no responders: the broker says so
            self._silent_since = math.inf
            return
        self._silent_since = self._loop.time() if self._sent else math.inf
        if self.round_trips is not None:
            self.round_trips.observe(steady() - sent.sent_at)  # the loop's time counts milliseconds
        try:
            reply = _decoder.decode(content)
            if isinstance(reply, RequestRefused):
                self._on_turned_away(sent, reply)
            else:
                _settle(sent.batch, reply)
        except (msgspec.MsgspecError, ValueError):
            log.exception("an answer of the matcher cannot be read")
            _fail(sent.batch, _result_unknown())

    async def _on_taken_over(self, _: Msg) -> None:
        """Whom it was sent to will hardly answer any more."""
        if self._retry < math.inf:
            now = self._loop.time()
            for sent in self._sent.values():
                sent.repeat_at = min(sent.repeat_at, now)

    def _on_turned_away(self, sent: _Sent, refused: RequestRefused) -> None:
        """Nothing was done by this attempt; of an earlier one without an answer that says nothing."""
        for waiting in sent.batch:
            waiting.unanswered -= 1
        _fail((waiting for waiting in sent.batch if waiting.attempts == 1), _turned_away(refused))
        self._later([waiting for waiting in sent.batch if waiting.attempts > 1])

    def _later(self, batch: list[_Waiting]) -> None:
        """To be repeated after a pause, as if a request without an answer had been sent."""
        if batch:
            self._token += 1
            self._sent[self._token] = self._sending(batch)
            for waiting in batch:
                waiting.request = self._token

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = self._loop.time()
            self._give_up(now)
            if self._connection.is_connected:
                self._repeat(now)
                if self._unsent:
                    self._pending = self._unsent + self._pending
                    self._unsent = []
                if self._pending:
                    self._work.set()

    def _repeat(self, now: float) -> None:
        """Send again what has had no answer for too long, or may have lost it with the connection."""
        reconnects = self._connection.stats["reconnects"]
        for token, sent in self._sent.items():
            if sent.repeat_at <= now or sent.reconnects != reconnects:
                sent.repeat_at, sent.reconnects = math.inf, reconnects
                again = [each for each in sent.batch if each.request == token and is_repeatable(each.command)]
                for waiting in again:
                    waiting.request = 0
                self._pending += again

    def _give_up(self, now: float) -> None:
        late = [token for token, sent in self._sent.items() if sent.give_up <= now]
        for token in late:
            batch = self._sent.pop(token).batch
            self.unknown += sum(not waiting.is_settled for waiting in batch)
            _fail(batch, _result_unknown())
        for waiting in self._unsent:
            if waiting.attempts == 0 and waiting.send_by <= now:
                self.unavailable += 1
                waiting.settle(_unavailable())
            elif waiting.attempts and waiting.give_up <= now:
                self.unknown += 1
                waiting.settle(_result_unknown())
        self._unsent = [waiting for waiting in self._unsent if not waiting.is_settled]


def batches(pending: list[_Waiting]) -> Iterator[list[_Waiting]]:
    """Requests of at most MAX_COMMANDS. Cancels go first and alone: the matcher keeps room for requests of cancels."""
    cancels = [waiting for waiting in pending if type(waiting.command) in _CANCELS]
    others = [waiting for waiting in pending if type(waiting.command) not in _CANCELS] if cancels else pending
    for group in (cancels, others):
        for start in range(0, len(group), MAX_COMMANDS):
            yield group[start : start + MAX_COMMANDS]


def _settle(batch: list[_Waiting], answer: Answer) -> None:
    """A refusal settles a command only when none of its attempts is on the way: another could be accepted yet.

    What is refused leaves no trace in the matcher, so attempts are judged each for itself, in the order in which they
    arrive. If the others have been lost, the result stays unknown. A cancel that finds nothing will find nothing later.
    """
    results = ((part, result) for part in answer.parts for result in part.results)
    for waiting, (part, result) in zip(batch, results, strict=True):
        waiting.unanswered -= 1
        if isinstance(result, Refusal) and waiting.unanswered and type(waiting.command) not in _CANCELS:
            waiting.request = 0  # which is not to be added to
        else:
            waiting.settle(Decided(part, result, waiting.attempts > 1))


def _decided_or_declined(decision: Decided | BaseException) -> Decided | Declined:
    if isinstance(decision, Decided | Declined):
        return decision
    raise decision


def _fail(batch: Iterable[_Waiting], problem: Declined) -> None:
    for waiting in batch:
        waiting.settle(problem)


def _turned_away(refused: RequestRefused) -> Declined:
    if refused.reason is RequestRefusal.OVERLOADED:
        return _overloaded(refused.detail)
    log.error("the matcher turned a request away as %s: %s", refused.reason.value, refused.detail)
    return declined("internal_error", "The matcher could not read what the gateway sent. Nothing was done.")


def _overloaded(why: str) -> Declined:
    return Declined(
        Problem(
            code="overloaded",
            detail=f"Nothing was done: {why}. Send it again after retry_after seconds.",
            retry_after=RETRY_AFTER_SECONDS,
        )
    )


def _unavailable() -> Declined:
    return declined(
        "matcher_unavailable",
        "No matcher took the command; it was not carried out and will not be. Send it again after Retry-After seconds.",
    )


def _silent() -> Declined:
    return declined(
        "matcher_unavailable",
        "Nothing was done: the matcher has others waiting that it cannot answer, as when too few nodes of the journal "
        "are there. Send it again after Retry-After seconds.",
    )


def _result_unknown() -> Declined:
    return declined("result_unknown", "The command was sent to the matcher and no answer came in time.")
