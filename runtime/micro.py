"""What can be asked of a process over NATS, as a service that `nats micro` finds, lists and probes.

The protocol is that of NATS services (ADR-32): PING, INFO and STATS under $SRV, and refusals in headers. nats-py's own
`nats.micro` is not used: it answers one request of a subject after the other, and always in a queue group.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from runtime.clock import steady
from runtime.metrics import Histogram

log = logging.getLogger(__name__)

PREFIX = "pricetime-"
_ERROR = "Nats-Service-Error"
_ERROR_CODE = "Nats-Service-Error-Code"
_REPLY_ROOTS = ("_INBOX", "_R_.")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer to a request that was not carried out: its content, and what the headers say of it."""

    code: int
    description: str
    content: bytes


def failure(code: int, error: str, **more: object) -> Failure:
    """In the JSON of the services' own answers; `code` is the status that HTTP has for it."""
    return Failure(code, error, _encode({"error": error, **more}))


def is_failure(answer: Msg) -> bool:
    """Whether a service says by this that the request was not carried out."""
    return _ERROR in (answer.headers or {})


Answer = Callable[[Msg], Awaitable[bytes | Failure]]
LetIn = Callable[[str, bytes], Failure | None]
"""Judges a request by its subject and content before anything is done for it; a Failure is its answer."""


@dataclass(frozen=True, slots=True)
class Description:
    text: str
    metadata: Mapping[str, str] = field(default_factory=dict)


DESCRIPTIONS = {
    "matcher": Description(
        "Carries out commands in the order in which they come, and writes the journal",
        {"orders.submit": "commands in MessagePack, for programs: contracts/messages.py"},
    ),
    "recorder": Description("Keeps the journal, and what follows from it, in Postgres"),
    "broadcaster": Description(
        "Market data: asked for here, told on market.> and over WebSocket; and to each account its own orders"
    ),
    "gateway": Description("Order entry in JSON, as over REST"),
}


@dataclass(slots=True)
class _Endpoint:
    subject: str
    queue: str
    requests: int = 0
    errors: int = 0
    seconds: Histogram = field(default_factory=Histogram)
    """How long each took that was let in: to who asks over NATS it is told as a sum, to Prometheus as it is."""
    last_error: str = ""
    on_request: Callable[[Msg], Awaitable[None]] | None = None
    subscription: Subscription | None = None
    running: set[asyncio.Task[None]] = field(default_factory=set)

    def count(self, answered: bytes | Failure) -> None:
        self.requests += 1
        if isinstance(answered, Failure):
            self.errors += 1
            self.last_error = f"{answered.code}:{answered.description}"

    @property
    def info(self) -> dict[str, object]:
        words = (token for token in self.subject.split(".") if token != "*")
        return {"name": "-".join(words), "subject": self.subject, "queue_group": self.queue}

    @property
    def stats(self) -> dict[str, object]:
        nanoseconds = int(self.seconds.sum * 1e9)
        return self.info | {
            "num_requests": self.requests,
            "num_errors": self.errors,
            "last_error": self.last_error,
            "processing_time": nanoseconds,
            "average_processing_time": nanoseconds // max(self.requests, 1),
        }


