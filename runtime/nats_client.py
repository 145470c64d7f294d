"""nats-py's client, cheaper where messages come and go by the thousand, and one that tells no stranger a password.

What nats-py does for each message is four regular expressions, a dataclass, a queue and a turn of a task. `listen` and
`post` do without: messages are cut out of what was read and given to a plain function there and then, and any number of
answers leave as one piece. Everything else is nats-py's, which also opens, secures and reopens the connection
(docs/decisions/0030).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from nats.aio.client import DEFAULT_BUFFER_SIZE, PING_PROTO, Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import (
    ConnectionClosedError,
    ConnectionDrainingError,
    Error,
    OutboundBufferLimitError,
    TimeoutError,
)
from nats.protocol.parser import AWAITING_MSG_PAYLOAD, CRLF_SIZE, Parser

from runtime.tls import NO_CERTIFICATE

log = logging.getLogger(__name__)

Listener = Callable[[str, str, bytes, dict[str, str] | None], None]
"""Is given subject, reply subject ("" for none), content and headers."""

_MESSAGE = b"MSG "
_LINE_END = b"\r\n"


class Untrusted(Error):
    """One of the two ends cannot prove who it is. The message says which."""


class NatsClient(Client):
    """`open` it instead of `connect`."""

    wants_tls = False
    has_certificate = False

    def __init__(self) -> None:
        super().__init__()
        self._ps = _Parser(self)
        self.listeners: dict[str, Listener] = {}
        """By the number of their subscription, as the server writes it."""
        self._requests = 0

    async def open(self, servers: list[str], **options: Any) -> None:
        """`connect`, and nothing is left behind when that fails."""
        try:
            await self.connect(servers, **options)
        except BaseException:
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]
                await asyncio.sleep(0)
            raise

    async def listen(self, subject: str, listener: Listener) -> Subscription:
        """A subscription whose messages are handed over as they are read: nothing else happens between two of them.

        So the listener must be quick, and nothing waits in a queue: `drain` returns when it has had everything.
        """
        if self.is_closed:
            raise ConnectionClosedError
        self._sid += 1
        subscription = self._subs[self._sid] = Subscription(self, self._sid, subject)
        self.listeners[str(self._sid)] = listener
        await self._send_subscribe(subscription)
        return subscription

    def post(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Publish content under subject, any number of times, without waiting and in one piece.

        Subjects are to be ours, or come from the server: they are not looked at. What is too large for the server is
        left out and logged. Raises NatsError, and sends nothing, when the connection takes nothing.
        """
        commands = []
        for subject, content in messages:
            if len(content) <= self._max_payload:
                commands.append(f"PUB {subject} {len(content)}\r\n".encode() + content + _LINE_END)
            else:
                log.warning("%d bytes for %s are more than nats-server takes", len(content), subject)
        if not commands:
            return
        command = b"".join(commands)
        self._check_open(len(command))
        self.stats["out_msgs"] += len(commands)
        self.stats["out_bytes"] += len(command)
        self._pending.append(command)
        self._pending_data_size += len(command)
        if self.is_connected and self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    def _check_open(self, size: int) -> None:
        if self.is_closed:
            raise ConnectionClosedError
        if self.is_draining_pubs:
            raise ConnectionDrainingError
        if not self.is_connected and self._pending_data_size + size > self._max_pending_size:
            raise OutboundBufferLimitError

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> None:
        """One that the parser did not hand over itself: not to a listener, or with headers, or in pieces."""
        listener = self.listeners.get(str(sid))
        if listener is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.count(1, len(data))
        _hand_over(listener, subject.decode(), reply.decode(), data, await self._process_headers(headers))

    def count(self, messages: int, size: int) -> None:
        self.stats["in_msgs"] += messages
        self.stats["in_bytes"] += size

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self.listeners.pop(str(sid), None)
        super()._remove_sub(sid, max_msgs)

    # Requests: nats-py draws random numbers for each, and gives the answer to a task that gives it to another

    async def _init_request_sub(self) -> None:
        self._resp_map = {}
        self._resp_sub_prefix = bytearray(f"{self.new_inbox()}.".encode())
        await self.listen(f"{self._resp_sub_prefix.decode()}*", self._on_response)

    def _on_response(self, subject: str, reply: str, content: bytes, headers: dict[str, str] | None) -> None:
        answer = self._resp_map.get(subject.rpartition(".")[2])
        if answer is not None and not answer.done():
            answer.set_result(Msg(self, subject, reply, content, headers))

    async def _request_new_style(
        self, subject: str, payload: bytes, timeout: float = 1, headers: dict[str, Any] | None = None
    ) -> Msg:
        if not self._resp_sub_prefix:
            await self._init_request_sub()
        assert self._resp_sub_prefix is not None
        self._requests += 1
        token, loop = str(self._requests), asyncio.get_running_loop()
        answer: asyncio.Future[Msg] = loop.create_future()
        self._resp_map[token] = answer
        timer = loop.call_later(timeout, _time_out, answer)
        try:
            await self.publish(subject, payload, self._resp_sub_prefix.decode() + token, headers)
            return await answer
        finally:
            timer.cancel()
            del self._resp_map[token]

    async def _send_ping(self, future: "asyncio.Future[Any] | None" = None) -> None:
        """In its turn. nats-py's goes before what waits to be sent, so that `flush` would return before a subscription
        has reached the server."""
        self._pongs.append(asyncio.get_running_loop().create_future() if future is None else future)
        await self._send_command(PING_PROTO)
        await self._flush_pending()

    # Whom we connect to

    async def _connect_to_server(self, s: Any) -> None:
        """One that took the last connection and then said nothing (a paused node) would keep it, and we its socket."""
        if self._transport is not None:
            self._transport.close()  # type: ignore[no-untyped-call]
        await super()._connect_to_server(s)

    def _connect_command(self) -> bytes:
        """nats-py would send the password in plain text when a server does not ask for TLS."""
        if self.wants_tls and not self._server_info.get("tls_required"):
            raise Untrusted("it does not offer TLS, and no password is sent without")
        if self._server_info.get("tls_verify") and not self.has_certificate:
            raise Untrusted(NO_CERTIFICATE)
        command: bytes = super()._connect_command()
        return command


