"""Where REST requests are let in or refused: in the HTTP protocol, before anything is done for them.

A refusal has to cost much less than an order, or refusing is what an overloaded gateway would spend its time on. So it
is made here, below ASGI: no task, no routing, no keys looked up, and bytes that are made once in a second.
"""

import re
import time
from typing import Any

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from entry.admission import Admission, Kind, overloaded, weight_of
from gateway.answer_writer import AnswerWriter, Heads
from gateway.deferred_commands import prefers_async
from gateway.http import problem_answer
from runtime.server import HttpConnection

_HEALTH = "/health/"
_READING = frozenset(("GET", "HEAD", "OPTIONS"))
_GETTING_OUT = ("/cancel-all-after", "/kill-switch")
_STORABLE = "/orders"


class AdmittingProtocol(HttpConnection):
    """Looks at each request when all of it is here, or as much as came in one go.

    One that is still on its way takes no room: whoever never ends a request must not keep others out.
    """

    admission: Admission
    refusals: "Refusals"
    heads: Heads
    _begun: tuple[RequestResponseCycle, ASGI3Application] | None = None
    _is_receiving = False
    _is_within_request = False

    def data_received(self, data: bytes) -> None:
        """In an overload most of what comes is one whole order after the other: those are not even parsed."""
        if not self.admission.has_room(Kind.ORDER) and self._is_idle and is_one_order(data):
            self._refuse_one()
            return
        self._is_receiving = True
        super().data_received(data)
        self._is_receiving = False
        if self._begun is not None:
            self._judge()

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
            super()._start_asgi_task(cycle, _entering_later(app, self.admission, kind))
        elif self.admission.enter(kind, weight := weight_of(len(cycle.body))):
            super()._start_asgi_task(
                cycle, _leaving(app, self.admission, kind, weight, AnswerWriter(cycle, self.heads))
            )
        else:
            self._refuse(cycle)

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


def admitting(admission: Admission) -> type[AdmittingProtocol]:
    """The protocol for one server."""
    attributes = {"admission": admission, "refusals": Refusals(), "heads": Heads()}
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


def _entering_later(app: ASGI3Application, admission: Admission, kind: Kind) -> ASGI3Application:
    """Lets the request in at the end of its body: until then its sender is at work, not we."""

    async def carry_out(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        size, weight = 0, 0

        async def receive_and_enter() -> Any:
            nonlocal size, weight
            message: Any = await receive()
            size += len(message.get("body", b""))
            if not weight and not message.get("more_body", False):
                if not admission.enter(kind, weight_of(size)):
                    raise overloaded(admission.retry_after(time.monotonic()))
                weight = weight_of(size)
            return message

        try:
            await app(scope, receive_and_enter, send)
        finally:
            if weight:
                admission.leave(kind, weight)

    return carry_out


def _response(seconds: int, default_headers: list[tuple[bytes, bytes]], keep_alive: bool) -> bytes:
    answer = problem_answer(overloaded(seconds).problem)
    headers = [*default_headers, *answer.headers, (b"content-length", b"%d" % len(answer.body))]
    if not keep_alive:
        headers.append((b"connection", b"close"))
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"HTTP/1.1 503 Service Unavailable\r\n%s\r\n%s" % (lines, answer.body)
