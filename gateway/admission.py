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
from gateway.deferred_commands import prefers_async
from gateway.http import problem_answer
from runtime.server import HttpConnection

_HEALTH = "/health/"
_READING = frozenset(("GET", "HEAD", "OPTIONS"))
_GETTING_OUT = ("/cancel-all-after", "/kill-switch")
_STORABLE = "/orders"
_UNKNOWN_LENGTH = 1_000_000
"""What a body counts for that does not say how long it is."""


class AdmittingProtocol(HttpConnection):
    """uvicorn's, with a look at each request at the moment at which its work would begin."""

    admission: Admission
    max_body_bytes: int
    refusals: "Refusals"
    _is_within_request = False

    def data_received(self, data: bytes) -> None:
        """In an overload most of what comes is one whole order after the other: those are not even parsed."""
        if not self.admission.has_room(Kind.ORDER) and self._is_idle and is_one_order(data):
            self._refuse_one()
        else:
            super().data_received(data)

    @property
    def _is_idle(self) -> bool:
        """Whether what comes now begins a request, and nobody waits for an answer."""
        return not self._is_within_request and (self.cycle is None or self.cycle.response_complete)

    def on_message_begin(self) -> None:
        self._is_within_request = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._is_within_request = False
        super().on_message_complete()

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
        found = wanted(cycle.scope)
        if found is None:
            super()._start_asgi_task(cycle, app)
        elif self.admission.enter(*found):
            super()._start_asgi_task(cycle, _leaving(app, self.admission, *found))
        else:
            self._refuse(cycle)

    def _refuse(self, cycle: RequestResponseCycle) -> None:
        if self.flow.write_paused:
            self.transport.abort()  # it sends on and on, and does not even read that it is refused
            return
        cycle.keep_alive = cycle.keep_alive and not self._is_body_unwelcome(cycle)
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

    def _is_body_unwelcome(self, cycle: RequestResponseCycle) -> bool:
        """Whether what is still to come of the request is not worth reading to keep the connection."""
        return cycle.waiting_for_100_continue or _length(cycle.scope) > self.max_body_bytes


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


def admitting(admission: Admission, max_body_bytes: int) -> type[AdmittingProtocol]:
    """The protocol for one server."""
    attributes = {"admission": admission, "max_body_bytes": max_body_bytes, "refusals": Refusals()}
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
_DOUBTFUL = re.compile(rb"\n(?:prefer|expect|transfer-encoding|upgrade|connection: *(?!keep-alive\r)|[ \t])")
_CONTENT_LENGTH = re.compile(rb"\ncontent-length: *([0-9]{1,9}) *\r")


def wanted(scope: Any) -> tuple[Kind, int] | None:
    """What a request is and what it counts for; None for the question whether we are well, which is always answered."""
    if scope["method"] in _READING:
        return None if scope["path"].startswith(_HEALTH) else _A_READ
    path: str = scope["path"]
    kind = Kind.CANCEL if scope["method"] == "DELETE" or path.endswith(_GETTING_OUT) else Kind.ORDER
    if path.startswith(_STORABLE):
        preferences = [value.decode("latin-1") for name, value in scope["headers"] if name == b"prefer"]
        if preferences and prefers_async(preferences):
            kind = Kind.DEFERRED
    return kind, weight_of(_length(scope))


_A_READ = (Kind.READ, 1)


def _length(scope: Any) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)
        if name == b"transfer-encoding":
            return _UNKNOWN_LENGTH
    return 0


def _leaving(app: ASGI3Application, admission: Admission, kind: Kind, weight: int) -> ASGI3Application:
    async def carry_out(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        try:
            await app(scope, receive, send)
        finally:
            admission.leave(kind, weight)

    return carry_out


def _response(seconds: int, default_headers: list[tuple[bytes, bytes]], keep_alive: bool) -> bytes:
    answer = problem_answer(overloaded(seconds).problem)
    headers = [*default_headers, *answer.headers, (b"content-length", b"%d" % len(answer.body))]
    if not keep_alive:
        headers.append((b"connection", b"close"))
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"HTTP/1.1 503 Service Unavailable\r\n%s\r\n%s" % (lines, answer.body)