class _Parser(Parser):
    """nats-py's, which is given only what is not a whole message without headers.

    After a read that leaves more to read it is the others' turn. nats-py goes on until nothing is left: in a flood of
    requests so long that an answer, which takes several turns of the event loop, comes a second late
    (docs/decisions/0027).
    """

    nc: NatsClient

    async def parse(self, data: bytes = b"") -> None:
        has_more = len(data) >= DEFAULT_BUFFER_SIZE
        if self.state == AWAITING_MSG_PAYLOAD:
            missing = self.needed + CRLF_SIZE - len(self.buf)
            await super().parse(data[:missing])
            data = data[missing:]
        elif self.buf:
            data = bytes(self.buf) + data
            self.buf.clear()
        if data:
            rest = await self._hand_over_messages(data)
            if rest < len(data):
                await super().parse(data[rest:])
        if has_more:
            await asyncio.sleep(0)

    async def _hand_over_messages(self, data: bytes) -> int:
        """Those at the front, up to whatever else comes. Returns where that begins."""
        client, listeners = self.nc, self.nc.listeners
        position = count = size = 0
        while data.startswith(_MESSAGE, position):
            line_end = data.find(_LINE_END, position)
            if line_end < 0:
                break
            words = data[position + len(_MESSAGE) : line_end].decode().split(" ")  # subject, number, (reply,) size
            content_start = line_end + CRLF_SIZE
            content_end = content_start + int(words[-1])
            if content_end + CRLF_SIZE > len(data):
                break
            content, reply = data[content_start:content_end], words[2] if len(words) == 4 else ""
            listener = listeners.get(words[1])
            if listener is None:
                await client._process_msg(int(words[1]), words[0].encode(), reply.encode(), content, None)
            else:
                count += 1
                size += len(content)
                _hand_over(listener, words[0], reply, content, None)
            position = content_end + CRLF_SIZE
        client.count(count, size)
        return position


def _hand_over(listener: Listener, subject: str, reply: str, content: bytes, headers: dict[str, str] | None) -> None:
    """Whatever the listener raises is logged, or nothing would be read any more."""
    try:
        listener(subject, reply, content, headers)
    except Exception:
        log.exception("a message on %s could not be handled", subject)


def _time_out(answer: "asyncio.Future[Msg]") -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())
