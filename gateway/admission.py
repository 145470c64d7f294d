"""Where REST requests are let in or refused: in the HTTP protocol, before anything is done for them.

A refusal has to cost much less than an order, or refusing is what an overloaded gateway would spend its time on. So it
is made here, below ASGI: no task, no routing, no keys looked up, and bytes that are made once in a second. Orders wait
for room a moment before that (gateway/waiting.py).
"""

import asyncio
import re
import time
from typing import Any

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from entry.admission import Admission, Kind, overloaded, weight_of
from gateway.answer_writer import AnswerWriter, Heads
from gateway.deferred_commands import prefers_async
from gateway.http import problem_answer
from gateway.waiting import WaitingLine
from runtime.server import HttpConnection

ARRIVED = "pricetime.arrived"
"""Where an order that has waited for room has, in its ASGI scope, the moment at which it came."""

_HEALTH = "/health/"
_READING = frozenset(("GET", "HEAD", "OPTIONS"))
_GETTING_OUT = ("/cancel-all-after", "/kill-switch")
_STORABLE = "/orders"


class AdmittingProtocol(HttpConnection):
    """Looks at each request when all of it is here, or as much as came in one go.

    One that is still on its way takes no room: whoever never ends a request must not keep others out.
    """

    admission: Admission
    line: WaitingLine
    refusals: "Refusals"
    heads: Heads
    _begun: tuple[RequestResponseCycle, ASGI3Application] | None = None
    _is_receiving = False
    _is_within_request = False
    _waiting_since: float | None = None
    _unparsed: bytes | None = None
    """The order that waits, if it came whole."""

    def data_received(self, data: bytes) -> None:
        """In an overload most of what comes is one whole order after the other: those wait, or go, unparsed."""
        if self._waiting_since is not None:
            self._parse_what_waits()  # the client does not wait for its answer; uvicorn knows what to do with that
        elif self.line.is_needed and self._is_idle and is_one_order(data):
            self._wait_or_refuse(data)
            return
        self._parse(data)
        if self._begun is not None and self._waiting_since is None:
            self._judge()

    def shutdown(self) -> None:
        self._parse_what_waits()  # so that it is answered before the connection ends
        super().shutdown()

    def _parse(self, data: bytes) -> None:
        self._is_receiving = True
        super().data_received(data)
        self._is_receiving = False

    def _parse_what_waits(self) -> None:
        unparsed, self._unparsed = self._unparsed, None
        if unparsed is not None:
            self._parse(unparsed)

    @property
    def _is_idle(self) -> bool:
        """Whether what comes now begins a request, not the connection's first, and nobody waits for an answer."""
        return not self._is_within_request and self.cycle is not None and self.cycle.response_complete

    def on_message_begin(self) -> None:
        self._is_within_request = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._is_within_request = False
        super().on_message_complete()
        self.cycle.more_body = False  # uvicorn leaves that out once there was an answer

    def _wait_or_refuse(self, data: bytes) -> None:
        if self.line.join(self._on_turn, len(data)):
            self._waiting_since, self._unparsed = time.perf_counter(), data
            self._unset_keepalive_if_required()
        else:
            self._refuse_one()

    def _on_turn(self, has_room: bool) -> None:
        """The end of waiting."""
        since, self._waiting_since = self._waiting_since, None
        if self.transport.is_closing():
            self._begun = self._unparsed = None
            return
        if self._unparsed is not None and not has_room:
            self._unparsed = None
            self._refuse_one()
            return
        self._parse_what_waits()
        if self._begun is None:  # it could not be read, and that was answered
            return
        (cycle, app), self._begun = self._begun, None
        if has_room:
            scope: Any = cycle.scope
            scope[ARRIVED] = since
            self._let_in(cycle, app, Kind.ORDER)
        else:
            self.admission.refuse(Kind.ORDER)
            self._refuse(cycle)

    def _refuse_one(self) -> None:
        if self.transport.is_closing():
            return
        if self.flow.write_paused:
            self.transport.abort()
            return
        self.admission.refuse(Kind.ORDER)
        seconds = self.admission.retry_after(time.monotonic())
        self.transport.write(self.refusals.answer(seconds, self.server_state.default_headers, keep_alive=True))
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._begun = cycle, app
        if not self._is_receiving:
            self._judge()

    def _judge(self) -> None:
        assert self._begun is not None
        (cycle, app), self._begun = self._begun, None
        if self.transport.is_closing():
            return
        kind = kind_of(cycle.scope)
        if kind is None:
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            super()._start_asgi_task(cycle, _entering_later(app, self.admission, self.line, kind))
        elif kind is Kind.ORDER and self.line.is_needed and self.line.join(self._on_turn, len(cycle.body)):
            self._waiting_since, self._begun = time.perf_counter(), (cycle, app)
        else:
            self._let_in(cycle, app, kind)

    def _let_in(self, cycle: RequestResponseCycle, app: ASGI3Application, kind: Kind) -> None:
        if not self.admission.enter(kind, weight := weight_of(len(cycle.body))):
            self._refuse(cycle)
            return
        super()._start_asgi_task(cycle, _leaving(app, self.admission, kind, weight, AnswerWriter(cycle, self.heads)))

    def _refuse(self, cycle: RequestResponseCycle) -> None:
        if self.flow.write_paused:
            self.transport.abort()  # it sends on and on, and does not even read that it is refused
            return
        seconds = self.admission.retry_after(time.monotonic())
        answer = self.refusals.answer(seconds, self.server_state.default_headers, cycle.keep_alive)
        self.transport.write(answer if cycle.scope["method"] != "HEAD" else answer[: answer.index(b"\r\n\r\n") + 4])
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        elif self.pipeline:  # not at once: a thousand of them would go a thousand calls deep
            self.loop.call_soon(self.on_response_complete)
        else:
            self.on_response_complete()


