"""A NATS client in a page, over a plain socket and with nothing of ours: it plays the `nats` command line in tests.

with PlainNats("nats://anna:secret@127.0.0.1:4222") as client:
    client.request("accounts.anna.orders.place", b'{...}').payload
"""

import json
import secrets
import socket
from collections import deque
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlsplit


class Refused(Exception):
    """The server said -ERR."""


class Silence(Exception):
    """Nothing came in time."""


class NoResponders(Exception):
    """Nobody listens on the subject."""


class Message(NamedTuple):
    subject: str
    reply: str
    headers: dict[str, str]
    payload: bytes
    subscription: int
    """The number that `subscribe` gave. What a stream delivers has the stream's subject, not that of the inbox."""


class PlainNats:
    """Inboxes begin with `_INBOX`, as those of the command line without --inbox-prefix."""

    def __init__(self, url: str, inbox: str = "_INBOX") -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname or "", address.port or 4222), 10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._inbox = inbox
        self._subscriptions = 0
        self._received: deque[Message] = deque()
        self.errors: list[str] = []
        options: dict[str, object] = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        if address.username:
            options |= {"user": address.username, "pass": address.password}
        try:
            self._line()  # INFO
            self._send(f"CONNECT {json.dumps(options)}\r\n".encode())
            self.flush()
        except (Refused, OSError):
            self.close()
            raise

    def __enter__(self) -> "PlainNats":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def publish(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        self._send(f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n")

    def subscribe(self, subject: str) -> int:
        self._subscriptions += 1
        self._send(f"SUB {subject} {self._subscriptions}\r\n".encode())
        return self._subscriptions

    def unsubscribe(self, number: int) -> None:
        self._send(f"UNSUB {number}\r\n".encode())

    def flush(self) -> list[str]:
        """Return when the server has seen all that was sent: the errors that it answered meanwhile."""
        before = len(self.errors)
        self._send(b"PING\r\n")
        self._socket.settimeout(30)
        while self._take() != "PONG":
            pass
        return self.errors[before:]

    def next(self, seconds: float = 30) -> Message:
        """The next message of any subscription. Raises Silence."""
        self._socket.settimeout(seconds)
        while not self._received:
            self._take()
        return self._received.popleft()

    def pending(self) -> list[Message]:
        """What has come by now, taken."""
        self.flush()
        found = list(self._received)
        self._received.clear()
        return found

    def ask(self, subject: str, payload: bytes = b"") -> int:
        """Send a request; its answers come in with `next`. The subscription that they come to."""
        inbox = f"{self._inbox}.{secrets.token_hex(11)}"
        number = self.subscribe(inbox)
        self.publish(subject, payload, inbox)
        return number

    def request(self, subject: str, payload: bytes = b"", seconds: float = 30) -> Message:
        """The first answer. Raises Silence, NoResponders, or Refused."""
        return self._answer(self._asked(subject, payload), subject, seconds)

    def requests(self, subject: str, payload: bytes = b"", seconds: float = 0.5) -> list[Message]:
        """Every answer until nothing has come for so long."""
        number = self._asked(subject, payload)
        answers = [self._answer(number, subject, 10)]
        while True:
            try:
                answers.append(self._answer(number, subject, seconds))
            except Silence:
                return answers

    def _asked(self, subject: str, payload: bytes) -> int:
        number = self.ask(subject, payload)
        if errors := self.flush():
            raise Refused(errors[0])
        return number

    def _answer(self, number: int, subject: str, seconds: float) -> Message:
        self._socket.settimeout(seconds)
        while not (found := [each for each in self._received if each.subscription == number]):
            self._take()
        self._received.remove(found[0])
        if found[0].headers.get("Status") == "503":
            raise NoResponders(subject)
        return found[0]

    def _send(self, what: bytes) -> None:
        self._socket.sendall(what)

    def _take(self) -> str:
        """Read one thing that the server sends, and keep it if it is a message or an error. Its verb."""
        line = self._line()
        verb, _, rest = line.partition(" ")
        if verb == "PING":
            self._send(b"PONG\r\n")
        elif verb == "-ERR":
            self.errors.append(rest.strip("'"))
            if "Authorization" in rest:
                raise Refused(rest)
        elif verb in ("MSG", "HMSG"):
            self._received.append(self._message(verb, rest.split()))
        return verb

    def _message(self, verb: str, fields: list[str]) -> Message:
        sizes = 2 if verb == "HMSG" else 1
        subject, number, *reply = fields[:-sizes]
        total, head = int(fields[-1]), int(fields[-2]) if verb == "HMSG" else 0
        content = self._exactly(total + 2)[:-2]
        return Message(subject, "".join(reply), _headers(content[:head].decode()), content[head:], int(number))

    def _line(self) -> str:
        while b"\r\n" not in self._buffer:
            self._fill()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode()

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _fill(self) -> None:
        try:
            arrived = self._socket.recv(65_536)
        except TimeoutError as error:
            raise Silence from error
        if not arrived:
            raise Refused("the server closed the connection")
        self._buffer += arrived


def _headers(text: str) -> dict[str, str]:
    first, *lines = text.split("\r\n") if text else [""]
    headers = dict(line.split(": ", 1) for line in lines if ": " in line)
    status = first.removeprefix("NATS/1.0").strip()
    return headers | ({"Status": status.split(" ")[0]} if status else {})
