"""What both clients know about reaching an exchange: where, with which key, and what httpx and websockets mean by what
they say."""

import ipaddress
import secrets
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from pricetime_client.asking import Answer, Conversation, Lost, Pause, Request, problem_of
from pricetime_client.calls import Calls
from pricetime_client.errors import NoAnswer, Refusal
from pricetime_client.keys import Key
from pricetime_client.messages import Answered, Failed

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
JOURNAL_SEQUENCE = "Journal-Sequence"
INTERRUPTIONS = (OSError, ConnectionClosed, InvalidHandshake, TimeoutError, EOFError, NoAnswer)
"""What ends a WebSocket connection, or the attempt to have one, and may be better the next time."""
_LARGEST_MESSAGE = 64 * 1024 * 1024


class Address:
    """Builds requests, and remembers what this client was told: reads show at least that, whoever answers them."""

    def __init__(self, url: str, key: str | None, *, signed: bool, ws_url: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address of an exchange: give one such as http://127.0.0.1:8000")
        self.url = url.rstrip("/")
        self.trusts_environment = not _is_this_machine(parts.hostname)
        self.verifies = parts.scheme == "https" or self.trusts_environment
        """Whether there can be a certificate; to be ready for one takes a fiftieth of a second."""
        self._ws_url = ws_url
        self._key = Key(key, signed=signed) if key else None
        self._sequence = 0

    def request(self, client: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
        """Signed anew each time: a signature is good once."""
        headers = {"Content-Type": "application/json"} if request.body else {}
        if request.method == "GET" and self._sequence:
            headers[JOURNAL_SEQUENCE] = str(self._sequence)
        limited: dict[str, Any] = {} if request.timeout is None else {"timeout": request.timeout}
        built = client.build_request(
            request.method, self.url + request.target, content=request.body or None, headers=headers, **limited
        )
        built.headers.update(self.key_headers(request.method, built.url.raw_path.decode(), request.body))
        return built

    def key_headers(self, method: str, target: str, body: bytes = b"") -> dict[str, str]:
        return self._key.headers(method, target, body, time.time_ns() // 1_000_000) if self._key else {}

    def answer(self, response: httpx.Response, began: float) -> Answer:
        sequence = response.headers.get(JOURNAL_SEQUENCE, "")
        if sequence.isdecimal():
            self._told(int(sequence))
        headers: Mapping[str, str] = response.headers
        return Answer(
            began=began, ended=time.monotonic(), status=response.status_code, headers=headers, body=response.content
        )

    def spoken_answer(self, said: Answered | Failed, began: float) -> Answer:
        """What REST would have answered."""
        if isinstance(said, Failed):
            status, body = said.problem.status, msgspec.json.encode(said.problem)
        else:
            status, body = 200, said.body
            self._told(said.sequence)
        return Answer(began=began, ended=time.monotonic(), status=status, headers={}, body=body)

    def _told(self, sequence: int) -> None:
        self._sequence = max(self._sequence, sequence)

    def of_streams(self, calls: Calls) -> Conversation[str]:
        """Where they are; asked from the exchange once, unless it is known."""
        if self._ws_url is None:
            self._ws_url = (yield from calls.config()).ws_url
        return websocket_address(self._ws_url, self.url)

    def socket_options(self, address: str, verify: ssl.SSLContext | bool) -> dict[str, Any]:
        """How `websockets` connects to a stream, blocking or not; signed anew each time."""
        parts = urlsplit(address)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        options: dict[str, Any] = {
            "additional_headers": self.key_headers("GET", target),
            "proxy": True if self.trusts_environment else None,
            "compression": None,
            "open_timeout": 5,
            "close_timeout": 1,
            "max_size": _LARGEST_MESSAGE,
        }
        context = tls_context(verify)
        return {**options, "ssl": context} if parts.scheme == "wss" and context is not None else options


def websocket_address(told: str, rest: str) -> str:
    """`told`: an address, with or without its path; a path on the origin of `rest`; or nothing: the next port."""
    parts = urlsplit(rest)
    scheme = "wss" if parts.scheme == "https" else "ws"
    if "://" in told:
        address = urlsplit(told)
        secure = address.scheme in ("wss", "https")
        return address._replace(scheme="wss" if secure else "ws", path=address.path.rstrip("/") or "/ws").geturl()
    if told:
        return parts._replace(scheme=scheme, path=f"/{told.strip('/')}").geturl()
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{scheme}://{host}:8001/ws"


def tls_context(verify: ssl.SSLContext | bool) -> ssl.SSLContext | None:
    """As httpx has it: True is the usual way to judge a certificate, here None."""
    if isinstance(verify, ssl.SSLContext):
        return verify
    if verify:
        return None
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def not_let_in(error: InvalidStatus) -> Refusal | None:
    """Why the exchange does not want this client; None if it may want it later."""
    problem = problem_of(error.response.status_code, bytes(error.response.body or b""))
    return Refusal(problem) if 400 <= problem.status < 500 and problem.status != 429 else None


def lost(error: httpx.TransportError, began: float) -> Lost:
    return no_answer(error, began, was_sent=not isinstance(error, NOT_SENT))


def no_answer(error: object, began: float, *, was_sent: bool, is_final: bool = False) -> Lost:
    """`error`: why, as an exception or in words."""
    why = str(error) or type(error).__name__
    return Lost(began=began, ended=time.monotonic(), why=why, was_sent=was_sent, is_final=is_final)


def spread(pause: Pause) -> float:
    """Not quite as long as said, so that many who lost their connection at once do not come back at once."""
    return pause.seconds * (1 + secrets.randbelow(1000) / 4000)


def new_name() -> str:
    """A client_order_id that nobody else has."""
    return secrets.token_hex(12)


def _is_this_machine(host: str) -> bool:
    """No proxy of the environment is meant for it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
