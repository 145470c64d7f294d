"""Stored commands as they are given to this gateway: a pull of our own (docs/decisions/0006).

Of all gateways the server gives commands to one, the pinned one, as long as it keeps asking; when it stops, to another.
What a gateway has not acked in time comes again, to whoever is pinned then.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from contracts.subjects import COMMANDS_STREAM
from gateway.deferred_store import CONSUMER, GROUP, MAX_UNACKED, CommandStore

_NEXT = f"$JS.API.CONSUMER.MSG.NEXT.{COMMANDS_STREAM}.{CONSUMER}"
_UNPIN = f"$JS.API.CONSUMER.UNPIN.{COMMANDS_STREAM}.{CONSUMER}"
_EXPIRES_SECONDS = 1.5
_GRACE_SECONDS = 0.5
_TURN_SECONDS = 0.25
_NANOSECONDS = 1_000_000_000


@dataclass(slots=True)
class Delivery:
    """A command's message, to be acked by its reply subject."""

    sequence: int
    """Its number in the stream: the order in which commands were stored."""
    deliveries: int
    reply: str
    command_id: str
    payload: bytes


class Pull:
    """Use as an async iterator of deliveries, without end; each None says that this gateway has just been pinned."""

    def __init__(self, connection: Client, store: CommandStore) -> None:
        self._connection = connection
        self._store = store
        self._received: list[Delivery | None] = []
        self._arrived = asyncio.Event()
        self._subscription: Subscription | None = None
        self._pin: str | None = None
        self._token = 0
        self._outstanding = 0
        self._is_missing = False

    async def __aiter__(self) -> AsyncIterator[Delivery | None]:
        self._inbox = self._connection.new_inbox()
        self._subscription = await self._connection.subscribe(
            f"{self._inbox}.*", cb=self._on_message, pending_bytes_limit=-1
        )
        await self._store.patiently(self._store.ensure)
        while True:
            await self._ask()
            async for delivery in self._answers():
                yield delivery

    async def _answers(self) -> AsyncIterator[Delivery | None]:
        """What one pull brings, until another is due."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + _EXPIRES_SECONDS + _GRACE_SECONDS
        reconnects = self._connection.stats["reconnects"]
        while self._outstanding > MAX_UNACKED // 2 and loop.time() < patience:
            if self._connection.stats["reconnects"] != reconnects:
                return  # the server that had the pull is another one now
            try:
                await asyncio.wait_for(self._arrived.wait(), _TURN_SECONDS)
            except TimeoutError:
                continue
            self._arrived.clear()
            received, self._received = self._received, []
            for delivery in received:
                yield delivery

    async def _ask(self) -> None:
        if self._is_missing or not self._connection.is_connected:
            await asyncio.sleep(_TURN_SECONDS)
        if self._is_missing:
            await self._store.patiently(self._store.ensure)
            self._is_missing = False
        if not self._connection.is_connected:
            self._outstanding = 0
            return
        request: dict[str, object] = {
            "batch": MAX_UNACKED,
            "expires": int(_EXPIRES_SECONDS * _NANOSECONDS),
            "group": GROUP,
        }
        if self._pin is not None:
            request["id"] = self._pin
        self._token += 1
        self._outstanding = MAX_UNACKED
        await self._connection.publish(_NEXT, json.dumps(request).encode(), reply=f"{self._inbox}.{self._token}")

    async def step_back(self) -> None:
        """Before a planned end: take no more, so that another gateway begins before this one is missed."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        if self._pin is not None:
            await self._connection.publish(_UNPIN, json.dumps({"group": GROUP}).encode())

    async def _on_message(self, message: Msg) -> None:
        headers = message.headers or {}
        if message.reply.startswith("$JS.ACK."):
            self._on_delivery(message, headers.get("Nats-Pin-Id"))
        elif message.subject == f"{self._inbox}.{self._token}":
            self._on_status(headers.get("Status", ""))
        self._arrived.set()

    def _on_delivery(self, message: Msg, pin: str | None) -> None:
        if pin != self._pin:
            self._pin = pin
            self._received.append(None)
        self._received.append(_delivery(message))
        self._outstanding -= 1

    def _on_status(self, status: str) -> None:
        """Whatever ends the pull: 408 its time, 423 another gateway's turn, 409 and 503 a consumer that is gone."""
        self._outstanding = 0
        if status == "423":
            self._pin = None
        elif status in ("409", "503"):
            self._is_missing = True


def _delivery(message: Msg) -> Delivery:
    """`$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>...`; a longer form has domain and account before."""
    tokens = message.reply.split(".")
    consumer = 3 if len(tokens) == 9 else 5
    return Delivery(
        sequence=int(tokens[consumer + 2]),
        deliveries=int(tokens[consumer + 1]),
        reply=message.reply,
        command_id=message.subject.rsplit(".", 1)[-1],
        payload=message.data,
    )
