"""A connection by which strangers' requests come, apart from the one for a service's own work.

nats-server keeps what a service has not read yet, up to 64 MB, and hands it over in order. On a connection of its own a
flood of requests comes before nothing but itself; and here it is not let grow old. When a round trip takes too long,
requests are not asked for until those that are there are answered: meanwhile nats-server itself tells whoever asks that
nobody responds, or gives the request to another process of the same group. docs/decisions/0027.
"""

import asyncio
import logging

from nats.aio.client import Client
from nats.errors import Error as NatsError

from runtime.connection import ConnectionLost, connect, service_of
from runtime.nats_client import NatsClient
from runtime.tls import NatsTls

log = logging.getLogger(__name__)

LATE_SECONDS = 0.2
_LOOK_SECONDS = 0.05
_TRIP_SECONDS = 30
_OUTSTANDING_PINGS = 10
"""The answer to a ping comes after the requests that wait."""


async def connect_intake(url: str, name: str, tls: NatsTls | None = None) -> NatsClient:
    return await connect(url, name, tls=tls, outstanding_pings=_OUTSTANDING_PINGS)


async def watch_intake(connection: Client) -> None:
    """Return never; raise ConnectionLost when the connection is closed for good."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if connection.is_closed:
            raise ConnectionLost("the NATS connection for requests was closed")
        if not connection.is_connected:
            continue
        trip = asyncio.ensure_future(connection.flush(timeout=_TRIP_SECONDS))
        done, _ = await asyncio.wait([trip], timeout=LATE_SECONDS)
        if not done:
            log.warning("requests over NATS come faster than they can be answered: none is taken for a moment")
            await (await service_of(connection)).pause()
        await asyncio.wait([trip])
        if not trip.cancelled() and (error := trip.exception()) and not isinstance(error, NatsError | TimeoutError):
            raise error
