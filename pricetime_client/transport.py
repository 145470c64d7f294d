"""What both clients know about reaching an exchange: where, with which key, and what of httpx means what."""

import ipaddress
import secrets
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from pricetime_client.asking import Answer, Lost, Pause, Request
from pricetime_client.keys import Key

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
JOURNAL_SEQUENCE = "Journal-Sequence"


class Address:
    """Builds requests, and remembers what this client was told: reads show at least that, whoever answers them."""

    def __init__(self, url: str, key: str | None, *, signed: bool) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address of an exchange: give one such as http://127.0.0.1:8000")
        self.url = url.rstrip("/")
        self.trusts_environment = not _is_this_machine(parts.hostname)
        self.verifies = parts.scheme == "https" or self.trusts_environment
        """Whether there can be a certificate; to be ready for one takes a fiftieth of a second."""
        self._key = Key(key, signed=signed) if key else None
        self._sequence = 0

    def request(self, client: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
        """Signed anew each time: a signature is good once."""
        headers = {"Content-Type": "application/json"} if request.body else {}
        if request.method == "GET" and self._sequence:
            headers[JOURNAL_SEQUENCE] = str(self._sequence)
        built = client.build_request(
            request.method, self.url + request.target, content=request.body or None, headers=headers
        )
        built.headers.update(self.key_headers(request.method, built.url.raw_path.decode(), request.body))
        return built

    def key_headers(self, method: str, target: str, body: bytes = b"") -> dict[str, str]:
        return self._key.headers(method, target, body, time.time_ns() // 1_000_000) if self._key else {}

    def answer(self, response: httpx.Response, began: float) -> Answer:
        sequence = response.headers.get(JOURNAL_SEQUENCE, "")
        if sequence.isdecimal():
            self._sequence = max(self._sequence, int(sequence))
        headers: Mapping[str, str] = response.headers
        return Answer(
            began=began, ended=time.monotonic(), status=response.status_code, headers=headers, body=response.content
        )


def lost(error: httpx.TransportError, began: float) -> Lost:
    why = str(error) or type(error).__name__
    return Lost(began=began, ended=time.monotonic(), why=why, was_sent=not isinstance(error, NOT_SENT))


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
