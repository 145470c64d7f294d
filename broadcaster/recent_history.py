"""The stream MARKET: what was published on market.> lately, for who comes later. In memory, bounded, and no truth.

nats-server forgets it when it stops, so it is made again after each reconnection. What is at hand begins with the first
message after that; GET /trades and GET /market/{symbol}/candles have the rest.
"""

import asyncio
import logging

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from contracts.subjects import MARKET_STREAM, market_candles, market_trades

log = logging.getLogger(__name__)

PER_SUBJECT = 1_000
MAX_BYTES = 256 * 1024 * 1024
_LOOK_SECONDS = 1.0
_AGAIN_SECONDS = 5.0


def stream_config() -> StreamConfig:
    return StreamConfig(
        name=MARKET_STREAM,
        description="The latest trades and candles of each symbol",
        subjects=[market_trades("*"), market_candles("*", ">")],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.MEMORY,
        discard=DiscardPolicy.OLD,
        max_msgs_per_subject=PER_SUBJECT,
        max_bytes=MAX_BYTES,
        num_replicas=1,
        allow_direct=True,
    )


async def keep_recent_history(connection: Client) -> None:
    """See to it, without end, that the stream is there."""
    known: object = None
    while True:
        reconnects = connection.stats["reconnects"]
        if known != reconnects and connection.is_connected:
            if await _ensure(connection):
                known = reconnects
            else:
                await asyncio.sleep(_AGAIN_SECONDS)
        await asyncio.sleep(_LOOK_SECONDS)


async def _ensure(connection: Client) -> bool:
    manager, wanted = connection.jsm(), stream_config()
    try:
        try:
            found = (await manager.stream_info(MARKET_STREAM)).config
        except NotFoundError:
            await manager.add_stream(wanted)
            return True
        if (found.subjects, found.max_msgs_per_subject, found.max_bytes) != (
            wanted.subjects,
            wanted.max_msgs_per_subject,
            wanted.max_bytes,
        ):
            await manager.update_stream(wanted)
    except APIError as error:
        log.warning("stream %s: cannot be made (%s); recent history is not kept", MARKET_STREAM, error)
        return False
    except (NatsError, TimeoutError) as error:
        log.info("stream %s: no answer yet (%s)", MARKET_STREAM, error or type(error).__name__)
        return False
    return True