class Refusals:
    """The answers 503, whole. Made anew when uvicorn's own headers change: once in a second."""

    def __init__(self) -> None:
        self._made_with: list[tuple[bytes, bytes]] | None = None
        self._answers: dict[tuple[int, bool], bytes] = {}

    def answer(self, seconds: int, default_headers: list[tuple[bytes, bytes]], keep_alive: bool) -> bytes:
        if default_headers is not self._made_with:
            self._made_with = default_headers
            self._answers.clear()
        found = self._answers.get((seconds, keep_alive))
        if found is None:
            found = self._answers[seconds, keep_alive] = _response(seconds, default_headers, keep_alive)
        return found


def admitting(admission: Admission, line: WaitingLine) -> type[AdmittingProtocol]:
    """The protocol for one server."""
    attributes = {"admission": admission, "line": line, "refusals": Refusals(), "heads": Heads()}
    return type("Admitting", (AdmittingProtocol,), attributes)


def is_one_order(data: bytes) -> bool:
    """Whether this is one whole request to place orders now, and nothing else. False in any doubt."""
    if not data.startswith(_PLACING):
        return False
    end = data.find(b"\r\n\r\n") + 4
    head = data[:end].lower()
    if _DOUBTFUL.search(head):
        return False
    lengths = _CONTENT_LENGTH.findall(head)
    return len(lengths) == 1 and len(data) == end + int(lengths[0])


_PLACING = (b"POST /orders HTTP/1.1\r\n", b"POST /orders/batch HTTP/1.1\r\n")
_DOUBTFUL = re.compile(rb"\n(?:prefer|expect|transfer-encoding|upgrade|connection:(?! *keep-alive\r)|[ \t])")
_CONTENT_LENGTH = re.compile(rb"\ncontent-length: *([0-9]{1,9}) *\r")


def kind_of(scope: Any) -> Kind | None:
    """What a request is; None for the question whether we are well, which is always answered."""
    path: str = scope["path"]
    if scope["method"] in _READING:
        return None if path.startswith(_HEALTH) else Kind.READ
    kind = Kind.CANCEL if scope["method"] == "DELETE" or path.endswith(_GETTING_OUT) else Kind.ORDER
    if path.startswith(_STORABLE):
        preferences = [value.decode("latin-1") for name, value in scope["headers"] if name == b"prefer"]
        if preferences and prefers_async(preferences):
            kind = Kind.DEFERRED
    return kind


def _leaving(
    app: ASGI3Application, admission: Admission, kind: Kind, weight: int, writer: AnswerWriter
) -> ASGI3Application:
    async def carry_out(scope: Scope, receive: ASGIReceiveCallable, _: ASGISendCallable) -> None:
        try:
            await app(scope, receive, writer)
        finally:
            admission.leave(kind, weight)

    return carry_out


def _entering_later(app: ASGI3Application, admission: Admission, line: WaitingLine, kind: Kind) -> ASGI3Application:
    """Lets the request in at the end of its body: until then its sender is at work, not we."""

    async def carry_out(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        size, place = 0, _Place(admission, line, kind)

        async def receive_and_enter() -> Any:
            nonlocal size
            message: Any = await receive()
            size += len(message.get("body", b""))
            if not place.weight and not message.get("more_body", False) and not await place.taken(size):
                raise overloaded(admission.retry_after(time.monotonic()))
            return message

        try:
            await app(scope, receive_and_enter, send)
        finally:
            place.leave()

    return carry_out


class _Place:
    """Of one request among those at work."""

    def __init__(self, admission: Admission, line: WaitingLine, kind: Kind) -> None:
        self._admission = admission
        self._line = line
        self._kind = kind
        self._turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.weight = 0
        """0 as long as it has none."""

    async def taken(self, size: int) -> bool:
        """Whether it is let in, perhaps after some waiting."""
        weight = weight_of(size)
        is_order = self._kind is Kind.ORDER
        if is_order and self._line.is_needed and self._line.join(lambda room: self._on_turn(room, weight), size):
            return await self._turn
        return self._enter(weight)

    def _on_turn(self, has_room: bool, weight: int) -> None:
        if self._turn.done():  # nobody waits any more: the connection has ended
            return
        if not has_room:
            self._admission.refuse(self._kind)
        self._turn.set_result(has_room and self._enter(weight))

    def _enter(self, weight: int) -> bool:
        if self._admission.enter(self._kind, weight):
            self.weight = weight
        return self.weight > 0

    def leave(self) -> None:
        if self.weight:
            self._admission.leave(self._kind, self.weight)


def _response(seconds: int, default_headers: list[tuple[bytes, bytes]], keep_alive: bool) -> bytes:
    answer = problem_answer(overloaded(seconds).problem)
    headers = [*default_headers, *answer.headers, (b"content-length", b"%d" % len(answer.body))]
    if not keep_alive:
        headers.append((b"connection", b"close"))
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"HTTP/1.1 503 Service Unavailable\r\n%s\r\n%s" % (lines, answer.body)
