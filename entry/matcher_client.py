"""Commands to the matcher and its answers back, honest about what is not known.

Commands of one turn of the event loop share a request. Three cases when no answer can be had, and a client is told
them apart: *nothing was sent* (the connection is down, or nobody listens: retried quietly for a while, then
matcher_unavailable), *turned away* (overloaded), and *sent without an answer* (result_unknown).
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from contracts.messages import (
    MAX_COMMANDS,
    Answer,
    AnswerPart,
    CancelOrder,
    Command,
    Reply,
    RequestRefusal,
    RequestRefused,
    Result,
)
from contracts.subjects import ORDERS_SUBMIT
from entry.problems import Declined, declined

log = logging.getLogger(__name__)

_TICK_SECONDS = 0.05
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Reply)


@dataclass(frozen=True, slots=True)
class Decided:
    """The result of one command, and the part of the answer that carries its journal sequence and time."""

    part: AnswerPart
    result: Result


@dataclass(slots=True, eq=False)
class _Waiting:
    command: Command
    decided: "asyncio.Future[Decided]"
    send_by: float

    def settle(self, decided: Decided) -> None:
        if not self.decided.done():
            self.decided.set_result(decided)

    def fail(self, problem: Declined) -> None:
        if not self.decided.done():
            self.decided.set_exception(problem)


@dataclass(slots=True)
class _Sent:
    batch: list[_Waiting]
    answer_by: float


class MatcherClient:
    """One per process. `start` it, keep `run` running, then any number of `submit` at once."""

    def __init__(self, connection: Client, timeout_seconds: float, max_waiting: int) -> None:
        self._connection = connection
        self._timeout = timeout_seconds
        self._max_waiting = max_waiting
        self._count = 0
        self._pending: list[_Waiting] = []
        self._work = asyncio.Event()
        self._unsent: list[_Waiting] = []
        self._sent: dict[str, _Sent] = {}
        self._token = 0
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        self._inbox = self._connection.new_inbox()
        await self._connection.subscribe(f"{self._inbox}.*", cb=self._on_reply, pending_bytes_limit=-1)

    async def submit(self, command: Command) -> Decided:
        """The matcher's decision, durable. Raises Declined: overloaded, matcher_unavailable or result_unknown."""
        if self._count >= self._max_waiting:
            raise _overloaded("the gateway already waits for as many answers as it may")
        waiting = _Waiting(command, self._loop.create_future(), self._loop.time() + self._timeout)
        self._count += 1
        try:
            if self._sent:
                self._pending.append(waiting)
                self._work.set()
            else:
                await self._send([waiting])  # alone: a turn of the event loop sooner than by way of `run`
            return await waiting.decided
        finally:
            self._count -= 1

    async def run(self) -> None:
        """Send what is submitted, and give up in time on what is not answered. Returns never."""
        ticking = asyncio.create_task(self._tick_forever())
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                pending, self._pending = self._pending, []
                for batch in batches(pending):
                    await self._send(batch)
        finally:
            ticking.cancel()

    async def _send(self, batch: list[_Waiting]) -> None:
        # nats-py keeps what is published while disconnected and sends it much later: so never publish then
        if not self._connection.is_connected:
            self._unsent += batch
            return
        self._token += 1
        token = str(self._token)
        payload = _encoder.encode(tuple(waiting.command for waiting in batch))
        self._sent[token] = _Sent(batch, self._loop.time() + self._timeout)
        try:
            await self._connection.publish(ORDERS_SUBMIT, payload, reply=f"{self._inbox}.{token}")
        except NatsError as error:
            log.warning("a request could not be sent: %s", error or type(error).__name__)
            self._unsent += self._sent.pop(token).batch

    async def _on_reply(self, message: Msg) -> None:
        sent = self._sent.pop(message.subject.rsplit(".", 1)[-1], None)
        if sent is None:
            return  # too late: it was given up as unknown
        if message.headers and message.headers.get("Status") == "503":
            self._unsent += sent.batch  # no responders: the broker says that nobody has received it
            return
        try:
            _settle(sent.batch, _decoder.decode(message.data))
        except (msgspec.MsgspecError, ValueError):
            log.exception("an answer of the matcher cannot be read")
            _fail(sent.batch, _result_unknown())

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._give_up(self._loop.time())
            if self._unsent and self._connection.is_connected:
                self._pending = self._unsent + self._pending
                self._unsent = []
                self._work.set()

    def _give_up(self, now: float) -> None:
        late = [token for token, sent in self._sent.items() if sent.answer_by <= now]
        for token in late:
            _fail(self._sent.pop(token).batch, _result_unknown())
        _fail((waiting for waiting in self._unsent if waiting.send_by <= now), _unavailable())
        self._unsent = [waiting for waiting in self._unsent if waiting.send_by > now]


def batches(pending: list[_Waiting]) -> Iterator[list[_Waiting]]:
    """Requests of at most MAX_COMMANDS. Cancels go first and alone: the matcher keeps room for requests of cancels."""
    cancels = [waiting for waiting in pending if type(waiting.command) is CancelOrder]
    others = [waiting for waiting in pending if type(waiting.command) is not CancelOrder] if cancels else pending
    for group in (cancels, others):
        for start in range(0, len(group), MAX_COMMANDS):
            yield group[start : start + MAX_COMMANDS]


def _settle(batch: list[_Waiting], reply: Reply) -> None:
    if isinstance(reply, RequestRefused):
        _fail(batch, _turned_away(reply))
        return
    for waiting, decided in zip(batch, _decisions(reply), strict=True):
        waiting.settle(decided)


def _decisions(answer: Answer) -> Iterator[Decided]:
    return (Decided(part, result) for part in answer.parts for result in part.results)


def _fail(batch: Iterable[_Waiting], problem: Declined) -> None:
    for waiting in batch:
        waiting.fail(problem)


def _turned_away(refused: RequestRefused) -> Declined:
    if refused.reason is RequestRefusal.OVERLOADED:
        return _overloaded(refused.detail)
    log.error("the matcher turned a request away as %s: %s", refused.reason.value, refused.detail)
    return declined("internal_error", "The matcher could not read what the gateway sent. Nothing was done.")


def _overloaded(why: str) -> Declined:
    return declined("overloaded", f"Nothing was done: {why}. Send it again after Retry-After seconds.")


def _unavailable() -> Declined:
    return declined(
        "matcher_unavailable",
        "No matcher took the command; it was not carried out and will not be. Send it again after Retry-After seconds.",
    )


def _result_unknown() -> Declined:
    return declined("result_unknown", "The command was sent to the matcher and no answer came in time.")