class Service:
    """One process's service. `start` it, then `add` what it answers."""

    def __init__(self, connection: Client, name: str) -> None:
        described = DESCRIPTIONS.get(name, Description(""))
        self._connection = connection
        self._identity: dict[str, object] = {
            "name": f"{PREFIX}{name}",
            "id": connection.new_inbox().rsplit(".", 1)[-1],
            "version": version("pricetime"),
            "metadata": dict(described.metadata),
        }
        self._description = described.text
        self._started = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._endpoints: list[_Endpoint] = []

    async def start(self) -> None:
        name, number = self._identity["name"], self._identity["id"]
        for verb, content in (("PING", self._ping), ("INFO", self._info), ("STATS", self._stats)):
            for subject in (f"$SRV.{verb}", f"$SRV.{verb}.{name}", f"$SRV.{verb}.{name}.{number}"):
                await self._connection.subscribe(subject, cb=self._telling(content))

    async def add(self, subject: str, answer: Answer, queue: str, let_in: LetIn | None = None) -> None:
        """Answer requests on `subject`, any number at once, or as many as are let in."""
        endpoint = _Endpoint(subject, queue)
        self._endpoints.append(endpoint)

        async def on_request(message: Msg) -> None:
            if let_in is not None and (refused := let_in(message.subject, message.data)) is not None:
                endpoint.count(refused)
                await self._reply(message, refused)
                return
            task = asyncio.create_task(self._carry_out(endpoint, answer, message))
            endpoint.running.add(task)
            task.add_done_callback(endpoint.running.discard)

        endpoint.on_request = on_request
        await self._subscribe(endpoint)

    @property
    def counts(self) -> list[tuple[str, int, int, Histogram]]:
        """Of each endpoint: its subject, requests, those refused, and how long each took that was let in."""
        return [(each.subject, each.requests, each.errors, each.seconds) for each in self._endpoints]

    async def _subscribe(self, endpoint: _Endpoint) -> None:
        subscription = await self._connection.subscribe(endpoint.subject, queue=endpoint.queue, cb=endpoint.on_request)
        endpoint.subscription = subscription

    async def pause(self) -> None:
        """Take no requests until those that came are answered or begun with; nats-server says so to whoever asks."""
        endpoints = list(self._endpoints)
        subscriptions: list[Any] = [endpoint.subscription for endpoint in endpoints]
        await asyncio.gather(*(subscription.drain() for subscription in subscriptions), return_exceptions=True)
        for endpoint in endpoints:
            if endpoint in self._endpoints and not self._connection.is_closed:
                await self._subscribe(endpoint)

    async def remove(self, subject: str) -> None:
        """Answer no more requests on `subject`. Returns when those that came are answered."""
        for endpoint in [each for each in self._endpoints if each.subject == subject]:
            self._endpoints.remove(endpoint)
            subscription: Any = endpoint.subscription  # nats-py leaves drain untyped
            await subscription.drain()
            if endpoint.running:
                await asyncio.wait(endpoint.running)

    async def _carry_out(self, endpoint: _Endpoint, answer: Answer, message: Msg) -> None:
        started = steady()
        answered = await _answered(answer, message)
        endpoint.seconds.observe(steady() - started)
        endpoint.count(answered)
        await self._reply(message, answered)

    async def _reply(self, message: Msg, answered: bytes | Failure) -> None:
        if not message.reply.startswith(_REPLY_ROOTS):
            return  # a plain publish; or somebody who would have us write where only we may
        try:
            if isinstance(answered, Failure):
                headers = {_ERROR: answered.description, _ERROR_CODE: str(answered.code)}
                await self._connection.publish(message.reply, answered.content, headers=headers)
            else:
                await self._connection.publish(message.reply, answered)
        except NatsError as error:
            log.warning("an answer could not be sent: %s", error or type(error).__name__)

    def _telling(self, content: Callable[[], dict[str, object]]) -> Callable[[Msg], Awaitable[None]]:
        async def tell(message: Msg) -> None:
            await self._reply(message, _encode(content()))

        return tell

    def _ping(self) -> dict[str, object]:
        return self._identity | {"type": "io.nats.micro.v1.ping_response"}

    def _info(self) -> dict[str, object]:
        return self._identity | {
            "type": "io.nats.micro.v1.info_response",
            "description": self._description,
            "endpoints": [endpoint.info for endpoint in self._endpoints],
        }

    def _stats(self) -> dict[str, object]:
        return self._identity | {
            "type": "io.nats.micro.v1.stats_response",
            "started": self._started,
            "endpoints": [endpoint.stats for endpoint in self._endpoints],
        }


async def _answered(answer: Answer, message: Msg) -> bytes | Failure:
    try:
        return await answer(message)
    except Exception:
        log.exception("a request on %s failed", message.subject)
        return failure(500, "internal_error")
