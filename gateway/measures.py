"""What is measured of a gateway, beside what it counts of each request (gateway/observed.py)."""

import asyncio
import logging
from collections.abc import Iterator

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from contracts.subjects import COMMANDS_STREAM
from entry.admission import Admission
from entry.matcher_client import MatcherClient
from entry.measures import of_admission, of_matcher_client
from gateway.history import History
from runtime import metrics
from runtime.metrics import Measure
from runtime.metrics_server import Exposition

log = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0


def of_gateway(matcher: MatcherClient, admission: Admission, history: History) -> Iterator[Measure]:
    yield from of_matcher_client(matcher)
    yield from of_admission(admission)
    busy, idle, room = history.connections
    yield metrics.GATEWAY_POOL.of(busy, "busy")
    yield metrics.GATEWAY_POOL.of(idle, "idle")
    yield metrics.GATEWAY_POOL_ROOM.of(room)
    yield metrics.GATEWAY_POSTGRES_SILENT.of(history.is_silent)


class DeferredWaiting:
    """How many commands wait in the stream: asked now and then, as only nats-server knows."""

    def __init__(self, connection: Client, shown: Exposition) -> None:
        self._connection = connection
        self._is_wanted = shown.is_on
        self._waiting: int | None = None
        shown.add(self.measures)

    async def run(self) -> None:
        """Without end."""
        if not self._is_wanted:
            await asyncio.Event().wait()
        while True:
            try:
                found = await self._connection.jsm(timeout=_LOOK_SECONDS).stream_info(COMMANDS_STREAM)
                self._waiting = found.state.messages
            except NotFoundError:
                self._waiting = 0  # nobody has deferred one yet
            except (NatsError, TimeoutError):
                self._waiting = None  # an old figure would pass for a new one
            await asyncio.sleep(_LOOK_SECONDS)

    def measures(self) -> Iterator[Measure]:
        if self._waiting is not None:
            yield metrics.GATEWAY_DEFERRED.of(self._waiting)
