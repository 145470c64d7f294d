"""An answer in one go: below ASGI, for the answers that are all there at once.

ASGI has an answer sent in two messages, and uvicorn looks through every header of each. Of an order's way through the
gateway that was a tenth; here head and body are one write (docs/decisions/0031).
"""

import re

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from gateway.http import Headers, HttpAnswer

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Heads:
    """How answers begin: status line and uvicorn's own headers. Made anew when these change: once in a second."""

    def __init__(self) -> None:
        self._made_with: list[tuple[bytes, bytes]] | None = None
        self._of_status: dict[int, bytes] = {}

    def of(self, status: int, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        if default_headers is not self._made_with:
            self._made_with = default_headers
            self._of_status.clear()
        found = self._of_status.get(status)
        if found is None:
            found = self._of_status[status] = STATUS_LINE[status] + _lines(default_headers)
        return found


class AnswerWriter:
    """The `send` of one request whose body is here, and a shorter way for whoever has the whole answer."""

    __slots__ = ("cycle", "heads")

    def __init__(self, cycle: RequestResponseCycle, heads: Heads) -> None:
        self.cycle = cycle
        self.heads = heads

    async def __call__(self, message: ASGISendEvent) -> None:
        await self.cycle.send(message)

    def write(self, answer: HttpAnswer) -> bool:
        """Whether it is written. If not, it is to be sent: uvicorn knows what to do with whatever is unusual."""
        cycle = self.cycle
        if type(answer) is not HttpAnswer:  # an export makes its body while it is sent
            return False
        is_usual = 200 <= answer.status < 204 and cycle.keep_alive and cycle.scope["method"] != "HEAD"
        if not is_usual or cycle.disconnected or cycle.response_started or cycle.flow.write_paused:
            return False
        lines = _lines(answer.headers)
        if lines.count(b"\n") != len(answer.headers) or _CONTROL.search(lines):
            return False
        head = self.heads.of(answer.status, cycle.default_headers)
        cycle.transport.write(b"%b%bcontent-length: %d\r\n\r\n%b" % (head, lines, len(answer.body), answer.body))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        return True


def _lines(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])
